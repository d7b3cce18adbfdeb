import { afterEach, expect, test } from 'vitest'
import { type KubernetesOptions, kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import type { Transport } from '../../src/backends/transport.ts'
import type { Pace } from '../../src/backends/wire/rollout.ts'
import type { ExecEvent, Rollout, Target } from '../../src/core/model.ts'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { type KubernetesPeer, type Rule, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { appliedOf, quickPace } from '../contract/workloads.ts'
import { ask, images, secret } from '../peers/kubernetes-workloads.ts'

const peers: KubernetesPeer[] = []
afterEach(async () => {
  for (const one of peers.splice(0)) await one.close()
})

const apps = ['deployments', 'statefulsets', 'daemonsets']
const patching: Rule = { verbs: ['get', 'list', 'patch'], resources: apps }
const revisions: Rule = { verbs: ['get', 'list'], resources: ['replicasets', 'controllerrevisions'] }
const pods: Rule = { verbs: ['get', 'list'], resources: ['pods'] }
const logs: Rule = { verbs: ['get'], resources: ['pods/log'] }

const ada = { kind: 'slack-user', team: 'T1', user: 'U1' } as const

type Sent = { readonly method: string; readonly url: string; readonly type: string; readonly body: unknown }

async function setUp(
  options: {
    pace?: Pace
    headersFor?: KubernetesOptions['headersFor']
    rules?: readonly Rule[]
    spec?: object
    pod?: object
    kind?: 'Deployment' | 'StatefulSet'
    /** Between being looked at and being read it was started again: what the log of the run before is answered with. */
    before?: string
    /** So many looks find all of them ready: a process that ends at once is ready for as long as it runs. */
    ready?: number
  } = {},
) {
  const people = [
    { name: 'admin', token: 'admin-token', rules: [{ verbs: ['*'], resources: ['*'] }] },
    { name: 'drover', token: 'drover-token', rules: options.rules ?? [patching, revisions, pods, logs] },
  ]
  const peer = await startKubernetesPeer({ routes: appsRoutes(), people })
  peers.push(peer)
  const sent: Sent[] = []
  let ready = options.ready ?? 0
  const plain = nodeTransport()
  const transport: Transport = {
    ...plain,
    async http(request) {
      if (request.method !== 'GET')
        sent.push({
          method: request.method,
          url: request.url.slice(peer.url.length),
          type: String(request.headers?.['content-type'] ?? ''),
          body: JSON.parse(request.body ?? 'null') as unknown,
        })
      const answer = await plain.http(request)
      if (options.before !== undefined && request.url.includes('previous=true')) return { ...answer, body: options.before }
      if (request.method !== 'GET' || !request.url.endsWith('/deployments/api') || !answer.body.includes(':crashing'))
        return answer
      if (ready-- <= 0) return answer
      const counts = { replicas: 2, updatedReplicas: 2, availableReplicas: 2, unavailableReplicas: 0 }
      const { status, ...rest } = JSON.parse(answer.body) as { metadata: { generation: number }; status: object }
      const seen = { ...status, ...counts, observedGeneration: rest.metadata.generation }
      return { ...answer, body: JSON.stringify({ ...rest, status: seen }) }
    },
  }
  const backend = kubernetesOver(
    { server: peer.url, headers: async () => ({ authorization: 'Bearer drover-token' }), transport },
    {
      name: 'prod',
      namespaces: ['default'],
      pace: options.pace ?? quickPace,
      ...(options.headersFor ? { headersFor: options.headersFor } : {}),
    },
  )
  const cluster = { url: peer.url, token: 'admin-token', namespace: 'default' }
  const kind = options.kind ?? 'Deployment'
  const base = `/apis/apps/v1/namespaces/default/${kind.toLowerCase()}s`
  const made = await ask(cluster, 'POST', base, {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name: 'api', labels: { app: 'api' } },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'api' }, matchExpressions: [{ key: 'app', operator: 'In', values: ['api'] }] },
      template: {
        metadata: { labels: { app: 'api' } },
        spec: {
          containers: [{ name: 'main', image: images.before, env: [{ name: 'PASSWORD', value: secret }] }],
          ...options.pod,
        },
      },
      ...options.spec,
    },
  })
  expect(made.status).toBe(201)
  const workloads = backend.workloads!
  const list = async () => (await workloads.list({}, AbortSignal.timeout(5_000)))[0]!
  const plan = async (rollout: Rollout, target?: Target) =>
    workloads.plan(target ?? (await list()), rollout, AbortSignal.timeout(5_000))
  const run = async (rollout: Rollout) => {
    const target = await list()
    const events: ExecEvent[] = []
    const planned = await plan(rollout, target)
    for await (const event of workloads.apply(target, rollout, planned, newExec(), AbortSignal.timeout(15_000), ada))
      events.push(event)
    return appliedOf(events)
  }
  const live = async () => (await ask(cluster, 'GET', `${base}/api`)).json as { spec: Record<string, unknown> }
  const settled = async () => {
    // Its first revision is there before the next one is asked for.
    await expect.poll(live, { timeout: 5_000 }).toMatchObject({ status: { availableReplicas: 2 } })
    expect((await run({ verb: 'restart' })).code).toBe(0)
  }
  return { peer, sent, run, plan, list, live, settled, workloads, cluster, base }
}

const to = (image: string, container?: string): Rollout => ({
  verb: 'image',
  image,
  ...(container === undefined ? {} : { container }),
})

test('[exact-argv] an image is one strategic merge of that container, in drover’s name, locked to the object looked at', async () => {
  const { run, sent, list, live } = await setUp()
  await list()
  expect((await run(to(images.after))).code).toBe(0)
  expect(sent).toHaveLength(1)
  expect(sent[0]).toMatchObject({
    method: 'PATCH',
    url: '/apis/apps/v1/namespaces/default/deployments/api?fieldManager=drover',
    type: 'application/strategic-merge-patch+json',
    body: { metadata: { resourceVersion: expect.stringMatching(/^\d+$/) } },
  })
  expect((sent[0]!.body as { spec: unknown }).spec).toEqual({
    template: { spec: { containers: [{ name: 'main', image: images.after }] } },
  })
  expect(JSON.stringify(await live())).toContain(secret)
})

test('the image of an init container is changed in its own list', async () => {
  const { run, live } = await setUp({ pod: { initContainers: [{ name: 'setup', image: images.before }] } })
  expect((await run(to(images.after, 'setup'))).code).toBe(0)
  const { template } = (await live()).spec as { template: { spec: { containers: object[]; initContainers: object[] } } }
  expect(template.spec.initContainers).toEqual([{ name: 'setup', image: images.after }])
  expect(template.spec.containers).toHaveLength(1)
})

test('revisions of another Deployment with the same labels are not its own', async () => {
  const { plan, cluster, base, settled } = await setUp()
  await settled()
  const labels = { app: 'api' }
  const template = { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'another/image:9' }] } }
  const spec = { replicas: 1, selector: { matchLabels: labels }, template }
  await ask(cluster, 'POST', base, { kind: 'Deployment', metadata: { name: 'other' }, spec })
  await expect
    .poll(async () => (await ask(cluster, 'GET', `${base}/other`)).json)
    .toMatchObject({ status: { availableReplicas: 1 } })
  const facts = JSON.stringify((await plan({ verb: 'undo' })).facts)
  expect(facts).not.toContain('another/image')
  expect((await failureOf(plan({ verb: 'undo', to: '9' }))).message).not.toContain('another/image')
})

test('an undo puts the whole template of before back, shows what else changes by name only, and keeps its hash label out', async () => {
  const { run, plan, sent, live, cluster, base } = await setUp()
  expect((await run(to(images.after))).code).toBe(0)
  const env = [{ name: 'PASSWORD', value: 'another-secret-value' }]
  const spec = { template: { spec: { containers: [{ name: 'main', env }] } } }
  await ask(cluster, 'PATCH', `${base}/api`, { spec }, 'application/strategic-merge-patch+json')
  expect((await run({ verb: 'status' })).code).toBe(0)
  const planned = await plan({ verb: 'undo', to: '1' })
  expect(planned.facts).toContainEqual({ name: 'also changes', before: 'as now', after: 'env of main' })
  expect(JSON.stringify(planned)).not.toMatch(/hunter2|another-secret/)
  expect((await run({ verb: 'undo', to: '1' })).code).toBe(0)
  expect(sent.at(-1)?.type).toBe('application/json-patch+json')
  expect(JSON.stringify(sent.at(-1)?.body)).not.toContain('pod-template-hash')
  expect(JSON.stringify(await live())).toContain(secret)
})

test('[true-ending] a Deployment that says its deadline is exceeded is stuck, with its own words', async () => {
  const { run } = await setUp({ spec: { progressDeadlineSeconds: 1 }, rules: [patching, revisions] })
  const applied = await run(to(images.missing))
  expect(applied.code).toBe(1)
  expect(applied.err).toMatch(/^stuck: ReplicaSet "api-.*" has timed out progressing/)
})

test('without the right to read logs, that is said and the reason is still told', async () => {
  const { run } = await setUp({ rules: [patching, revisions, pods] })
  const applied = await run(to('drover-test/busybox:crashing'))
  expect(applied.code).toBe(1)
  expect(applied.err).toMatch(/CrashLoopBackOff/)
  expect(applied.err).toMatch(/logs could not be read: .*pods\/log/)
})

test('[bounded] of the logs of failing pods no more than twenty lines each are asked for', async () => {
  const { run, peer } = await setUp()
  const applied = await run(to('drover-test/busybox:crashing'))
  expect(applied.err).toContain('cannot find the database')
  expect(applied.err).not.toContain('starting 19\n')
  expect(
    peer.seen.requests.some(({ path }) => path.includes('/log?container=main&tailLines=20&limitBytes=8192&previous=true')),
  ).toBe(true)
})

test.each([
  '',
  'failed to try resolving symlinks in path "/var/log/pods/a_b_c/main/1.log": lstat /var/log/pods/a_b_c/main/1.log: no such file or directory\n',
  'unable to retrieve container logs for containerd://0a1b2c',
])('the last words of a container that was started again meanwhile are found, too, behind %j', async (before) => {
  const { run } = await setUp({ before })
  const { err } = await run(to('drover-test/busybox:crashing'))
  expect(err).toContain('cannot find the database')
  if (before !== '') expect(err).not.toContain(before.trim())
})

test('[true-ending] what is ready for a moment and ends is no success', async () => {
  const { run } = await setUp({ ready: 1 })
  const applied = await run(to('drover-test/busybox:crashing'))
  expect(applied.code).toBe(1)
  expect(applied.err).toContain('cannot find the database')
})

test('without the right to patch, nothing is changed and the refusal names it', async () => {
  const { run, live } = await setUp({ rules: [{ verbs: ['get', 'list'], resources: apps }, revisions, pods] })
  expect(await failureOf(run(to(images.after)))).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
  expect(JSON.stringify(await live())).not.toContain(images.after)
})

test('without the right to read revisions, an image can be changed and no way back is promised', async () => {
  const { run, plan } = await setUp({ rules: [patching, pods] })
  const planned = await plan(to(images.after))
  expect(planned.undo).toBeUndefined()
  expect((await run(to(images.after))).code).toBe(0)
  expect(await failureOf(plan({ verb: 'undo' }))).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
})

test('what the API server finds invalid is told in its words, and did not happen', async () => {
  const { run } = await setUp()
  const error = await failureOf(run(to(' ')))
  expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
  expect(error.message).toContain('containers[0].image')
})

test('a conflict that only a status made is tried again with what there is now', async () => {
  const { run, peer, sent } = await setUp()
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Conflict', message: 'modified', code: 409 }
  peer.faults.http.push({ match: /^PATCH /, status: 409, body, times: 2 })
  expect((await run(to(images.after))).code).toBe(0)
  expect(sent).toHaveLength(3)
})

test('an abort between two looks ends the waiting at once', async () => {
  const { workloads, plan, list } = await setUp({ pace: { ...quickPace, pollMs: 600_000, maxPollMs: 600_000 } })
  const rollout = to(images.missing)
  const stop = new AbortController()
  const iterator = workloads.apply(await list(), rollout, await plan(rollout), newExec(), stop.signal)[Symbol.asyncIterator]()
  expect((await iterator.next()).value?.type).toBe('started')
  expect((await iterator.next()).value?.type).toBe('progress')
  const next = iterator.next()
  setTimeout(() => stop.abort(), 50)
  expect(await failureOf(next)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
})

test('conflicts without end are told, after a bounded number of tries', async () => {
  const { run, peer, sent } = await setUp()
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Conflict', message: 'modified', code: 409 }
  peer.faults.http.push({ match: /^PATCH /, status: 409, body, times: 1000 })
  const error = await failureOf(run(to(images.after)))
  expect(error).toMatchObject({ code: 'changed', ran: 'no' })
  expect(sent.length).toBeLessThan(12)
})

test('[once] an answer that never comes leaves it open whether it was taken, and nothing is sent twice', async () => {
  const { run, peer, sent } = await setUp()
  peer.faults.http.push({ match: /^PATCH /, status: 503, body: 'no' })
  expect(await failureOf(run(to(images.after)))).toMatchObject({ code: 'backend_unavailable', ran: 'maybe' })
  expect(sent).toHaveLength(1)
})

test('a change by someone else while it is watched is told, and is no success of this one', async () => {
  const { workloads, plan, list, cluster, base } = await setUp()
  const target = await list()
  const rollout = to(images.missing)
  const events: ExecEvent[] = []
  for await (const event of workloads.apply(target, rollout, await plan(rollout), newExec(), AbortSignal.timeout(15_000))) {
    events.push(event)
    if (event.type !== 'started') continue
    const spec = { template: { spec: { containers: [{ name: 'main', image: images.after }] } } }
    await ask(cluster, 'PATCH', `${base}/api`, { spec }, 'application/strategic-merge-patch+json')
  }
  const applied = appliedOf(events)
  expect(applied.code).toBe(1)
  expect(applied.err).toContain(`someone else has changed it meanwhile, to main ${images.after}`)
})

test('a short silence of the API server while it is watched is lived through, a long one is told', async () => {
  const { workloads, plan, list, peer } = await setUp()
  const target = await list()
  const watchWith = async (times: number, rollout: Rollout) => {
    const events: ExecEvent[] = []
    for await (const event of workloads.apply(target, rollout, await plan(rollout), newExec(), AbortSignal.timeout(15_000))) {
      events.push(event)
      if (event.type === 'started') peer.faults.http.push({ match: /^GET .*deployments/, status: 503, body: '', times })
    }
    return appliedOf(events)
  }
  expect((await watchWith(3, to(images.after))).code).toBe(0)
  expect(await failureOf(watchWith(100_000, to(images.before)))).toMatchObject({ code: 'backend_unavailable', ran: 'maybe' })
})

test('the card of a new image shows the revision and the replicas it begins from', async () => {
  const { plan, settled } = await setUp()
  await settled()
  const { facts } = await plan(to(images.after))
  expect(facts).toContainEqual({ name: 'revision', before: expect.stringMatching(/^\d+$/), after: 'a new one' })
  expect(facts).toContainEqual({ name: 'replicas', before: expect.stringMatching(/^\d+ of \d+ ready$/) })
})

test('a paused Deployment takes an image and says that nothing moves', async () => {
  const { run, plan, settled } = await setUp()
  await settled()
  expect((await run({ verb: 'pause' })).code).toBe(0)
  expect(JSON.stringify((await plan(to(images.after))).facts)).toContain('nothing moves until resume')
  const applied = await run(to(images.after))
  expect([applied.code, applied.progress.at(-1)]).toEqual([0, 'taken, held until resume'])
  expect((await run({ verb: 'resume' })).code).toBe(0)
})

test('a StatefulSet with a partition is done when its upper part is', async () => {
  const { run } = await setUp({ kind: 'StatefulSet', spec: { updateStrategy: { rollingUpdate: { partition: 5 } } } })
  const applied = await run(to(images.after))
  expect(applied.code).toBe(0)
  expect(applied.progress.at(-1)).toContain('partition')
})

test('[true-ending] a StatefulSet that updates on delete says what is held, and its scale is waited for', async () => {
  const held = 'taken, held until its pods are deleted (update strategy OnDelete)'
  const { run, live } = await setUp({ kind: 'StatefulSet', spec: { updateStrategy: { type: 'OnDelete' } } })
  expect((await run({ verb: 'scale', replicas: 5 })).code).toBe(0)
  expect(await live()).toMatchObject({ status: { readyReplicas: 5 } })
  const applied = await run(to(images.after))
  expect([applied.code, applied.progress.at(-1)]).toEqual([0, held])
  expect(applied.err).toBe(`${held}\n`)
})

test('labels of the pods find a workload as well as its own', async () => {
  const { list } = await setUp({
    spec: {
      template: {
        metadata: { labels: { app: 'api', tier: 'front' } },
        spec: { containers: [{ name: 'main', image: images.before }] },
      },
    },
  })
  expect((await list()).labels).toEqual({ app: 'api', tier: 'front' })
})

test('[default-deny] where a label of its pods and its own differ, the pods’ counts: a rule holds for rollouts as for commands', async () => {
  const { list, cluster, base } = await setUp({
    spec: {
      template: {
        metadata: { labels: { app: 'api', tier: 'prod' } },
        spec: { containers: [{ name: 'main', image: images.before }] },
      },
    },
  })
  const metadata = { labels: { tier: 'dev', team: 'shop' } }
  await ask(cluster, 'PATCH', `${base}/api`, { metadata }, 'application/merge-patch+json')
  expect((await list()).labels).toEqual({ app: 'api', tier: 'prod', team: 'shop' })
})

test('S45 an undo brings no privileged containers back where there are none now', async () => {
  const { plan, cluster, base, settled, list, sent } = await setUp({ pod: { hostPID: true } })
  await expect.poll(async () => (await plan({ verb: 'status' })).facts).toContainEqual({ name: 'revision', before: '1' })
  await settled()
  // Judged as privileged, it may stay so.
  expect((await plan({ verb: 'undo' })).change).toContain('PATCH')
  const spec = { template: { spec: { hostPID: false } } }
  await ask(cluster, 'PATCH', `${base}/api`, { spec }, 'application/strategic-merge-patch+json')
  await expect.poll(async () => (await plan({ verb: 'status' })).facts).toContainEqual({ name: 'revision', before: '3' })
  expect(await list()).not.toMatchObject({ privileged: true })
  for (const rollout of [{ verb: 'undo' }, { verb: 'undo', to: '1' }] as const) {
    const error = await failureOf(plan(rollout))
    expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
    expect(error.message).toContain('not privileged now')
  }
  expect(sent).toHaveLength(1)
})

test('S45 a workload with privileged containers, and one of the cluster’s own, are marked as such', async () => {
  const { list } = await setUp({ pod: { hostPID: true } })
  expect((await list()).privileged).toBe(true)
})

test('S45 a workload that mounts the host’s socket or root counts as privileged; one that only declares it does not', async () => {
  const volumes = [
    { name: 'sock', hostPath: { path: '/var/run/docker.sock' } },
    { name: 'logs', hostPath: { path: '/var/log' } },
  ]
  const mounting = (name: string) => ({
    volumes,
    containers: [{ name: 'main', image: images.before, volumeMounts: [{ name, mountPath: '/x' }] }],
  })
  expect((await (await setUp({ pod: mounting('sock') })).list()).privileged).toBe(true)
  expect((await (await setUp({ pod: mounting('logs') })).list()).privileged).toBeUndefined()
})

test('in the name of a person, the change goes out as them and the cluster decides for them; looking stays drover’s own', async () => {
  const impersonate: Rule = { verbs: ['impersonate'], resources: ['users'] }
  const { run, peer } = await setUp({
    rules: [patching, revisions, pods, logs, impersonate],
    headersFor: (by) => ({ 'Impersonate-User': by?.kind === 'slack-user' ? `slack:${by.team}/${by.user}` : 'nobody' }),
  })
  const error = await failureOf(run(to(images.after)))
  expect(error).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
  expect(error.message).toContain('slack:T1/U1')
  const mine = peer.seen.requests.filter(({ user }) => user !== 'admin')
  expect(new Set(mine.filter(({ method }) => method === 'PATCH').map(({ user }) => user))).toEqual(new Set(['slack:T1/U1']))
  expect(new Set(mine.filter(({ method }) => method === 'GET').map(({ user }) => user))).toEqual(new Set(['drover']))
})

test('S21 a workload that was deleted and made anew under its name is told apart by its uid', async () => {
  const { list, cluster, base } = await setUp()
  const first = await list()
  const made = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'api', labels: { app: 'api' } } }
  const { spec } = (await ask(cluster, 'GET', `${base}/api`)).json as { spec: object }
  await ask(cluster, 'DELETE', `${base}/api?propagationPolicy=Background`)
  expect((await ask(cluster, 'POST', base, { ...made, spec })).status).toBe(201)
  const second = await list()
  expect(second.native).toBe(first.native)
  expect(first.uid).toMatch(/^[0-9a-f-]{36}$/)
  expect(second.uid).not.toBe(first.uid)
})
