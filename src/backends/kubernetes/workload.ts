/** A Deployment, StatefulSet or DaemonSet as drover's target, and what it says of itself. */

import * as z from 'zod'
import type { BackendKind, Facet, Part, Selector, Target, TargetId } from '../../core/model.ts'
import { type Fact, refused } from '../wire/rollout.ts'
import type { Query } from './api.ts'
import { isPrivileged, Owner, Pod, SYSTEM } from './pod.ts'

export const KINDS = { deployment: 'deployments', statefulset: 'statefulsets', daemonset: 'daemonsets' } as const
export type Kind = keyof typeof KINDS

const Labels = z.record(z.string(), z.string())
const Container = z.looseObject({ name: z.string(), image: z.string().nullish() })
export type Container = z.infer<typeof Container>

/** Sent back whole by an undo, so nothing of it is dropped. */
export const Template = z.looseObject({
  metadata: z.looseObject({ labels: Labels.nullish(), annotations: Labels.nullish() }).nullish(),
  spec: z.looseObject({ containers: z.array(Container), initContainers: z.array(Container).nullish() }),
})
export type Template = z.infer<typeof Template>

export const Metadata = z.object({
  name: z.string(),
  namespace: z.string(),
  uid: z.string(),
  resourceVersion: z.string(),
  generation: z.number().nullish(),
  labels: Labels.nullish(),
  annotations: Labels.nullish(),
  ownerReferences: z.array(Owner.extend({ uid: z.string().nullish() })).nullish(),
})

export const LabelSelector = z.object({
  matchLabels: Labels.nullish(),
  matchExpressions: z.array(z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).nullish() })).nullish(),
})

const Condition = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().nullish(),
  message: z.string().nullish(),
})
const Count = z.number().nullish()

/** apps/v1, as far as a rollout reads it (kubernetes/api apps/v1/types.go). */
export const Workload = z.object({
  metadata: Metadata,
  spec: z.object({
    replicas: Count,
    paused: z.boolean().nullish(),
    selector: LabelSelector,
    template: Template,
    updateStrategy: z.object({ type: z.string().nullish(), rollingUpdate: z.object({ partition: Count }).nullish() }).nullish(),
  }),
  status: z
    .object({
      observedGeneration: Count,
      replicas: Count,
      updatedReplicas: Count,
      readyReplicas: Count,
      availableReplicas: Count,
      currentRevision: z.string().nullish(),
      updateRevision: z.string().nullish(),
      desiredNumberScheduled: Count,
      updatedNumberScheduled: Count,
      numberAvailable: Count,
      conditions: z.array(Condition).nullish(),
    })
    .nullish(),
})
export type Workload = z.infer<typeof Workload>

export const REVISION = 'deployment.kubernetes.io/revision'
export const RESTARTED_AT = 'kubectl.kubernetes.io/restartedAt'

/** `<namespace>/<kind>/<name>`. */
export function pathOf(target: Target): { readonly kind: Kind; readonly namespace: string; readonly path: string } {
  const [namespace = '', kind = '', name = ''] = target.native.split('/')
  if (!isKind(kind))
    throw refused('backend_not_found', `${target.name} is not a workload that can be changed.`, 'List the workloads again.')
  const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/${KINDS[kind]}/${encodeURIComponent(name)}`
  return { kind, namespace, path }
}

function isKind(text: string): text is Kind {
  return Object.hasOwn(KINDS, text)
}

/**
 * Labels of its pods count as well as its own, so that what `exec` finds by a label, and a rule forbids by one, is found and forbidden
 * here, too. Where the two differ its pods' own wins, for that is what `exec` sees.
 */
export function workloadTarget(
  workload: Workload,
  kind: Kind,
  of: { readonly name: string; readonly kind: BackendKind },
): Target {
  const { metadata, spec } = workload
  const native = `${metadata.namespace}/${kind}/${metadata.name}`
  const pod = spec.template.spec
  const labels = { ...metadata.labels, ...spec.template.metadata?.labels }
  const facets: Partial<Record<Facet, string | undefined>> = {
    namespace: metadata.namespace,
    workload: `${kind}/${metadata.name}`,
    service: metadata.name,
    image: pod.containers[0]?.image ?? undefined,
  }
  return {
    id: `${of.name}/${native}` as TargetId,
    backend: of.name,
    kind: of.kind,
    native,
    uid: metadata.uid,
    name: `${kind}/${metadata.name}`,
    labels,
    facets: Object.fromEntries(Object.entries(facets).filter(([, value]) => value)),
    ...(SYSTEM.test(metadata.namespace) ? { system: true } : {}),
    ...(isStrong(pod) ? { privileged: true } : {}),
    parts: partsOf(containersIn(spec.template), labels),
  }
}

export function partsOf(containers: readonly Container[], labels: Target['labels']): readonly Part[] {
  return containers.map(({ name, image }) => ({ labels, facets: { container: name, ...(image ? { image } : {}) } }))
}

export function isStrong(template: Template['spec']): boolean {
  const pod = Pod.shape.spec.safeParse(template)
  // What cannot be read is taken for the worst.
  if (!pod.success) return true
  const all = [...pod.data.containers, ...(pod.data.initContainers ?? [])]
  return all.some((one) => isPrivileged({ spec: pod.data }, one))
}

const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/

/** Which kinds can be meant, and their list's query; the caller matches again. */
export function listQuery({ facets = {}, name }: Selector): { readonly kinds: readonly Kind[]; readonly query: Query } {
  const meant = [facets.workload, name].filter((one) => one?.includes('/')).map((one) => one?.split('/') ?? [])
  const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => meant.every(([one = '']) => one === kind || /[*?]/.test(one)))
  const named = [facets.service, ...meant.map(([, one]) => one)].filter((one) => one !== undefined && NAME.test(one))
  return { kinds, query: named.length > 0 ? { fieldSelector: named.map((one) => `metadata.name=${one}`).join(',') } : {} }
}

export function selectorQuery({ matchLabels, matchExpressions }: z.infer<typeof LabelSelector>): Query {
  const terms = [
    ...Object.entries(matchLabels ?? {}).map(([key, value]) => `${key}=${value}`),
    ...(matchExpressions ?? []).map(({ key, operator, values }) => {
      const list = `(${(values ?? []).join(',')})`
      if (operator === 'Exists') return key
      if (operator === 'DoesNotExist') return `!${key}`
      return `${key} ${operator === 'NotIn' ? 'notin' : 'in'} ${list}`
    }),
  ]
  return { labelSelector: terms.join(',') }
}

export function containersIn({ spec }: Template): readonly Container[] {
  return [...spec.containers, ...(spec.initContainers ?? [])]
}

export function imagesIn(template: Template): string {
  return template.spec.containers.map(({ name, image }) => `${name} ${image ?? '?'}`).join(', ')
}

/** Rows for what an undo would change: images with their values, everything else by name only, for it may hold secrets. */
export function templateFacts(now: Template, next: Template): readonly Fact[] {
  const after = new Map(containersIn(next).map((one) => [one.name, one]))
  const images = containersIn(now).flatMap((one): Fact[] => {
    const other = after.get(one.name)
    const [old, fresh] = [one.image ?? '?', other === undefined ? 'removed' : (other.image ?? '?')]
    return old === fresh ? [] : [{ name: `image ${one.name}`, before: old, after: fresh }]
  })
  const before = new Set(containersIn(now).map(({ name }) => name))
  const added = [...after.values()]
    .filter(({ name }) => !before.has(name))
    .map(({ name, image }): Fact => ({ name: `image ${name}`, before: 'none', after: image ?? '?' }))
  const fields = containersIn(now).flatMap((one) => {
    const names = differing(one, after.get(one.name) ?? one).filter((field) => field !== 'image')
    return names.map((field) => `${field} of ${one.name}`)
  })
  const pod = differing(now.spec, next.spec).filter((field) => field !== 'containers' && field !== 'initContainers')
  const others = [...fields, ...pod]
  return [
    ...images,
    ...added,
    ...(others.length > 0 ? [{ name: 'also changes', before: 'as now', after: others.join(', ') }] : []),
  ]
}

function differing(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): readonly string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((key) => JSON.stringify(a[key]) !== JSON.stringify(b[key]))
}

export function wantedOf(kind: Kind, { spec, status }: Workload): number {
  return kind === 'daemonset' ? (status?.desiredNumberScheduled ?? 0) : (spec.replicas ?? 1)
}
