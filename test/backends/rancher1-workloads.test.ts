/** Rollouts of services on Rancher 1.x: the contract of workloads, what is sent, and how it is watched. */

import { afterEach, expect, test } from 'vitest'
import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import { isStrong } from '../../src/backends/rancher1/service.ts'
import type { HttpRequest, HttpResponse, Transport } from '../../src/backends/transport.ts'
import type { ExecEvent, Rollout, Target } from '../../src/core/model.ts'
import { decide } from '../../src/core/policy.ts'
import { faultOf } from '../../src/core/rollout.ts'
import type { Rule } from '../../src/core/rule.ts'
import { type KeyPair, type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { appliedOf, quickPace, workloadsContract } from '../contract/workloads.ts'

const secret = 'hunter2-in-the-environment'

workloadsContract('Rancher 1.x', async () => {
  const peer = await startRancherPeer({ world: [] })
  peer.faults.servicePaceMs = 20
  const { accessKey, secretKey } = peer.environmentKey
  const backend = rancher1({ name: 'prod', url: peer.url, accessKey, secretKey, pace: quickPace }, nodeTransport())
  const workloads = backend.workloads!
  let made = 0
  const serviceOf = async (target: Target) => {
    const response = await fetch(`${peer.url}/v2-beta/services/${target.native}`, {
      headers: { authorization: `Basic ${btoa(`${accessKey}:${secretKey}`)}` },
    })
    return (await response.json()) as {
      name: string
      scale: number
      launchConfig: Record<string, unknown>
      secondaryLaunchConfigs: Record<string, unknown>[]
    }
  }
  const own = (target: Target) =>
    peer.containers.all().filter((one) => one.serviceRow === Number(target.native.slice(2)) && one.state === 'running')
  const send = async (target: Target, method: string, path: string, body: unknown) => {
    const response = await fetch(`${peer.url}/v2-beta/services/${target.native}${path}`, {
      method,
      headers: { authorization: `Basic ${btoa(`${accessKey}:${secretKey}`)}`, 'x-by': 'someone else' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`the peer refused with ${response.status}`)
  }
  const make = async (sidekick: boolean): Promise<Target> => {
    const service = `api${++made}`
    const labels = { app: service }
    const environment = { PASSWORD: secret }
    await peer.addContainers(
      [1, 2].flatMap((n) => [
        { name: `shop-${service}-${n}`, stack: 'shop', service, image: 'shop/api:1', labels, environment },
        ...(sidekick
          ? [
              {
                name: `shop-${service}-side-${n}`,
                stack: 'shop',
                service,
                sidekick: 'side',
                image: 'shop/api:1',
                labels,
                environment,
              },
            ]
          : []),
      ]),
    )
    return (await workloads.list({}, AbortSignal.timeout(5_000))).find((one) => one.facets.service === service)!
  }
  const others = new Map<string, number>()
  return {
    workloads,
    containerOf: (target) => target.facets.service!,
    images: { before: 'shop/api:1', after: 'shop/api:2', missing: 'shop/api:missing' },
    secret,
    lastWords: { image: 'shop/api:crashing', text: 'cannot find the database' },
    fresh: () => make(false),
    pair: () => make(true),
    async imagesOf(target) {
      const service = await serviceOf(target)
      const image = (config: Record<string, unknown>) => String(config.imageUuid).replace('docker:', '')
      return {
        [service.name]: image(service.launchConfig),
        ...Object.fromEntries(service.secondaryLaunchConfigs.map((one) => [one.name, image(one)])),
      }
    },
    async countOf(target) {
      const service = await serviceOf(target)
      return { wanted: service.scale, running: own(target).length }
    },
    writes: (target) =>
      peer.seen.requests.filter((one) => one.method !== 'GET' && one.path.includes(`/${target.native}`)).length -
      (others.get(target.native) ?? 0),
    async edit(target) {
      const { scale } = await serviceOf(target)
      others.set(target.native, (others.get(target.native) ?? 0) + 1)
      await send(target, 'PUT', '', { scale: scale + 1 })
    },
    async set(target, field) {
      // Not before what was asked first is done: until then the service offers no update.
      await expect
        .poll(() => send(target, 'PUT', '', { scale: 'replicas' in field ? field.replicas : 0 }).then(() => true))
        .toBe(true)
    },
    conflict(target, times) {
      peer.faults.http.push({ match: new RegExp(`^(POST|PUT) .*/${target.native}`), status: 409, times })
    },
    loseAnswer() {
      peer.faults.http.push({ match: /^(POST|PUT) /, status: 502, body: 'bad gateway' })
    },
    tearDown: () => peer.close(),
  }
})

const peers: RancherPeer[] = []
afterEach(async () => {
  for (const one of peers.splice(0)) await one.close()
})

/** `shop/web` with two containers and their sidekicks. */
async function setUp(
  options: {
    key?: (peer: RancherPeer) => KeyPair
    path?: string
    labels?: Record<string, string>
    ofSidekick?: Record<string, string>
    privileged?: boolean
    /** What comes of an answer on its way. */
    onTheWay?: (request: HttpRequest, response: HttpResponse) => HttpResponse
  } = {},
) {
  const labels = { app: 'web', ...options.labels }
  const privileged = options.privileged ?? false
  const of = { stack: 'shop', service: 'web', labels, environment: { PASSWORD: secret }, privileged }
  const peer = await startRancherPeer({
    world: [1, 2].flatMap((n) => [
      { name: `shop-web-${n}`, image: 'shop/web:1', ...of },
      { name: `shop-web-logs-${n}`, image: 'shop/logs:1', sidekick: 'logs', ...of, labels: { ...labels, ...options.ofSidekick } },
    ]),
  })
  peers.push(peer)
  peer.faults.servicePaceMs = 20
  const bodies: unknown[] = []
  peer.on('traffic', (one) => {
    if (one.type === 'http' && one.method !== 'GET') bodies.push(JSON.parse(one.request || 'null'))
  })
  const { accessKey, secretKey } = (options.key ?? ((one) => one.environmentKey))(peer)
  const url = `${peer.url}${options.path ?? ''}`
  const plain = nodeTransport()
  const { onTheWay = (_, response) => response } = options
  let before: (() => Promise<void>) | undefined
  /** Called once, when the next change is about to leave. */
  const meanwhile = (act: () => Promise<void>) => {
    before = act
  }
  const transport: Transport = {
    ...plain,
    async http(request) {
      const act = request.method === 'GET' ? undefined : before
      if (act) before = undefined
      await act?.()
      return onTheWay(request, await plain.http(request))
    },
  }
  const backend = rancher1({ name: 'prod', url, accessKey, secretKey, pace: quickPace }, transport)
  const workloads = backend.workloads!
  const list = async () => (await workloads.list({}, AbortSignal.timeout(5_000)))[0]!
  const plan = async (rollout: Rollout) => workloads.plan(await list(), rollout, AbortSignal.timeout(5_000))
  const run = async (rollout: Rollout, between?: () => Promise<void>) => {
    const target = await list()
    const planned = await plan(rollout)
    await between?.()
    const events: ExecEvent[] = []
    for await (const event of workloads.apply(target, rollout, planned, newExec(), AbortSignal.timeout(15_000)))
      events.push(event)
    return appliedOf(events)
  }
  return { peer, bodies, list, plan, run, workloads, meanwhile }
}

test('an upgrade sends the whole launch configuration back with the image changed, and that of the sidekick not at all', async () => {
  const { run, bodies } = await setUp()
  expect((await run({ verb: 'image', container: 'web', image: 'shop/web:2' })).code).toBe(0)
  expect(bodies).toEqual([
    {
      inServiceStrategy: {
        batchSize: 1,
        intervalMillis: 2000,
        startFirst: false,
        launchConfig: expect.objectContaining({
          imageUuid: 'docker:shop/web:2',
          environment: { PASSWORD: secret },
          networkMode: 'managed',
        }),
      },
    },
  ])
})

test('a sidekick is upgraded alone, by its own name', async () => {
  const { run, bodies, plan } = await setUp()
  expect((await run({ verb: 'image', container: 'logs', image: 'shop/logs:2' })).code).toBe(0)
  expect(bodies).toEqual([
    { inServiceStrategy: expect.objectContaining({ secondaryLaunchConfigs: [expect.objectContaining({ name: 'logs' })] }) },
  ])
  expect((await plan({ verb: 'undo' })).facts).toEqual([{ name: 'image logs', before: 'shop/logs:2', after: 'shop/logs:1' }])
})

test('an upgrade that is stuck is canceled and rolled back by one undo, and the plan shows both requests', async () => {
  const { run, plan } = await setUp()
  expect((await run({ verb: 'image', container: 'web', image: 'shop/web:missing' })).code).toBe(1)
  const planned = await plan({ verb: 'undo' })
  expect(planned.change).toMatch(/action=cancelupgrade[\s\S]*action=rollback/)
  expect((await run({ verb: 'undo' })).code).toBe(0)
  expect((await plan({ verb: 'status' })).facts).toContainEqual({ name: 'state', before: 'active' })
})

test('[true-ending] a change that was taken is watched to its end, whatever its answer was', async () => {
  const { run } = await setUp({
    onTheWay: ({ method }, response) => (method === 'POST' ? { ...response, body: '<html>accepted</html>' } : response),
  })
  const applied = await run({ verb: 'image', container: 'web', image: 'shop/web:2' })
  expect([applied.code, applied.err]).toEqual([0, ''])
})

test('the frozen /v1 of Rancher 1.0 and 1.1 has services and stacks under its own names', async () => {
  const { run, list } = await setUp({ path: '/v1' })
  expect((await list()).facets).toMatchObject({ stack: 'shop', service: 'web', workload: 'service/web' })
  expect((await run({ verb: 'restart' })).code).toBe(0)
})

test('an account key names its environment and may roll out there', async () => {
  const { run } = await setUp({ key: (peer) => peer.accountKey, path: '/v2-beta/projects/1a5' })
  expect((await run({ verb: 'scale', replicas: 1 })).code).toBe(0)
})

test('a key that may only read is refused with the reason', async () => {
  const { plan } = await setUp({ key: (peer) => peer.readonlyKey, path: '/v2-beta/projects/1a5' })
  expect(await failureOf(plan({ verb: 'restart' }))).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
  expect((await plan({ verb: 'status' })).facts).toContainEqual({ name: 'state', before: 'active' })
})

test('an action that is taken away between the look and the request is a change by someone else', async () => {
  const { run, peer } = await setUp()
  const between = async () =>
    void peer.faults.http.push({ match: /action=restart/, status: 422, body: { type: 'error', code: 'ActionNotAvailable' } })
  expect(await failureOf(run({ verb: 'restart' }, between))).toMatchObject({ code: 'changed', ran: 'no' })
})

test('a service that runs once on every host has no scale', async () => {
  const { plan } = await setUp({ labels: { 'io.rancher.scheduler.global': 'true' } })
  expect(await failureOf(plan({ verb: 'scale', replicas: 3 }))).toMatchObject({ code: 'unsupported', ran: 'no' })
})

test('S45 an undo brings no privileged containers back where there are none now', async () => {
  const { peer, plan, list } = await setUp({ privileged: true })
  const { accessKey, secretKey } = peer.environmentKey
  const headers = { authorization: `Basic ${btoa(`${accessKey}:${secretKey}`)}` }
  const url = `${peer.url}/v2-beta/services/${(await list()).native}`
  type Config = Record<string, unknown>
  const { launchConfig, secondaryLaunchConfigs } = (await (await fetch(url, { headers })).json()) as {
    launchConfig: Config
    secondaryLaunchConfigs: Config[]
  }
  const tame = (one: Config) => ({ ...one, privileged: false })
  const inServiceStrategy = {
    launchConfig: tame(launchConfig),
    secondaryLaunchConfigs: secondaryLaunchConfigs.map(tame),
  }
  await fetch(`${url}?action=upgrade`, { method: 'POST', headers, body: JSON.stringify({ inServiceStrategy }) })
  await expect.poll(async () => (await plan({ verb: 'status' })).facts).toContainEqual({ name: 'state', before: 'upgraded' })
  expect(await list()).not.toMatchObject({ privileged: true })
  const error = await failureOf(plan({ verb: 'undo' }))
  expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
  expect(error.message).toContain('not privileged now')
})

test('[default-deny] a rule that forbids a sidekick by its label or its service sees a rollout of the service', async () => {
  const { list } = await setUp({ ofSidekick: { tier: 'vault' } })
  const target = await list()
  expect(target.labels).toEqual({ app: 'web' })
  const allow: Rule = { id: 'deployers', effect: 'allow', who: { cli: true }, rollouts: [['...']] }
  const forbid = (targets: NonNullable<Rule['targets']>): Rule => ({ id: 'hands-off', effect: 'deny', who: {}, targets })
  const decided = (rules: readonly Rule[]) =>
    decide(
      { rules, version: 'v1' },
      {
        request: {
          actor: { kind: 'cli', user: 'ann' },
          trigger: { kind: 'cli', delivery: 'd' },
          place: { kind: 'terminal' },
          selector: { name: 'web' },
          command: { argv: ['rollout', 'restart'] },
          rollout: { verb: 'restart' },
        },
        groups: [],
      },
      [target],
    )
  expect(decided([allow]).effect).toBe('allow')
  const denied = decided([allow, forbid({ labels: [{ op: 'eq', key: 'tier', value: 'vault' }] })])
  expect(denied).toMatchObject({ effect: 'deny', rule: 'hands-off' })
  expect(denied.effect === 'deny' && denied.failure.message).toContain('service/web, container logs')
  expect(decided([allow, forbid({ facets: { service: ['web/logs'] } })]).effect).toBe('deny')
  expect(decided([allow, forbid({ facets: { image: ['shop/logs*'] } })]).effect).toBe('deny')
  expect(decided([allow, forbid({ labels: [{ op: 'eq', key: 'tier', value: 'other' }] })]).effect).toBe('allow')
  // What may be run in the service alone is no right to change its sidekick.
  expect(decided([{ ...allow, targets: { facets: { service: ['web'] } } }]).effect).toBe('deny')
  expect(decided([{ ...allow, targets: { facets: { service: ['web', 'web/*'] } } }]).effect).toBe('allow')
})

test('S45 a service with privileged containers, and one of the platform, are marked as such', async () => {
  const plain = await setUp()
  expect(await plain.list()).not.toMatchObject({ privileged: true })
  const strong = await setUp({ privileged: true, labels: { 'io.rancher.container.system': 'true' } })
  expect(await strong.list()).toMatchObject({ privileged: true, system: true })
})

test('someone else’s upgrade that came between the look and the request is told by what was replaced', async () => {
  const { run, meanwhile } = await setUp()
  meanwhile(async () => {
    expect((await run({ verb: 'image', container: 'web', image: 'shop/web:theirs' })).code).toBe(0)
    expect((await run({ verb: 'finish' })).code).toBe(0)
  })
  const applied = await run({ verb: 'image', container: 'web', image: 'shop/web:2' })
  expect(applied.code).toBe(0)
  expect(applied.err).toContain('someone else’s upgrade to web shop/web:theirs')
})

test('an undo of Rancher 1.x with sidekicks takes the revision that status shows', async () => {
  const { run, plan } = await setUp()
  const { undo } = await plan({ verb: 'image', container: 'web', image: 'shop/web:2' })
  expect((await run({ verb: 'image', container: 'web', image: 'shop/web:2' })).code).toBe(0)
  expect(faultOf({ verb: 'undo', to: undo!.to })).toBeUndefined()
  expect((await plan({ verb: 'undo', to: undo!.to })).facts).toEqual([
    { name: 'image web', before: 'shop/web:2', after: 'shop/web:1' },
  ])
})

test.each<[Record<string, unknown>, boolean]>([
  [{ privileged: true }, true],
  [{ pidMode: 'host' }, true],
  [{ ipcMode: 'host' }, true],
  [{ networkMode: 'host' }, true],
  [{ capAdd: ['CAP_SYS_ADMIN'] }, true],
  [{ devices: ['/dev/sda:/dev/sda:rwm'] }, true],
  [{ dataVolumes: ['/var/run/docker.sock:/var/run/docker.sock'] }, true],
  [{ dataVolumes: ['/:/host:ro'] }, true],
  [{ privileged: 'yes' }, true],
  [
    { networkMode: 'managed', dataVolumes: ['/var/log:/logs', 'data:/var/lib/docker'], capAdd: ['NET_ADMIN'], devices: [] },
    false,
  ],
  [{}, false],
])('S45 a container with %j counts as privileged: %j', (config, wanted) => {
  expect(isStrong(config)).toBe(wanted)
})
