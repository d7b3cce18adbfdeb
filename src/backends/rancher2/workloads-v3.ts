/**
 * `mode: v3`: rollouts by Rancher's own API, for sites that insist on it. It has no lock against others between a look and a change,
 * and writes lists back whole; the way through Kubernetes has neither fault and is the default (rancher-2.md §6, §7).
 */

import { BackendError } from '../../core/errors.ts'
import type { ExecEvent, Rollout, Selector, Target } from '../../core/model.ts'
import type { Workloads } from '../../core/ports.ts'
import { matchesGlob } from '../../core/selector.ts'
import type { Api } from '../kubernetes/api.ts'
import { Workload } from '../kubernetes/workload.ts'
import { lastWords, type PodTrouble, troublesOf } from '../kubernetes/workload-status.ts'
import type { HttpResponse } from '../transport.ts'
import { type Applying, changed, pace as defaultPace, maybe, oneLine, refused, sealOf, stderr, watch } from '../wire/rollout.ts'
import { no, readError, refusal } from './errors.ts'
import { CHANGEABLE, type Container, contentOf, differences, lookAtV3, targetOfV3, WorkloadV3 } from './workload-v3.ts'
import { type Change, type Draft, draft, pathOf, planOf, read, type V3Options } from './workload-v3-plan.ts'

export function v3Workloads(options: V3Options): Workloads {
  return {
    verbs: ['image', 'restart', 'pause', 'resume', 'undo', 'scale', 'status'],
    list: (selector, signal) => list(options, selector, signal),
    plan: async (target, rollout, signal) => planOf(await draft(options, target, rollout, signal)),
    apply: (target, rollout, plan, exec, signal) => apply(options, { target, rollout, plan, exec, signal }),
  }
}

async function list(options: V3Options, selector: Selector, signal: AbortSignal): Promise<readonly Target[]> {
  const { rancher, clusterId, name, namespaces } = options
  const targets: Target[] = []
  for (const project of await options.projects(signal)) {
    const found = await rancher.list(`/v3/project/${clusterId}:${project}/workloads`, WorkloadV3, signal)
    targets.push(...found.filter(({ type }) => CHANGEABLE.includes(type)).map((one) => targetOfV3(one, name, project)))
  }
  const meant = selector.facets?.namespace
  return targets.filter(({ facets: { namespace = '' } }) => {
    const isInScope = namespaces === undefined || namespaces.includes(namespace)
    return isInScope && (meant === undefined || matchesGlob(meant, namespace))
  })
}

async function* apply(options: V3Options, applying: Applying): AsyncGenerator<ExecEvent> {
  const { target, rollout, plan, exec, signal } = applying
  const now = await draft(options, target, rollout, signal).catch((error: unknown) => {
    // It could be planned a moment ago, so someone has been there.
    throw error instanceof BackendError && error.code === 'unsupported' ? changed(target.name) : error
  })
  const started: ExecEvent = { type: 'started', handle: { target: target.id, exec } }
  if (now.change === undefined) {
    yield started
    yield* watching(options, applying, { isSeen: () => true })
    return
  }
  if ((await planOf(now)).seal !== plan.seal) throw changed(target.name)
  await send(options, now.change, target, signal)
  yield started
  const after = await read(options, target, signal).catch((error: unknown) => {
    throw maybe(error, signal)
  })
  yield* overtaken(rollout, now, after)
  // A change of nothing moves no generation.
  const before = now.workload.deploymentStatus?.observedGeneration
  const isSame = (await sealOf(contentOf(after))) === (await sealOf(contentOf(now.workload)))
  let looks = 0
  const isSeen = (one: WorkloadV3) => {
    looks += 1
    const seen = one.deploymentStatus?.observedGeneration
    return isSame || (before != null && seen != null ? seen > before : looks > 2)
  }
  yield* watching(options, applying, { isSeen, wasPaused: now.workload.paused === true })
}

/** Once: an action's answer is empty, and a PUT's tells nothing that the next look does not. */
async function send(options: V3Options, change: Change, target: Target, signal: AbortSignal): Promise<void> {
  const response = await options.rancher.write(change.method, change.path, signal, change.body)
  if (response.status < 300) return
  throw writeRefused(response, target)
}

function writeRefused(response: HttpResponse, target: Target): BackendError {
  const { status, message } = readError(response.status, response.body)
  const said = oneLine(message)
  if (status === 409) return changed(target.name)
  if (status === 422)
    return refused(
      'unsupported',
      `Rancher does not take the change of ${target.name}: ${said || 'it is invalid'}.`,
      'rollout status shows how it stands.',
    )
  const error =
    refusal(response) ?? no('backend_protocol', `Rancher answered with HTTP ${status}.`, 'rollout status shows how it stands.')
  return status >= 500 ? new BackendError(error.toFailure(), { ran: 'maybe' }) : error
}

/** The server locks only its own read, so a change that came between is found by looking again. */
function* overtaken(rollout: Rollout, { workload: before, change }: Draft, after: WorkloadV3): Generator<ExecEvent> {
  const planned = (change?.body as { readonly containers?: readonly Container[] } | undefined)?.containers
  const differ = [
    ...(planned ? differences(planned, after.containers ?? []) : []),
    ...(rollout.verb !== 'scale' && after.scale !== before.scale ? ['scale'] : []),
    ...(rollout.verb === 'image' && after.paused !== before.paused ? ['paused'] : []),
    ...(rollout.verb === 'image' && JSON.stringify(after.annotations) !== JSON.stringify(before.annotations)
      ? ['annotations']
      : []),
  ]
  if (differ.length > 0)
    yield stderr(`someone else changed it at the same time; it differs from what was planned in: ${oneLine(differ.join(', '))}`)
}

async function* watching(
  options: V3Options,
  { target, rollout, signal }: Applying,
  how: { readonly wasPaused?: boolean; readonly isSeen: (one: WorkloadV3) => boolean },
): AsyncGenerator<ExecEvent> {
  const { plain } = pathOf(options, target)
  let seen: readonly PodTrouble[] = []
  yield* watch({
    verb: rollout.verb,
    pace: options.pace ?? defaultPace,
    signal,
    async look(within) {
      const workload = await read(options, target, within)
      const look = lookAtV3(workload, how.isSeen(workload), { rollout, wasPaused: how.wasPaused ?? false })
      if (look.status === 'done') return look
      seen = await podTroubles(options.cluster, plain, target, within)
      if (look.status === 'stuck') return { ...look, troubles: seen }
      if (rollout.verb !== 'status') return { ...look, troubles: seen }
      // A look at how it stands waits for nothing.
      return seen.length > 0 ? { status: 'stuck', why: look.text, troubles: seen } : { status: 'done', text: look.text }
    },
    logs: (_, within) => lastWords(options.cluster, seen, within),
  })
}

/** `/v3` does not say why a pod fails; the cluster does, where the proxy is open. */
async function podTroubles(cluster: Api, path: string, target: Target, signal: AbortSignal): Promise<readonly PodTrouble[]> {
  try {
    return await troublesOf(cluster, await cluster.read('GET', path, Workload, { what: target.name, signal }), signal)
  } catch (error) {
    if (error instanceof BackendError && !signal.aborted) return []
    throw error
  }
}
