/** Rancher 2 as drover meets it: what a key sees, what is refused and by whom, and how far drover trusts a server. */

import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type Rancher2Options, rancher2 } from '../../src/backends/rancher2/backend.ts'
import { refusal } from '../../src/backends/rancher2/errors.ts'
import { wayTo } from '../../src/backends/rancher2/reach.ts'
import type { Reach } from '../../src/backends/transport.ts'
import { type KubernetesPeer, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import {
  bearerOf,
  type PeerKey,
  type Rancher2Peer,
  type Rancher2PeerOptions,
  startRancher2Peer,
} from '../../src/playground/rancher2/peer.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, runOn } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'
import { privateCa } from '../peers/private-ca.ts'

const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function clusterWith(...pods: readonly (readonly [namespace: string, name: string])[]): Promise<KubernetesPeer> {
  const peer = await startKubernetesPeer({
    engine: processEngine(),
    pods: pods.map(([namespace, name]) => ({ namespace, name, labels: { app: name.split('-')[0]! } })),
  })
  open.push(() => peer.close())
  return peer
}

type World = { readonly rancher: Rancher2Peer; readonly shop: KubernetesPeer; readonly edge: KubernetesPeer }

/** Two clusters; one project in each, and in the first a namespace that is in no project. */
async function world(options: Partial<Rancher2PeerOptions> = {}): Promise<World> {
  const shop = await clusterWith(['shop', 'web-1'], ['shop', 'db-1'], ['tools', 'cron-1'], ['loose', 'stray-1'])
  const edge = await clusterWith(['shop', 'web-1'])
  const at = ({ url, token }: KubernetesPeer) => ({ url, token: token('admin') })
  const rancher = await startRancher2Peer({
    upstream: { 'c-shop1': at(shop), 'c-edge1': at(edge) },
    clusters: [
      { id: 'c-shop1', name: 'shop', state: 'active' },
      { id: 'c-edge1', name: 'edge', state: 'active' },
      { id: 'c-old01', name: 'old', state: 'unavailable', transitioningMessage: 'Cluster agent is not connected' },
    ],
    projects: [
      { id: 'c-shop1:p-shop1', name: 'Shop', namespaces: ['shop'] },
      { id: 'c-shop1:p-tool1', name: 'Tools', namespaces: ['tools'] },
      { id: 'c-edge1:p-edge1', name: 'Edge', namespaces: ['shop'] },
    ],
    users: {
      admin: { user: 'admin', displayName: 'Ada Admin' },
      member: { user: 'exec-user', displayName: 'Max Member', projects: ['c-shop1:p-shop1'] },
      scoped: { user: 'exec-user', displayName: 'Sue Scoped', projects: ['c-shop1:p-shop1', 'c-shop1:p-tool1'] },
    },
    ...options,
  })
  open.push(() => rancher.close())
  return { rancher, shop, edge }
}

const ways = { transport: nodeTransport, machine: nodeMachine() }

function backendOf({ rancher }: World, key: PeerKey = rancher.keys.admin, options: Partial<Rancher2Options> = {}) {
  return rancher2({ name: 'r2', url: rancher.url, token: bearerOf(key), ...options }, ways)
}

const soon = () => AbortSignal.timeout(20_000)
const natives = async (work: Promise<readonly { native: string }[]>) => (await work).map((one) => one.native).sort()
const paths = ({ rancher }: World) => rancher.seen.requests.map(({ method, path }) => `${method} ${decodeURIComponent(path)}`)

describe('what a key sees', () => {
  test('an administrator: every active cluster whole; ids carry the cluster', async () => {
    const w = await world()
    const all = await backendOf(w).list({}, soon())
    expect(await natives(Promise.resolve(all))).toEqual([
      'c-edge1/shop/web-1/app',
      'c-shop1/loose/stray-1/app',
      'c-shop1/shop/db-1/app',
      'c-shop1/shop/web-1/app',
      'c-shop1/tools/cron-1/app',
    ])
    expect(all.find(({ native }) => native === 'c-edge1/shop/web-1/app')).toMatchObject({
      id: 'r2/c-edge1/shop/web-1/app',
      backend: 'r2',
      kind: 'rancher2',
      name: 'web-1',
      facets: { stack: 'c-edge1', namespace: 'shop', pod: 'web-1' },
    })
    expect(paths(w).filter((path) => path.includes('c-old01'))).toEqual([])
  })

  test('a member of a project: its namespaces, which only Rancher lets them list', async () => {
    const w = await world()
    expect(await natives(backendOf(w, w.rancher.keys.member).list({}, soon()))).toEqual([
      'c-shop1/shop/db-1/app',
      'c-shop1/shop/web-1/app',
    ])
    expect(paths(w).some((path) => path.startsWith('GET /v3/cluster/c-shop1/namespaces'))).toBe(true)
    expect(paths(w).filter((path) => path.includes('c-edge1'))).toEqual([])
  })

  test('a project that is named: its namespaces by Rancher’s label, through the proxy', async () => {
    const w = await world()
    const url = `${w.rancher.url}/p/c-shop1:p-tool1/workloads`
    expect(await natives(backendOf(w, undefined, { url }).list({}, soon()))).toEqual(['c-shop1/tools/cron-1/app'])
    const asked = paths(w).find((path) => path.includes('/k8s/clusters/c-shop1/api/v1/namespaces?'))
    expect(asked).toContain('labelSelector=field.cattle.io/projectId in (p-tool1)')
    expect(paths(w).some((path) => path.includes('/v3/'))).toBe(false)
  })

  test('a member of two projects who names one gets that one', async () => {
    const w = await world()
    const projects = ['c-shop1:p-shop1', 'c-shop1:p-tool1']
    const key = w.rancher.addKey({ user: 'exec-user', projects })
    const listed = (project?: string) => natives(backendOf(w, key, { cluster: 'c-shop1', project }).list({}, soon()))
    expect(await listed('p-tool1')).toEqual(['c-shop1/tools/cron-1/app'])
    expect(await listed()).toHaveLength(3)
  })

  test('namespaces that are named: nothing else is asked for', async () => {
    const w = await world()
    const options = { cluster: 'c-shop1', namespaces: ['shop', 'tools'] }
    expect(await natives(backendOf(w, w.rancher.keys.scoped, options).list({ name: '*-1' }, soon()))).toHaveLength(3)
    expect(paths(w).every((path) => /^GET \/k8s\/clusters\/c-shop1\/api\/v1\/namespaces\/(shop|tools)\/pods\?/.test(path))).toBe(
      true,
    )
  })

  test('a cluster’s own key needs `cluster`, and is told so; with it, it finds its namespaces by that cluster’s path', async () => {
    const w = await world()
    const error = await failureOf(backendOf(w, w.rancher.keys.scoped).list({}, soon()))
    expect(error.code).toBe('backend_unauthorized')
    expect(error.next).toMatch(/set `cluster`/)
    const backend = backendOf(w, w.rancher.keys.scoped, { cluster: 'c-shop1' })
    expect(await natives(backend.list({}, soon()))).toHaveLength(3)
    const elsewhere = await failureOf(backendOf(w, w.rancher.keys.scoped, { cluster: 'c-edge1' }).list({}, soon()))
    expect(elsewhere.message).toMatch(/limited to another cluster/)
  })

  test('a cluster’s own key and mode: v3 do not go together, which is said, not answered with nothing', async () => {
    const w = await world()
    const backend = backendOf(w, w.rancher.keys.scoped, { cluster: 'c-shop1', mode: 'v3' })
    const error = await failureOf(backend.workloads!.list({ name: '*' }, soon()))
    expect([error.code, error.next]).toEqual(['backend_unauthorized', expect.stringContaining('without a scope')])
  })

  test('stack= and id= narrow to a cluster, and the others are not asked', async () => {
    const w = await world()
    const backend = backendOf(w)
    expect(await natives(backend.list({ facets: { stack: 'c-edge1' } }, soon()))).toEqual(['c-edge1/shop/web-1/app'])
    expect(await natives(backend.list({ id: 'c-edge1/shop/web-1' }, soon()))).toEqual(['c-edge1/shop/web-1/app'])
    expect(await natives(backend.list({ facets: { stack: 'no-such' } }, soon()))).toEqual([])
    expect(paths(w).filter((path) => path.includes('c-shop1'))).toEqual([])
  })

  test('the same pod in two clusters is two targets, and a command reaches the one that is meant', async () => {
    const w = await world()
    const backend = backendOf(w)
    const targets = await backend.list({ name: 'web-1' }, soon())
    expect(targets).toHaveLength(2)
    const meant = targets.find(({ facets }) => facets.stack === 'c-edge1')!
    expect((await runOn(backend, meant, { argv: ['echo', 'hi'] })).code).toBe(0)
    expect([w.edge.seen.execs.length, w.shop.seen.execs.length]).toEqual([1, 0])
  })

  test('every page of a long list is read', async () => {
    const many = Array.from({ length: 2100 }, (_, i) => ({ id: `c-${i + 10_000}`, name: `n${i}`, state: 'removing' }))
    const w = await world()
    w.rancher.clusters.unshift(...many)
    expect(await natives(backendOf(w).list({ name: 'stray-1' }, soon()))).toEqual(['c-shop1/loose/stray-1/app'])
    expect(paths(w).filter((path) => path.includes('marker='))).toHaveLength(2)
  })

  test.each([
    ['another server', 'http://elsewhere.test/v3/clusters?marker=x', /another server/],
    ['itself', undefined, /leads back/],
  ])('a next page at %s is an error, and the key goes nowhere else', async (_, next, words) => {
    const w = await world()
    const pagination = { next: next ?? `${w.rancher.url}/v3/clusters?limit=1000`, partial: true }
    const body = { type: 'collection', data: [], pagination }
    w.rancher.faults.http.push({ match: '/v3/clusters', answer: { status: 200, body }, times: 1 })
    expect((await failureOf(backendOf(w).list({}, soon()))).message).toMatch(words)
  })

  test('a cluster that cannot be read is an error, never a shorter list', async () => {
    const w = await world()
    w.rancher.faults.agentDown.add('c-edge1')
    const error = await failureOf(backendOf(w).list({}, soon()))
    expect([error.code, error.ran]).toEqual(['backend_unavailable', 'no'])
    expect(error.message).toMatch(/does not reach the cluster c-edge1.*agent/)
    expect(await natives(backendOf(w, undefined, { cluster: 'c-shop1' }).list({}, soon()))).toHaveLength(4)
  })
})

describe('what goes out', () => {
  test('[no-secret-shown] the key is a header and nothing else; no Origin, no browser’s name, Accept for answers alone', async () => {
    const w = await world()
    const backend = backendOf(w)
    const [target] = await backend.list({ name: 'db-1' }, soon())
    await runOn(backend, target!, { argv: ['echo', 'hi'] })
    const { secret } = w.rancher.keys.admin
    for (const { path, headers, upgrade } of w.rancher.seen.requests) {
      expect(path).not.toContain(secret)
      expect(headers.origin).toBeUndefined()
      expect(headers['user-agent']).toBe('drover')
      expect(headers.authorization).toBe(`Bearer ${bearerOf(w.rancher.keys.admin)}`)
      expect(headers.accept).toBe(upgrade ? undefined : 'application/json')
      expect(JSON.stringify({ ...headers, authorization: '' })).not.toContain(secret)
    }
    expect(w.rancher.seen.requests.filter(({ upgrade }) => upgrade)).toHaveLength(1)
  })

  test('[once] a question is asked again when the way was the problem, three times at most', async () => {
    const w = await world()
    const backend = backendOf(w, undefined, { cluster: 'c-edge1' })
    const http = w.rancher.faults.http
    http.push({ match: '/pods', answer: { status: 502, body: '' }, times: 1 })
    http.push({ match: '/pods', answer: 'reset', times: 1 })
    expect(await natives(backend.list({}, soon()))).toHaveLength(1)
    http.push({ match: '/pods', answer: { status: 503, body: 'busy' }, times: 3 })
    expect((await failureOf(backend.list({}, soon()))).code).toBe('backend_unavailable')
    expect(http).toEqual([])
  })

  test.each([
    ['an HTTP 502', { status: 502, body: '' } as const],
    ['an HTTP 503', { status: 503, body: 'busy' } as const],
    ['a broken connection', 'reset' as const],
  ])('[once] a command is never sent twice: %s ends it', async (_, answer) => {
    const w = await world()
    const backend = backendOf(w)
    const [target] = await backend.list({ name: 'db-1' }, soon())
    w.rancher.faults.http.push({ match: '/exec', answer, times: 1 })
    await failureOf(runOn(backend, target!, { argv: ['touch', 'x'] }))
    expect(w.shop.seen.execs).toHaveLength(0)
    expect(w.rancher.seen.requests.filter(({ path }) => path.includes('/exec')).length).toBeLessThanOrEqual(1)
  })

  test('[once] nothing but a question is sent again', async () => {
    const w = await world()
    w.rancher.faults.http.push({ match: 'POST /', answer: { status: 502, body: '' }, times: 100 })
    await backendOf(w, undefined, { cluster: 'c-edge1' }).check(soon())
    const posts = w.rancher.faults.http[0]?.times
    expect(posts).toBe(99)
  })

  test('a redirect is not followed, and is told', async () => {
    const w = await world()
    const headers = { Location: 'https://new.test/v3/clusters' }
    w.rancher.faults.http.push({ match: '/v3/clusters', answer: { status: 302, headers, body: '' }, times: 1 })
    expect((await failureOf(backendOf(w).list({}, soon()))).message).toContain('https://new.test')
  })
})

describe('refusals', () => {
  const execOn = async (w: World, change: () => void, key?: PeerKey) => {
    const backend = backendOf(w, key, key ? { cluster: 'c-shop1', namespaces: ['shop'] } : {})
    const [target] = await backend.list({ name: 'db-1' }, soon())
    change()
    return failureOf(runOn(backend, target!, { argv: ['true'] }))
  }

  test('[no-secret-shown] a key that expired or was revoked is told with the next step, and is in no error', async () => {
    const w = await world()
    const { member } = w.rancher.keys
    const error = await execOn(w, () => w.rancher.revoke(member), member)
    expect([error.code, error.ran]).toEqual(['backend_unauthorized', 'no'])
    expect(error.message).toMatch(/expired or was revoked/)
    expect(error.next).toMatch(/Account & API Keys/)
    const old = w.rancher.addKey({ user: 'u-old', expiresAt: '2020-01-01T00:00:00Z' })
    const expired = await failureOf(backendOf(w, old, { cluster: 'c-shop1' }).list({}, soon()))
    expect(expired.code).toBe('backend_unauthorized')
    expect(`${expired.stack} ${JSON.stringify(expired)}`).not.toContain(old.secret)
  })

  test('an agent that is not connected is told as such, for a list and for a command', async () => {
    const w = await world()
    const error = await execOn(w, () => w.rancher.faults.agentDown.add('c-shop1'))
    expect([error.code, error.ran]).toEqual(['backend_unavailable', 'no'])
    expect(error.message).toMatch(/agent in it is not connected/)
    expect(error.next).toMatch(/cattle-cluster-agent/)
  })

  test('[true-ending] S41 an agent that goes away in the middle leaves the ending unknown, never a success', async () => {
    const w = await world()
    const backend = backendOf(w)
    const [target] = await backend.list({ name: 'db-1' }, soon())
    w.rancher.faults.breakAfterBytes = 4_000
    const error = await failureOf(
      runOn(backend, target!, {
        argv: ['/bin/sh', '-c', 'i=0; while [ $i -lt 400 ]; do echo 0123456789abcdef; i=$((i+1)); done'],
      }),
    )
    expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
  })

  test('pod-shell turned off is told as such', async () => {
    const w = await world()
    const error = await execOn(w, () => {
      w.rancher.faults.podShellOff = true
    })
    expect([error.code, error.ran]).toEqual(['backend_forbidden', 'no'])
    expect(error.message).toMatch(/pod-shell/)
    expect(error.next).toMatch(/Feature Flags/)
  })

  test('S40 a right that is missing is told with the person’s name, as far as the key may read it', async () => {
    const w = await world()
    const reader = w.rancher.addKey({ user: 'create-only-user', displayName: 'Rita Reader', projects: ['c-shop1:p-shop1'] })
    const error = await execOn(w, () => {}, reader)
    expect([error.code, error.ran]).toEqual(['backend_forbidden', 'no'])
    expect(error.message).toContain('(create-only-user is Rita Reader)')
    expect(error.next).toMatch(/make Rita Reader a Project Member.*Read-only/)
    const scoped = w.rancher.addKey({ user: 'create-only-user', displayName: 'Rita Reader', cluster: 'c-shop1' })
    const nameless = await execOn(w, () => {}, scoped)
    expect(nameless.message).toContain('create-only-user')
    expect(nameless.message).not.toContain('Rita')
  })

  test.each([
    ['c-none1', 'active', 'backend_not_found', /does not know the cluster c-none1/],
    ['c-wait1', 'provisioning', 'backend_unavailable', /c-wait1 is not ready/],
    ['c-edge1', 'active', 'backend_forbidden', /may not use the cluster c-edge1/],
  ])('the cluster %s (%s) is %s', async (cluster, state, code, words) => {
    const w = await world()
    w.rancher.clusters.push({ id: 'c-wait1', name: 'wait', state })
    const key = cluster === 'c-edge1' ? w.rancher.keys.member : w.rancher.keys.admin
    const error = await failureOf(backendOf(w, key, { cluster, namespaces: ['shop'] }).list({}, soon()))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(words)
  })

  test('what is not Rancher 2 is told as such', async () => {
    const server = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<html>hello</html>'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    open.push(() => new Promise((resolve) => server.close(resolve)))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const error = await failureOf(rancher2({ name: 'r2', url, token: 'token-a:b' }, ways).list({}, soon()))
    expect([error.code, error.next]).toEqual(['backend_protocol', expect.stringContaining('/v3')])
  })

  test.each([
    [
      401,
      { type: 'error', status: '401', message: 'clusterID does not match' },
      'backend_unauthorized',
      /^The API key is limited to another cluster/,
    ],
    [403, 'origin not allowed\n', 'backend_protocol', /Origin/],
    [403, 'pod-shell feature is disabled\n', 'backend_forbidden', /pod-shell/],
    [500, 'dial tcp: failed to find Session for client c-abc12', 'backend_unavailable', /agent/],
    [502, '', 'backend_unavailable', /agent/],
    [502, '<html>Bad Gateway</html>', 'backend_unavailable', /before Rancher/],
    [504, '', 'backend_unavailable', /before Rancher/],
    [404, { type: 'error', status: 404, code: 'NotFound', message: 'not found' }, 'backend_not_found', /does not know/],
    [429, { type: 'error', status: 429, code: 'TooMany', message: 'slow down' }, 'backend_unavailable', /429/],
  ])('HTTP %i %j is %s', (status, body, code, words) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const error = refusal({ status, body: text }, { cluster: 'c-abc12', ran: 'maybe' })
    expect([error?.code, error?.ran]).toEqual([code, 'maybe'])
    expect(error?.message).toMatch(words)
    expect(error?.next).toBeTruthy()
  })

  test.each([
    [403, JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message: 'pods is forbidden', code: 403 })],
    [500, 'container not found ("app")\n'],
    [404, 'pod does not exist'],
    [403, ''],
  ])('HTTP %i %j is the cluster’s own, for the Kubernetes client to read', (status, body) => {
    expect(refusal({ status, body }, { cluster: 'c-abc12' })).toBeUndefined()
  })
})

describe('whom drover trusts', () => {
  const one = privateCa('Rancher CA one')
  const two = privateCa('Rancher CA two')
  const fingerprint = (pem: string) => `SHA256:${new X509Certificate(pem).fingerprint256}`
  const cluster = { cluster: 'c-edge1' }

  test('S31 a private CA is refused by default, with what to do', async () => {
    const w = await world({ tls: one })
    const error = await failureOf(backendOf(w, undefined, cluster).list({}, soon()))
    expect([error.code, error.next]).toEqual(['backend_unavailable', expect.stringContaining(`drover trust ${w.rancher.url}`)])
    expect(error.message).toMatch(/certificate is not trusted.*UNABLE_TO_VERIFY/)
    const v3 = await failureOf(backendOf(w).list({}, soon()))
    expect(v3.next).toContain('drover trust')
    expect(w.rancher.seen.requests).toEqual([])
  })

  test('S31 a file of the CA lets it in; a file that is not there, or is none, is said', async () => {
    const w = await world({ tls: one })
    const folder = mkdtempSync(join(tmpdir(), 'drover-ca-'))
    open.push(async () => rmSync(folder, { recursive: true }))
    const ca = join(folder, 'ca.pem')
    const backend = backendOf(w, undefined, { ca })
    const missing = await failureOf(backend.list({}, soon()))
    expect([missing.code, missing.next]).toEqual(['config', expect.stringContaining(`drover trust ${w.rancher.url} --out ${ca}`)])
    writeFileSync(ca, 'not a certificate')
    expect((await failureOf(backend.list({}, soon()))).message).toMatch(/holds no certificate/)
    writeFileSync(ca, one.ca)
    const [target] = await backend.list({ name: 'stray-1' }, soon())
    expect((await runOn(backend, target!, { argv: ['true'] })).code).toBe(0)
  })

  test('S31 a CA that is named is the only one: the system’s are not trusted beside it', async () => {
    const w = await world({ tls: one })
    const folder = mkdtempSync(join(tmpdir(), 'drover-ca-'))
    open.push(async () => rmSync(folder, { recursive: true }))
    const ca = join(folder, 'ca.pem')
    writeFileSync(ca, one.ca)
    const asked: Reach[] = []
    const transport = (reach: Reach) => {
      asked.push(reach)
      return nodeTransport(reach)
    }
    const way = wayTo(w.rancher.url, { ca }, { transport, machine: nodeMachine() })
    await way.http({ method: 'GET', url: `${w.rancher.url}/v3/settings/cacerts`, signal: soon() })
    expect(asked).toEqual([{ ca: one.ca, caOnly: true }])
  })

  test('S31 a pinned fingerprint lets in that CA and no other, and the key is not sent to find out', async () => {
    const w = await world({ tls: one })
    const backend = backendOf(w, undefined, { caFingerprint: fingerprint(one.ca), ...cluster })
    expect(await natives(backend.list({}, soon()))).toEqual(['c-edge1/shop/web-1/app'])
    expect(w.rancher.seen.requests[0]).toMatchObject({ path: '/v3/settings/cacerts' })
    expect(w.rancher.seen.requests[0]?.headers.authorization).toBeUndefined()

    const other = backendOf(w, undefined, { caFingerprint: fingerprint(two.ca), ...cluster })
    const before = w.rancher.seen.requests.length
    const error = await failureOf(other.list({}, soon()))
    expect([error.code, error.ran]).toEqual(['config', 'no'])
    expect(error.message).toContain(fingerprint(one.ca))
    expect(error.message).toContain(fingerprint(two.ca))
    expect(error.next).toMatch(/was replaced.*drover trust/)
    expect(w.rancher.seen.requests.slice(before).map(({ headers }) => headers.authorization)).toEqual([undefined])
  })

  test('S31 a CA that changes later is refused with both fingerprints', async () => {
    const w = await world({ tls: one })
    const backend = backendOf(w, undefined, { caFingerprint: fingerprint(one.ca), ...cluster })
    const [target] = await backend.list({}, soon())
    w.rancher.changeCertificate(two)
    const first = await failureOf(runOn(backend, target!, { argv: ['true'] }))
    expect(first.code).toBe('backend_unavailable')
    const error = await failureOf(backend.list({}, soon()))
    expect(error.message).toContain(fingerprint(one.ca))
    expect(error.message).toContain(fingerprint(two.ca))
    expect(w.edge.seen.execs).toEqual([])
  })

  test('S31 one who only repeats the pinned CA is not let in', async () => {
    const w = await world({ tls: { ...two, ca: one.ca } })
    const backend = backendOf(w, undefined, { caFingerprint: fingerprint(one.ca), ...cluster })
    expect((await failureOf(backend.list({}, soon()))).code).toBe('backend_unavailable')
    expect(w.rancher.seen.requests.map(({ path }) => path)).toEqual(['/v3/settings/cacerts'])
  })

  test('S31 no verification only where it is written, and check warns of it', async () => {
    const w = await world({ tls: one })
    const backend = backendOf(w, undefined, { insecureSkipVerify: true, ...cluster })
    expect(await natives(backend.list({}, soon()))).toHaveLength(1)
    const line = (await backend.check(soon())).find(({ what }) => what.includes('insecureSkipVerify'))
    expect([line?.ok, line?.next]).toEqual(['warn', expect.stringContaining('drover trust')])
  })
})

describe('check', () => {
  const days = (count: number) => new Date(Date.now() + count * 86_400_000 + 60_000).toISOString()
  const checked = async (w: World, key?: PeerKey, options?: Partial<Rancher2Options>) =>
    (await backendOf(w, key, options).check(soon())).map(({ ok, what, detail = '', next = '' }) => ({ ok, what, detail, next }))

  test('tells the version, the key’s days, each cluster’s state and scope, and that nothing is encrypted', async () => {
    const w = await world()
    const lines = await checked(w)
    expect(lines[0]).toMatchObject({ ok: true, detail: 'version v2.15.0' })
    const asked = w.rancher.seen.requests.find(({ path }) => path === '/rancherversion')
    expect(asked?.headers.authorization).toBeUndefined()
    expect(lines[1]).toMatchObject({ ok: 'warn', what: expect.stringContaining('not encrypted') })
    expect(lines.find(({ what }) => what.startsWith('the key token-'))).toMatchObject({
      ok: true,
      detail: expect.stringMatching(/89 days|90 days/),
    })
    expect(lines.find(({ what }) => what.startsWith('cluster c-old01 (old)'))).toMatchObject({
      ok: 'warn',
      what: expect.stringContaining('agent is not connected'),
    })
    expect(lines.find(({ what }) => what === 'c-shop1 (shop): all namespaces are in scope')).toBeTruthy()
    expect(lines.find(({ what }) => what.startsWith('c-edge1 (edge):'))).toBeTruthy()
    expect(lines.filter(({ ok }) => ok === false)).toEqual([])
  })

  test.each([
    [13, 'warn', /expires on .* in 13 days/],
    [0, 'warn', /, in less than a day$/],
    [1, 'warn', /in 1 day$/],
    [15, true, /is accepted/],
  ])('a key with %i days is %s', async (left, ok, words) => {
    const w = await world()
    const key = w.rancher.addKey({ user: 'admin', expiresAt: days(left) })
    const line = (await checked(w, key)).find(({ what }) => what.includes(key.name))
    expect(line?.ok).toBe(ok)
    expect(line?.what).toMatch(words)
    expect(ok === 'warn' ? line?.next : 'Make a new').toMatch(/Make a new/)
  })

  test('a key that never expires, and one that expired, are told apart', async () => {
    const w = await world()
    const forever = w.rancher.addKey({ user: 'admin', expiresAt: '' })
    expect((await checked(w, forever)).find(({ what }) => what.includes(forever.name))?.detail).toBe('it never expires')
    const lines = await checked(w, w.rancher.addKey({ user: 'admin', expiresAt: days(-3) }))
    expect(lines.at(-1)).toMatchObject({ ok: false, next: expect.stringMatching(/Make a new|make a new/) })
  })

  test('a cluster’s own key, whose days cannot be read, is accepted and said to be so', async () => {
    const w = await world()
    const lines = await checked(w, w.rancher.keys.scoped, { cluster: 'c-shop1' })
    expect(lines.find(({ what }) => what.startsWith('the key'))?.detail).toMatch(/limited to its cluster/)
    expect(lines.find(({ what }) => what.includes('2 namespaces are in scope'))?.detail).toBe('shop, tools')
    const without = await checked(w, w.rancher.keys.scoped)
    expect(without.at(-1)).toMatchObject({ ok: false, next: expect.stringMatching(/set `cluster`/) })
  })

  test('[bounded] of many namespaces and clusters it looks into some, and says so', async () => {
    const w = await world()
    const namespaces = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7']
    const lines = await checked(w, undefined, { cluster: 'c-shop1', namespaces })
    expect(lines.find(({ what }) => what.includes('7 namespaces are in scope'))?.detail).toMatch(/n5 and 2 more; .* first 5$/)
    expect(lines.filter(({ what }) => /run commands in namespace n\d/.test(what))).toHaveLength(5)
    for (let n = 1; n <= 9; n += 1) w.rancher.clusters.push({ id: `c-more${n}`, name: `more${n}`, state: 'active' })
    const all = await checked(w)
    expect(all.at(-1)).toMatchObject({ ok: 'warn', what: 'only the first 10 of 11 clusters were looked at' })
  })

  test('an agent that is not connected, a private CA and an old Rancher are told in their own words', async () => {
    const w = await world({ release: 'v2.6.14' })
    w.rancher.faults.agentDown.add('c-edge1')
    const lines = await checked(w)
    expect(lines[0]?.detail).toBe('version v2.6.14')
    expect(lines.find(({ ok }) => ok === false)).toMatchObject({ what: expect.stringMatching(/^c-edge1 \(edge\): .*agent/) })
    const secure = await world({ tls: privateCa('CA') })
    expect(await checked(secure)).toEqual([expect.objectContaining({ ok: false, next: expect.stringContaining('drover trust') })])
  })
})
