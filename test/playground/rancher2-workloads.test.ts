/** The `/v3` workloads of the pretend Rancher 2, held to what rancher-2.md §6 says of the real one, over a Kubernetes API server. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { type KubernetesPeer, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { bearerOf, type PeerKey, type Rancher2Peer, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { ask as askCluster } from '../peers/kubernetes-workloads.ts'

let cluster: KubernetesPeer
let rancher: Rancher2Peer
let key: PeerKey

const main = {
  name: 'main',
  image: 'shop/web:1',
  command: ['serve'],
  args: ['--port', '80'],
  env: [{ name: 'MODE', value: 'prod' }],
  securityContext: { runAsNonRoot: true, seLinuxOptions: { level: 's0' } },
}

beforeEach(async () => {
  cluster = await startKubernetesPeer({ routes: appsRoutes(), pods: [{ namespace: 'shop', name: 'unrelated' }] })
  rancher = await startRancher2Peer({
    upstream: { url: cluster.url, token: cluster.token('admin') },
    users: { admin: { user: 'admin' } },
  })
  key = rancher.keys.admin
  const made = await inCluster('POST', '/apis/apps/v1/namespaces/shop/deployments', {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: 'web',
      namespace: 'shop',
      labels: { app: 'web' },
      annotations: { 'field.cattle.io/note': 'own', mine: 'yes' },
    },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' }, annotations: { a: '1', b: '2' } },
        spec: {
          initContainers: [{ name: 'prepare', image: 'shop/prepare:1' }],
          containers: [main, { name: 'side', image: 'shop/side:1' }],
        },
      },
    },
  })
  expect(made.status).toBe(201)
})
afterEach(async () => {
  await rancher.close()
  await cluster.close()
})

const inCluster = (method: string, path: string, body?: unknown) =>
  askCluster({ url: cluster.url, token: cluster.token('admin'), namespace: 'shop' }, method, path, body)

type Container = { name: string; image: string; initContainer?: boolean } & Record<string, unknown>
type V3 = { containers: Container[]; actions: Record<string, string>; data: V3[] } & Record<string, unknown>
type Live = {
  spec: {
    replicas: number
    paused?: boolean
    template: {
      metadata: { annotations: Record<string, string> }
      spec: { containers: Container[]; initContainers?: Container[] }
    }
  }
  metadata: { annotations: Record<string, string> }
}

const live = async () => (await inCluster('GET', '/apis/apps/v1/namespaces/shop/deployments/web')).json as unknown as Live
const project = '/v3/project/c-abc12:p-def34'

async function v3(method: string, path: string, body?: unknown) {
  const response = await fetch(path.startsWith('http') ? path : `${rancher.url}${project}${path}`, {
    method,
    headers: { authorization: `Bearer ${bearerOf(key)}`, accept: 'application/json', 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return { status: response.status, text, json: (text.startsWith('{') ? JSON.parse(text) : {}) as V3 }
}
const web = () => v3('GET', '/workloads/deployment:shop:web')

describe('a workload in v3', () => {
  it('has Rancher’s names for things: entrypoint, command, both lists in one, the pod’s labels for its own', async () => {
    const { json } = await web()
    expect(json).toMatchObject({
      id: 'deployment:shop:web',
      type: 'deployment',
      baseType: 'workload',
      namespaceId: 'shop',
      projectId: 'c-abc12:p-def34',
      scale: 2,
      annotations: { a: '1', b: '2' },
      workloadAnnotations: { mine: 'yes' },
      containers: [
        { name: 'main', image: 'shop/web:1', entrypoint: ['serve'], command: ['--port', '80'], runAsNonRoot: true },
        { name: 'side', image: 'shop/side:1' },
        { name: 'prepare', image: 'shop/prepare:1', initContainer: true },
      ],
    })
    expect(Object.keys(json.actions)).toEqual(['redeploy', 'pause', 'rollback'])
    expect((await v3('GET', '/workloads')).json.data.map(({ id }) => id)).toEqual(['deployment:shop:web'])
  })

  it('a PUT keeps what it leaves out, and replaces lists and string maps whole', async () => {
    expect((await v3('PUT', '/workloads/deployment:shop:web', { scale: 3 })).json).toMatchObject({ scale: 3 })
    expect((await live()).spec.template.spec.containers).toHaveLength(2)
    await v3('PUT', '/workloads/deployment:shop:web', { annotations: { c: '3' }, workloadAnnotations: { other: 'no' } })
    const after = await live()
    expect(after.spec).toMatchObject({ replicas: 3, template: { metadata: { annotations: { c: '3' } } } })
    expect(after.spec.template.metadata.annotations).not.toHaveProperty('a')
    // Rancher's own keys survive in the workload's metadata.
    expect(after.metadata.annotations).toMatchObject({ 'field.cattle.io/note': 'own', other: 'no' })
    expect(after.metadata.annotations).not.toHaveProperty('mine')
    const { containers } = (await web()).json
    const [first] = containers
    await v3('PUT', '/workloads/deployment:shop:web', { containers: [{ name: 'main', image: 'shop/web:2' }] })
    const { spec } = (await live()).spec.template
    expect(first?.entrypoint).toEqual(['serve'])
    expect(spec.containers).toEqual([{ name: 'main', image: 'shop/web:2' }])
    expect(spec.initContainers ?? []).toEqual([])
  })

  it('a PUT of the complete list loses only what v3 does not know', async () => {
    const { containers } = (await web()).json
    const changed = containers.map((one) => (one.name === 'main' ? { ...one, image: 'shop/web:2' } : one))
    expect((await v3('PUT', '/workloads/deployment:shop:web', { containers: changed })).status).toBe(200)
    const { spec } = (await live()).spec.template
    expect(spec.containers[0]).toEqual({ ...main, image: 'shop/web:2', securityContext: { runAsNonRoot: true } })
    expect(spec.containers.map(({ image }) => image)).toEqual(['shop/web:2', 'shop/side:1'])
    expect(spec.initContainers).toEqual([{ name: 'prepare', image: 'shop/prepare:1' }])
  })

  it('`environment` is refused, and so is what is not there or is another project’s', async () => {
    const old = await v3('PUT', '/workloads/deployment:shop:web', { containers: [{ ...main, environment: { A: '1' } }] })
    expect([old.status, old.json.code, old.json.type]).toEqual([422, 'InvalidOption', 'error'])
    expect((await v3('GET', '/workloads/deployment:shop:none')).json).toMatchObject({ status: 404, code: 'NotFound' })
    expect((await v3('GET', '/workloads/deployment:tools:web')).status).toBe(404)
  })

  it('a cluster’s own key gets 401 for all of a project', async () => {
    key = rancher.keys.scoped
    expect((await web()).json).toEqual({ type: 'error', status: '401', message: 'Unauthorized 401: must authenticate' })
  })
})

describe('actions', () => {
  const act = (action: string, body?: unknown) => v3('POST', `/workloads/deployment:shop:web?action=${action}`, body)

  it('redeploy marks the template, and answers 200 with nothing', async () => {
    expect(await act('redeploy')).toMatchObject({ status: 200, text: '' })
    expect((await live()).spec.template.metadata.annotations).toMatchObject({
      a: '1',
      'cattle.io/timestamp': expect.stringMatching(/^\d{4}-.*Z$/),
    })
  })

  it('pause and resume answer nothing, are offered in turn, and are refused where they change nothing', async () => {
    expect(await act('pause')).toMatchObject({ status: 200, text: '' })
    expect((await live()).spec.paused).toBe(true)
    expect(Object.keys((await web()).json.actions)).toContain('resume')
    expect((await act('pause')).json).toMatchObject({ status: 422, code: 'InvalidAction' })
    expect(await act('resume')).toMatchObject({ status: 200, text: '' })
    expect((await act('resume')).json).toMatchObject({ status: 422, code: 'InvalidAction' })
  })

  it('rollback wants the id of a ReplicaSet, from the revisions, and leaves the template’s labels and annotations', async () => {
    const revisions = async () => (await v3('GET', '/workloads/deployment:shop:web/revisions')).json.data
    const count = async () => (await revisions()).length
    // A change that comes before the controller's first look leaves no revision before it.
    await expect.poll(count, { timeout: 10_000 }).toBe(1)
    const { containers } = (await web()).json
    await v3('PUT', '/workloads/deployment:shop:web', {
      annotations: { new: 'yes' },
      containers: containers.map((one) => (one.name === 'main' ? { ...one, image: 'shop/web:2' } : one)),
    })
    await expect.poll(count, { timeout: 10_000 }).toBe(2)
    const old = (await revisions()).find(
      ({ workloadAnnotations }) => (workloadAnnotations as Record<string, string>)['deployment.kubernetes.io/revision'] === '1',
    )
    expect(old).toMatchObject({ type: 'replicaSet', id: expect.stringMatching(/^replicaset:shop:web-/) })
    expect((await act('rollback')).json).toMatchObject({ status: 422, code: 'InvalidBodyContent' })
    expect((await act('rollback', { replicaSetId: '' })).json).toMatchObject({ status: 500, code: 'ServerError' })
    expect((await act('rollback', { replicaSetId: 'replicaset:shop:other' })).json.message).toMatch(/Invalid ReplicaSet/)
    expect(await act('rollback', { replicaSetId: old?.id })).toMatchObject({ status: 200, text: '' })
    const { template } = (await live()).spec
    expect(template.spec.containers[0]?.image).toBe('shop/web:1')
    expect(template.metadata.annotations).toMatchObject({ new: 'yes' })
  })

  it('what may not be done shows as 404, what has gone as 422, what there is not as 404', async () => {
    expect((await v3('POST', '/workloads/deployment:shop:none?action=redeploy')).json).toMatchObject({
      status: 422,
      code: 'InvalidReference',
    })
    expect((await act('explode')).json).toMatchObject({ status: 404, code: 'ActionNotAvailable' })
    key = rancher.addKey({ user: 'no-rights-user' })
    expect((await act('redeploy')).json).toMatchObject({ status: 404, message: 'not found' })
    expect(await v3('GET', '/workloads/deployment:shop:web/revisions')).toMatchObject({ status: 200, text: '' })
  })
})
