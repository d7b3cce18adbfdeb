/** `exec()` on a pod: what a program gets from a cluster, by a kubeconfig and the real protocol. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Engine, ExitError, exec, kubernetes, StartError, StoppedError, UnknownError } from '../../src/exec.ts'
import { type KubernetesPeer, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { processEngine } from '../peers/engine-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'drover-exec-'))
let peer: KubernetesPeer
let on: Engine
const failed = (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error)

beforeAll(async () => {
  peer = await startKubernetesPeer({ engine: processEngine(), pods: [{ namespace: 'shop', name: 'web-1' }] })
  const kubeconfig = join(folder, 'config')
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'here',
      contexts: [{ name: 'here', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
      clusters: [{ name: 'c', cluster: { server: peer.url } }],
      users: [{ name: 'u', user: { token: peer.token('exec-user') } }],
    }),
  )
  on = await kubernetes({ kubeconfig })
})
afterAll(async () => {
  await peer.close()
  rmSync(folder, { recursive: true })
})

describe('exec() on a cluster', () => {
  const web = { container: 'web-1' }

  it('stdout, stdin, and a bad end with the last words', async () => {
    expect(await exec(['sh', '-c', 'cat; echo out'], { on, ...web, stdin: 'in ' }).text()).toBe('in out\n')
    const error = await failed(exec(['sh', '-c', 'echo bad >&2; exit 3'], { on, ...web }).run())
    expect(error).toBeInstanceOf(ExitError)
    expect(error).toMatchObject({ exitCode: 3, stderr: 'bad\n' })
  })

  it('what it cannot do is a StartError, and nothing runs', async () => {
    for (const [options, said] of [
      [{ container: 'no-such' }, /No container that runs/],
      [{ image: 'busybox:1' }, /No new container is made by kubernetes/],
      [{ ...web, stdin: new Uint8Array([0xff, 0xfe]) }, /not UTF-8/],
      [{ ...web, stdin: new Uint8Array(1024 * 1024 + 1) }, /more than 1 MiB/],
    ] as const) {
      const error = await failed(exec(['true'], { on, ...options }).run())
      expect(error).toBeInstanceOf(StartError)
      expect(error).toMatchObject({ message: expect.stringMatching(said) })
    }
  })

  it('[gone-is-gone] S42 a timeout ends it', async () => {
    const error = await failed(exec(['sleep', '100'], { on, ...web, timeoutMs: 500 }).run())
    expect(error).toBeInstanceOf(StoppedError)
    expect(error).toMatchObject({ name: 'TimeoutError', left: undefined })
  })

  it('[true-ending] S41 a connection that breaks is an UnknownError', async () => {
    peer.faults.dropAfterBytes = 20_000
    const error = await failed(exec(['sh', '-c', 'head -c 100000 /dev/zero; sleep 5'], { on, ...web }).text())
    peer.faults.dropAfterBytes = undefined
    expect(error).toBeInstanceOf(UnknownError)
  })

  it('[gone-is-gone] S42 what a broken connection left running is ended by kill(), and not said to be gone before', async () => {
    const own = `${600_000 + Math.floor(Math.random() * 300_000)}`
    peer.faults.dropAfterBytes = 20_000
    const cmd = exec(['sh', '-c', `head -c 100000 /dev/zero; sleep ${own}`], { on, ...web, stdout: new WritableStream() })
    await cmd.start()
    expect(await failed(cmd.wait())).toBeInstanceOf(UnknownError)
    peer.faults.dropAfterBytes = undefined
    const alive = () =>
      execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })
        .split('\n')
        .filter((line) => line === `sleep ${own}`)
    await vi.waitFor(() => expect(alive()).toHaveLength(1), 10_000)
    expect(await cmd.kill()).toEqual({ result: 'gone' })
    expect(alive()).toEqual([])
  })
})
