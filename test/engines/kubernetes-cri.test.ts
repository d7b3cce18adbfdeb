/** The backend `containerd` by a node's runtime service (CRI): the pods of a real kubelet, without asking its API server. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { containerd } from '../../src/backends/containerd/backend.ts'
import type { Transports } from '../../src/backends/transport.ts'
import type { Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract, failureOf, newExec, runOn } from '../contract/backend.ts'
import { commandsInside } from './containerd-engine.ts'
import { apply, bareName, cluster, type Door, doorTo, kubectl, pod } from './kubernetes-cluster.ts'

const address = join(dirname(cluster.kubeconfig), 'run', 'containerd.sock')
const soon = () => AbortSignal.timeout(60_000)

/** The runtime says anew for each command where it listens: its bytes go through a door that can be watched and cut. */
let door: Door | undefined
const throughDoor: Transports = (reach) => {
  const way = nodeTransport(reach)
  return {
    ...way,
    async socket(url, options) {
      const { origin, pathname } = new URL(url)
      door ??= await doorTo(origin)
      return await way.socket(`${door.url}${pathname}`, options)
    },
  }
}
const connect = (transport: Transports = nodeTransport): Backend =>
  containerd({ name: 'node', api: 'cri', address, parallel: 8 }, { transport, machine: nodeMachine(), makePipes, readCgroups })
const backend = connect()

async function inPod(name: string, of: Backend = backend): Promise<Target> {
  const [found] = await of.list({ facets: { pod: name } }, soon())
  if (!found) throw new Error(`there is no pod ${name}`)
  return found
}

beforeAll(async () => {
  await apply(pod('cri-main'), bareName('cri-bare'), pod('cri-stopped'), pod('cri-host', { hostNetwork: true }), pod('cri-going'))
}, 120_000)
afterAll(async () => {
  await kubectl(
    'delete',
    'pod',
    'cri-main',
    'cri-bare',
    'cri-stopped',
    'cri-host',
    'cri-going',
    '--now',
    '--ignore-not-found',
    '--wait=false',
  )
  await door?.close()
}, 60_000)

backendContract('containerd by CRI', async () => {
  const watched = connect(throughDoor)
  const stopped = await inPod('cri-stopped')
  await kubectl('delete', 'pod', 'cri-stopped', '--now')
  return {
    backend: watched,
    target: await inPod('cri-main'),
    bare: await inPod('cri-bare'),
    stopped,
    processesInside: async (target, needle) => commandsInside(target.native, needle),
    openConnections: () => door?.open() ?? 0,
    breakAfter: (bytes) => door?.breakAfter(bytes),
    async tearDown() {},
  }
})

describe('containerd by CRI', { timeout: 120_000 }, () => {
  test('a pod’s containers have its labels and facets, and no sandbox is among them', async () => {
    const found = await backend.list({ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, soon())
    expect(found.length).toBeGreaterThan(0)
    for (const { name, facets, labels, engineId, native } of found) {
      expect(name).toMatch(/^web-.+\/app$/)
      expect(facets).toMatchObject({ namespace: cluster.namespace, container: 'app', image: 'docker.io/drover-test/busybox:1' })
      expect(labels.tier).toBe('front')
      expect(engineId).toBe(native)
    }
    const one = await inPod('cri-main')
    expect((await backend.list({ id: one.native.slice(0, 12) }, soon())).map(({ id }) => id)).toEqual([one.id])
    expect((await backend.list({ facets: { image: '*busybox*', pod: 'cri-main' } }, soon())).map(({ id }) => id)).toEqual([
      one.id,
    ])
    expect((await backend.list({ facets: { namespace: 'no-such' } }, soon())).length).toBe(0)
  })

  test('S45 a pod with the host’s network is privileged, an ordinary one is not', async () => {
    expect((await inPod('cri-host')).privileged).toBe(true)
    expect((await inPod('cri-main')).privileged).toBeUndefined()
  })

  test('[bounded] a background child that holds the output does not hold the answer', async () => {
    const target = await inPod('cri-main')
    const ran = await runOn(backend, target, { argv: ['sh', '-c', 'sleep 720001 & echo done; exit 3'] })
    expect([`${ran.out}`, ran.code]).toEqual(['done\n', 3])
    expect(await backend.kill(target, ran.handle!, soon())).toEqual({ result: 'gone' })
    expect(commandsInside(target.native, 'sleep 720001')).toEqual([])
  })

  test('[bounded] 60 executions at once in one container all end, eight at a time', async () => {
    const target = await inPod('cri-main')
    const ran = await Promise.all(
      Array.from({ length: 60 }, (_, i) => runOn(backend, target, { argv: ['sh', '-c', `echo ${i}; exit ${i % 7}`] })),
    )
    expect(ran.map(({ out, code }) => [`${out}`, code])).toEqual(Array.from({ length: 60 }, (_, i) => [`${i}\n`, i % 7]))
  })

  test('[gone-is-gone] with its container all that ran there is gone', async () => {
    const target = await inPod('cri-going')
    const events = backend.exec(target, { argv: ['sleep', '720002'] }, newExec(), soon())[Symbol.asyncIterator]()
    let first = await events.next()
    while (!first.done && first.value.type === 'connected') first = await events.next()
    if (first.done || first.value.type !== 'started') throw new Error('it did not start')
    await kubectl('delete', 'pod', 'cri-going', '--now')
    const last = await events.next().then(
      ({ value }) => value,
      (error: unknown) => error,
    )
    if (last instanceof Error) expect(last).toMatchObject({ ran: 'maybe' })
    else expect(last).toEqual({ type: 'exit', code: 137 })
    expect(await backend.kill(target, first.value.handle, soon())).toEqual({ result: 'gone' })
    expect(commandsInside(target.native, 'sleep 720002')).toEqual([])
  })

  test('a socket that is not there is told as such', async () => {
    const nowhere = containerd(
      { name: 'node', api: 'cri', address: '/nonexistent/cri.sock', parallel: 8 },
      { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups },
    )
    expect(await failureOf(Promise.resolve(nowhere.list({}, soon())))).toMatchObject({ code: 'backend_unavailable', ran: 'no' })
    expect((await nowhere.check(soon())).map(({ ok }) => ok)).toEqual([false])
  })

  test('the command line runs a command there, and check finds nothing wrong', () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-cri-'))
    const config = join(folder, 'drover.yaml')
    writeFileSync(
      config,
      JSON.stringify({
        ledger: { path: join(folder, 'drover.db') },
        backends: { node: { kind: 'containerd', api: 'cri', address } },
        rules: [{ id: 'all', effect: 'allow', who: { cli: true }, commands: ['...'], rights: ['shell'] }],
      }),
    )
    const root = fileURLToPath(new URL('../..', import.meta.url))
    const cli = (...args: readonly string[]) =>
      spawnSync(process.execPath, ['src/cli.ts', args[0]!, '--config', config, ...args.slice(1)], { cwd: root, encoding: 'utf8' })
    try {
      const ran = cli('exec', 'on=node', 'pod=cri-main', 'dir=/tmp', 'cmd=pwd; echo err >&2; exit 3')
      expect([ran.stdout.includes('/tmp\n'), ran.stderr.includes('err'), ran.status]).toEqual([true, true, 3])
      const late = cli('exec', 'on=node', 'pod=cri-main', 'timeout=2s', '--', 'sleep', '720003')
      expect([late.status, `${late.stdout}${late.stderr}`.includes('proved gone')]).toEqual([124, true])
      const checked = cli('check')
      expect(checked.status).toBe(0)
      expect(checked.stdout).toContain('commands are handed on at 127.0.0.1:')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
