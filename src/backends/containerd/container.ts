/** A container of containerd as drover's target, and a selector as what containerd can narrow. */

import * as z from 'zod'
import type { Facet, LabelTerm, Selector, Target, TargetId } from '../../core/model.ts'
import { SYSTEM } from '../kubernetes/pod.ts'
import { isStrongCapability } from '../wire/capabilities.ts'
import { givesHost } from '../wire/mounts.ts'
import { HELPER_LABEL } from '../wire/new-container.ts'
import type { Container } from './engine.ts'

/** The runtime spec (OCI), as far as drover reads it. */
export const Spec = z.object({
  process: z
    .looseObject({
      env: z.array(z.string()).optional(),
      cwd: z.string().optional(),
      user: z.looseObject({ uid: z.number().optional(), gid: z.number().optional() }).optional(),
      capabilities: z.object({ bounding: z.array(z.string()).nullish() }).nullish(),
    })
    .optional(),
  mounts: z.array(z.object({ source: z.string().nullish() })).nullish(),
  linux: z
    .object({
      namespaces: z.array(z.object({ type: z.string(), path: z.string().nullish() })).nullish(),
      devices: z.array(z.unknown()).nullish(),
    })
    .nullish(),
})
export type Spec = z.infer<typeof Spec>

/** Undefined: not a runtime spec of Linux, so nothing can be started there. */
export function specOf({ spec }: Container): Spec | undefined {
  if (spec === null) return undefined
  try {
    return Spec.parse(JSON.parse(new TextDecoder().decode(spec.value)))
  } catch {
    return undefined
  }
}

/** Set by the kubelet, and by containerd's CRI service (pkg/cri/server). */
export const KUBE = {
  namespace: 'io.kubernetes.pod.namespace',
  pod: 'io.kubernetes.pod.name',
  uid: 'io.kubernetes.pod.uid',
  container: 'io.kubernetes.container.name',
  kind: 'io.cri-containerd.kind',
}
/** Not having one of its own, a container shares the host's. */
const OWN_NAMESPACES = ['pid', 'ipc', 'mount', 'network']

/** The containers that run. The labels of a pod are those of its sandbox: its containers count as having them. */
export function targetsOf(containers: readonly Container[], running: ReadonlySet<string>, backend: string): readonly Target[] {
  const sandboxes = containers.filter(({ labels }) => labels[KUBE.kind] === 'sandbox')
  const pods = Map.groupBy(sandboxes, ({ labels }) => labels[KUBE.uid] ?? '')
  return containers
    .filter(({ id, labels }) => running.has(id) && labels[KUBE.kind] !== 'sandbox')
    .map((one) => targetOf(one, pods.get(one.labels[KUBE.uid] ?? '') ?? [], backend))
}

/** `sandboxes`: of its pod; one that was made anew leaves the old one for a while. */
function targetOf(container: Container, sandboxes: readonly Container[], backend: string): Target {
  const { id, image } = container
  const labels = { ...sandboxes.at(-1)?.labels, ...container.labels }
  const pod = labels[KUBE.pod]
  const inPod = labels[KUBE.container]
  const named = labels['nerdctl/name']
  const name = pod !== undefined && inPod !== undefined ? `${pod}/${inPod}` : named || id
  const facets: Record<Facet, string | undefined> = {
    // nerdctl compose labels what it makes as Docker's does.
    stack: labels['com.docker.compose.project'],
    service: labels['com.docker.compose.service'],
    namespace: labels[KUBE.namespace],
    pod,
    container: inPod ?? name,
    image,
    workload: undefined,
    task: undefined,
    host: undefined,
  }
  return {
    id: `${backend}/${id}` as TargetId,
    backend,
    kind: 'containerd',
    native: id,
    name,
    engineId: id,
    labels,
    facets: Object.fromEntries(Object.entries(facets).filter(([, value]) => value)),
    ...(SYSTEM.test(labels[KUBE.namespace] ?? '') || HELPER_LABEL in labels ? { system: true } : {}),
    ...(isPrivileged(specOf(container), sandboxes.map(specOf)) ? { privileged: true } : {}),
  }
}

/** What cannot be read counts as privileged: policy then asks for the right. */
function isPrivileged(spec: Spec | undefined, sandboxes: readonly (Spec | undefined)[]): boolean {
  if (spec?.linux === undefined || spec.linux === null) return true
  return (
    (spec.process?.capabilities?.bounding ?? []).some(isStrongCapability) ||
    OWN_NAMESPACES.some((type) => !hasOwn(spec, type, sandboxes)) ||
    // Those that every container has are in no spec.
    (spec.linux.devices ?? []).length > 0 ||
    (spec.mounts ?? []).some(({ source }) => givesHost(source ?? ''))
  )
}

/**
 * A path to a process's namespace says whose it is only where the process is known. The CRI writes one to the sandbox's for every container
 * of a pod (pkg/cri/opts/spec_linux_opts.go, WithPodNamespaces), also where the sandbox has the host's: then the sandbox decides (S45).
 */
function hasOwn(spec: Spec | undefined, type: string, sandboxes: readonly (Spec | undefined)[]): boolean {
  const found = spec?.linux?.namespaces?.find((one) => one.type === type)
  if (found === undefined) return false
  if (!found.path || !/^\/+proc\//.test(found.path)) return true
  return sandboxes.length > 0 && sandboxes.every((one) => hasOwn(one, type, []))
}

// ---- a selector as filters -------------------------------------------------------------------

/** What needs no quoting in a filter, and no escape in a quoted one. */
const PLAIN = /^[A-Za-z0-9._/-]+$/
/** Of one container, and no glob; those with a slash are of pods. */
const NAME = /^[A-Za-z0-9._-]+$/

/**
 * Less to read; the caller matches again. In the CRI's namespace nothing is asked for: there labels are the sandbox's.
 * filters/filter.go: a comma is "and", `==` the whole value, a bare field "is there".
 */
export function filtersOf(selector: Selector, namespace: string): readonly string[] {
  if (namespace === 'k8s.io') return []
  const terms = (selector.labels ?? []).flatMap((term) => labelFilter(term) ?? [])
  // Ids of people who type are prefixes; `~=` is a regular expression.
  const id = selector.id !== undefined && /^[A-Za-z0-9_-]+$/.test(selector.id) ? [`id~="^${selector.id}"`] : []
  const all = [...id, ...terms]
  const { name = '' } = selector
  // Alternatives: what a container is called here is one or the other.
  if (NAME.test(name)) return ['id', 'labels."nerdctl/name"'].map((field) => [`${field}=="${name}"`, ...all].join(','))
  return all.length === 0 ? [] : [all.join(',')]
}

function labelFilter(term: LabelTerm): string | undefined {
  if (term.op === 'eq' && PLAIN.test(term.key) && PLAIN.test(term.value)) return `labels."${term.key}"=="${term.value}"`
  return term.op === 'exists' && PLAIN.test(term.key) ? `labels."${term.key}"` : undefined
}
