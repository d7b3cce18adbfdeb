/** The life of a run: accepted → decided → resolved → executed → finished → delivered. The whole of drover in one reading. */

import { BackendError, DroverError, type Failure, failureOf } from './errors.ts'
import { execute } from './execute.ts'
import { fanOut, type Gate, within } from './fan-out.ts'
import type {
  Command,
  Decision,
  Ending,
  Execution,
  Instant,
  Outcome,
  Owner,
  RunEvent,
  RunId,
  RunRequest,
  RunState,
  Target,
  Traits,
} from './model.ts'
import { decide, groupsNamed, type Policy } from './policy.ts'
import type { Backend, Directory, Judgement, Ledger, Reporter } from './ports.ts'
import { maskArgv, type Redactor } from './redact.ts'
import { reduce } from './run-state.ts'
import { matchesGlob, names, select } from './selector.ts'

export type SiteLimits = {
  /** Most targets of one run, whatever a rule says. */
  readonly targets: number
  readonly timeoutMs: number
  readonly maxTimeoutMs: number
  /** Commands of one run that run at a time. */
  readonly parallel: number
  /** Bytes kept of one target, and of one run. */
  readonly outputBytes: number
  readonly runOutputBytes: number
}

/** Everything a run needs, put together by `gateway.ts`. */
export type House = {
  readonly ledger: Ledger
  readonly backends: readonly Backend[]
  readonly policy: Policy
  readonly directory: Directory
  reporter(request: RunRequest): Reporter
  readonly redactor: Redactor
  readonly owner: Owner
  readonly limits: SiteLimits
  readonly handshake: Gate
  now(): Instant
  log(event: Readonly<Record<string, unknown>>): void
}

/** How long one list of a backend, one look-up of people, one progress report and one delivery may take. */
const listMs = 20_000
const factsMs = 10_000
const reportMs = 10_000
const deliverMs = 300_000
/** A run that was accepted but not begun when drover stopped still begins if it is not older than this. */
const freshMs = 60_000
/** Least time between two progress reports (Slack takes about one update a second). */
const progressMs = 1_000
/** How long the first report may hold the command back: the answer should have its place in the thread before there is one. */
const firstMs = 5_000

/**
 * Takes a run from where its events stand to delivered. Called at least once for each run and safe to call again, but by its
 * owner only and one call at a time: a decision that is there already means that an earlier owner is gone.
 */
export async function work(run: RunId, house: House, cancel: AbortSignal): Promise<void> {
  const state = await load(run, house)
  if (!state || state.delivered) return
  if (state.status !== 'finished') {
    const stale = house.now() - state.request.receivedAt > freshMs
    if (!state.decision && state.cancelAskedBy)
      await house.ledger.append(run, { type: 'finished', outcome: { status: 'cancelled' } })
    else if (state.decision?.effect === 'deny')
      await house.ledger.append(run, { type: 'finished', outcome: { status: 'refused', failure: state.decision.failure } })
    else if (state.decision || stale) await interrupt(state, house)
    else await perform(state.request, house, cancel)
  }
  await deliver(run, house)
}

async function load(run: RunId, house: House): Promise<RunState | undefined> {
  return reduce(await house.ledger.read(run))
}

/** From accepted to finished. */
async function perform(request: RunRequest, house: House, cancel: AbortSignal): Promise<void> {
  const append = (event: RunEvent) => house.ledger.append(request.id, event)
  const judgement = await judge(request, house)
  if (!judgement.ok) {
    const { decision, failure } = judgement
    await append({ type: 'decided', decision, policy: house.policy.version })
    await append({ type: 'finished', outcome: { status: 'refused', failure } })
    return
  }
  const { targets, notes, decision, timeoutMs } = judgement
  // Recorded first: when one of these cannot be written, nothing runs.
  await append({ type: 'resolved', targets, notes })
  await append({ type: 'decided', decision, policy: house.policy.version, timeoutMs })
  const progress = startProgress(request, house)
  await progress.first()
  const maxBytes = Math.max(65_536, Math.min(house.limits.outputBytes, Math.floor(house.limits.runOutputBytes / targets.length)))
  let broken: unknown
  let lost = false
  const inner = new AbortController()
  const stop = AbortSignal.any([cancel, inner.signal])
  await fanOut(targets, house.limits.parallel, async (target) => {
    try {
      if (await executeOne(target, { request, timeoutMs, maxBytes, house, cancel: stop, begun: progress.touch }))
        return progress.touch()
      lost = true
      inner.abort()
    } catch (error) {
      // The ledger failed under a running command: stop the rest, and let the next start report what is unknown.
      broken ??= error
      inner.abort()
    }
  })
  await progress.stop()
  if (broken !== undefined) throw broken
  // Someone else has this run: it is theirs to finish.
  if (lost) return
  const outcome: Outcome = cancel.aborted ? { status: 'cancelled' } : { status: 'done' }
  await append({ type: 'finished', outcome })
}

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
  const question = { request, groups: await groupsOf(request, house) }
  const early = decide(house.policy, question, undefined)
  if (early.effect === 'deny') return refusal(early.failure, early)
  const found = await find(request, house)
  if (!found.ok) return refusal(found.failure)
  const { targets, notes } = found
  const decision = decide(house.policy, question, targets)
  if (decision.effect === 'deny') return refusal(decision.failure, decision)
  const most = Math.min(house.limits.targets, decision.limits.maxTargets ?? Number.POSITIVE_INFINITY)
  if (targets.length > most) {
    return refusal({
      code: 'too_many_targets',
      message: `${targets.length} containers match, and at most ${most} may run at once: ${names(targets)}.`,
      next: 'Narrow the selector, or take some of them with any=N.',
    })
  }
  const timeoutMs = Math.min(
    request.timeoutMs ?? house.limits.timeoutMs,
    decision.limits.timeoutMs ?? Number.POSITIVE_INFINITY,
    house.limits.maxTimeoutMs,
  )
  const asked =
    request.timeoutMs !== undefined && request.timeoutMs > timeoutMs ? [`timeout lowered to ${timeoutMs / 1000}s`] : []
  return { ok: true, targets, notes: [...notes, ...asked], decision, timeoutMs }
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
export async function find(request: Pick<RunRequest, 'selector'> & { readonly command?: Command }, house: House) {
  const { selector, command } = request
  const meant = house.backends.filter((backend) => selector.on === undefined || matchesGlob(selector.on, backend.name))
  if (meant.length === 0) {
    const failure: Failure = {
      code: 'no_targets',
      message: `No backend is called ${selector.on ?? 'anything'}.`,
      next: `Backends: ${house.backends.map((backend) => backend.name).join(', ') || 'none is configured'}.`,
    }
    return { ok: false as const, failure }
  }
  const lists = await Promise.all(meant.map((backend) => listOne(backend, selector, meant.length)))
  const listed = new Map(lists.flat().map((target) => [target.id, target]))
  const selection = select(selector, [...listed.values()])
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

async function listOne(backend: Backend, selector: RunRequest['selector'], of: number): Promise<readonly Target[]> {
  try {
    return await within(listMs, 'Listing the containers', (signal) => backend.list(selector, signal))
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    const next = [error.next, of > 1 ? 'To leave this backend out, say on= with another.' : undefined].filter(Boolean).join(' ')
    throw new DroverError({ ...error.toFailure(), message: `${backend.name}: ${error.message}`, next }, { cause: error })
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

function backendOf(target: Target, house: House): Backend {
  const backend = house.backends.find((candidate) => candidate.name === target.backend)
  if (!backend) throw new DroverError({ code: 'config', message: `The backend ${target.backend} is no longer configured.` })
  return backend
}

type Job = {
  readonly request: RunRequest
  readonly timeoutMs: number
  readonly maxBytes: number
  readonly house: House
  readonly cancel: AbortSignal
  /** Called when the command is on its way. */
  begun(): void
}

/** False: someone else has this execution, or had it. */
async function executeOne(target: Target, { request, timeoutMs, maxBytes, house, cancel, begun }: Job): Promise<boolean> {
  const append = (event: RunEvent) => house.ledger.append(request.id, event)
  const nothing = { stdout: 0, stderr: 0, dropped: 0, masked: 0 }
  if (cancel.aborted) {
    const error: Failure = { code: 'not_started', message: 'It was cancelled before its turn.' }
    await append({ type: 'ended', target: target.id, ending: { status: 'failed', error }, count: nothing })
    return true
  }
  // Once, whatever wakes this run again: the row never goes back to pending.
  if (!(await house.ledger.claim(request.id, target.id, house.owner))) return false
  begun()
  let index = 0
  const { ending, count } = await execute({
    backend: backendOf(target, house),
    target,
    command: request.command,
    timeoutMs,
    cancel,
    handshake: house.handshake,
    redactor: house.redactor,
    maxBytes,
    onHandle: async (handle) => void (await append({ type: 'handle', target: target.id, handle })),
    onOutput: async (chunks) => void (await append({ type: 'output', target: target.id, index: index++, chunks })),
    failureOf: (error) => shown(error, house),
  })
  await append({ type: 'ended', target: target.id, ending: masked(ending, house), count })
  return true
}

/** What a person may see of an error; a bug is logged whole, under the reference that they see. */
function shown(error: unknown, house: House): Failure {
  return failureOf(error, (reference, bug) => {
    const text = bug instanceof Error ? (bug.stack ?? bug.message) : String(bug)
    house.log({ level: 'error', event: 'bug', reference, error: house.redactor.text(text).text })
  })
}

/** An engine's own words may hold what the command line held. */
function masked(ending: Ending, house: House): Ending {
  if (ending.status !== 'failed' && ending.status !== 'unknown') return ending
  return { ...ending, error: maskFailure(ending.error, house) }
}

function maskFailure(failure: Failure, house: House): Failure {
  const clean = (text: string) => house.redactor.text(text).text
  return { ...failure, message: clean(failure.message), ...(failure.next === undefined ? {} : { next: clean(failure.next) }) }
}

function refusal(failure: Failure, decision?: Extract<Decision, { effect: 'deny' }>): Judgement {
  return { ok: false, failure, decision: decision ?? { effect: 'deny', failure } }
}

/** A run that an earlier life of drover began: what it started nobody can tell, what it did not start stays so. Never run again. */
async function interrupt(state: RunState, house: House): Promise<void> {
  const { id } = state.request
  if (state.executions.length > 0 && state.executions.every((execution) => execution.ending)) {
    // Only the last word was missing.
    const status = state.cancelAskedBy ? 'cancelled' : 'done'
    await house.ledger.append(id, { type: 'finished', outcome: { status } })
    return
  }
  for (const execution of state.executions) {
    const ending = interruptedEnding(execution)
    if (ending)
      await house.ledger.append(id, {
        type: 'ended',
        target: execution.target.id,
        ending,
        count: execution.count ?? { stdout: 0, stderr: 0, dropped: 0, masked: 0 },
      })
  }
  const begun = state.executions.some((execution) => execution.status !== 'pending')
  const failure: Failure = {
    code: 'interrupted',
    message: begun ? 'drover stopped while this run was going on.' : 'drover stopped before this run began; nothing ran.',
    next: begun ? 'Look in the containers before you run it again.' : 'Run it again if it is still wanted.',
  }
  await house.ledger.append(id, { type: 'finished', outcome: { status: 'interrupted', failure } })
}

function interruptedEnding({ status, handle }: Execution): Ending | undefined {
  if (status === 'pending')
    return { status: 'failed', error: { code: 'not_started', message: 'drover stopped before its turn.' } }
  if (status !== 'started') return undefined
  const pid = handle?.pid === undefined ? '' : ` It was pid ${handle.pid}.`
  return {
    status: 'unknown',
    error: { code: 'interrupted', message: `drover stopped while it ran; it may have finished, or run still.${pid}` },
  }
}

/** The request and endings as a reader may see them: argv, env and stdin masked like any output. */
export function maskState(state: RunState, redactor: Redactor): RunState {
  const clean = (text: string) => redactor.text(text).text
  const { command, typed, restored, ...rest } = state.request
  const { env, stdin: _, ...plain } = command
  const request: RunRequest = {
    ...rest,
    ...(typed === undefined ? {} : { typed: clean(typed) }),
    ...(restored === undefined ? {} : { restored: restored.map(clean) }),
    command: {
      ...plain,
      argv: maskArgv(command.argv, redactor),
      ...(env ? { env: Object.fromEntries(Object.keys(env).map((key) => [key, '…'])) } : {}),
    },
  }
  return { ...state, request }
}

function startProgress(request: RunRequest, house: House) {
  let dirty = false
  let stopped = false
  let busy: Promise<void> = Promise.resolve()
  let timer: ReturnType<typeof setTimeout> | undefined
  const report = async () => {
    dirty = false
    try {
      const state = await load(request.id, house)
      if (!state) return
      const shownState = maskState(state, house.redactor)
      for (const part of await within(reportMs, 'The progress report', () => house.reporter(request).progress(shownState))) {
        await house.ledger.append(request.id, { type: 'posted', ...part })
      }
    } catch (error) {
      // The answer comes with `deliver`, which is retried; a missed state on the way is only logged.
      house.log({ level: 'warn', event: 'progress-failed', run: request.id, failure: shown(error, house) })
    }
  }
  const tick = () => {
    timer = undefined
    if (!dirty || stopped) return
    busy = report().then(() => {
      if (!stopped) timer = setTimeout(tick, progressMs)
    })
  }
  return {
    /** Waits for the parent message, so that the answer has a place; not for ever. */
    first: async () => {
      busy = report().then(() => {
        timer = setTimeout(tick, progressMs)
      })
      let patience: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<void>((resolve) => {
        patience = setTimeout(resolve, firstMs)
      })
      await Promise.race([busy, late])
      clearTimeout(patience)
    },
    touch() {
      dirty = true
      timer ??= stopped ? undefined : setTimeout(tick, progressMs)
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await busy
    },
  }
}

/** Hands the answer over; what fails is put off, ever longer, and tried again by whoever sweeps the ledger. */
async function deliver(run: RunId, house: House): Promise<void> {
  const state = await load(run, house)
  if (!state || state.delivered || state.status !== 'finished') return
  try {
    await within(deliverMs, 'The delivery', () =>
      house.reporter(state.request).deliver(
        maskState(state, house.redactor),
        (target) => house.ledger.output(run, target),
        async (part) => void (await house.ledger.append(run, { type: 'posted', ...part })),
      ),
    )
    await house.ledger.append(run, { type: 'delivered' })
  } catch (error) {
    const age = house.now() - (state.finishedAt ?? house.now())
    const waitMs = Math.min(600_000, Math.max(2_000, age))
    const failure = error instanceof BackendError ? error.toFailure() : shown(error, house)
    house.log({ level: 'warn', event: 'delivery-failed', run, retryInMs: waitMs, failure })
    await house.ledger.postpone(run, house.now() + waitMs)
  }
}
