/** Rancher 2 as drover meets it: what a key sees, what goes out, and what is refused by whom. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { rancher2 } from '../../src/backends/rancher2/backend.ts'
import { refusal } from '../../src/backends/rancher2/errors.ts'
import { bearerOf, type PeerKey } from '../../src/playground/rancher2/peer.ts'
import { failureOf, runOn } from '../contract/backend.ts'
import { backendOf, natives, open, soon, type World, ways, world } from './rancher2-world.ts'

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
