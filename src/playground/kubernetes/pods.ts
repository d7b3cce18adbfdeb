/** The pods of the pretend cluster: how a test or the playground describes them, and how the API shows them. */

import { createHash } from 'node:crypto'
import type { EngineContainer } from '../rancher/engine.ts'

export type ContainerSpec = {
  readonly name: string
  readonly image?: string
  /** False: an image made from nothing, with no shell in it. */
  readonly shell?: boolean
  /** Default `running`. */
  readonly state?: 'running' | 'waiting' | 'terminated'
  readonly privileged?: boolean
  readonly capabilities?: readonly string[]
  /** `init`: an init container that stays, as sidecars do; `ephemeral`: one that `kubectl debug` has added. */
  readonly kind?: 'init' | 'ephemeral'
  /** Why it waits; with an exit code it has run before. */
  readonly problem?: { readonly reason: string; readonly message: string; readonly exitCode?: number }
  /** What it has written so far, or before it ended last. */
  readonly logs?: readonly string[]
}

export type PodSpec = {
  /** Default `default`. */
  readonly namespace?: string
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly owner?: { readonly kind: string; readonly name: string; readonly apiVersion?: string; readonly uid?: string }
  /** Default: one, called `app`. */
  readonly containers?: readonly ContainerSpec[]
  /** Default `node-1`; null: not scheduled. */
  readonly node?: string | null
  readonly phase?: string
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly hostIPC?: boolean
}

/** One container as it is now; its state and id change when it stops and starts again. */
export type PeerContainer = Omit<ContainerSpec, 'state'> & {
  state: 'running' | 'waiting' | 'terminated'
  engine: EngineContainer
}

export type PeerPod = {
  readonly spec: PodSpec
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly labels: Readonly<Record<string, string>>
  readonly node: string | undefined
  readonly containers: readonly PeerContainer[]
  phase: string
  /** Set while it is on its way out. */
  deletedAt?: string
  resourceVersion: number
}

export const DEFAULT_IMAGE = 'registry.example.com/shop/web:1.4.2'

export function createPod(spec: PodSpec, resourceVersion: number): PeerPod {
  const namespace = spec.namespace ?? 'default'
  const node = spec.node === null ? undefined : (spec.node ?? 'node-1')
  const labels = spec.labels ?? {}
  const containers = (spec.containers ?? [{ name: 'app' }]).map((one): PeerContainer => {
    const { state = node === undefined ? 'waiting' : 'running', ...rest } = one
    return { ...rest, state, engine: engineOf({ namespace, spec, container: rest, node, incarnation: resourceVersion }) }
  })
  const running = containers.some(({ state }) => state === 'running')
  return {
    spec,
    namespace,
    name: spec.name,
    uid: uidOf(`${namespace}/${spec.name}/${resourceVersion}`),
    labels,
    node,
    containers,
    phase: spec.phase ?? (node === undefined ? 'Pending' : running ? 'Running' : 'Succeeded'),
    resourceVersion,
  }
}

export function engineOf(of: {
  namespace: string
  spec: PodSpec
  container: Pick<ContainerSpec, 'name' | 'image' | 'shell'>
  node: string | undefined
  incarnation: number
}): EngineContainer {
  const { namespace, spec, container, node, incarnation } = of
  return {
    name: `${spec.name}-${container.name}`,
    engineId: createHash('sha256').update(`${namespace}/${spec.name}/${container.name}/${incarnation}`).digest('hex'),
    hostname: spec.name,
    host: node ?? '',
    labels: spec.labels ?? {},
    image: container.image ?? DEFAULT_IMAGE,
    shell: container.shell ?? true,
  }
}

function uidOf(seed: string): string {
  const hex = createHash('sha256').update(seed).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}

/** core/v1 Pod, as far as clients look. */
export function podJson(pod: PeerPod): Readonly<Record<string, unknown>> {
  const { spec } = pod
  const of = (kind: ContainerSpec['kind']) => pod.containers.filter((one) => one.kind === kind)
  const specs = (kind: ContainerSpec['kind']) =>
    of(kind).map(({ name, image, privileged, capabilities }) => ({
      name,
      image: image ?? DEFAULT_IMAGE,
      ...(kind === 'init' ? { restartPolicy: 'Always' } : {}),
      ...(privileged || capabilities
        ? {
            securityContext: {
              ...(privileged ? { privileged } : {}),
              ...(capabilities ? { capabilities: { add: capabilities } } : {}),
            },
          }
        : {}),
    }))
  const statuses = (kind: ContainerSpec['kind']) =>
    of(kind).map(({ name, image, state, engine, problem }) => ({
      name,
      image: image ?? DEFAULT_IMAGE,
      ready: state === 'running',
      restartCount: problem?.exitCode === undefined ? 0 : 3,
      ...(problem?.exitCode === undefined
        ? {}
        : {
            lastState: { terminated: { exitCode: problem.exitCode, reason: 'Error', startedAt: STARTED, finishedAt: STARTED } },
          }),
      ...(state === 'waiting' ? {} : { containerID: `containerd://${engine.engineId}` }),
      state:
        state === 'running'
          ? { running: { startedAt: STARTED } }
          : state === 'waiting'
            ? { waiting: problem ? { reason: problem.reason, message: problem.message } : { reason: 'ContainerCreating' } }
            : { terminated: { exitCode: 0, reason: 'Completed', startedAt: STARTED, finishedAt: STARTED } },
    }))
  const flags = Object.fromEntries(
    (['hostNetwork', 'hostPID', 'hostIPC'] as const).flatMap((key) => (spec[key] ? [[key, true]] : [])),
  )
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      name: pod.name,
      namespace: pod.namespace,
      uid: pod.uid,
      resourceVersion: String(pod.resourceVersion),
      creationTimestamp: STARTED,
      labels: pod.labels,
      ...(spec.annotations ? { annotations: spec.annotations } : {}),
      ...(pod.deletedAt ? { deletionTimestamp: pod.deletedAt, deletionGracePeriodSeconds: 30 } : {}),
      ...(spec.owner
        ? {
            ownerReferences: [
              { apiVersion: 'apps/v1', uid: uidOf(spec.owner.name), ...spec.owner, controller: true, blockOwnerDeletion: true },
            ],
          }
        : {}),
    },
    spec: {
      ...flags,
      ...(pod.node === undefined ? {} : { nodeName: pod.node }),
      containers: specs(undefined),
      ...(of('init').length === 0 ? {} : { initContainers: specs('init') }),
      ...(of('ephemeral').length === 0 ? {} : { ephemeralContainers: specs('ephemeral') }),
    },
    status: {
      phase: pod.phase,
      ...(pod.node === undefined ? {} : { containerStatuses: statuses(undefined) }),
      ...(of('init').length === 0 ? {} : { initContainerStatuses: statuses('init') }),
      ...(of('ephemeral').length === 0 ? {} : { ephemeralContainerStatuses: statuses('ephemeral') }),
    },
  }
}

const STARTED = '2026-11-20T08:00:00Z'

/** What a pod can be chosen by (K pkg/registry/core/pod/strategy.go). */
export function podFields(pod: PeerPod): Readonly<Record<string, string>> {
  return {
    'metadata.name': pod.name,
    'metadata.namespace': pod.namespace,
    'spec.nodeName': pod.node ?? '',
    'spec.restartPolicy': 'Always',
    'spec.schedulerName': 'default-scheduler',
    'spec.serviceAccountName': 'default',
    'spec.hostNetwork': String(pod.spec.hostNetwork ?? false),
    'status.phase': pod.phase,
    'status.podIP': '',
    'status.nominatedNodeName': '',
  }
}
