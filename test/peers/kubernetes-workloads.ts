/** Workloads to roll out on any Kubernetes API server, real or pretended, and another client that looks at them and changes them. */

import { request as plainRequest } from 'node:http'
import { Agent, request } from 'node:https'
import type { Transport } from '../../src/backends/transport.ts'
import type { Target } from '../../src/core/model.ts'
import type { Workloads } from '../../src/core/ports.ts'
import { matches } from '../../src/core/selector.ts'
import type { WorkloadsFixture } from '../contract/workloads.ts'

export type Cluster = { readonly url: string; readonly token?: string; readonly ca?: string; readonly namespace: string }
export type Kind = 'deployment' | 'statefulset' | 'daemonset'

type Answer = { readonly status: number; readonly json: Record<string, unknown> }
type Pod = {
  metadata: { deletionTimestamp?: string; labels: Record<string, string> }
  spec: { containers: { name: string; image: string }[] }
  status?: { phase?: string; containerStatuses?: { ready: boolean }[] }
}
type Workload = {
  spec: {
    replicas?: number
    template: { spec: { containers: { name: string; image: string }[] } }
  }
  status?: { desiredNumberScheduled?: number }
}

export const secret = 'hunter2-in-the-template'
export const images = {
  before: 'drover-test/busybox:1',
  after: 'drover-test/busybox:2',
  missing: 'drover-test/busybox:missing',
}
/** An image in which the command below ends at once. */
export const crashing = { image: 'drover-test/pause:1', text: 'cannot find the database' }

/** A second client, which is not drover. */
export async function ask(
  cluster: Cluster,
  method: string,
  path: string,
  body?: unknown,
  type = 'application/json',
): Promise<Answer> {
  const url = new URL(`${cluster.url}${path}`)
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const options = {
    method,
    headers: {
      accept: 'application/json',
      'user-agent': 'someone-else',
      ...(body === undefined ? {} : { 'content-type': type }),
      ...(cluster.token === undefined ? {} : { authorization: `Bearer ${cluster.token}` }),
    },
    ...(cluster.ca === undefined ? {} : { agent: new Agent({ ca: cluster.ca }) }),
  }
  const sent = (url.protocol === 'https:' ? request : plainRequest)(url, options, (response) => {
    const parts: Buffer[] = []
    response.on('data', (part: Buffer) => parts.push(part))
    response.on('end', () => {
      const text = Buffer.concat(parts).toString()
      resolve({ status: response.statusCode ?? 0, json: text.startsWith('{') ? JSON.parse(text) : {} })
    })
  })
  sent.on('error', reject)
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  return await promise
}

/** A transport that counts the writes of drover that go through it. */
export function counting(transport: Transport, seen: string[]): Transport {
  return {
    socket: (url, options) => transport.socket(url, options),
    async http(asked) {
      if (asked.method !== 'GET') seen.push(`${asked.method} ${asked.url}`)
      return await transport.http(asked)
    },
    ...('upgrade' in transport ? { upgrade: transport.upgrade } : {}),
    ...('stream' in transport ? { stream: transport.stream } : {}),
  } as Transport
}

const plural = (kind: Kind) => `${kind}s`

export function kubernetesFixture(
  cluster: Cluster,
  options: {
    readonly workloads: Workloads
    readonly kind: Kind
    readonly seen: readonly string[]
    /** Lists right after it was made: the run's number keeps names apart. */
    readonly prefix: string
    readonly settleMs: number
  } & Partial<Pick<WorkloadsFixture, 'conflict' | 'loseAnswer' | 'lastWords'>>,
): WorkloadsFixture {
  const { kind, workloads, seen } = options
  const base = `/apis/apps/v1/namespaces/${cluster.namespace}/${plural(kind)}`
  const made: string[] = []
  const nameOf = (target: Target) => target.facets.service!
  const read = async (name: string) => (await ask(cluster, 'GET', `${base}/${name}`)).json as unknown as Workload
  const wantedOf = (one: Workload) =>
    kind === 'daemonset' ? (one.status?.desiredNumberScheduled ?? 0) : (one.spec.replicas ?? 1)

  const count = async (name: string) => {
    const workload = await read(name)
    const wanted = new Map(workload.spec.template.spec.containers.map((one) => [one.name, one.image]))
    const list = await ask(
      cluster,
      'GET',
      `/api/v1/namespaces/${cluster.namespace}/pods?labelSelector=${encodeURIComponent(`app=${name}`)}`,
    )
    const running = (list.json.items as Pod[]).filter(
      ({ metadata, spec, status }) =>
        !metadata.deletionTimestamp &&
        status?.phase === 'Running' &&
        (status.containerStatuses ?? []).every((one) => one.ready) &&
        spec.containers.every((one) => wanted.get(one.name) === one.image),
    )
    return { wanted: wantedOf(workload), running: running.length }
  }

  const make = async (containers: readonly string[]): Promise<Target> => {
    const name = `${options.prefix}${made.length + 1}`
    made.push(name)
    const container = (one: string) => ({
      name: one,
      image: images.before,
      imagePullPolicy: 'Never',
      command: ['sh', '-c', `if [ "$IMAGE_VERSION" = 0 ]; then echo "${crashing.text}"; exit 3; fi; exec sleep 1000000`],
      env: [{ name: 'PASSWORD', value: secret }],
    })
    const answer = await ask(cluster, 'POST', base, {
      apiVersion: 'apps/v1',
      kind: { deployment: 'Deployment', statefulset: 'StatefulSet', daemonset: 'DaemonSet' }[kind],
      metadata: { name, namespace: cluster.namespace, labels: { app: name } },
      spec: {
        ...(kind === 'daemonset' ? {} : { replicas: 2 }),
        ...(kind === 'statefulset' ? { serviceName: name, podManagementPolicy: 'Parallel' } : {}),
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels: { app: name } },
          spec: {
            nodeName: 'localhost',
            // The small cluster of the tests has nobody who takes the first taint from its node.
            tolerations: [{ operator: 'Exists' }],
            terminationGracePeriodSeconds: 0,
            containers: containers.map(container),
          },
        },
      },
    })
    if (answer.status !== 201) throw new Error(`the cluster made no ${name}: ${answer.status} ${JSON.stringify(answer.json)}`)
    const deadline = Date.now() + options.settleMs
    for (;;) {
      const { wanted, running } = await count(name)
      if (wanted > 0 && wanted === running) break
      if (Date.now() > deadline) throw new Error(`${name} did not come up: ${running} of ${wanted}`)
      await new Promise((resolve) => setTimeout(resolve, Math.min(200, options.settleMs / 20)))
    }
    const facets = { namespace: cluster.namespace, service: name }
    const listed = await workloads.list({ facets }, AbortSignal.timeout(10_000))
    return listed.find((one) => matches({ facets }, one))!
  }

  return {
    workloads,
    ...(kind === 'deployment' ? {} : { lacks: kind === 'daemonset' ? ['pause', 'resume', 'scale'] : ['pause', 'resume'] }),
    replicas: kind === 'daemonset' ? 1 : 2,
    images,
    secret,
    containerOf: () => 'main',
    fresh: () => make(['main']),
    pair: () => make(['main', 'side']),
    imagesOf: async (target) =>
      Object.fromEntries((await read(nameOf(target))).spec.template.spec.containers.map(({ name, image }) => [name, image])),
    countOf: (target) => count(nameOf(target)),
    writes: (target) => seen.filter((one) => new RegExp(`[/:]${nameOf(target)}(?:[?/]|$)`).test(one)).length,
    async edit(target) {
      const spec = { template: { metadata: { annotations: { 'example.com/by': 'someone else' } } } }
      const type = 'application/strategic-merge-patch+json'
      const answer = await ask(cluster, 'PATCH', `${base}/${nameOf(target)}`, { spec }, type)
      if (answer.status !== 200) throw new Error(`the edit was refused with ${answer.status}`)
    },
    async set(target, field) {
      const answer = await ask(cluster, 'PATCH', `${base}/${nameOf(target)}`, { spec: field }, 'application/merge-patch+json')
      if (answer.status !== 200) throw new Error(`the change was refused with ${answer.status}`)
    },
    lastWords: options.lastWords ?? crashing,
    ...(options.conflict ? { conflict: options.conflict } : {}),
    ...(options.loseAnswer ? { loseAnswer: options.loseAnswer } : {}),
    async tearDown() {
      for (const name of made) await ask(cluster, 'DELETE', `${base}/${name}?propagationPolicy=Background`)
    },
  }
}
