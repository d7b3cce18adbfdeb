/**
 * `mode: v3`: rollouts by Rancher's own API, for sites that insist on it. It has no lock against others between a look and a change,
 * and writes lists back whole; the way through Kubernetes has neither fault and is the default (rancher-2.md §6, §7).
 */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { ExecEvent, Plan, Rollout, Selector, Target } from '../../core/model.ts'
import type { Workloads } from '../../core/ports.ts'
import { matchesGlob } from '../../core/selector.ts'
import type { Api } from '../kubernetes/api.ts'
import { Workload } from '../kubernetes/workload.ts'
import { lastWords, type PodTrouble, troublesOf } from '../kubernetes/workload-status.ts'
import { containerFor } from '../kubernetes/workloads.ts'
import type { HttpResponse } from '../transport.ts'
import {
  changed,
  pace as defaultPace,
  type Fact,
  maybe,
  oneLine,
  type Pace,
  refused,
  sealOf,
  stderr,
  watch,
} from '../wire/rollout.ts'
import type { RancherApi } from './api.ts'
import { no, readError, refusal } from './errors.ts'
import {
  CHANGEABLE,
  type Container,
  contentOf,
  differences,
  imagesOf,
  lookAtV3,
  REVISION,
  standingV3,
  targetOfV3,
  WorkloadV3,
} from './workload-v3.ts'

export type V3Options = {
  readonly rancher: RancherApi
  /** The same cluster through the proxy: for what fails in pods, which is only looked at. */
  readonly cluster: Api
  /** `c-abc12`. */
  readonly clusterId: string
  /** `p-def34`; those to list. */
  readonly projects: (signal: AbortSignal) => Promise<readonly string[]>
  readonly namespaces?: readonly string[] | undefined
  readonly name: string
  readonly pace?: Pace | undefined
}

type Change = { readonly method: 'PUT' | 'POST'; readonly path: string; readonly body?: unknown; readonly shown?: unknown }
type Draft = {
  readonly workload: WorkloadV3
  readonly facts: readonly Fact[]
  readonly change?: Change
  readonly undo?: Plan['undo']
}

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

/** `/v3/project/c-abc12:p-def34/workloads/deployment:default:web`. */
function pathOf(
  { clusterId }: V3Options,
  target: Target,
): { readonly path: string; readonly kind: string; readonly plain: string } {
  const [project = '', namespace = '', kind = '', name = ''] = target.native.split('/')
  if (!CHANGEABLE.includes(kind)) throw no('backend_not_found', `${target.name} is no workload.`, 'List the workloads again.')
  return {
    kind,
    path: `/v3/project/${[clusterId, project].map(encodeURIComponent).join(':')}/workloads/${[kind, namespace, name].map(encodeURIComponent).join(':')}`,
    plain: `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/${kind}s/${encodeURIComponent(name)}`,
  }
}

async function read(options: V3Options, target: Target, signal: AbortSignal): Promise<WorkloadV3> {
  return options.rancher.one(pathOf(options, target).path, WorkloadV3, signal)
}

async function draft(options: V3Options, target: Target, rollout: Rollout, signal: AbortSignal): Promise<Draft> {
  const { path, kind } = pathOf(options, target)
  const workload = await read(options, target, signal)
  const isPaused = workload.paused === true
  const containers = workload.containers ?? []
  switch (rollout.verb) {
    case 'image': {
      const init = containers.filter((one) => one.initContainer === true)
      const plain = containers.filter((one) => one.initContainer !== true)
      const container = containerFor(target, { containers: plain, initContainers: init }, rollout)
      // Complete, for the list is replaced: what is left out of it is deleted.
      const all = containers.map((one) => (one === container ? { ...one, image: rollout.image } : one))
      const shown = all.map(({ name, image, ...rest }) => ({
        name,
        image,
        '…': `${Object.keys(rest).length} more fields as they are`,
      }))
      const facts = [{ name: `image ${container.name}`, before: container.image ?? '?', after: rollout.image }]
      const change: Change = { method: 'PUT', path, body: { containers: all }, shown: { containers: shown } }
      return { workload, facts, change, ...(await undoTo(options, target, signal)) }
    }
    case 'restart': {
      refusePaused(target, isPaused, 'restarted')
      const facts = [{ name: 'restarted', before: workload.annotations?.['cattle.io/timestamp'] ?? 'never', after: 'now' }]
      return {
        workload,
        facts,
        change: { method: 'POST', path: `${path}?action=redeploy` },
        ...(await undoTo(options, target, signal)),
      }
    }
    case 'pause':
    case 'resume': {
      const paused = rollout.verb === 'pause'
      if (kind !== 'deployment')
        throw refused('unsupported', `Only a Deployment can be paused; ${target.name} is none.`, 'Use image, undo or scale.')
      if (paused === isPaused)
        throw refused('unsupported', `${target.name} is ${paused ? 'paused already' : 'not paused'}.`, 'rollout status shows how it stands.')
      const facts = [{ name: 'paused', before: String(isPaused), after: String(paused) }]
      return { workload, facts, change: { method: 'POST', path: `${path}?action=${rollout.verb}` } }
    }
    case 'scale': {
      if (kind === 'daemonset')
        throw refused('unsupported', `${target.name} runs once on every node; it has no scale.`, 'Label or taint nodes.')
      const facts = [{ name: 'replicas', before: String(workload.scale ?? '?'), after: String(rollout.replicas) }]
      return { workload, facts, change: { method: 'PUT', path, body: { scale: rollout.replicas } } }
    }
    case 'undo':
      refusePaused(target, isPaused, 'undone')
      return undoDraft(options, target, workload, rollout.to, signal)
    case 'status':
      return { workload, facts: standingV3(workload), ...(await undoTo(options, target, signal, true)) }
    case 'finish':
      throw refused('unsupported', 'Kubernetes has no upgrades to finish: a rollout ends by itself.', 'rollout status shows how it stands.')
    default:
      return rollout satisfies never
  }
}

function refusePaused(target: Target, isPaused: boolean, done: string): void {
  if (isPaused)
    throw refused(
      'unsupported',
      `${target.name} is paused and cannot be ${done}.`,
      'First rollout resume: what was held then moves.',
    )
}

type Revision = { readonly number: number; readonly id: string; readonly containers: readonly Container[]; readonly says: string }

const Revisions = z.object({ data: z.array(WorkloadV3) })

/** Newest first; a revision number is not what the action takes, so its ReplicaSet's id is looked up. */
async function revisionsOf(options: V3Options, target: Target, signal: AbortSignal): Promise<readonly Revision[]> {
  const { path, kind } = pathOf(options, target)
  if (kind !== 'deployment') return []
  const response = await options.rancher.get(`${path}/revisions`, signal)
  if (response.status !== 200) throw refusal(response) ?? unreadable()
  // On an internal error this link answers 200 and nothing (LinkHandler).
  const parsed = Revisions.safeParse(jsonOf(response.body))
  if (!parsed.success) throw unreadable()
  return parsed.data.data
    .map((one) => {
      const number = Number(one.workloadAnnotations?.[REVISION] ?? 0)
      return { number, id: one.id, containers: one.containers ?? [], says: `revision ${number}: ${imagesOf(one)}` }
    })
    .filter(({ number }) => number > 0)
    .sort((a, b) => b.number - a.number)
}

function unreadable(): BackendError {
  return no('backend_unavailable', 'Rancher did not tell the revisions.', 'Try again, or set the image that is wanted.')
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function undoTo(
  options: V3Options,
  target: Target,
  signal: AbortSignal,
  isLook = false,
): Promise<{ readonly undo?: Plan['undo'] }> {
  const revisions = await revisionsOf(options, target, signal).catch((error: unknown) => {
    if (error instanceof BackendError) return []
    throw error
  })
  const back = revisions[isLook ? 1 : 0]
  return back ? { undo: { to: String(back.number), says: back.says } } : {}
}

async function undoDraft(
  options: V3Options,
  target: Target,
  workload: WorkloadV3,
  to: string | undefined,
  signal: AbortSignal,
): Promise<Draft> {
  const { path, kind } = pathOf(options, target)
  if (kind !== 'deployment')
    throw refused('unsupported', `There is nothing to go back to: /v3 keeps revisions of Deployments only.`, 'Use mode: proxy, or rollout image.')
  const [current, ...before] = await revisionsOf(options, target, signal)
  const back = to === undefined ? before[0] : before.find(({ number }) => String(number) === to)
  if (current === undefined || before.length === 0)
    throw refused(
      'unsupported',
      `There is nothing to go back to: ${target.name} has no revision before this one.`,
      'rollout image sets what is wanted.',
    )
  if (back === undefined)
    throw refused(
      'usage',
      `${target.name} has no such revision. It has ${before
        .slice(0, 10)
        .map(({ says }) => says)
        .join('; ')}.`,
      'Take one.',
    )
  const images = new Map(back.containers.map(({ name, image }) => [name, image]))
  const facts = [
    { name: 'revision', before: String(current.number), after: `${back.number} again, with a new number` },
    ...(workload.containers ?? []).flatMap(({ name, image }): Fact[] => {
      const after = images.get(name) ?? 'removed'
      return image === after ? [] : [{ name: `image ${name}`, before: image ?? '?', after }]
    }),
    // Rancher copies the pod's spec and nothing else.
    { name: 'labels and annotations', before: 'stay as they are' },
  ]
  const change: Change = { method: 'POST', path: `${path}?action=rollback`, body: { replicaSetId: back.id } }
  return { workload, facts, change, undo: { to: String(current.number), says: current.says } }
}

async function planOf({ workload, facts, change, undo }: Draft): Promise<Plan> {
  const body = change?.shown ?? change?.body
  return {
    facts,
    change: change ? [`${change.method} ${change.path}`, ...(body === undefined ? [] : [JSON.stringify(body)])].join('\n') : '',
    seal: await sealOf({ change: change ?? null, content: contentOf(workload) }),
    ...(undo ? { undo } : {}),
  }
}

type Applying = {
  readonly target: Target
  readonly rollout: Rollout
  readonly plan: Plan
  readonly exec: string
  readonly signal: AbortSignal
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
    yield* watching(options, applying, { isLook: true, isSeen: () => true })
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
  yield* watching(options, applying, { isSeen })
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
  const error = refusal(response) ?? no('backend_protocol', `Rancher answered with HTTP ${status}.`, 'rollout status shows how it stands.')
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
  { target, signal }: Applying,
  how: { readonly isLook?: boolean; readonly isSeen: (one: WorkloadV3) => boolean },
): AsyncGenerator<ExecEvent> {
  const { plain } = pathOf(options, target)
  let seen: readonly PodTrouble[] = []
  yield* watch({
    pace: options.pace ?? defaultPace,
    signal,
    async look(within) {
      const workload = await read(options, target, within)
      const look = lookAtV3(workload, how.isSeen(workload))
      if (look.status === 'done') return look
      seen = await podTroubles(options.cluster, plain, target, within)
      if (look.status === 'stuck') return { ...look, troubles: seen }
      if (!how.isLook) return { ...look, troubles: seen }
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
