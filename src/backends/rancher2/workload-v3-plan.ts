/** What a rollout by Rancher's `/v3` would change: the request, the rows of before and after, and the way back (rancher-2.md §6). */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { Plan, Rollout, Target } from '../../core/model.ts'
import type { Api } from '../kubernetes/api.ts'
import { containerFor, refusePaused } from '../kubernetes/workload-plan.ts'
import { type Fact, noFinish, noScale, type Pace, pausing, refused, refuseStronger, sealOf } from '../wire/rollout.ts'
import type { RancherApi } from './api.ts'
import { no, refusal } from './errors.ts'
import { CHANGEABLE, type Container, contentOf, imagesOf, isStrong, REVISION, standingV3, WorkloadV3 } from './workload-v3.ts'

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

export type Change = { readonly method: 'PUT' | 'POST'; readonly path: string; readonly body?: unknown; readonly shown?: unknown }
export type Draft = {
  readonly workload: WorkloadV3
  readonly facts: readonly Fact[]
  readonly change?: Change
  readonly undo?: Plan['undo']
  readonly back?: string
}

/** `/v3/project/c-abc12:p-def34/workloads/deployment:default:web`. */
export function pathOf(
  { clusterId }: V3Options,
  target: Target,
): { readonly path: string; readonly kind: string; readonly plain: string } {
  const [project = '', namespace = '', kind = '', name = ''] = target.native.split('/')
  if (!CHANGEABLE.includes(kind))
    throw no('backend_not_found', `${target.name} is not a workload that can be changed.`, 'List the workloads again.')
  return {
    kind,
    path: `/v3/project/${[clusterId, project].map(encodeURIComponent).join(':')}/workloads/${[kind, namespace, name].map(encodeURIComponent).join(':')}`,
    plain: `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/${kind}s/${encodeURIComponent(name)}`,
  }
}

export async function read(options: V3Options, target: Target, signal: AbortSignal): Promise<WorkloadV3> {
  return options.rancher.one(pathOf(options, target).path, WorkloadV3, signal)
}

export async function draft(options: V3Options, target: Target, rollout: Rollout, signal: AbortSignal): Promise<Draft> {
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
      const facts = [pausing(target, rollout.verb, { kind, isPaused })]
      return { workload, facts, change: { method: 'POST', path: `${path}?action=${rollout.verb}` } }
    }
    case 'scale': {
      if (kind === 'daemonset') throw noScale(target)
      const facts = [{ name: 'replicas', before: String(workload.scale ?? '?'), after: String(rollout.replicas) }]
      return { workload, facts, change: { method: 'PUT', path, body: { scale: rollout.replicas } } }
    }
    case 'undo':
      refusePaused(target, isPaused, 'undone')
      return undoDraft(options, target, workload, rollout.to, signal)
    case 'status':
      return { workload, facts: standingV3(workload), ...(await undoTo(options, target, signal, true)) }
    case 'finish':
      throw noFinish()
    default:
      return rollout satisfies never
  }
}

type Revision = {
  readonly number: number
  readonly id: string
  readonly containers: readonly Container[]
  readonly isStrong: boolean
  readonly says: string
}

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
      const says = `revision ${number}: ${imagesOf(one)}`
      return { number, id: one.id, containers: one.containers ?? [], isStrong: isStrong(one), says }
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
    throw refused(
      'unsupported',
      `There is nothing to go back to: /v3 keeps revisions of Deployments only.`,
      'Use mode: proxy, or rollout image.',
    )
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
  refuseStronger(target, back.isStrong)
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
  return { workload, facts, change, back: String(back.number), undo: { to: String(current.number), says: current.says } }
}

export async function planOf({ workload, facts, change, undo, back }: Draft): Promise<Plan> {
  const body = change?.shown ?? change?.body
  return {
    facts,
    change: change ? [`${change.method} ${change.path}`, ...(body === undefined ? [] : [JSON.stringify(body)])].join('\n') : '',
    seal: await sealOf({ change: change ?? null, content: contentOf(workload) }),
    ...(undo ? { undo } : {}),
    ...(back === undefined ? {} : { back }),
  }
}
