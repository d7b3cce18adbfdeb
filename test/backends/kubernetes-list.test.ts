/** Targets of a Kubernetes cluster: which containers there are, what is known of them, and what is asked for less. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LabelTerm, Selector, Target } from '../../src/core/model.ts'
import { matches } from '../../src/core/selector.ts'
import type { PodSpec } from '../../src/playground/kubernetes/peer.ts'
import { failureOf } from '../contract/backend.ts'
import { backendOn, peerWith, soon } from './kubernetes-cluster.ts'

const namesOf = (targets: readonly Target[]) => targets.map(({ name }) => name).sort()

/** Lists a cluster that holds these pods in the namespace `shop`. */
async function listOf(pods: readonly PodSpec[], selector: Selector = {}) {
  const peer = await peerWith({ pods: pods.map((pod) => ({ namespace: 'shop', ...pod })) })
  return backendOn(peer).list(selector, soon())
}

describe('targets of a Kubernetes cluster', () => {
  test('a pod is one target: the container that kubectl would take, by annotation or by order', async () => {
    const containers = [{ name: 'proxy' }, { name: 'app' }]
    const annotations = { 'kubectl.kubernetes.io/default-container': 'app' }
    const wrong = { 'kubectl.kubernetes.io/default-container': 'nope' }
    const found = await listOf([
      { name: 'a', containers },
      { name: 'b', containers, annotations },
      { name: 'c', containers, annotations: wrong },
    ])
    expect(found.map(({ native, name }) => [native, name])).toEqual([
      ['shop/a/proxy', 'a'],
      ['shop/b/app', 'b'],
      ['shop/c/proxy', 'c'],
    ])
  })

  test('container= gets every container that runs, sidecars among the init containers and ephemeral ones too', async () => {
    const containers = [
      { name: 'app' },
      { name: 'side-mesh', kind: 'init' as const },
      { name: 'side-logs' },
      { name: 'side-ended', state: 'terminated' as const },
      { name: 'side-debug', kind: 'ephemeral' as const },
    ]
    const found = await listOf([{ name: 'a', containers }], { facets: { container: 'side-*' } })
    const meant = found.filter((target) => matches({ facets: { container: 'side-*' } }, target))
    expect(namesOf(meant)).toEqual(['a/side-debug', 'a/side-logs', 'a/side-mesh'])
  })

  test('what does not run, or is on its way out, is no target', async () => {
    const peer = await peerWith({
      pods: [
        { namespace: 'shop', name: 'runs' },
        { namespace: 'shop', name: 'pending', node: null },
        { namespace: 'shop', name: 'completed', containers: [{ name: 'app', state: 'terminated' }] },
        { namespace: 'shop', name: 'waits', phase: 'Running', containers: [{ name: 'app', state: 'waiting' }] },
        { namespace: 'shop', name: 'leaves' },
      ],
    })
    await peer.world.remove('shop', 'leaves', 'terminating')
    expect(namesOf(await backendOn(peer).list({}, soon()))).toEqual(['runs'])
  })

  test('tells namespace, pod, container, image, node, the owning workload and the runtime’s id', async () => {
    const [target] = await listOf([
      {
        name: 'web-5d5-x2',
        labels: { app: 'web', 'pod-template-hash': '5d5' },
        owner: { kind: 'ReplicaSet', name: 'web-5d5' },
        node: 'node-7',
        containers: [{ name: 'app', image: 'registry.example.com/shop/web:2' }],
      },
    ])
    expect(target).toMatchObject({
      id: 'kube/shop/web-5d5-x2/app',
      kind: 'kubernetes',
      labels: { app: 'web' },
      engineId: expect.stringMatching(/^[0-9a-f]{64}$/),
      facets: {
        namespace: 'shop',
        pod: 'web-5d5-x2',
        container: 'app',
        image: 'registry.example.com/shop/web:2',
        host: 'node-7',
        service: 'web',
        workload: 'deployment/web',
      },
    })
  })

  test('a ReplicaSet is told as its Deployment only where the hash makes it certain', async () => {
    const found = await listOf([
      { name: 'a', owner: { kind: 'ReplicaSet', name: 'web-5d5' }, labels: { 'pod-template-hash': 'other' } },
      { name: 'b', owner: { kind: 'StatefulSet', name: 'db' } },
      { name: 'c', owner: { kind: 'Node', name: 'node-1' } },
      { name: 'd' },
    ])
    expect(found.map(({ facets }) => facets.workload)).toEqual(['replicaset/web-5d5', 'statefulset/db', undefined, undefined])
  })

  test('S45 privileged containers, strong capabilities and host namespaces are told as privileged', async () => {
    const app = { name: 'app' }
    const found = await listOf([
      { name: 'a', containers: [{ ...app, privileged: true }] },
      { name: 'b', containers: [{ ...app, capabilities: ['NET_ADMIN', 'SYS_ADMIN'] }] },
      { name: 'c', hostPID: true },
      { name: 'd', hostNetwork: true },
      { name: 'e', hostIPC: true },
      { name: 'f', containers: [{ ...app, capabilities: ['NET_BIND_SERVICE'] }] },
      // Its neighbour is privileged, this one is not.
      { name: 'g', containers: [app, { name: 'other', privileged: true }] },
      // Runtimes take them in any case.
      { name: 'h', containers: [{ ...app, capabilities: ['all'] }] },
      { name: 'i', containers: [{ ...app, capabilities: ['cap_sys_module'] }] },
      { name: 'j', containers: [{ ...app, capabilities: ['DAC_READ_SEARCH'] }] },
    ])
    expect(found.filter(({ privileged }) => privileged).map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd', 'e', 'h', 'i', 'j'])
  })

  test('the platform’s own namespaces are told as system', async () => {
    const namespaces = ['kube-system', 'cattle-system', 'kube-node-lease', 'shop', 'my-kube-system']
    const peer = await peerWith({ pods: namespaces.map((namespace) => ({ namespace, name: 'a' })) })
    const found = await backendOn(peer, { namespaces: 'all', who: 'admin' }).list({}, soon())
    expect(found.filter(({ system }) => system).map(({ facets }) => facets.namespace)).toEqual([
      'cattle-system',
      'kube-node-lease',
      'kube-system',
    ])
  })
})

describe('what is asked of the API server', () => {
  const queryOf = async (selector: Selector) => {
    const peer = await peerWith({ pods: [{ namespace: 'shop', name: 'a' }] })
    await backendOn(peer).list(selector, soon())
    const { searchParams } = new URL(peer.seen.requests[0]!.path, 'http://x')
    return [searchParams.get('labelSelector'), searchParams.get('fieldSelector')]
  }

  test.each<[Selector, string | null, string]>([
    [{ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, 'app=web', 'status.phase=Running'],
    [
      {
        labels: [
          { op: 'in', key: 'example.com/tier', values: ['a', 'b'] },
          { op: 'absent', key: 'x' },
        ],
      },
      'example.com/tier in (a,b),!x',
      'status.phase=Running',
    ],
    // A word may be a key or a value, and a value may be one that no label can have: the caller matches.
    [{ labels: [{ op: 'word', word: 'web' }] }, null, 'status.phase=Running'],
    [
      {
        labels: [
          { op: 'eq', key: 'app', value: 'a b' },
          { op: 'ne', key: 'tier', value: 'db' },
        ],
      },
      'tier!=db',
      'status.phase=Running',
    ],
    [{ name: 'web-1' }, null, 'status.phase=Running,metadata.name=web-1'],
    [{ name: 'web-*', facets: { host: 'node-1' } }, null, 'status.phase=Running,spec.nodeName=node-1'],
    [{ facets: { container: 'mesh' } }, null, 'status.phase!=Succeeded,status.phase!=Failed'],
  ])('%j narrows by %s and %s', async (selector, labels, fields) => {
    expect(await queryOf(selector)).toEqual([labels, fields])
  })

  test('whatever the labels and terms, asking for less finds what matching all finds', async () => {
    const key = fc.constantFrom('app', 'tier', 'example.com/a')
    const value = fc.constantFrom('web', 'db', 'a_b', 'x')
    const labels = fc.dictionary(key, value)
    const term: fc.Arbitrary<LabelTerm> = fc.oneof(
      fc.record({ op: fc.constantFrom('exists', 'absent'), key }),
      fc.record({ op: fc.constantFrom('eq', 'ne'), key, value: fc.oneof(value, fc.constant('not a value')) }),
      fc.record({ op: fc.constant('in' as const), key, values: fc.array(value, { minLength: 1, maxLength: 2 }) }),
      fc.record({ op: fc.constant('word' as const), word: fc.oneof(key, value) }),
    )
    const peer = await peerWith({
      pods: fc.sample(labels, { numRuns: 60, seed: 7 }).map((one, i) => ({ namespace: 'shop', name: `p${i}`, labels: one })),
    })
    const backend = backendOn(peer)
    const all = await backend.list({}, soon())
    expect(all).toHaveLength(60)
    for (const terms of fc.sample(fc.array(term, { minLength: 1, maxLength: 3 }), { numRuns: 80, seed: 7 })) {
      const selector = { labels: terms }
      const meant = (list: readonly Target[]) => namesOf(list.filter((target) => matches(selector, target)))
      expect(meant(await backend.list(selector, soon()))).toEqual(meant(all))
    }
  })

  test('a namespace that is named narrows what is asked for', async () => {
    const peer = await peerWith({ pods: ['shop', 'blog', 'shop-test'].map((namespace) => ({ namespace, name: 'a' })) })
    const paths = () => peer.seen.requests.splice(0).map(({ path }) => path.split('?')[0])
    const some = backendOn(peer, { namespaces: ['shop', 'blog', 'shop-test'] })
    expect(await some.list({ facets: { namespace: 'shop*' } }, soon())).toHaveLength(2)
    expect(paths()).toEqual(['/api/v1/namespaces/shop/pods', '/api/v1/namespaces/shop-test/pods'])
    const all = backendOn(peer, { namespaces: 'all', who: 'admin' })
    expect(await all.list({ facets: { namespace: 'blog' } }, soon())).toHaveLength(1)
    expect(await all.list({ facets: { namespace: 'b*' } }, soon())).toHaveLength(3)
    expect(paths()).toEqual(['/api/v1/namespaces/blog/pods', '/api/v1/pods'])
  })
})

describe('a list is whole or an error', () => {
  const many = Array.from({ length: 1200 }, (_, i) => ({ namespace: 'shop', name: `p-${String(i).padStart(4, '0')}` }))

  test('pages are read to the last one, with the same selectors', async () => {
    const peer = await peerWith({ pods: many })
    expect(await backendOn(peer).list({ labels: [{ op: 'absent', key: 'x' }] }, soon())).toHaveLength(1200)
    const queries = peer.seen.requests.map(({ path }) => new URL(path, 'http://x').searchParams)
    expect(queries.map((query) => query.get('labelSelector'))).toEqual(['!x', '!x', '!x'])
  })

  test('a snapshot that expires half-way begins anew: never two halves of different moments', async () => {
    const peer = await peerWith({ pods: many })
    peer.faults.expireContinue = 2
    expect(await backendOn(peer).list({}, soon())).toHaveLength(1200)
    expect(peer.seen.requests.map(({ status }) => status)).toEqual([200, 410, 200, 410, 200, 200, 200])
  })

  test('[bounded] one that expires for ever is an error', async () => {
    const peer = await peerWith({ pods: many })
    peer.faults.expireContinue = 100
    expect((await failureOf(backendOn(peer).list({}, soon()))).code).toBe('backend_unavailable')
    expect(peer.seen.requests).toHaveLength(8)
  })

  test('one namespace that may not be read refuses the list', async () => {
    const peer = await peerWith({ pods: [{ namespace: 'shop', name: 'a' }] })
    const error = await failureOf(backendOn(peer, { namespaces: ['shop', 'secret'] }).list({}, soon()))
    expect(error.code).toBe('backend_forbidden')
    expect(error.message).toContain('User "exec-user" cannot list resource "pods" in API group "" in the namespace "secret"')
  })
})

describe('refusals in words', () => {
  const html = '<html><body>502 Bad Gateway</body></html>'
  test.each([
    [401, 'x', 'backend_unauthorized', 'credentials'],
    [403, { kind: 'Status', message: 'pods is forbidden: no' }, 'backend_forbidden', 'pods is forbidden: no'],
    [404, { kind: 'Status', message: 'nope' }, 'backend_not_found', 'the pods of namespace shop'],
    [429, { kind: 'Status', message: 'later' }, 'backend_unavailable', '429'],
    [500, 'etcdserver: request timed out', 'backend_unavailable', 'etcdserver: request timed out'],
    [502, html, 'backend_unavailable', 'HTTP 502.'],
    [302, '', 'backend_protocol', 'redirects'],
    [200, 'hello', 'backend_protocol', 'not JSON'],
    [200, { items: [{ metadata: {} }] }, 'backend_protocol', 'at metadata.name'],
  ] as const)('HTTP %i with %j', async (status, body, code, words) => {
    const peer = await peerWith({})
    peer.faults.http.push({ status, body, headers: status === 302 ? { location: 'https://elsewhere.example.com/login' } : {} })
    const error = await failureOf(backendOn(peer).list({}, soon()))
    expect([error.code, error.ran]).toEqual([code, 'no'])
    expect(error.message).toContain(words)
    expect(error.next).toBeTruthy()
    expect(JSON.stringify(error.toFailure())).not.toContain(peer.token('exec-user'))
  })

  test('a server that is not there is told as such', async () => {
    const peer = await peerWith({})
    const gone = { url: 'http://127.0.0.1:1', token: peer.token }
    const error = await failureOf(backendOn(gone).list({}, soon()))
    expect([error.code, error.ran]).toEqual(['backend_unavailable', 'no'])
    expect(error.message).toContain('connection refused')
  })
})
