/** What `rollout` does to Deployments, StatefulSets and DaemonSets: one patch, locked to what was looked at, and the watching after it (kubernetes.md §12). */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { BackendKind, ExecEvent, Plan, Rollout, Selector, Target } from '../../core/model.ts'
import type { Workloads } from '../../core/ports.ts'
import { TransportError } from '../transport.ts'
import {
  changed,
  containerRefused,
  pace as defaultPace,
  type Fact,
  maybe,
  type Pace,
  pause,
  refused,
  sealOf,
  watch,
} from '../wire/rollout.ts'
import { type Api, surelyUnsent } from './api.ts'
import { namespacesFor } from './pod.ts'
import { type Revision, revisionsOf, STRATEGIC } from './revisions.ts'
import {
  type Container,
  containersIn,
  imagesIn,
  KINDS,
  type Kind,
  listQuery,
  pathOf,
  RESTARTED_AT,
  templateFacts,
  Workload,
  wantedOf,
  workloadTarget,
} from './workload.ts'
import { lastWords, lookAt, type PodTrouble, troublesOf } from './workload-status.ts'

export type WorkloadsOptions = {
  readonly name: string
  readonly kind: BackendKind
  readonly scope: (signal: AbortSignal) => Promise<readonly string[] | 'all'>
  readonly pace?: Pace | undefined
}

/** A strategic merge, or a JSON patch where a template is put back whole. */
type Patch = { readonly contentType: string; readonly body: unknown }
export type Draft = {
  readonly kind: Kind
  readonly workload: Workload
  readonly path: string
  readonly facts: readonly Fact[]
  readonly patch?: Patch
  /** Of the patch, what may be shown: a whole template holds environments. */
  readonly shown?: unknown
  readonly undo?: Plan['undo']
}

export function kubernetesWorkloads(api: Api, options: WorkloadsOptions): Workloads {
  return {
    verbs: ['image', 'restart', 'pause', 'resume', 'undo', 'scale', 'status'],
    list: (selector, signal) => listWorkloads(api, options, selector, signal),
    plan: async (target, rollout, signal) => planOf(await draft(api, target, rollout, new Date().toISOString(), signal)),
    apply: (target, rollout, plan, exec, signal) =>
      apply(api, options.pace ?? defaultPace, { target, rollout, plan, exec, signal }),
  }
}

export async function listWorkloads(
  api: Api,
  options: Omit<WorkloadsOptions, 'pace'>,
  selector: Selector,
  signal: AbortSignal,
): Promise<readonly Target[]> {
  const namespaces = namespacesFor(selector, await options.scope(signal))
  const { kinds, query } = listQuery(selector)
  const places = namespaces === 'all' ? [''] : namespaces.map((one) => `/namespaces/${encodeURIComponent(one)}`)
  const targets: Target[] = []
  // One after the other: a list that could not be read whole is no list.
  for (const place of places) {
    for (const kind of kinds) {
      const what = `the ${KINDS[kind]} of ${place === '' ? 'all namespaces' : `namespace ${place.split('/')[2]}`}`
      const found = await api.list(`/apis/apps/v1${place}/${KINDS[kind]}`, Workload, { what, query, signal })
      targets.push(...found.map((one) => workloadTarget(one, kind, options)))
    }
  }
  return [...new Map(targets.map((one) => [one.id, one])).values()]
}

/** What would be done, made by looking only. `now` is what a restart would be marked with. */
async function draft(api: Api, target: Target, rollout: Rollout, now: string, signal: AbortSignal): Promise<Draft> {
  const { kind, path } = pathOf(target)
  const workload = await api.read('GET', path, Workload, { what: target.name, signal })
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
      return { ...of, facts: [...facts, ...held], patch: merge(body), ...(await undoTo(api, kind, workload, signal)) }
    }
    case 'restart': {
      refusePaused(target, isPaused, 'restarted')
      const body = { spec: { template: { metadata: { annotations: { [RESTARTED_AT]: now } } } } }
      const before = spec.template.metadata?.annotations?.[RESTARTED_AT] ?? 'never'
      const facts = [{ name: 'restarted', before, after: now }]
      return { ...of, facts, patch: merge(body), ...(await undoTo(api, kind, workload, signal)) }
    }
    case 'pause':
    case 'resume': {
      const paused = rollout.verb === 'pause'
      if (kind !== 'deployment')
        throw refused('unsupported', `Only a Deployment can be paused; ${target.name} is none.`, 'Use image, undo or scale.')
      if (paused === isPaused)
        throw refused(
          'unsupported',
          `${target.name} is ${paused ? 'paused already' : 'not paused'}.`,
          'rollout status shows how it stands.',
        )
      const facts = [{ name: 'paused', before: String(isPaused), after: String(paused) }]
      return { ...of, facts, patch: merge({ spec: { paused } }) }
    }
    case 'scale': {
      if (kind === 'daemonset')
        throw refused('unsupported', `${target.name} runs once on every node; it has no scale.`, 'Label or taint nodes.')
      const facts = [{ name: 'replicas', before: String(wantedOf(kind, workload)), after: String(rollout.replicas) }]
      return { ...of, facts, patch: merge({ spec: { replicas: rollout.replicas } }) }
    }
    case 'undo': {
      refusePaused(target, isPaused, 'undone')
      const [current, ...before] = await revisionsOf(api, kind, workload, signal)
      const back = revisionFor(target, current, before, rollout.to)
      const facts = [
        { name: 'revision', before: String(current?.number ?? '?'), after: `${back.number} again, with a new number` },
        ...templateFacts(spec.template, back.template),
      ]
      const shown = `the template of ${back.says}`
      return { ...of, facts, patch: back.patch, shown, ...(current ? { undo: undoOf(current) } : {}) }
    }
    case 'status': {
      const [current, previous] = await readableRevisions(api, kind, workload, signal)
      return { ...of, facts: standing(kind, workload, current), ...(previous ? { undo: undoOf(previous) } : {}) }
    }
    case 'finish':
      throw refused(
        'unsupported',
        'Kubernetes has no upgrades to finish: a rollout ends by itself.',
        'rollout status shows how it stands.',
      )
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

/** After a change the way back is to what there is now. */
async function undoTo(api: Api, kind: Kind, workload: Workload, signal: AbortSignal): Promise<{ readonly undo?: Plan['undo'] }> {
  const [current] = await readableRevisions(api, kind, workload, signal)
  return current ? { undo: undoOf(current) } : {}
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
  const { spec, status } = workload
  const look = lookAt(kind, workload, [])
  return [
    { name: 'state', before: look.status === 'stuck' ? `stuck: ${look.why}` : look.text },
    ...(current ? [{ name: 'revision', before: String(current.number) }] : []),
    { name: 'replicas', before: `${status?.readyReplicas ?? status?.numberAvailable ?? 0} of ${wantedOf(kind, workload)} ready` },
    ...containersIn(spec.template).map(({ name, image }) => ({ name: `image ${name}`, before: image ?? '?' })),
    ...(spec.paused ? [{ name: 'paused', before: 'true' }] : []),
  ]
}

export async function planOf({ workload, path, facts, patch, shown, undo }: Draft): Promise<Plan> {
  const { uid, generation } = workload.metadata
  const body = shown === undefined ? patch?.body : Array.isArray(patch?.body) ? masked(patch.body, shown) : shown
  return {
    facts,
    change: patch ? `PATCH ${path}\nContent-Type: ${patch.contentType}\n${JSON.stringify(body)}` : '',
    seal: await sealOf({ path, patch: patch ?? null, uid, generation: generation ?? 0 }),
    ...(undo ? { undo } : {}),
  }
}

function masked(operations: readonly unknown[], shown: unknown): readonly unknown[] {
  return operations.map((one) => ({ ...(one as Readonly<Record<string, unknown>>), value: shown }))
}

type Applying = {
  readonly target: Target
  readonly rollout: Rollout
  readonly plan: Plan
  readonly exec: string
  readonly signal: AbortSignal
}

async function* apply(api: Api, pace: Pace, applying: Applying): AsyncGenerator<ExecEvent> {
  const { target, rollout, exec, signal } = applying
  const started: ExecEvent = { type: 'started', handle: { target: target.id, exec } }
  if (rollout.verb === 'status') {
    yield started
    yield* watchWorkload(api, pace, target, signal, { isLook: true })
    return
  }
  const template = await send(api, applying)
  yield started
  yield* watchWorkload(api, pace, target, signal, { template })
}

const Answer = z.object({ spec: z.object({ template: z.unknown() }) })
/** Only while the workload is still as it was planned for: what moved is its status, which is no one's change. */
const MAX_CONFLICTS = 8

/** One patch that is taken, locked to the object that was looked at. Returns its template as it is now. */
async function send(api: Api, { target, rollout, plan, signal }: Applying): Promise<unknown> {
  const marked = plan.facts.find(({ name }) => name === 'restarted')?.after ?? ''
  for (let conflicts = 0; ; conflicts += 1) {
    const now = await draft(api, target, rollout, marked, signal).catch((error: unknown) => {
      // It could be planned a moment ago, so someone has been there.
      throw error instanceof BackendError && error.code === 'unsupported' ? changed(target.name) : error
    })
    const { patch } = now
    if (patch === undefined || (await planOf(now)).seal !== plan.seal) throw changed(target.name)
    try {
      const response = await api.request('PATCH', now.path, {
        what: target.name,
        query: { fieldManager: 'drover' },
        body: locked(patch, now.workload.metadata.resourceVersion),
        contentType: patch.contentType,
        signal,
      })
      return templateOf(response.body)
    } catch (error) {
      if (!(error instanceof BackendError)) throw maybe(error, signal)
      // `changed` is HTTP 409: it was not taken.
      if (error.code === 'changed' && error.ran === 'no' && conflicts < MAX_CONFLICTS) await pause(50 * 2 ** conflicts, signal)
      else throw isOpen(error) ? maybe(error, signal) : error
    }
  }
}

/** Taken it is in any case: an answer that cannot be read only tells less. */
function templateOf(body: string): unknown {
  try {
    return Answer.parse(JSON.parse(body)).spec.template
  } catch {
    return undefined
  }
}

/** No answer, or one from something that stands before Kubernetes: then it may have been taken. */
function isOpen(error: BackendError): boolean {
  if (error.cause instanceof TransportError && surelyUnsent(error.cause)) return false
  return ['backend_unavailable', 'timeout', 'backend_protocol'].includes(error.code)
}

/** 409 when anything, its status too, was written since. */
function locked({ body }: Patch, resourceVersion: string): unknown {
  if (Array.isArray(body)) return [{ op: 'replace', path: '/metadata/resourceVersion', value: resourceVersion }, ...body]
  const given = body as { readonly metadata?: object }
  return { ...given, metadata: { ...given.metadata, resourceVersion } }
}

/** Also for ways to a workload that are not Kubernetes' own. */
export async function* watchWorkload(
  api: Api,
  pace: Pace,
  target: Target,
  signal: AbortSignal,
  options: { readonly isLook?: boolean; readonly template?: unknown },
): AsyncGenerator<ExecEvent> {
  const { kind, path } = pathOf(target)
  let seen: readonly PodTrouble[] = []
  yield* watch({
    pace,
    signal,
    async look(within) {
      const workload = await api.read('GET', path, Workload, { what: target.name, signal: within })
      const wasReplaced =
        options.template !== undefined && (await sealOf(workload.spec.template)) !== (await sealOf(options.template))
      if (wasReplaced)
        return {
          status: 'stuck',
          why: `someone else has changed it meanwhile, to ${imagesIn(workload.spec.template)}`,
          troubles: [],
        }
      const quick = lookAt(kind, workload, [])
      if (quick.status === 'done') return quick
      seen = await troublesOf(api, workload, within)
      const look = lookAt(kind, workload, seen)
      if (!options.isLook || look.status !== 'going') return look
      // A look at how it stands waits for nothing.
      return look.troubles.length > 0 ? { ...look, status: 'stuck', why: look.text } : { ...look, status: 'done' }
    },
    logs: (_, within) => lastWords(api, seen, within),
  })
}
