/** How far a pull is, as an engine tells it over a real connection: in few words, seldom, and its failures in words. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { docker } from '../../src/backends/docker/backend.ts'
import type { ExecEvent } from '../../src/core/model.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec } from '../contract/backend.ts'

let server: Server | undefined
afterEach(() => server?.close())

/** An engine that has no image: it answers a pull with these lines, the second half a little later. */
async function pulls(image: string, lines: readonly object[], status = 200) {
  const asked: string[] = []
  server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://engine')
    if (url.pathname === '/_ping') return response.setHeader('api-version', '1.41').end('OK')
    if (url.pathname.endsWith('/containers/json')) return response.end('[]')
    if (!url.pathname.endsWith('/images/create')) return response.writeHead(404).end('{"message":"No such image"}')
    asked.push(url.search)
    const half = Math.ceil(lines.length / 2)
    const text = (some: readonly object[]) => some.map((line) => `${JSON.stringify(line)}\r\n`).join('')
    response.writeHead(status)
    response.write(text(lines.slice(0, half)))
    return setTimeout(() => response.end(text(lines.slice(half))), 1_200)
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  const newContainers = { networks: ['none'], memory: '64m', cpus: 1, processes: 50, pull: 'missing' as const }
  const host = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
  const backend = docker({ name: 'd', host, plaintext: true, newContainers }, { transport: nodeTransport, machine })
  const events: ExecEvent[] = []
  const target = backend.newContainer!({ image })
  const failure = await failureOf(
    (async () => {
      for await (const event of backend.exec(target, { argv: ['true'] }, newExec(), AbortSignal.timeout(10_000)))
        events.push(event)
    })(),
  )
  return { asked, told: events.flatMap((event) => (event.type === 'progress' ? [event.text] : [])), failure }
}

const machine = {
  env: {},
  home: '/nowhere',
  readText: async () => undefined,
  run: () => Promise.reject(new Error('nothing is run')),
}

const downloading = (id: string, current: number) => ({
  status: 'Downloading',
  progressDetail: { current, total: 2_000_000 },
  id,
})

describe('a pull', () => {
  test('[bounded] a thousand lines are told in a few, with layers and bytes added up', async () => {
    const first = Array.from({ length: 1000 }, (_, i) => downloading(i % 2 ? 'aaaa' : 'bbbb', 1_000_000))
    const { told } = await pulls('tools:1', [
      { status: 'Pulling from tools', id: '1' },
      ...first,
      { status: 'Already exists', progressDetail: {}, id: 'cccc' },
      { status: 'Pull complete', progressDetail: {}, id: 'aaaa' },
      ...first.filter((_, i) => i % 2 === 0),
    ])
    expect(told[0]).toBe('pulling tools:1')
    expect(told.at(-1)).toMatch(/^pulling tools:1: [012] of [23] layers, \d\.\d of 4\.0 MB$/)
    expect(told.length).toBeGreaterThan(2)
    expect(told.length).toBeLessThan(6)
  })

  test.each([
    ['tools', '?fromImage=tools&tag=latest'],
    ['tools:1', '?fromImage=tools&tag=1'],
    ['registry:5000/a/tools', '?fromImage=registry%3A5000%2Fa%2Ftools&tag=latest'],
    ['registry:5000/tools:1', '?fromImage=registry%3A5000%2Ftools&tag=1'],
    ['tools:1@sha256:ab', '?fromImage=tools&tag=sha256%3Aab'],
  ])('%s is asked for as %s', async (image, query) => {
    expect((await pulls(image, [])).asked).toEqual([query])
  })

  test.each([
    ['manifest for tools:9 not found: manifest unknown', 'backend_not_found'],
    ['pull access denied for tools, repository does not exist or may require docker login', 'backend_unauthorized'],
    ['write /var/lib/docker/tmp/x: no space left on device', 'backend_unavailable'],
    ['\u001b[2Jsomething new', 'backend_unavailable'],
  ])('what goes wrong in its middle is told, and nothing ran: %j', async (error, code) => {
    const { failure } = await pulls('tools:9', [
      { status: 'Pulling from tools', id: '9' },
      { errorDetail: { message: error }, error },
    ])
    expect(failure).toMatchObject({ code, ran: 'no' })
    expect(failure.message).not.toContain('\u001b')
    expect(failure.next).toBeTruthy()
  })

  test('an engine that has the image still not after its pull says so once', async () => {
    const { failure, asked } = await pulls('tools:1', [{ status: 'Status: Downloaded newer image for tools:1' }])
    expect([failure.code, failure.ran, asked.length]).toEqual(['backend_not_found', 'no', 1])
  })
})
