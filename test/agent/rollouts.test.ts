/** Rollouts through an agent: what is sent is planned beside the engine, and only where the agent's own file lets it. */

import { afterEach, describe, expect, it } from 'vitest'
import { workloadsByOrder } from '../../src/agent/by-order.ts'
import { Refusal } from '../../src/agent/fence.ts'
import { ordersFence } from '../../src/agent/fence-orders.ts'
import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { parseConfig } from '../../src/config.ts'
import type { ExecEvent, Rollout, Target } from '../../src/core/model.ts'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { createBackends } from '../../src/rooms.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerKinds } from '../../src/worker-kinds.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { appliedOf, quickPace, workloadsContract } from '../contract/workloads.ts'
import { ask, counting, kubernetesFixture } from '../peers/kubernetes-workloads.ts'
import { type Link, startLink } from './link.ts'

workloadsContract('a pretend Kubernetes behind an agent', async () => {
  const peer = await startKubernetesPeer({ routes: appsRoutes({ paceMs: 40 }) })
  const seen: string[] = []
  const headers = async () => ({ authorization: `Bearer ${peer.token('exec-user')}` })
  const beside = kubernetesOver(
    { server: peer.url, headers, transport: counting(nodeTransport(), seen) },
    { name: 'own', namespaces: ['default'], pace: quickPace },
  ).workloads!
  const no = async (): Promise<never> => {
    throw new Refusal('no call passes')
  }
  const orders = ordersFence({ rollout: { workloads: beside, allowed: { verbs: [...beside.verbs, 'finish'], images: ['*'] } } })
  const link = await startLink({ beside: { engine: no, fence: no, orders } })
  const cluster = { url: peer.url, token: peer.token('admin'), namespace: 'default' }
  const fixture = kubernetesFixture(cluster, {
    workloads: workloadsByOrder({ name: 'prod', kind: 'kubernetes' }, beside.verbs, link.transport),
    kind: 'deployment',
    seen,
    prefix: 'api',
    settleMs: 5_000,
    lastWords: { image: 'drover-test/busybox:crashing', text: 'cannot find the database' },
    loseAnswer: () => void peer.faults.http.push({ match: /^PATCH /, status: 502, body: '' }),
  })
  return {
    ...fixture,
    async tearDown() {
      await link.close()
      await peer.close()
    },
  }
})

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const soon = () => AbortSignal.timeout(60_000)

/** As the gateway makes it of its drover.yaml. */
function workloadsOf(link: Link, entry: string) {
  const text = `agents: { lab: { key: '${link.publicKey}' } }\nbackends: { far: { ${entry}, through: lab } }`
  const [backend] = createBackends(parseConfig(text, 'drover.yaml', {}), {
    transport: nodeTransport,
    kinds: workerKinds,
    agents: () => link.transport,
  })
  return backend!.workloads!
}

async function linked(engine: string, allow: string, env: Readonly<Record<string, string>>): Promise<Link> {
  const link = await startLink({ file: `engine: ${engine}\n${allow}`, env })
  closing.push(() => link.close())
  return link
}

async function roll(workloads: ReturnType<typeof workloadsOf>, target: Target, rollout: Rollout) {
  const plan = await workloads.plan(target, rollout, soon())
  const events: ExecEvent[] = []
  for await (const event of workloads.apply(target, rollout, plan, newExec(), soon())) events.push(event)
  return { plan, ...appliedOf(events), handle: events.find((one) => one.type === 'started') }
}

async function cluster() {
  const peer = await startKubernetesPeer({ routes: appsRoutes() })
  closing.push(() => peer.close())
  const way = { url: peer.url, token: peer.token('admin'), namespace: 'shop' }
  const make = async (namespace: string, name: string) =>
    await ask(way, 'POST', `/apis/apps/v1/namespaces/${namespace}/deployments`, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace, labels: { app: name } },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels: { app: name } },
          spec: { containers: [{ name: 'main', image: 'drover-test/busybox:1' }] },
        },
      },
    })
  await make('shop', 'web')
  await make('other', 'web')
  const imageOf = async (namespace: string) => {
    const { json } = await ask(way, 'GET', `/apis/apps/v1/namespaces/${namespace}/deployments/web`)
    return JSON.stringify(json).match(/"image":"([^"]*)"/)?.[1]
  }
  return { peer, imageOf }
}

const ALL =
  'allow: { rollout: { verbs: [image, restart, undo, status], images: ["drover-test/*"], names: [deployment/*, service/*] } }'

describe.each(['kubernetes', 'rancher2'] as const)('rollouts of %s through an agent', { timeout: 60_000 }, (kind) => {
  async function setUp(allow: string) {
    const { peer, imageOf } = await cluster()
    const rancher = await startRancher2Peer({
      upstream: { url: peer.url, token: peer.token('admin') },
      users: { member: { user: 'admin' } },
    })
    closing.push(rancher.close)
    const engine =
      kind === 'kubernetes'
        ? `{ kind: kubernetes, server: ${peer.url}, token: { env: TOKEN }, namespaces: [shop] }`
        : `{ kind: rancher2, url: ${rancher.url}, token: { env: TOKEN }, cluster: c-abc12, namespaces: [shop] }`
    const TOKEN = kind === 'kubernetes' ? peer.token('admin') : bearerOf(rancher.keys.member)
    const link = await linked(engine, allow, { TOKEN })
    return { link, imageOf, workloads: workloadsOf(link, `kind: ${kind}`) }
  }

  it('an image is set and taken back, and the engine says so', async () => {
    const { workloads, imageOf } = await setUp(ALL)
    const targets = await workloads.list({ facets: { workload: 'deployment/web' } }, soon())
    expect(targets.map(({ id, facets }) => [id.split('/')[0], facets.namespace])).toEqual([['far', 'shop']])
    const set = await roll(workloads, targets[0]!, { verb: 'image', image: 'drover-test/busybox:2' })
    expect([set.code, set.handle?.handle.target]).toEqual([0, targets[0]!.id])
    expect(await imageOf('shop')).toBe('drover-test/busybox:2')
    expect((await roll(workloads, targets[0]!, { verb: 'undo' })).code).toBe(0)
    expect([await imageOf('shop'), await imageOf('other')]).toEqual(['drover-test/busybox:1', 'drover-test/busybox:1'])
  })

  it('[default-deny] what its file does not name is refused, and nothing is changed', async () => {
    const { workloads, imageOf, link } = await setUp(ALL)
    const [target] = await workloads.list({}, soon())
    const refused = async (rollout: Rollout, of: Target = target!) =>
      (await failureOf(workloads.plan(of, rollout, soon()))).message
    expect(await refused({ verb: 'image', image: 'evil:1' })).toBe(
      'The agent lab refused it: the image "evil:1" is not on its list (rollout.images:)',
    )
    expect(await refused({ verb: 'scale', replicas: 0 })).toBe('The agent lab refused it: rollout scale is not on its list')
    const native = target!.native.replace('shop/', 'other/')
    const elsewhere = { ...target!, native, facets: { ...target!.facets, namespace: 'other' } }
    expect(await refused({ verb: 'restart' }, elsewhere)).toMatch(/^There is no workload .*other\/deployment\/web to be reached/)
    // Not even where it asks the engine itself.
    const path = `${kind === 'rancher2' ? '/k8s/clusters/c-abc12' : ''}/apis/apps/v1/namespaces/shop/deployments/web`
    const call = { method: 'PATCH', url: `https://lab.agent${path}`, body: '{}', signal: soon() } as const
    await expect(link.transport.http(call)).rejects.toThrow(/is not on its list/)
    expect(await imageOf('shop')).toBe('drover-test/busybox:1')
  })

  it('[default-deny] without rollout: in its file the person reads what it would take', async () => {
    const { workloads } = await setUp('')
    const error = await failureOf(workloads.list({}, soon()))
    expect([error.code, error.message]).toEqual([
      'backend_forbidden',
      'The agent lab refused it: rollouts are not on its list (allow: { rollout: … })',
    ])
  })
})

describe('rollouts of rancher1 through an agent', { timeout: 60_000 }, () => {
  async function setUp(allow: string) {
    const of = { stack: 'shop', service: 'web', image: 'drover-test/busybox:1' }
    const peer = await startRancherPeer({ world: [{ name: 'shop-web-1', ...of, environment: { PASSWORD: 'hunter2' } }] })
    closing.push(() => peer.close())
    peer.faults.servicePaceMs = 20
    const { accessKey, secretKey } = peer.environmentKey
    const engine = `{ kind: rancher1, url: ${peer.url}, project: 1a5, accessKey: { env: A }, secretKey: { env: S } }`
    const link = await linked(engine, allow, { A: accessKey, S: secretKey })
    const images = () => peer.containers.all().flatMap((one) => (one.state === 'running' ? [one.image] : []))
    return { link, images, workloads: workloadsOf(link, 'kind: rancher1, project: 1a5') }
  }

  it('an upgrade is made and taken back, and no value of an environment leaves the agent', async () => {
    const { workloads, images } = await setUp(ALL)
    const [target] = await workloads.list({}, soon())
    expect(target?.id.startsWith('far/1s')).toBe(true)
    const set = await roll(workloads, target!, { verb: 'image', image: 'drover-test/busybox:2' })
    expect(set.code).toBe(0)
    expect(images()).toEqual([expect.stringContaining('drover-test/busybox:2')])
    expect(JSON.stringify([target, set])).not.toContain('hunter2')
    expect((await roll(workloads, target!, { verb: 'undo' })).code).toBe(0)
    expect(images()).toEqual([expect.stringContaining('drover-test/busybox:1')])
  })

  it('[default-deny] what its file does not name is refused, and no call to change a service passes', async () => {
    const { workloads, images, link } = await setUp('allow: { rollout: { verbs: [restart], names: [service/api] } }')
    expect(await workloads.list({}, soon())).toEqual([])
    const asked = { native: '1s1', facets: {} } as Target
    const { message } = await failureOf(workloads.plan(asked, { verb: 'image', image: 'drover-test/busybox:2' }, soon()))
    expect(message).toMatch(/The agent lab refused it: rollout image is not on its list|There is no workload/)
    const url = 'https://lab.agent/v2-beta/projects/1a5/services/1s1?action=upgrade'
    await expect(link.transport.http({ method: 'POST', url, body: '{}', signal: soon() })).rejects.toThrow(/is not on its list/)
    expect(images()).toEqual([expect.stringContaining('drover-test/busybox:1')])
  })
})
