/** Rollouts through Rancher 2, in both of its modes: the contract of workloads, and what `mode: v3` sends. */

import { afterEach, expect, test } from 'vitest'
import { rancher2 } from '../../src/backends/rancher2/backend.ts'
import type { Transport } from '../../src/backends/transport.ts'
import type { ExecEvent, Rollout, Target } from '../../src/core/model.ts'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { appliedOf, quickPace, workloadsContract } from '../contract/workloads.ts'
import { ask, counting, images, kubernetesFixture, secret } from '../peers/kubernetes-workloads.ts'

for (const mode of ['proxy', 'v3'] as const) {
  workloadsContract(`Rancher 2, mode ${mode}`, async () => {
    const behind = await startKubernetesPeer({ routes: appsRoutes() })
    const peer = await startRancher2Peer({
      upstream: { url: behind.url, token: behind.token('admin') },
      projects: [{ id: 'c-abc12:p-def34', name: 'Shop', namespaces: ['default'] }],
      users: { member: { user: 'admin' } },
    })
    const seen: string[] = []
    const backend = rancher2(
      { name: 'rancher', url: peer.url, token: bearerOf(peer.keys.member), project: 'c-abc12:p-def34', mode, pace: quickPace },
      { transport: (reach) => counting(nodeTransport(reach), seen) },
    )
    const fixture = kubernetesFixture(
      { url: behind.url, token: behind.token('admin'), namespace: 'default' },
      {
        workloads: backend.workloads!,
        kind: 'deployment',
        seen,
        prefix: 'api',
        settleMs: 5_000,
        lastWords: { image: 'drover-test/busybox:crashing', text: 'cannot find the database' },
        loseAnswer: () =>
          void peer.faults.http.push({
            match: mode === 'v3' ? 'PUT /v3' : 'PATCH /k8s',
            answer: { status: 502, body: '' },
            times: 1,
          }),
      },
    )
    return {
      ...fixture,
      async tearDown() {
        await peer.close()
        await behind.close()
      },
    }
  })
}

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** `mode: v3`, on `api` with the containers `main` and `side`. `before`: called as a PUT of drover's leaves. */
async function setUpV3(kind: 'Deployment' | 'StatefulSet' = 'Deployment', pod: object = {}) {
  const behind = await startKubernetesPeer({ routes: appsRoutes() })
  const peer = await startRancher2Peer({
    upstream: { url: behind.url, token: behind.token('admin') },
    projects: [{ id: 'c-abc12:p-def34', name: 'Shop', namespaces: ['default'] }],
    users: { member: { user: 'admin' } },
  })
  closing.push(peer.close, behind.close)
  const sent: { readonly path: string; readonly body: string | undefined }[] = []
  let before: (() => Promise<unknown>) | undefined
  const transport = (): Transport => {
    const plain = nodeTransport()
    return {
      ...plain,
      async http(request) {
        if (request.method === 'GET') return await plain.http(request)
        sent.push({ path: `${request.method} ${request.url.slice(peer.url.length)}`, body: request.body })
        await before?.()
        return await plain.http(request)
      },
    }
  }
  const token = bearerOf(peer.keys.member)
  const connect = (mode: 'proxy' | 'v3') =>
    rancher2({ name: 'rancher', url: peer.url, token, mode, pace: quickPace }, { transport }).workloads!
  const cluster = { url: behind.url, token: behind.token('admin'), namespace: 'default' }
  const base = `/apis/apps/v1/namespaces/default/${kind.toLowerCase()}s`
  const container = (name: string) => ({ name, image: images.before, args: ['-v'], env: [{ name: 'PASSWORD', value: secret }] })
  const labels = { app: 'api' }
  const made = await ask(cluster, 'POST', base, {
    kind,
    metadata: { name: 'api' },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: ['main', 'side'].map(container), ...pod } },
    },
  })
  expect(made.status).toBe(201)
  const workloads = connect('v3')
  const list = async () => (await workloads.list({}, AbortSignal.timeout(5_000)))[0]!
  const proxied = async () => (await connect('proxy').list({}, AbortSignal.timeout(5_000)))[0]!
  const plan = async (rollout: Rollout) => workloads.plan(await list(), rollout, AbortSignal.timeout(5_000))
  const planned = async (target: Target, rollout: Rollout) => {
    const one = await workloads.plan(target, rollout, AbortSignal.timeout(5_000))
    const apply = async () => {
      const events: ExecEvent[] = []
      for await (const event of workloads.apply(target, rollout, one, newExec(), AbortSignal.timeout(15_000))) events.push(event)
      return appliedOf(events)
    }
    return { apply }
  }
  const run = async (rollout: Rollout) => (await planned(await list(), rollout)).apply()
  const containers = async () => {
    const { json } = await ask(cluster, 'GET', `${base}/api`)
    return (json as { spec: { template: { spec: { containers: Record<string, unknown>[] } } } }).spec.template.spec.containers
  }
  const meanwhile = (act: () => Promise<unknown>) => {
    before = act
  }
  return { run, plan, planned, sent, containers, cluster, base, list, proxied, meanwhile }
}

test('v3: the complete list of containers goes back, so that nothing of them is lost', async () => {
  const { run, containers, list } = await setUpV3()
  expect((await list()).id).toBe('rancher/c-abc12/p-def34/default/deployment/api')
  expect((await run({ verb: 'image', container: 'side', image: images.after })).code).toBe(0)
  const env = [{ name: 'PASSWORD', value: secret }]
  expect(await containers()).toEqual([
    { name: 'main', image: images.before, args: ['-v'], env },
    { name: 'side', image: images.after, args: ['-v'], env },
  ])
})

test('v3: actions are posted, without a body or with the id that they take', async () => {
  const { run, sent } = await setUpV3()
  expect((await run({ verb: 'image', container: 'main', image: images.after })).code).toBe(0)
  for (const verb of ['restart', 'pause', 'resume', 'undo'] as const) expect((await run({ verb })).code).toBe(0)
  const at = '/v3/project/c-abc12:p-def34/workloads/deployment:default:api'
  expect(sent.slice(1).map(({ path }) => path)).toEqual(
    ['redeploy', 'pause', 'resume', 'rollback'].map((action) => `POST ${at}?action=${action}`),
  )
  expect(sent.slice(1).map(({ body }) => body)).toEqual([
    undefined,
    undefined,
    undefined,
    expect.stringMatching(/replicaset:default:api-/),
  ])
})

test('v3: a change that comes between the look and the PUT is found by looking again, and told', async () => {
  const { run, meanwhile, cluster, base } = await setUpV3()
  meanwhile(() => ask(cluster, 'PATCH', `${base}/api`, { spec: { replicas: 3 } }, 'application/merge-patch+json'))
  const applied = await run({ verb: 'image', container: 'main', image: images.after })
  expect(applied.err).toContain('someone else changed it at the same time; it differs from what was planned in: scale')
})

test('v3: revisions of anything but a Deployment are not there, and that is said', async () => {
  const { plan, run } = await setUpV3('StatefulSet')
  expect((await run({ verb: 'image', container: 'main', image: images.after })).code).toBe(0)
  expect(await failureOf(plan({ verb: 'undo' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
})

test('[default-deny] v3: where a label of its pods and its own differ, the pods’ counts', async () => {
  const { list, cluster, base } = await setUpV3()
  const metadata = { labels: { app: 'other', team: 'shop' } }
  await ask(cluster, 'PATCH', `${base}/api`, { metadata }, 'application/merge-patch+json')
  expect((await list()).labels).toEqual({ app: 'api', team: 'shop' })
})

test('S45 v3: an undo brings no privileged containers back where there are none now', async () => {
  const { run, plan, list, cluster, base } = await setUpV3('Deployment', { hostPID: true })
  await expect.poll(async () => (await plan({ verb: 'status' })).facts).toContainEqual({ name: 'revision', before: '1' })
  expect((await run({ verb: 'image', container: 'main', image: images.after })).code).toBe(0)
  expect((await plan({ verb: 'undo' })).change).toContain('rollback')
  const spec = { template: { spec: { hostPID: false } } }
  await ask(cluster, 'PATCH', `${base}/api`, { spec }, 'application/strategic-merge-patch+json')
  await expect.poll(async () => (await plan({ verb: 'status' })).facts).toContainEqual({ name: 'revision', before: '3' })
  expect(await list()).not.toMatchObject({ privileged: true })
  const error = await failureOf(plan({ verb: 'undo' }))
  expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
  expect(error.message).toContain('not privileged now')
})

const main = { name: 'main', image: images.before }
const hostFolder = (path: string) => ({
  volumes: [{ name: 'host', hostPath: { path } }],
  containers: [{ ...main, volumeMounts: [{ name: 'host', mountPath: '/host' }] }],
})

test.each<[string, object, boolean]>([
  ['nothing of the host', {}, false],
  ['the host’s network', { hostNetwork: true }, true],
  ['the host’s processes', { hostPID: true }, true],
  ['the host’s memory', { hostIPC: true }, true],
  ['a privileged container', { containers: [{ ...main, securityContext: { privileged: true } }] }, true],
  ['a strong capability', { containers: [{ ...main, securityContext: { capabilities: { add: ['SYS_ADMIN'] } } }] }, true],
  ['another capability', { containers: [{ ...main, securityContext: { capabilities: { add: ['NET_ADMIN'] } } }] }, false],
  [
    'a process of a Windows host',
    { containers: [{ ...main, securityContext: { windowsOptions: { hostProcess: true } } }] },
    true,
  ],
  ['the root of the host', hostFolder('/'), true],
  ['the engine’s socket', hostFolder('/var/run/docker.sock'), true],
  ['a harmless folder of the host', hostFolder('/srv/data'), false],
  ['a folder of the host that no container mounts', { volumes: [{ name: 'host', hostPath: { path: '/' } }] }, false],
  [
    'the root of the host, in an init container',
    { ...hostFolder('/'), containers: [main], initContainers: hostFolder('/').containers },
    true,
  ],
])('S45 v3: a workload is judged as through the proxy: %s', async (_, pod, isPrivileged) => {
  const { list, proxied } = await setUpV3('Deployment', pod)
  expect((await proxied()).privileged ?? false).toBe(isPrivileged)
  expect((await list()).privileged ?? false).toBe(isPrivileged)
})

test('S45 v3: a workload that is given the host between the plan and the change is not changed', async () => {
  const { list, planned, cluster, base, sent } = await setUpV3()
  const target = await list()
  const { apply } = await planned(target, { verb: 'scale', replicas: 3 })
  const spec = { template: { spec: { volumes: [{ name: 'host', hostPath: { path: '/' } }] } } }
  await ask(cluster, 'PATCH', `${base}/api`, { spec }, 'application/strategic-merge-patch+json')
  expect(await failureOf(apply())).toMatchObject({ code: 'changed', ran: 'no' })
  expect(sent).toEqual([])
})
