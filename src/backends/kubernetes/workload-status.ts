/** How the rollout of a workload stands: done, going or stuck, by its own status and by what its new pods say. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import { type Asked, type Look, oneLine, outscaled, paused, type Trouble } from '../wire/rollout.ts'
import type { Api } from './api.ts'
import { type Kind, RESTARTED_AT, selectorQuery, type Workload, wantedOf } from './workload.ts'

const State = z.object({
  waiting: z.object({ reason: z.string().nullish(), message: z.string().nullish() }).nullish(),
  terminated: z.object({ reason: z.string().nullish(), message: z.string().nullish(), exitCode: z.number().nullish() }).nullish(),
})
const ContainerStatus = z.object({
  name: z.string(),
  ready: z.boolean().nullish(),
  restartCount: z.number().nullish(),
  state: State.nullish(),
  lastState: State.nullish(),
})
export const RolledPod = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    deletionTimestamp: z.string().nullish(),
    annotations: z.record(z.string(), z.string()).nullish(),
  }),
  spec: z.object({ containers: z.array(z.object({ name: z.string(), image: z.string().nullish() })) }),
  status: z
    .object({
      phase: z.string().nullish(),
      reason: z.string().nullish(),
      message: z.string().nullish(),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), reason: z.string().nullish(), message: z.string().nullish() }))
        .nullish(),
      containerStatuses: z.array(ContainerStatus).nullish(),
      initContainerStatuses: z.array(ContainerStatus).nullish(),
    })
    .nullish(),
})
export type RolledPod = z.infer<typeof RolledPod>

/** Where the last words of a trouble are. */
export type LogPlace = { readonly pod: RolledPod; readonly container: string; readonly previous: boolean }
export type PodTrouble = Trouble & { readonly log?: LogPlace }

/** What a container that waits does not get over by waiting (kubernetes/kubernetes pkg/kubelet/images/types.go, container/sync_result.go). */
const FATAL =
  /^(ErrImagePull|ImagePullBackOff|ImageInspectError|ErrImageNeverPull|InvalidImageName|RegistryUnavailable|CrashLoopBackOff|CreateContainerConfigError|CreateContainerError|RunContainerError|PreStartHookError|PostStartHookError|StartError)$/

/** As `kubectl rollout status` decides (kubectl pkg/polymorphichelpers/rollout_status.go), and stricter: an old replica that still ends is not done. */
export function lookAt(kind: Kind, workload: Workload, troubles: readonly Trouble[], asked: Asked): Look {
  const { metadata, spec, status } = workload
  const wanted = wantedOf(kind, workload)
  const { verb } = asked.rollout
  const other = outscaled(asked, wanted)
  if (other) return other
  if ((status?.observedGeneration ?? 0) < (metadata.generation ?? 0))
    return { status: 'going', text: 'waiting for the controller', mark: `unseen ${metadata.generation}`, troubles }
  const at = countsOf(kind, workload)
  const text = `${at.updated} of ${wanted} updated, ${at.available} available${at.old > 0 ? `, ${at.old} old ones left` : ''}`
  const all = [...troubles, ...failedReplicas(workload)]
  const progressing = status?.conditions?.find(({ type }) => type === 'Progressing')
  if (kind === 'deployment' && progressing?.reason === 'ProgressDeadlineExceeded')
    return { status: 'stuck', why: oneLine(progressing.message ?? 'its progress deadline is exceeded'), troubles: all }
  const isPaused = spec.paused === true
  const isOnDelete = kind !== 'deployment' && spec.updateStrategy?.type === 'OnDelete'
  const isThere = at.all === wanted && at.available >= wanted
  const going: Look = { status: 'going', text, mark: `${at.updated} ${at.available} ${at.all}`, troubles: all }
  // Neither holds back the number of pods, only what is in them.
  if (verb === 'scale' && (isPaused || isOnDelete)) return isThere ? { status: 'done', text } : going
  const needed = Math.max(0, wanted - (kind === 'statefulset' ? (spec.updateStrategy?.rollingUpdate?.partition ?? 0) : 0))
  const isDone = at.updated >= needed && isThere && (at.old === 0 || needed < wanted)
  if (isPaused) return paused(asked, text, isDone)
  if (isDone) return { status: 'done', text: needed < wanted ? `${text} (partition ${wanted - needed})` : text }
  if (isOnDelete && verb === 'status') return { status: 'done', text: `update strategy OnDelete: ${text}` }
  if (isOnDelete)
    return { status: 'done', text: 'taken, held until its pods are deleted (update strategy OnDelete)', isHeld: true }
  return going
}

function countsOf(
  kind: Kind,
  workload: Workload,
): { readonly all: number; readonly updated: number; readonly available: number; readonly old: number } {
  const { status } = workload
  if (kind === 'daemonset') {
    const all = status?.desiredNumberScheduled ?? 0
    const updated = status?.updatedNumberScheduled ?? 0
    return { all, updated, available: status?.numberAvailable ?? 0, old: Math.max(0, all - updated) }
  }
  const all = status?.replicas ?? 0
  // A StatefulSet that has come to its new revision drops the count of updated ones [kubernetes pkg/controller/statefulset completeRollingUpdate].
  const isComplete = kind === 'statefulset' && status?.updateRevision === status?.currentRevision
  const updated = isComplete ? all : (status?.updatedReplicas ?? 0)
  // `availableReplicas` of a StatefulSet exists from 1.22 on.
  const available = (kind === 'statefulset' ? status?.readyReplicas : status?.availableReplicas) ?? 0
  return { all, updated, available, old: Math.max(0, all - updated) }
}

/** Pods that may not even be made: a quota, an admission rule. */
function failedReplicas({ status }: Workload): readonly Trouble[] {
  const failed = status?.conditions?.find((one) => one.type === 'ReplicaFailure' && one.status === 'True')
  return failed ? [{ who: 'its pods', why: oneLine(failed.message ?? failed.reason ?? 'cannot be made') }] : []
}

/** What is wrong with the pods of the new template. Without the right to list pods the workload's own status has to do. */
export async function troublesOf(api: Api, workload: Workload, signal: AbortSignal): Promise<readonly PodTrouble[]> {
  const { namespace } = workload.metadata
  const options = { what: `the pods of ${workload.metadata.name}`, query: selectorQuery(workload.spec.selector), signal }
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`
  const pods = await api.list(path, RolledPod, options).catch((error: unknown) => {
    if (error instanceof BackendError && error.code === 'backend_forbidden') return []
    throw error
  })
  const living = pods.filter(({ metadata }) => !metadata.deletionTimestamp)
  const fresh = living.filter((pod) => isOf(workload, pod))
  return (fresh.length > 0 ? fresh : living).flatMap((pod) => podTrouble(pod) ?? [])
}

/** By what the template says, so that no right to read ReplicaSets is needed. */
function isOf({ spec }: Workload, pod: RolledPod): boolean {
  const images = new Map(pod.spec.containers.map(({ name, image }) => [name, image]))
  return (
    spec.template.spec.containers.every(({ name, image }) => images.get(name) === image) &&
    spec.template.metadata?.annotations?.[RESTARTED_AT] === pod.metadata.annotations?.[RESTARTED_AT]
  )
}

function podTrouble(pod: RolledPod): PodTrouble | undefined {
  const { status, metadata } = pod
  const who = metadata.name
  const unscheduled = status?.conditions?.find((one) => one.type === 'PodScheduled' && one.status === 'False')
  if (unscheduled) return { who, why: oneLine(unscheduled.message ?? 'no node takes it') }
  if (status?.phase === 'Failed') return { who, why: oneLine(`${status.reason ?? 'failed'} ${status.message ?? ''}`) }
  for (const one of [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]) {
    const { waiting, terminated } = one.state ?? {}
    const before = one.lastState?.terminated
    const restarts = one.restartCount ?? 0
    const log = { pod, container: one.name, previous: restarts > 0 && !terminated }
    const times =
      restarts > 0 ? ` (restarted ${restarts} times${before ? `, last exit code ${before.exitCode ?? '?'}` : ''})` : ''
    if (waiting && FATAL.test(waiting.reason ?? ''))
      return { who: `${who} ${one.name}`, why: oneLine(`${waiting.reason}: ${waiting.message ?? ''}${times}`), log }
    const code = terminated?.exitCode ?? 0
    if (terminated && code !== 0)
      return { who: `${who} ${one.name}`, why: oneLine(`${terminated.reason ?? 'ended'}, exit code ${code}${times}`), log }
    if (one.ready === false && restarts > 0 && before && (before.exitCode ?? 0) !== 0)
      return { who: `${who} ${one.name}`, why: `not ready${times}`, log }
  }
  return undefined
}

/** Bounds of what is shown of the logs: pods, lines, bytes of each. */
const MAX_LOGS = 3
const TAIL_LINES = 20
const LIMIT_BYTES = 8192

export async function lastWords(api: Api, troubles: readonly PodTrouble[], signal: AbortSignal): Promise<readonly string[]> {
  const told: string[] = []
  for (const { log } of troubles.filter((one) => one.log !== undefined).slice(0, MAX_LOGS)) {
    if (log === undefined) continue
    const { name, namespace } = log.pod.metadata
    // It may have been started again since it was looked at: then what it said last is with the one before, or the other way round.
    const text = (await wordsOf(api, log, signal)) || (await wordsOf(api, { ...log, previous: !log.previous }, signal))
    if (text !== '') told.push(`--- the last lines of ${namespace}/${name} ${log.container}`, text)
  }
  return told
}

/** What a kubelet answers with 200 in place of a log that is not there, or no more (kubernetes pkg/kubelet/kuberuntime/logs). */
const NO_LOG = /^(failed to try resolving symlinks in path|unable to retrieve container logs for|failed to open log file) /

/** Empty where there are none. */
async function wordsOf(api: Api, place: LogPlace, signal: AbortSignal): Promise<string> {
  const text = await logOf(api, place, signal).catch((error: unknown) => {
    // A container that never began has no log: 400 says so.
    if (error instanceof BackendError && ['backend_protocol', 'backend_not_found'].includes(error.code)) return ''
    throw error
  })
  return text.trim() === '' || NO_LOG.test(text) ? '' : text.replace(/\n$/, '')
}

async function logOf(api: Api, { pod, container, previous }: LogPlace, signal: AbortSignal): Promise<string> {
  const { name, namespace } = pod.metadata
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/log`
  const query = {
    container,
    tailLines: String(TAIL_LINES),
    limitBytes: String(LIMIT_BYTES),
    ...(previous ? { previous: 'true' } : {}),
  }
  const response = await api.request('GET', path, { what: `the log of ${name}`, query, signal, maxBytes: 4 * LIMIT_BYTES })
  return response.body
}
