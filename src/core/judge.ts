/** Whether a request may run, on what, and for how long: policy on the request, the list of what is meant, policy on every target. */

import { DroverError, type Failure } from './errors.ts'
import { within } from './fan-out.ts'
import { backendOf, type House, maskFailure, shown } from './house.ts'
import type {
  BackendKind,
  Command,
  Decision,
  Facet,
  NewContainer,
  Rollout,
  RunRequest,
  Selector,
  Target,
  Traits,
} from './model.ts'
import { malformed, planAll } from './plan.ts'
import { decide, groupsNamed } from './policy.ts'
import type { Backend, Judgement } from './ports.ts'
import { matchesGlob, names, type Selection, select } from './selector.ts'

/** How long one list of a backend, and one look-up of people, may take. */
const listMs = 20_000
const factsMs = 10_000
/** How long a rollout is watched when nobody says otherwise. */
const rolloutMs = 600_000

/** Whether this request may run, on what, and for how long; every no has its reason. Runs nothing and records nothing. */
export async function judge(request: RunRequest, house: House): Promise<Judgement> {
  const judgement = await prepare(request, house).catch((error: unknown) => refusal(shown(error, house)))
  if (judgement.ok) return judgement
  // A refusal quotes what it refuses: no more of it is shown than of what runs (S35).
  const failure = maskFailure(judgement.failure, house)
  return { ok: false, failure, decision: { ...judgement.decision, failure } }
}

/** Decides twice: on the request alone, then on every target. */
async function prepare(request: RunRequest, house: House): Promise<Judgement> {
  const wrong = malformed(request)
  if (wrong) return refusal(wrong)
  const question = { request, groups: await groupsOf(request, house) }
  const early = decide(house.policy, question, undefined)
  if (early.effect === 'deny') return refusal(early.failure, early)
  const found = await find(request, house)
  if (!found.ok) return refusal(found.failure)
  const { targets, notes } = found
  // An id is a prefix to people; to a button it is the one workload that it was drawn for.
  const other = request.after !== undefined && targets.find((one) => !isDrawnFor(request, one))
  if (other)
    return refusal({
      code: 'changed',
      message: `The workload that this button was for is gone; ${other.name} ${other.native === request.selector.id ? 'was made anew since, with the same name' : 'only has a name that begins alike'}. Nothing was changed.`,
      next: 'Say by name what is to be rolled back: rollout undo deployment=… to=…',
    })
  const decision = decide(house.policy, question, targets)
  if (decision.effect === 'deny') return refusal(decision.failure, decision)
  const { rollout } = request
  const things = rollout ? 'workloads' : 'containers'
  const most = Math.min(house.limits.targets, decision.limits.maxTargets ?? Number.POSITIVE_INFINITY)
  if (targets.length > most) {
    const by = most < house.limits.targets ? `, says the rule ${decision.rule}` : ''
    return refusal({
      code: 'too_many_targets',
      message: `${targets.length} ${things} match, and at most ${most} may be ${rollout ? 'changed' : 'used'} at once${by}: ${names(targets)}.`,
      next: rollout ? 'Narrow the selector.' : 'Narrow the selector, or take some of them with any=N.',
    })
  }
  const timeoutMs = Math.min(
    request.timeoutMs ?? (rollout ? rolloutMs : house.limits.timeoutMs),
    decision.limits.timeoutMs ?? Number.POSITIVE_INFINITY,
    house.limits.maxTimeoutMs,
  )
  const wavesMs = Math.ceil(targets.length / house.limits.parallel) * timeoutMs
  if (house.limits.runMs !== undefined && wavesMs > house.limits.runMs) {
    return refusal({
      code: 'too_many_targets',
      message: `${targets.length} ${things}, ${house.limits.parallel} at a time with ${timeoutMs / 1000} s each, may take ${Math.ceil(wavesMs / 60_000)} min; here a run may take ${house.limits.runMs / 60_000}.`,
      next: 'Narrow the selector, or say a shorter timeout=.',
    })
  }
  const asked =
    request.timeoutMs !== undefined && request.timeoutMs > timeoutMs ? [`timeout lowered to ${timeoutMs / 1000}s`] : []
  const judged = { ok: true, targets, notes: [...notes, ...asked], decision, timeoutMs } as const
  if (!rollout) return judged
  const planned = await planAll(targets, rollout, house)
  return planned.ok ? { ...judged, plans: planned.plans } : refusal(planned.failure)
}

function isDrawnFor({ selector, uid }: RunRequest, target: Target): boolean {
  return target.native === selector.id && (uid === undefined || target.uid === uid)
}

/** Groups of the actor that rules ask about; throws when the actor or the place must be refused, or nobody can tell. */
export async function groupsOf(request: Pick<RunRequest, 'actor' | 'place'>, house: House): Promise<readonly string[]> {
  const facts = await within(factsMs, 'Looking up who you are', (signal) =>
    house.directory.facts(request.actor, request.place, groupsNamed(house.policy), signal),
  )
  if (facts.refuse) throw facts.refuse
  return facts.groups
}

/** Lists every backend that is meant. One that cannot be read refuses the whole: a shorter list would be a lie. */
export async function find(
  request: Pick<RunRequest, 'selector' | 'rollout' | 'newContainer'> & { readonly command?: Command },
  house: House,
  visible?: (target: Target) => boolean,
) {
  const { selector, command, rollout, newContainer } = request
  const meant = house.backends.filter((backend) => selector.on === undefined || matchesGlob(selector.on, backend.name))
  if (meant.length === 0) {
    const failure: Failure = {
      code: 'no_targets',
      message: selector.on === undefined ? 'No backend is configured.' : `No backend is called ${selector.on}.`,
      next:
        house.backends.length === 0
          ? 'Whoever runs drover can add one under backends: in drover.yaml.'
          : `Backends: ${house.backends.map(({ name }) => name).join(', ')}.`,
    }
    return { ok: false as const, failure }
  }
  if (rollout) return await findWorkloads(selector, rollout, meant)
  const selection = newContainer ? makerOf(newContainer, meant) : await findContainers(selector, meant, visible)
  if (!selection.ok || !command) return selection
  for (const target of selection.targets) {
    const missing = lacks(backendOf(target, house).traits, command)
    if (missing) {
      const failure: Failure = {
        code: 'unsupported',
        message: `${target.backend} (${target.kind}) cannot do ${missing}.`,
        next: 'Leave it out, or narrow the selector with on=.',
      }
      return { ok: false as const, failure }
    }
  }
  return selection
}

async function findContainers(
  selector: Selector,
  meant: readonly Backend[],
  visible?: (target: Target) => boolean,
): Promise<Selection> {
  const lists = await Promise.all(
    meant.map((backend) => listOne(backend, 'containers', meant.length, (signal) => backend.list(selector, signal))),
  )
  const listed = new Map(lists.flat().map((target) => [target.id, target]))
  const known = [...listed.values()]
  // To look is not to run: an empty selector shows all that may be seen, and only that.
  const selection = visible ? select(selector, known.filter(visible), 'look') : select(selector, known)
  return selection.ok ? selection : { ok: false, failure: nowhere(selector, meant) ?? selection.failure }
}

/** What only some kinds tell of a container; of the others none can match, however it is spelt. */
const onlyOn: Readonly<Partial<Record<Facet, readonly BackendKind[]>>> = {
  namespace: ['kubernetes', 'rancher2', 'containerd'],
  pod: ['kubernetes', 'rancher2', 'containerd'],
  task: ['swarm'],
}
const kubernetes: readonly BackendKind[] = ['kubernetes', 'rancher2']

function nowhere({ facets = {} }: Selector, meant: readonly Backend[]): Failure | undefined {
  const [kind] = /^(?:deployment|statefulset|daemonset)(?=\/)/.exec(facets.workload ?? '') ?? []
  const wanted: readonly (readonly [string, readonly BackendKind[]])[] = [
    ...(kind === undefined ? [] : [[kind, kubernetes] as const]),
    ...Object.entries(onlyOn).filter(([facet]) => facets[facet as Facet] !== undefined),
  ]
  const [thing] = wanted.find(([, kinds]) => !meant.some((backend) => kinds.includes(backend.kind))) ?? []
  if (thing === undefined) return undefined
  const names = meant.map((backend) => `${backend.name} (${backend.kind})`).join(', ')
  return {
    code: 'no_targets',
    message: `Nothing has a ${thing} on ${names}.`,
    next: 'Say it otherwise there: stack=, service=, label= or name=; or mean another backend with on=.',
  }
}

/** The one backend that makes it: which engine a container lands on is never left to chance. */
function makerOf(wanted: NewContainer, meant: readonly Backend[]): Selection {
  const makers = meant.filter((backend) => backend.newContainer !== undefined)
  const refuse = (failure: Failure): Selection => ({ ok: false, failure })
  const [maker] = makers
  if (maker?.newContainer === undefined)
    return refuse({
      code: 'unsupported',
      message: `No new container can be made on ${meant.map(({ name, kind }) => `${name} (${kind})`).join(', ')}.`,
      next: 'Name a backend that makes containers (docker, containerd) with on=, or say which running ones are meant: label=, name=.',
    })
  if (makers.length > 1)
    return refuse({
      code: 'ambiguous',
      message: `A new container could be made on ${makers.map(({ name }) => name).join(', ')}.`,
      next: `Say on which: on=${maker.name}.`,
    })
  return { ok: true, targets: [maker.newContainer(wanted)], notes: [] }
}

/** Kinds that have no workloads are left out, unless they are all that is meant. */
async function findWorkloads(selector: Selector, rollout: Rollout, meant: readonly Backend[]): Promise<Selection> {
  const able = meant.flatMap(({ workloads, ...backend }) => (workloads ? [{ backend, workloads }] : []))
  const unsupported = (message: string, next: string): Selection => ({
    ok: false,
    failure: { code: 'unsupported', message, next },
  })
  if (able.length === 0) {
    const names = meant.map(({ name, kind }) => `${name} (${kind})`).join(', ')
    return unsupported(`Nothing can be rolled out on ${names}.`, 'Name a backend with workloads: on=.')
  }
  const lists = await Promise.all(
    able.map(({ backend, workloads }) =>
      listOne(backend, 'workloads', able.length, (signal) => workloads.list(selector, signal)),
    ),
  )
  const listed = new Map(lists.flat().map((target) => [target.id, target]))
  const selection = select(selector, [...listed.values()], 'run', 'workload')
  if (!selection.ok)
    return {
      ok: false,
      failure:
        nowhere(
          selector,
          able.map(({ backend }) => backend),
        ) ?? selection.failure,
    }
  for (const { name, backend, kind } of selection.targets) {
    const verbs = able.find((one) => one.backend.name === backend)?.workloads.verbs ?? []
    if (verbs.includes(rollout.verb)) continue
    const said = `${name} is on ${backend} (${kind}), which has no rollout ${rollout.verb}; it has ${verbs.join(', ')}.`
    return unsupported(said, 'Leave it out, or narrow the selector with on=.')
  }
  return selection
}

/** What anybody can do while one backend of several cannot be asked. */
export const leaveOut = 'To leave this backend out, say on= with another.'

type List = (signal: AbortSignal) => Promise<readonly Target[]>

async function listOne({ name }: Pick<Backend, 'name'>, what: string, of: number, list: List): Promise<readonly Target[]> {
  try {
    return await within(listMs, `Listing the ${what}`, list)
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    const next = [error.next, of > 1 ? leaveOut : undefined].filter(Boolean).join(' ')
    throw new DroverError({ ...error.toFailure(), message: `${name}: ${error.message}`, next }, { cause: error })
  }
}

function lacks(traits: Traits, command: Command): string | undefined {
  const wanted = {
    stdin: command.stdin !== undefined,
    env: command.env !== undefined,
    dir: command.dir !== undefined,
    user: command.user !== undefined,
    tty: command.tty === true,
  }
  return Object.entries(wanted)
    .find(([trait, want]) => want && !traits[trait as keyof typeof wanted])?.[0]
    ?.concat('=')
}

function refusal(failure: Failure, decision?: Extract<Decision, { effect: 'deny' }>): Judgement {
  return { ok: false, failure, decision: decision ?? { effect: 'deny', failure } }
}
