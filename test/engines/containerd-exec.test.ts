/** `exec()` on a real containerd: in a container that runs, and in one made for the command. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { containerd, type Engine, ExitError, exec, StartError } from '../../src/exec.ts'
import { ctrAt, given, startContainer } from './containerd-engine.ts'

const address = given('CONTAINERD_ADDRESS')
const namespace = given('CONTAINERD_NAMESPACE')
const ctr = ctrAt(address, namespace)
const image = `docker.io/${given('DOCKER_TEST_IMAGE')}`
const fifos = mkdtempSync(join(tmpdir(), 'drover-exec-fifos-'))
const failed = (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error)

describe('exec() on containerd', { timeout: 60_000 }, () => {
  let on: Engine
  beforeAll(async () => {
    startContainer(ctr, 'exec-web')
    on = await containerd({ address, namespace, fifoDirectory: fifos })
  })
  afterAll(() => {
    ctr('task', 'kill', '-s', 'KILL', 'exec-web')
    ctr('task', 'rm', '-f', 'exec-web')
    ctr('container', 'rm', 'exec-web')
    rmSync(fifos, { recursive: true, force: true })
  })

  test('containerId is the one that containerd knows, of a container of its own as well', async () => {
    for (const where of [{ container: 'exec-web' }, { image }]) {
      await using cmd = exec(['sleep', '700032'], { on, ...where })
      expect(cmd.containerId).toBeUndefined()
      await cmd.start()
      expect(ctr('tasks', 'ls', '-q').split('\n')).toContain(cmd.containerId)
    }
  })

  test('[gone-is-gone] in a container that runs, and in one of its own that is gone afterwards', async () => {
    for (const where of [{ container: 'exec-web' }, { image }]) {
      expect(await exec(['sh', '-c', 'cat; echo out'], { on, ...where, stdin: 'in ' }).text()).toBe('in out\n')
      expect(await failed(exec(['sh', '-c', 'exit 3'], { on, ...where }).run())).toBeInstanceOf(ExitError)
      expect(await failed(exec(['no-such'], { on, ...where }).run())).toBeInstanceOf(StartError)
      const error = await failed(exec(['sleep', '700031'], { on, ...where, timeoutMs: 2_000 }).run())
      expect(error).toMatchObject({ name: 'TimeoutError', left: undefined })
    }
    expect(await failed(exec(['true'], { on, image, readOnly: true }).run())).toMatchObject({ code: 'unsupported' })
    expect(
      ctr('containers', 'ls', '-q')
        .split('\n')
        .filter((name) => name.includes('drover')),
    ).toEqual([])
  })
})
