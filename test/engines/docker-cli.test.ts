/** The `drover` command on a real Docker Engine, from drover.yaml to the terminal. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dockerWorld, processesIn, socketPath } from './docker-world.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

describe('drover exec on a Docker Engine', { timeout: 120_000 }, () => {
  const world = dockerWorld()
  const folder = mkdtempSync(join(tmpdir(), 'drover-cli-'))
  const config = join(folder, 'drover.yaml')
  let web: string
  beforeAll(() => {
    web = world.run('web', ['--label', 'role=web'])
    world.run('helper', ['--label', 'role=strong', '--pid', 'host'])
    const backends = `{ docker: { kind: docker, host: 'unix://${socketPath}' } }`
    const rules = `[{ id: me, effect: allow, who: { cli: true }, commands: ['...'], rights: [shell, user] }]`
    writeFileSync(config, `ledger: { path: '${join(folder, 'ledger.db')}' }\nbackends: ${backends}\nrules: ${rules}\n`)
  })
  afterAll(() => {
    world.tearDown()
    rmSync(folder, { recursive: true })
  })
  const drover = (...words: string[]) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const { DOCKER_HOST: _, ...env } = process.env
      const child = execFile(
        process.execPath,
        [cli, words[0]!, '--config', config, ...words.slice(1)],
        { env },
        (_error, out, err) => resolve({ code: child.exitCode ?? -1, out, err }),
      )
    })

  test('both streams and the exit code arrive', async () => {
    const { out, err, code } = await drover('exec', 'on=docker', 'label=role=web', 'cmd=echo out; echo err >&2; exit 3')
    expect(code).toBe(3)
    expect(`${out}${err}`).toMatch(/\bout\n/)
    expect(`${out}${err}`).toMatch(/\berr\n/)
  })

  test('[gone-is-gone] S42 what has timed out has left no process', async () => {
    const { code, out, err } = await drover('exec', 'on=docker', 'label=role=web', 'timeout=2s', 'cmd=sleep 100 & sleep 100')
    expect([code, /still running/.test(out + err)]).toEqual([124, false])
    expect(processesIn(web, 'sleep 100').filter((line) => !line.includes('100000'))).toEqual([])
  })

  test('S45 a container with rights over its host is refused without the right to it', async () => {
    const { code, out, err } = await drover('exec', 'on=docker', 'label=role=strong', '--', 'id')
    expect(code).not.toBe(0)
    expect(out + err).toContain('privileged containers')
  })

  test('targets and check tell what is there', async () => {
    expect((await drover('targets', 'on=docker', 'label=role=web')).out).toContain(web)
    const { out, code } = await drover('check')
    expect(out).toMatch(/docker: a container engine answers at unix:/)
    expect(code).toBe(0)
  })
})
