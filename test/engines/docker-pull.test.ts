/** Images that are not on the engine, fetched from a real registry where an administrator lets drover do so. */

import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import { loginsOf } from '../../src/backends/docker/logins.ts'
import type { ErrorCode } from '../../src/core/errors.ts'
import { docker as dockerEngine, exec } from '../../src/exec.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec, runOn } from '../contract/backend.ts'
import { SECRET, startRegistry } from './docker-registry.ts'
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
    [
      'a registry that wants a login',
      () => `${closed.host}/tools/busybox:1`,
      'backend_unauthorized',
      /let drover log in with newContainers: \{ logins/,
    ],
    ['a registry that is not there', () => '127.0.0.1:9/tools/busybox:1', 'backend_unavailable', /reaches the registry/],
  ] satisfies readonly (readonly [string, () => string, ErrorCode, RegExp])[])(
    '%s is told in words, and nothing ran',
    async (_, name, code, said) => {
      const failure = await failureOf(runOn(pulling, pulling.newContainer!({ image: name() }), { argv: ['true'] }, soon()))
      expect(failure).toMatchObject({ code, ran: 'no' })
      expect(`${failure.message} ${failure.next}`).toMatch(said)
    },
  )

  describe('from a registry that wants a login', () => {
    let secretName = ''
    const folder = mkdtempSync(join(tmpdir(), 'drover-logins-'))
    beforeAll(() => {
      secretName = closed.push('tools/secret:1').tagged
    })
    afterAll(() => rmSync(folder, { recursive: true }))
    const learnt: string[] = []
    const withLogins = (logins: string) =>
      dockerBackend(
        { name: 'engine', host, newContainers: { ...bounds, pull: 'missing', logins } },
        { ...outside, loginsOf: (file) => loginsOf(file, outside.machine, (values) => learnt.push(...values)) },
      )
    const runs = (logins: string, name = secretName) => {
      const backend = withLogins(logins)
      return runOn(backend, backend.newContainer!({ image: name }), { argv: ['echo', 'out'] }, soon())
    }
    const fileOf = (content: object) => {
      const path = join(folder, `${Math.random()}.json`)
      writeFileSync(path, JSON.stringify(content))
      return path
    }

    test('the login that `docker login` has written is used, and its check names the registry alone', async () => {
      const ran = await runs(closed.logins)
      expect([`${ran.out}`, ran.code]).toEqual(['out\n', 0])
      expect((await withLogins(closed.logins).check(soon())).at(-1)).toEqual({
        ok: true,
        what: 'logins for registries can be read',
        detail: closed.host,
      })
      forget(secretName)
    })

    test('[no-secret-shown] S46 a helper program is asked, with none of drover’s environment, and what it says is masked', async () => {
      const helper = join(folder, 'docker-credential-drover-test')
      const answer = JSON.stringify({ ServerURL: closed.host, Username: 'somebody', Secret: SECRET })
      writeFileSync(helper, `#!/bin/sh\nread host\nenv >'${folder}/env'\n[ "$host" = '${closed.host}' ] && echo '${answer}'\n`, {
        mode: 0o755,
      })
      const before = process.env.PATH
      process.env.PATH = `${folder}:${before}`
      process.env.DROVER_CANARY = 'canary'
      try {
        const ran = await runs(fileOf({ auths: { [closed.host]: {} }, credHelpers: { [closed.host]: 'drover-test' } }))
        expect([`${ran.out}`, ran.code]).toEqual(['out\n', 0])
      } finally {
        process.env.PATH = before
        delete process.env.DROVER_CANARY
      }
      expect(readFileSync(join(folder, 'env'), 'utf8')).not.toContain('canary')
      expect(learnt).toContain(SECRET)
      forget(secretName)
    })

    test('[no-secret-shown] one that is refused, and one that is not there, are told apart, and no word of either is said', async () => {
      const auth = (text: string) => ({ auths: { [closed.host]: { auth: btoa(text) } } })
      for (const [logins, said] of [
        [fileOf(auth('somebody:wrong-word')), /was not taken, or may not read this image/],
        [
          fileOf({ auths: { 'other.example': { auth: btoa('a:other-word') } } }),
          /has no login for 127\.0\.0\.1:\d+: an administrator can add/,
        ],
      ] as const) {
        const failure = await failureOf(runs(logins))
        expect(failure).toMatchObject({ code: 'backend_unauthorized', ran: 'no', next: expect.stringMatching(said) })
        expect(JSON.stringify([failure.toFailure(), failure.cause])).not.toMatch(/word/)
      }
      expect(await failureOf(runs(join(folder, 'none.json')))).toMatchObject({ code: 'config', ran: 'no' })
      expect(has(secretName)).toBe(false)
    })
  })

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

  test('exec() logs in where the program names a file for it, and not without', async () => {
    const { tagged: secretName } = closed.push('tools/secret:2')
    const work = (logins?: string) =>
      exec(['echo', 'out'], {
        on: dockerEngine({ host, ...(logins === undefined ? {} : { logins }) }),
        image: secretName,
        pull: true,
      })
    await expect(work().text()).rejects.toMatchObject({ name: 'StartError', code: 'backend_unauthorized' })
    expect(await work(closed.logins).text()).toBe('out\n')
    forget(secretName)
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
