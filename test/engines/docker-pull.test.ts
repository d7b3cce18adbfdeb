/** Images that are not on the engine, fetched from a real registry where an administrator lets drover do so. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import type { ErrorCode } from '../../src/core/errors.ts'
import { exec } from '../../src/exec.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec, runOn } from '../contract/backend.ts'
import { startRegistry } from './docker-registry.ts'
import { docker, socketPath } from './docker-world.ts'

const outside = { transport: nodeTransport, machine: nodeMachine() }
const soon = () => AbortSignal.timeout(60_000)
const host = `unix://${socketPath}`
const bounds = { networks: ['none'], memory: '64m', cpus: 1, processes: 50 }
const has = (name: string) => docker('images', '-q', name) !== ''
const forget = (name: string) => has(name) && docker('rmi', name)

describe('an image that is not on the engine', { timeout: 120_000 }, () => {
  const registry = startRegistry()
  const closed = startRegistry({ asksForLogin: true })
  const pulling = dockerBackend({ name: 'engine', host, newContainers: { ...bounds, pull: 'missing' } }, outside)
  let tagged = ''
  let byDigest = ''
  beforeAll(() => {
    ;({ tagged, byDigest } = registry.push('tools/busybox:1'))
  })
  afterAll(() => {
    for (const name of [tagged, byDigest, `${registry.host}/tools/busybox:latest`]) forget(name)
    registry.close()
    closed.close()
  })

  test('is fetched by tag and by digest, told while it goes on, and its command runs', async () => {
    for (const name of [tagged, byDigest]) {
      expect(has(name)).toBe(false)
      const ran = await runOn(pulling, pulling.newContainer!({ image: name }), { argv: ['echo', 'out'] }, soon())
      const told = ran.events.flatMap((event) => (event.type === 'progress' ? [event.text] : []))
      expect([`${ran.out}`, ran.code, told[0]]).toEqual(['out\n', 0, `pulling ${name}`])
      expect(told.every((text) => text.startsWith(`pulling ${name}`))).toBe(true)
      expect(ran.events.findIndex(({ type }) => type === 'progress')).toBeLessThan(
        ran.events.findIndex(({ type }) => type === 'started'),
      )
      forget(name)
    }
  })

  test('without a tag only `latest` is meant, never all of them', async () => {
    const { tagged: latest } = registry.push('tools/busybox:latest')
    const name = latest.slice(0, -':latest'.length)
    expect((await runOn(pulling, pulling.newContainer!({ image: name }), { argv: ['true'] }, soon())).code).toBe(0)
    expect([has(latest), has(tagged)]).toEqual([true, false])
    forget(latest)
  })

  test('S45 is not fetched where the configuration does not say so', async () => {
    for (const newContainers of [bounds, { ...bounds, pull: 'never' as const }]) {
      const backend = dockerBackend({ name: 'engine', host, newContainers }, outside)
      const failure = await failureOf(runOn(backend, backend.newContainer!({ image: tagged }), { argv: ['true'] }, soon()))
      expect(failure).toMatchObject({ code: 'backend_not_found', ran: 'no', next: expect.stringContaining('pull: missing') })
    }
    expect(has(tagged)).toBe(false)
  })

  test.each([
    ['what the registry does not have', () => `${registry.host}/tools/nothing:1`, 'backend_not_found', /nothing:1/],
    ['a tag that is not there', () => `${registry.host}/tools/busybox:9`, 'backend_not_found', /busybox:9/],
    ['a registry that wants a login', () => `${closed.host}/tools/busybox:1`, 'backend_unauthorized', /no credentials/],
    ['a registry that is not there', () => '127.0.0.1:9/tools/busybox:1', 'backend_unavailable', /reaches the registry/],
  ] satisfies readonly (readonly [string, () => string, ErrorCode, RegExp])[])(
    '%s is told in words, and nothing ran',
    async (_, name, code, said) => {
      const failure = await failureOf(runOn(pulling, pulling.newContainer!({ image: name() }), { argv: ['true'] }, soon()))
      expect(failure).toMatchObject({ code, ran: 'no' })
      expect(`${failure.message} ${failure.next}`).toMatch(said)
    },
  )

  test('[gone-is-gone] what is given up while it is fetched begins nothing later', async () => {
    const connection = new AbortController()
    const target = pulling.newContainer!({ image: tagged })
    const name = newExec()
    const work = (async () => {
      for await (const event of pulling.exec(target, { argv: ['sleep', '700021'] }, name, connection.signal))
        if (event.type === 'progress') connection.abort()
    })()
    expect(await failureOf(work)).toMatchObject({ ran: 'no' })
    expect(await pulling.kill(target, { target: target.id, exec: name }, soon())).toEqual({ result: 'gone' })
    expect(docker('ps', '-aq', '--filter', 'label=drover.helper')).toBe('')
    forget(tagged)
  })

  test('exec() fetches it when the program says so', async () => {
    const said: string[] = []
    const text = await exec(['echo', 'out'], { image: tagged, pull: true, onProgress: (one) => said.push(one) }).text()
    expect([text, said[0]]).toEqual(['out\n', `pulling ${tagged}`])
    forget(tagged)
  })

  describe('by the command line', () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-pull-'))
    afterAll(() => rmSync(folder, { recursive: true }))
    const drover = (...words: string[]) =>
      new Promise<{ code: number; out: string; err: string }>((resolve) => {
        const config = join(folder, 'drover.yaml')
        const backends = `{ docker: { kind: docker, host: '${host}', newContainers: { pull: missing } } }`
        const rules = `[{ id: me, effect: allow, who: { cli: true }, commands: ['...'], images: ['${registry.host}/tools/*'] }]`
        writeFileSync(config, `ledger: { path: '${join(folder, 'ledger.db')}' }\nbackends: ${backends}\nrules: ${rules}\n`)
        const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
        const child = execFile(process.execPath, [cli, 'exec', '--config', config, ...words], (_error, out, err) =>
          resolve({ code: child.exitCode ?? -1, out, err }),
        )
      })

    test('[default-deny] only what a rule names is fetched', async () => {
      const refused = await drover(`image=${closed.host}/tools/busybox:1`, '--', 'true')
      expect([refused.code === 0, /No rule allows/.test(refused.err)]).toEqual([false, true])
      const ran = await drover(`image=${tagged}`, '--', 'echo', 'fetched')
      expect([ran.code, ran.out]).toEqual([0, expect.stringContaining('fetched\n')])
      forget(tagged)
    })
  })
})
