/** The backend contract on the pods of a real kubelet, by the node's runtime service, through an agent beside it. */

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { backendByOrder } from '../../src/agent/by-order.ts'
import type { Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { startLink, until } from '../agent/link.ts'
import { backendContract, failureOf, runOn } from '../contract/backend.ts'
import { breakable } from './agent-breakable.ts'
import { commandsInside } from './containerd-engine.ts'
import { apply, bareName, cluster, kubectl, pod } from './kubernetes-cluster.ts'

const address = join(dirname(cluster.kubeconfig), 'run', 'containerd.sock')
const soon = () => AbortSignal.timeout(60_000)
const pods = ['cri-agent-main', 'cri-agent-bare', 'cri-agent-stopped', 'cri-agent-host'] as const

async function behind(allow: object) {
  const engine = { kind: 'containerd', api: 'cri', address }
  const link = await startLink({ file: `engine: ${JSON.stringify(engine)}\nallow: ${JSON.stringify(allow)}` })
  const { way, breakAfter } = breakable(link)
  // As `rooms.ts` makes it for `{ kind: containerd, api: cri, through: … }`.
  return { link, breakAfter, backend: backendByOrder({ name: 'node', kind: 'containerd', hasUser: false }, way) }
}

async function inPod(name: string, of: Backend): Promise<Target> {
  const [found] = await of.list({ facets: { pod: name } }, soon())
  if (!found) throw new Error(`there is no pod ${name}`)
  return found
}

/** What an execution holds open beside the engine is a websocket to the runtime; 01 is "established" (proc(5)). */
const openTo = (port: number): number =>
  readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , to = '', state]) => state === '01' && Number.parseInt(to.split(':')[1] ?? '', 16) === port).length

beforeAll(async () => {
  await apply(pod(pods[0]), bareName(pods[1]), pod(pods[2]), pod(pods[3], { hostNetwork: true }))
}, 120_000)
afterAll(async () => {
  await kubectl('delete', 'pod', ...pods, '--now', '--ignore-not-found', '--wait=false')
}, 60_000)

backendContract('containerd by CRI, through an agent', async () => {
  const { link, backend, breakAfter } = await behind({})
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(JSON.stringify(await backend.check(soon())))?.[1])
  const stopped = await inPod(pods[2], backend)
  await kubectl('delete', 'pod', pods[2], '--now')
  await until(async () => (await backend.list({ facets: { pod: pods[2] } }, soon())).length === 0)
  return {
    backend,
    target: await inPod(pods[0], backend),
    bare: await inPod(pods[1], backend),
    stopped,
    processesInside: async (target, needle) => commandsInside(target.native, needle),
    openConnections: () => openTo(port),
    breakAfter,
    tearDown: () => link.close(),
  }
})

describe('a node’s runtime service behind an agent and its list', { timeout: 120_000 }, () => {
  it('[default-deny] S45 pods that its list does not name are not there, and a privileged one is refused by name', async () => {
    const { link, backend } = await behind({ names: ['cri-agent-main/*', 'cri-agent-host/*'] })
    onTestFinished(() => link.close())
    expect((await backend.list({}, soon())).map(({ name }) => name.split('/')[0]).sort()).toEqual([pods[3], pods[0]])
    const strong = await inPod(pods[3], backend)
    const failure = await failureOf(runOn(backend, strong, { argv: ['true'] }))
    expect(failure).toMatchObject({ code: 'backend_forbidden', ran: 'no', message: expect.stringContaining('is privileged') })
    expect((await runOn(backend, await inPod(pods[0], backend), { argv: ['sh', '-c', 'cat; exit 3'], stdin: 'in' })).code).toBe(3)
  })

  it('the agent’s own check tells of the runtime and of the way that commands take', async () => {
    const { link, backend } = await behind({})
    onTestFinished(() => link.close())
    const lines = await backend.check(soon())
    expect(lines.map(({ ok }) => ok)).not.toContain(false)
    expect(JSON.stringify(lines)).toMatch(/runtime service answers.*commands are handed on at 127\.0\.0\.1:/)
  })
})
