/** A pod's containers as drover's targets, and a selector as what the API server can narrow. */

import * as z from 'zod'
import type { BackendKind, Facet, LabelTerm, Selector, Target, TargetId } from '../../core/model.ts'
import { matchesGlob } from '../../core/selector.ts'
import { isStrongCapability } from '../wire/capabilities.ts'
import { givesHost } from '../wire/mounts.ts'
import type { Query } from './api.ts'

const Container = z.object({
  name: z.string(),
  image: z.string().nullish(),
  securityContext: z
    .object({
      privileged: z.boolean().nullish(),
      capabilities: z.object({ add: z.array(z.string()).nullish() }).nullish(),
      windowsOptions: z.object({ hostProcess: z.boolean().nullish() }).nullish(),
    })
    .nullish(),
  volumeMounts: z.array(z.object({ name: z.string() })).nullish(),
})

const ContainerStatus = z.object({
  name: z.string(),
  containerID: z.string().nullish(),
  state: z.object({ running: z.unknown().optional() }).nullish(),
})

export const Owner = z.object({ kind: z.string(), name: z.string(), controller: z.boolean().nullish() })

export const Pod = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    uid: z.string().nullish(),
    labels: z.record(z.string(), z.string()).nullish(),
    annotations: z.record(z.string(), z.string()).nullish(),
    deletionTimestamp: z.string().nullish(),
    ownerReferences: z.array(Owner).nullish(),
  }),
  spec: z.object({
    nodeName: z.string().nullish(),
    hostPID: z.boolean().nullish(),
    hostIPC: z.boolean().nullish(),
    hostNetwork: z.boolean().nullish(),
    volumes: z.array(z.object({ name: z.string(), hostPath: z.object({ path: z.string() }).nullish() })).nullish(),
    containers: z.array(Container),
    initContainers: z.array(Container).nullish(),
    ephemeralContainers: z.array(Container).nullish(),
  }),
  status: z
    .object({
      phase: z.string().nullish(),
      containerStatuses: z.array(ContainerStatus).nullish(),
      initContainerStatuses: z.array(ContainerStatus).nullish(),
      ephemeralContainerStatuses: z.array(ContainerStatus).nullish(),
    })
    .nullish(),
})
export type Pod = z.infer<typeof Pod>

/** Namespaces of the cluster's own workload: of Kubernetes, Rancher, OpenShift and common network layers. */
export const SYSTEM = /^(kube-(system|public|node-lease)|cattle-.+|fleet-.+|openshift(-.+)?|calico-system|tigera-operator)$/
/** Says which container of a pod is meant when none is named (kubectl pkg/cmd/util/podcmd). */
const DEFAULT_CONTAINER = 'kubectl.kubernetes.io/default-container'

/**
 * Running containers: of each pod the one that kubectl would take. A selector that names containers gets all that run, and one
 * other than the pod's default is called `pod/container`.
 */
export function targetsOf(
  pod: Pod,
  selector: Selector,
  backend: { readonly name: string; readonly kind: BackendKind },
): readonly Target[] {
  if (pod.metadata.deletionTimestamp) return []
  const running = runningIn(pod)
  const first = defaultContainer(pod)
  const named = [...running.keys()].filter((name) => name === first || meansContainers(selector))
  return named.map((name) => targetOf(pod, name, { ...backend, isDefault: name === first, containerId: running.get(name) }))
}

/** `container=`, a name with its container, or the id of one: then it is not for the pod to choose. */
function meansContainers({ facets, name, id }: Selector): boolean {
  return facets?.container !== undefined || (name?.includes('/') ?? false) || (id !== undefined && /^[0-9a-f]+$|\/.*\//.test(id))
}

/** Names and runtime ids of what runs. */
export function runningIn({ status }: Pod): ReadonlyMap<string, string | undefined> {
  const all = [status?.containerStatuses, status?.initContainerStatuses, status?.ephemeralContainerStatuses].flatMap(
    (one) => one ?? [],
  )
  return new Map(
    all
      .filter(({ state }) => state?.running !== undefined && state.running !== null)
      // `containerd://<64 hex digits>`
      .map(({ name, containerID }) => [name, containerID?.replace(/^[a-z0-9-]+:\/\//, '') || undefined]),
  )
}

function defaultContainer({ metadata, spec }: Pod): string | undefined {
  const annotated = metadata.annotations?.[DEFAULT_CONTAINER]
  return spec.containers.find(({ name }) => name === annotated)?.name ?? spec.containers[0]?.name
}

function targetOf(
  pod: Pod,
  container: string,
  of: { name: string; kind: BackendKind; isDefault: boolean; containerId: string | undefined },
): Target {
  const { metadata, spec } = pod
  const native = `${metadata.namespace}/${metadata.name}/${container}`
  const found = [...spec.containers, ...(spec.initContainers ?? []), ...(spec.ephemeralContainers ?? [])].find(
    ({ name }) => name === container,
  )
  const workload = workloadOf(pod)
  const facets: Record<Facet, string | undefined> = {
    namespace: metadata.namespace,
    pod: metadata.name,
    container,
    image: found?.image ?? undefined,
    host: spec.nodeName ?? undefined,
    service: workload?.name,
    workload: workload && `${workload.kind}/${workload.name}`,
    stack: undefined,
    task: undefined,
  }
  return {
    id: `${of.name}/${native}` as TargetId,
    backend: of.name,
    kind: of.kind,
    native,
    ...(metadata.uid ? { uid: metadata.uid } : {}),
    name: of.isDefault ? metadata.name : `${metadata.name}/${container}`,
    ...(of.containerId === undefined ? {} : { engineId: of.containerId }),
    labels: metadata.labels ?? {},
    facets: Object.fromEntries(Object.entries(facets).filter(([, value]) => value)),
    ...(SYSTEM.test(metadata.namespace) ? { system: true } : {}),
    ...(isPrivileged(pod, found) ? { privileged: true } : {}),
  }
}

export function isPrivileged({ spec }: Pick<Pod, 'spec'>, container: z.infer<typeof Container> | undefined): boolean {
  const security = container?.securityContext
  const strong = (spec.volumes ?? []).filter(({ hostPath }) => hostPath && givesHost(hostPath.path)).map(({ name }) => name)
  return (
    (container?.volumeMounts ?? []).some(({ name }) => strong.includes(name)) ||
    spec.hostPID === true ||
    spec.hostIPC === true ||
    spec.hostNetwork === true ||
    security?.privileged === true ||
    security?.windowsOptions?.hostProcess === true ||
    (security?.capabilities?.add ?? []).some(isStrongCapability)
  )
}

/** Labels that a Deployment, and an Argo Rollout, put on pods: with one of them its owner's name is certain, and no right to read replicasets is needed. */
const HASH_LABELS = { 'pod-template-hash': 'deployment', 'rollouts-pod-template-hash': 'rollout' } as const

/** What keeps this pod running. */
export function workloadOf({ metadata }: Pod): { readonly kind: string; readonly name: string } | undefined {
  const owner = metadata.ownerReferences?.find((one) => one.controller)
  // A static pod is the node's own.
  if (owner === undefined || owner.kind === 'Node') return undefined
  if (owner.kind === 'ReplicaSet') {
    for (const [label, kind] of Object.entries(HASH_LABELS)) {
      const hash = metadata.labels?.[label]
      if (hash && owner.name.endsWith(`-${hash}`)) return { kind, name: owner.name.slice(0, -hash.length - 1) }
    }
  }
  return { kind: owner.kind.toLowerCase(), name: owner.name }
}

// ---- a selector as a query -------------------------------------------------------------------

const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/
const LABEL_KEY = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const LABEL_VALUE = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/

/** Less to read; the caller matches again. What does not translate exactly is left out. */
export function podQuery(selector: Selector): Query {
  const labels = (selector.labels ?? []).flatMap((term) => labelTerm(term) ?? [])
  const { facets = {}, name } = selector
  const fields = [
    // A sidecar among the init containers runs while its pod is still pending.
    ...(meansContainers(selector) ? ['status.phase!=Succeeded', 'status.phase!=Failed'] : ['status.phase=Running']),
    ...[facets.pod, name].filter((one) => one !== undefined && NAME.test(one)).map((one) => `metadata.name=${one}`),
    ...(facets.host !== undefined && NAME.test(facets.host) ? [`spec.nodeName=${facets.host}`] : []),
  ]
  return {
    fieldSelector: fields.join(','),
    ...(labels.length === 0 ? {} : { labelSelector: labels.join(',') }),
  }
}

function labelTerm(term: LabelTerm): string | undefined {
  if (term.op === 'word' || !LABEL_KEY.test(term.key)) return undefined
  switch (term.op) {
    case 'exists':
      return term.key
    case 'absent':
      return `!${term.key}`
    case 'eq':
      return LABEL_VALUE.test(term.value) ? `${term.key}=${term.value}` : undefined
    case 'ne':
      return LABEL_VALUE.test(term.value) ? `${term.key}!=${term.value}` : undefined
    case 'in':
      return term.values.length > 0 && term.values.every((value) => LABEL_VALUE.test(value))
        ? `${term.key} in (${term.values.join(',')})`
        : undefined
    default:
      return term satisfies never
  }
}

/** Which of the namespaces in scope can hold what is meant; of all of them, one that is named. */
export function namespacesFor(selector: Selector, scope: readonly string[] | 'all'): readonly string[] | 'all' {
  const meant = selector.facets?.namespace
  if (scope === 'all') return meant !== undefined && NAME.test(meant) ? [meant] : 'all'
  return meant === undefined ? scope : scope.filter((one) => matchesGlob(meant, one))
}
