/** A workload as Rancher's `/v3` shows it: as drover's target, and how it stands (rancher-2.md §6). */

import * as z from 'zod'
import type { Target, TargetId } from '../../core/model.ts'
import { SYSTEM } from '../kubernetes/pod.ts'
import { isStrong as isStrongPod, partsOf } from '../kubernetes/workload.ts'
import { type Asked, type Fact, type Look, oneLine, outscaled, paused } from '../wire/rollout.ts'

const Texts = z.record(z.string(), z.string())
const Container = z.looseObject({
  name: z.string(),
  image: z.string().nullish(),
  initContainer: z.boolean().nullish(),
})
export type Container = z.infer<typeof Container>

/** RR pkg/client/generated/project/v3/zz_generated_workload.go. */
export const WorkloadV3 = z.object({
  id: z.string(),
  uuid: z.string().nullish(),
  type: z.string(),
  name: z.string(),
  namespaceId: z.string(),
  state: z.string().nullish(),
  transitioning: z.string().nullish(),
  transitioningMessage: z.string().nullish(),
  scale: z.number().nullish(),
  paused: z.boolean().nullish(),
  /** Init containers too. */
  containers: z.array(Container).nullish(),
  /** Read by `isStrong`, by the rules for pods of Kubernetes. */
  hostNetwork: z.unknown().optional(),
  hostPID: z.unknown().optional(),
  hostIPC: z.unknown().optional(),
  volumes: z.unknown().optional(),
  /** Of the pods' template. */
  labels: Texts.nullish(),
  annotations: Texts.nullish(),
  workloadLabels: Texts.nullish(),
  workloadAnnotations: Texts.nullish(),
  deploymentStatus: z
    .object({
      observedGeneration: z.number().nullish(),
      replicas: z.number().nullish(),
      updatedReplicas: z.number().nullish(),
      availableReplicas: z.number().nullish(),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), reason: z.string().nullish(), message: z.string().nullish() }))
        .nullish(),
    })
    .nullish(),
})
export type WorkloadV3 = z.infer<typeof WorkloadV3>

export const REVISION = 'deployment.kubernetes.io/revision'
export const CHANGEABLE = ['deployment', 'statefulset', 'daemonset']

/** `<project>/<namespace>/<kind>/<name>`; the cluster comes before it. */
export function targetOfV3(one: WorkloadV3, backend: string, project: string): Target {
  const native = `${project}/${one.namespaceId}/${one.type}/${one.name}`
  const name = `${one.type}/${one.name}`
  const image = one.containers?.[0]?.image
  // Where the two differ its pods' own wins, for that is what `exec` sees.
  const labels = { ...one.workloadLabels, ...one.labels }
  return {
    id: `${backend}/${native}` as TargetId,
    backend,
    kind: 'rancher2',
    native,
    ...(one.uuid ? { uid: one.uuid } : {}),
    name,
    labels,
    facets: { namespace: one.namespaceId, workload: name, service: one.name, ...(image ? { image } : {}) },
    ...(SYSTEM.test(one.namespaceId) ? { system: true } : {}),
    ...(isStrong(one) ? { privileged: true } : {}),
    parts: partsOf(one.containers ?? [], labels),
  }
}

/** Judged as the same pod is when Kubernetes shows it: the names of its security settings are Rancher's (zz_generated_container.go). */
export function isStrong({ hostNetwork, hostPID, hostIPC, volumes, containers }: WorkloadV3): boolean {
  const inKubernetesWords = ({ name, privileged, capAdd, windowsOptions, volumeMounts }: Container) => ({
    name,
    securityContext: { privileged, capabilities: { add: capAdd }, windowsOptions },
    volumeMounts,
  })
  return isStrongPod({ hostNetwork, hostPID, hostIPC, volumes, containers: (containers ?? []).map(inKubernetesWords) })
}

/** What stands for a generation, which `/v3` does not tell: all that a change could overwrite, and all that a judgement rests on. */
export function contentOf(one: WorkloadV3): unknown {
  const { id, scale, paused, containers, labels, annotations, hostNetwork, hostPID, hostIPC, volumes } = one
  return { id, scale, paused, containers, labels, annotations, hostNetwork, hostPID, hostIPC, volumes }
}

export function imagesOf(one: Pick<WorkloadV3, 'containers'>): string {
  return (one.containers ?? []).map(({ name, image }) => `${name} ${image ?? '?'}`).join(', ')
}

/** Names of what differs, never values: they may hold secrets. */
export function differences(planned: readonly Container[], now: readonly Container[]): readonly string[] {
  const there = new Map(now.map((one) => [one.name, one]))
  const fields = planned.flatMap((one) => {
    const other = there.get(one.name)
    if (other === undefined) return [`the container ${one.name}, which is gone`]
    const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])]
    return keys.filter((key) => JSON.stringify(one[key]) !== JSON.stringify(other[key])).map((key) => `${key} of ${one.name}`)
  })
  const added = now.filter(({ name }) => !planned.some((one) => one.name === name))
  return [...fields, ...added.map(({ name }) => `the container ${name}, which is new`)]
}

export function standingV3(one: WorkloadV3): readonly Fact[] {
  return [
    { name: 'state', before: oneLine(`${one.state ?? '?'} ${one.transitioningMessage ?? ''}`) },
    ...(one.workloadAnnotations?.[REVISION] ? [{ name: 'revision', before: one.workloadAnnotations[REVISION] }] : []),
    ...(one.scale == null ? [] : [{ name: 'replicas', before: String(one.scale) }]),
    ...(one.containers ?? []).map(({ name, image }) => ({ name: `image ${name}`, before: image ?? '?' })),
    ...(one.paused ? [{ name: 'paused', before: 'true' }] : []),
  ]
}

/** Done is `active` and at rest; a Deployment has to have seen the change, too. */
export function lookAtV3(one: WorkloadV3, isSeen: boolean, asked: Asked): Look {
  const status = one.deploymentStatus
  const { verb } = asked.rollout
  const other = outscaled(asked, one.scale)
  if (other) return other
  const counts = status ? `: ${status.updatedReplicas ?? 0} updated, ${status.availableReplicas ?? 0} available` : ''
  const text = `${one.state ?? '?'}${counts}`
  const late = status?.conditions?.find((each) => each.type === 'Progressing' && each.reason === 'ProgressDeadlineExceeded')
  if (late && isSeen) return { status: 'stuck', why: oneLine(late.message ?? 'its progress deadline is exceeded'), troubles: [] }
  const going: Look = { status: 'going', text, mark: text, troubles: [] }
  if (!isSeen) return going
  if (one.paused === true) {
    // Its state says nothing of its pods then. Their number is not held back, only what is in them.
    const wanted = one.scale ?? 0
    const isThere = (status?.replicas ?? 0) === wanted && (status?.availableReplicas ?? 0) >= wanted
    if (verb === 'scale') return isThere ? { status: 'done', text } : going
    return paused(asked, text, isThere && (status?.updatedReplicas ?? 0) === wanted)
  }
  return one.state === 'active' && one.transitioning !== 'yes' ? { status: 'done', text } : going
}
