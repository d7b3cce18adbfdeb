/** What a rollout would change on a Kubernetes workload: the patch, the rows of before and after, and the way back (kubernetes.md §12). */

import { BackendError } from '../../core/errors.ts'
import type { Plan, Rollout, Target } from '../../core/model.ts'
import {
  changed,
  containerRefused,
  type Fact,
  noFinish,
  noScale,
  pausing,
  refused,
  refuseStronger,
  sealOf,
} from '../wire/rollout.ts'
import type { Api } from './api.ts'
import { type Revision, revisionsOf, STRATEGIC } from './revisions.ts'
import {
  type Container,
  containersIn,
  isStrong,
  type Kind,
  pathOf,
  RESTARTED_AT,
  templateFacts,
  Workload,
  wantedOf,
} from './workload.ts'
import { lookAt } from './workload-status.ts'

/** A strategic merge, or a JSON patch where a template is put back whole. */
export type Patch = { readonly contentType: string; readonly body: unknown }
export type Draft = {
  readonly kind: Kind
  readonly workload: Workload
  readonly path: string
  readonly facts: readonly Fact[]
  readonly patch?: Patch
  /** Of the patch, what may be shown: a whole template holds environments. */
  readonly shown?: unknown
  readonly undo?: Plan['undo']
  readonly back?: string
}

/** What would be done, made by looking only. `now` is what a restart would be marked with. */
export async function draft(api: Api, target: Target, rollout: Rollout, now: string, signal: AbortSignal): Promise<Draft> {
  const { kind, path } = pathOf(target)
  const workload = await api.read('GET', path, Workload, { what: target.name, signal })
  // Made anew under its name since it was listed: whoever may change that one was not asked (S21).
  if (target.uid !== undefined && workload.metadata.uid !== target.uid) throw changed(target.name)
  const of = { kind, workload, path }
  const { spec } = workload
  const isPaused = spec.paused === true
  const merge = (body: unknown): Patch => ({ contentType: STRATEGIC, body })
  switch (rollout.verb) {
    case 'image': {
      const container = containerFor(target, spec.template.spec, rollout)
      const list = spec.template.spec.containers.includes(container) ? 'containers' : 'initContainers'
      const body = { spec: { template: { spec: { [list]: [{ name: container.name, image: rollout.image }] } } } }
      const facts = [{ name: `image ${container.name}`, before: container.image ?? '?', after: rollout.image }]
      const held = isPaused ? [{ name: 'paused', before: 'yes: nothing moves until resume' }] : []
      const { beside, ...undo } = await around(api, kind, workload, signal)
      return { ...of, facts: [...facts, ...beside, ...held], patch: merge(body), ...undo }
    }
    case 'restart': {
      refusePaused(target, isPaused, 'restarted')
      const body = { spec: { template: { metadata: { annotations: { [RESTARTED_AT]: now } } } } }
      const before = spec.template.metadata?.annotations?.[RESTARTED_AT] ?? 'never'
      const { beside, ...undo } = await around(api, kind, workload, signal)
      return { ...of, facts: [{ name: 'restarted', before, after: now }, ...beside], patch: merge(body), ...undo }
    }
    case 'pause':
    case 'resume': {
      const facts = [pausing(target, rollout.verb, { kind, isPaused })]
      return { ...of, facts, patch: merge({ spec: { paused: !isPaused } }) }
    }
    case 'scale': {
      if (kind === 'daemonset') throw noScale(target)
      const facts = [{ name: 'replicas', before: String(wantedOf(kind, workload)), after: String(rollout.replicas) }]
      return { ...of, facts, patch: merge({ spec: { replicas: rollout.replicas } }) }
    }
    case 'undo': {
      refusePaused(target, isPaused, 'undone')
      const [current, ...before] = await revisionsOf(api, kind, workload, signal)
      const back = revisionFor(target, current, before, rollout.to)
      refuseStronger(target, isStrong(back.template.spec))
      const facts = [
        { name: 'revision', before: String(current?.number ?? '?'), after: `${back.number} again, with a new number` },
        ...templateFacts(spec.template, back.template),
      ]
      const shown = `the template of ${back.says}`
      return { ...of, facts, patch: back.patch, shown, back: String(back.number), ...(current ? { undo: undoOf(current) } : {}) }
    }
    case 'status': {
      const [current, previous] = await readableRevisions(api, kind, workload, signal)
      return { ...of, facts: standing(kind, workload, current), ...(previous ? { undo: undoOf(previous) } : {}) }
    }
    case 'finish':
      throw noFinish()
    default:
      return rollout satisfies never
  }
}

export function refusePaused(target: Target, isPaused: boolean, done: string): void {
  if (isPaused)
    throw refused(
      'unsupported',
      `${target.name} is paused and cannot be ${done}.`,
      'First rollout resume: what was held then moves.',
    )
}

/** A name that the list does not hold would be added to it by the merge, so it is looked up. */
export function containerFor(
  target: Target,
  template: { readonly containers: readonly Container[]; readonly initContainers?: readonly Container[] | null | undefined },
  rollout: Extract<Rollout, { verb: 'image' }>,
): Container {
  const all = [...template.containers, ...(template.initContainers ?? [])]
  const wanted = rollout.container ?? (template.containers.length === 1 ? template.containers[0]?.name : undefined)
  const found = all.find(({ name }) => name === wanted)
  if (wanted === undefined || found === undefined)
    throw containerRefused(
      target.name,
      rollout.container,
      all.map(({ name }) => name),
    )
  return found
}

export function revisionFor(
  target: Target,
  current: Revision | undefined,
  before: readonly Revision[],
  to: string | undefined,
): Revision {
  const [previous] = before
  if (current === undefined || previous === undefined)
    throw refused(
      'unsupported',
      `There is nothing to go back to: ${target.name} has no revision before this one.`,
      'rollout image sets what is wanted.',
    )
  const found = to === undefined ? previous : [current, ...before].find(({ number }) => String(number) === to)
  if (found === current)
    throw refused(
      'unsupported',
      `${target.name} is at revision ${current.number} already.`,
      'rollout status shows how it stands.',
    )
  if (found) return found
  const list = before.slice(0, 10).map(({ says }) => says)
  throw refused('usage', `${target.name} has no revision ${JSON.stringify(to)}. It has ${list.join('; ')}.`, 'Take one of them.')
}

/** What stands around a change of the template; after it the way back is to what there is now. */
async function around(
  api: Api,
  kind: Kind,
  workload: Workload,
  signal: AbortSignal,
): Promise<{ readonly beside: readonly Fact[]; readonly undo?: Plan['undo'] }> {
  const [current] = await readableRevisions(api, kind, workload, signal)
  const replicas = replicasOf(kind, workload)
  if (!current) return { beside: [replicas] }
  const revision = { name: 'revision', before: String(current.number), after: 'a new one' }
  return { beside: [revision, replicas], undo: undoOf(current) }
}

function replicasOf(kind: Kind, workload: Workload): Fact {
  const { status } = workload
  const ready = status?.readyReplicas ?? status?.numberAvailable ?? 0
  return { name: 'replicas', before: `${ready} of ${wantedOf(kind, workload)} ready` }
}

/** Without the right to read them nothing is said of a way back. */
async function readableRevisions(api: Api, kind: Kind, workload: Workload, signal: AbortSignal): Promise<readonly Revision[]> {
  return revisionsOf(api, kind, workload, signal).catch((error: unknown) => {
    if (error instanceof BackendError && error.code === 'backend_forbidden') return []
    throw error
  })
}

export function undoOf({ number, says }: Revision): NonNullable<Plan['undo']> {
  return { to: String(number), says }
}

function standing(kind: Kind, workload: Workload, current: Revision | undefined): readonly Fact[] {
  const { spec } = workload
  const look = lookAt(kind, workload, [], { rollout: { verb: 'status' } })
  return [
    { name: 'state', before: look.status === 'stuck' ? `stuck: ${look.why}` : look.text },
    ...(current ? [{ name: 'revision', before: String(current.number) }] : []),
    replicasOf(kind, workload),
    ...containersIn(spec.template).map(({ name, image }) => ({ name: `image ${name}`, before: image ?? '?' })),
    ...(spec.paused ? [{ name: 'paused', before: 'true' }] : []),
  ]
}

export async function planOf({ workload, path, facts, patch, shown, undo, back }: Draft): Promise<Plan> {
  const { uid, generation } = workload.metadata
  const body = shown === undefined ? patch?.body : Array.isArray(patch?.body) ? masked(patch.body, shown) : shown
  return {
    facts,
    change: patch ? `PATCH ${path}\nContent-Type: ${patch.contentType}\n${JSON.stringify(body)}` : '',
    seal: await sealOf({ path, patch: patch ?? null, uid, generation: generation ?? 0 }),
    ...(undo ? { undo } : {}),
    ...(back === undefined ? {} : { back }),
  }
}

function masked(operations: readonly unknown[], shown: unknown): readonly unknown[] {
  return operations.map((one) => ({ ...(one as Readonly<Record<string, unknown>>), value: shown }))
}
