/** Several gateways with one engine, and clocks that differ: what one of them has made there is not late by another's clock. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { docker } from '../../src/backends/docker/backend.ts'
import { swarm } from '../../src/backends/swarm/backend.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec } from '../contract/backend.ts'

let server: Server | undefined
afterEach(() => server?.close())

const machine = {
  env: {},
  home: '/nowhere',
  readText: async () => undefined,
  run: () => Promise.reject(new Error('nothing is run')),
}
const outside = { transport: nodeTransport, machine }
const soon = () => AbortSignal.timeout(10_000)
const hourMs = 3_600_000

/** An engine whose clock is so far off this machine's: it holds what others made, and takes note of what is made and removed. */
async function engineThatIs(aheadMs: number) {
  const now = () => Date.now() + aheadMs
  const label = (ms: number) => ({ 'drover.helper': 'new', 'drover.exec': 'x', 'drover.deadline': String(now() + ms) })
  const removed: string[] = []
  const made: number[] = []
  const answers: Readonly<Record<string, () => unknown>> = {
    'GET /_ping': () => 'OK',
    'GET /containers/json': () => [
      { Id: 'young', Labels: label(60_000) },
      { Id: 'late', Created: Math.floor(now() / 1000) - 120, Labels: label(-60_000) },
      // From an image that somebody made of one of drover’s containers.
      { Id: 'committed', Created: Math.floor(now() / 1000), Labels: label(-60_000) },
    ],
    'GET /services': () => [
      { ID: 'young', Spec: { Name: 'drover-exec-young', Labels: label(60_000) } },
      { ID: 'late', Spec: { Name: 'drover-exec-late', Labels: label(-60_000) } },
    ],
  }
  server = createServer((request, response) => {
    const path = new URL(request.url ?? '', 'http://engine').pathname.replace(/^\/v[\d.]+/, '')
    response.setHeader('api-version', '1.41').setHeader('date', new Date(now()).toUTCString())
    let body = ''
    request.on('data', (data) => {
      body += data
    })
    request.on('end', () => {
      if (request.method === 'DELETE') removed.push(path)
      if (path === '/containers/create') made.push(Number(JSON.parse(body).Labels['drover.deadline']) - now())
      const answer = answers[`${request.method} ${path}`]
      if (!answer) return response.writeHead(request.method === 'DELETE' ? 200 : 404).end('{"message":"No such image"}')
      return response.end(JSON.stringify(answer()))
    })
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  const host = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { host, plaintext: true as const, removed, made }
}

describe.each([
  ['an hour behind', -hourMs],
  ['right', 0],
  ['an hour ahead', hourMs],
])('an engine whose clock is %s', (_, aheadMs) => {
  test('[gone-is-gone] is swept of what is late by its own clock, and of nothing that may still run', async () => {
    const { host, plaintext, removed } = await engineThatIs(aheadMs)
    const newContainers = { networks: ['none'], memory: '64m', cpus: 1, processes: 50 }
    await docker({ name: 'd', host, plaintext, newContainers }, outside).sweep?.(soon())
    const temporaryService = { image: `sha256:${'a'.repeat(64)}`, socket: '/var/run/docker.sock' }
    await swarm({ name: 's', host, plaintext, temporaryService }, outside).sweep?.(soon())
    expect(removed).toEqual(['/containers/late', '/services/late'])
  })

  test('gets what is made there with a deadline by its own clock', async () => {
    const { host, plaintext, made } = await engineThatIs(aheadMs)
    const newContainers = { networks: ['none'], memory: '64m', cpus: 1, processes: 50 }
    const backend = docker({ name: 'd', host, plaintext, newContainers }, outside)
    const target = backend.newContainer!({ image: 'tools:1' })
    const events = backend.exec(target, { argv: ['true'] }, newExec(), soon(), undefined, 60_000)[Symbol.asyncIterator]()
    await failureOf(events.next())
    expect(made).toHaveLength(1)
    expect(Math.abs((made[0] ?? 0) - 360_000)).toBeLessThan(10_000)
  })
})
