/** The life of a run: accepted → decided → resolved → executed → finished → delivered. The whole of drover in one reading. */

import { deliver, startProgress } from './answer.ts'
import type { Failure } from './errors.ts'
import { execute } from './execute.ts'
import { fanOut } from './fan-out.ts'
import { backendOf, follow, type House, type Live, maskFailure, shown } from './house.ts'
import { judge } from './judge.ts'
import type {
  Decision,
  Ending,
  Execution,
  Instant,
  OutputChunk,
  Plan,
  RunEvent,
  RunId,
  RunRequest,
  RunState,
  Target,
} from './model.ts'
import { noOutput } from './output.ts'
import { asExecution, workloadsOf } from './plan.ts'
import type { Backend } from './ports.ts'
import { settleEarlier } from './settle.ts'
import { whyNotStill } from './still.ts'

/** A run that was accepted but not begun when drover stopped still begins if it is not older than this. */
const freshMs = 60_000

/**
 * Takes a run from where its events stand to delivered. Called at least once for each run and safe to call again, but by its
 * owner only and one call at a time: a decision that is there already means that an earlier owner is gone.
 */
export async function work(run: RunId, house: House, cancel: AbortSignal): Promise<void> {
  // Read once: what is written from here on is told.
  const live = follow(run, house)
  try {
    await bring(run, live, house, cancel)
  } finally {
    live.close()
  }
}

async function bring(run: RunId, live: Live, house: House, cancel: AbortSignal): Promise<void> {
  const state = await live.state()
  if (!state || state.delivered) return
  if (state.status !== 'finished') {
    const { receivedAt } = state.request
    const age = house.now() - receivedAt
    // A clock that was set back makes nothing younger.
    const stale = Math.abs(age) > freshMs
    if (!state.decision && state.cancelAskedBy)
      await house.ledger.append(run, { type: 'finished', outcome: { status: 'cancelled' } })
    else if (state.decision?.effect === 'deny')
      await house.ledger.append(run, { type: 'finished', outcome: { status: 'refused', failure: state.decision.failure } })
    else if (!state.decision && age > freshMs && receivedAt >= house.since) await refuseLate(run, house)
    else if (state.decision || stale) await interrupt(state, house)
    else await takeTurn(state.request, live, house, cancel)
  }
  await deliver(run, live, house)
}

/** It waited longer for its turn than anybody expects it still to run. */
async function refuseLate(run: RunId, house: House): Promise<void> {
  const failure: Failure = {
    code: 'timeout',
    message: `drover was too busy: it had no turn within ${freshMs / 1000} s, and nothing ran.`,
    next: 'Run it again if it is still wanted.',
  }
  await house.ledger.append(run, { type: 'finished', outcome: { status: 'refused', failure } })
}

/** One actor's many runs must not keep the others' from beginning. */
async function takeTurn(request: RunRequest, live: Live, house: House, cancel: AbortSignal): Promise<void> {
  const turn = await house.turns.enter(request.actor, request.id)
  if ('failure' in turn) {
    const { failure } = turn
    await refuse(request, house, { effect: 'deny', failure }, failure)
    return
  }
  await perform(request, live, house, cancel).finally(turn.leave)
}

async function refuse(request: RunRequest, house: House, decision: Decision, failure: Failure): Promise<void> {
  await house.ledger.append(
    request.id,
    { type: 'decided', decision, policy: house.policy.version },
    { type: 'finished', outcome: { status: 'refused', failure } },
  )
}

/** From accepted to finished. */
async function perform(request: RunRequest, live: Live, house: House, cancel: AbortSignal): Promise<void> {
  const append = (...events: readonly [RunEvent, ...RunEvent[]]) => house.ledger.append(request.id, ...events)
  const judgement = await judge(request, house)
  if (!judgement.ok) return refuse(request, house, judgement.decision, judgement.failure)
  const { targets, notes, decision, timeoutMs, plans } = judgement
  // Recorded first: when one of these cannot be written, nothing runs.
  await append({ type: 'resolved', targets, notes }, { type: 'decided', decision, policy: house.policy.version, timeoutMs })
  for (const { id } of targets) if (plans?.[id]) await append({ type: 'planned', target: id, plan: plans[id] })
  const progress = startProgress(request, live, house)
  const told = progress.begin()
  // What a rollout would change is shown before it is sent; for as long as a report may take, and no longer.
  if (plans) await told
  const judgedAt = house.now()
  const maxBytes = Math.max(65_536, Math.min(house.limits.outputBytes, Math.floor(house.limits.runOutputBytes / targets.length)))
  let broken: unknown
  let lost = false
  const inner = new AbortController()
  const stop = AbortSignal.any([cancel, inner.signal])
  let open = targets.length
  let isFinished = false
  const finished = (): RunEvent => ({ type: 'finished', outcome: { status: cancel.aborted ? 'cancelled' : 'done' } })
  /** Where all others have ended, the run is finished in the same write. */
  const end = async (...events: readonly [RunEvent, ...RunEvent[]]): Promise<void> => {
    const isLast = open === 1 && broken === undefined && !lost
    await append(...events, ...(isLast ? [finished()] : []))
    open--
    isFinished = isLast
  }
  await fanOut(targets, house.limits.parallel, async (target) => {
    try {
      const plan = plans?.[target.id]
      const job = { request, plan, timeoutMs, maxBytes, house, judgedAt, cancel: stop, touch: progress.touch, end }
      if (await executeOne(target, job)) return progress.touch()
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
  if (!isFinished) await append(finished())
  if (plans) await settleEarlier(request.id, house)
}

/** An engine's own words may hold what the command line held. */
function masked(ending: Ending, house: House): Ending {
  if (ending.status !== 'failed' && ending.status !== 'unknown') return ending
  return { ...ending, error: maskFailure(ending.error, house) }
}

type Job = {
  readonly request: RunRequest
  readonly timeoutMs: number
  readonly maxBytes: number
  readonly house: House
  readonly judgedAt: Instant
  readonly cancel: AbortSignal
  /** Of a rollout. */
  readonly plan: Plan | undefined
  /** Called when there is something new to show. */
  touch(): void
  /** Records the last of an execution. */
  end(...events: readonly [RunEvent, ...RunEvent[]]): Promise<void>
}

/** A rollout without its plan is a bug: it must never run as a command. */
function waysOf(target: Target, { request: { rollout }, plan, house }: Job): Pick<Backend, 'exec' | 'kill'> {
  if (!rollout) return backendOf(target, house)
  if (!plan) throw new Error(`the rollout of ${target.id} has no plan`)
  return asExecution(workloadsOf(target, house), rollout, plan)
}

/** Longest text of a rollout's progress that is kept. */
const maxProgress = 300

/** False: someone else has this execution, or had it. */
async function executeOne(target: Target, job: Job): Promise<boolean> {
  const { request, timeoutMs, maxBytes, house, cancel, touch, end } = job
  const append = (event: RunEvent) => house.ledger.append(request.id, event)
  const error: Failure | undefined = cancel.aborted
    ? { code: 'not_started', message: 'It was cancelled before its turn.' }
    : // What a rollout may send is sealed to what was looked at.
      request.rollout === undefined
      ? await whyNotStill(target, job.judgedAt, house)
      : undefined
  if (error) {
    await end({ type: 'ended', target: target.id, ending: { status: 'failed', error }, count: noOutput })
    return true
  }
  // Once, whatever wakes this run again: the row never goes back to pending.
  if (!(await house.ledger.claim(request.id, target.id, house.owner))) return false
  touch()
  let index = 0
  let progress = ''
  let handled: Promise<void> | undefined
  const stored = (chunks: readonly OutputChunk[]): RunEvent => ({ type: 'output', target: target.id, index: index++, chunks })
  const { ending, count, rest } = await execute({
    backend: waysOf(target, job),
    target,
    command: request.command,
    by: request.actor,
    timeoutMs,
    cancel,
    handshake: house.handshake,
    redactor: house.redactor,
    maxBytes,
    onHandle(handle) {
      handled = append({ type: 'handle', target: target.id, handle }).then(() => {
        // What was being prepared is ready.
        if (progress !== '') touch()
      })
      return handled
    },
    onOutput: async (chunks) => void (await append(stored(chunks))),
    async onProgress(said) {
      const text = house.redactor.text(said).text.slice(0, maxProgress)
      if (text === progress) return
      progress = text
      await append({ type: 'progressed', target: target.id, text })
      touch()
    },
    ...(request.rollout ? { leavesNothing: true } : {}),
    failureOf: (error) => shown(error, house),
  })
  const ended: RunEvent = { type: 'ended', target: target.id, ending: masked(ending, house), count }
  // Asked for at once, so that a short command's first and last words share one wait for the disk.
  await Promise.all([handled, rest.length > 0 ? end(stored(rest), ended) : end(ended)])
  return true
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
    const ending = interruptedEnding(execution, state.request.rollout !== undefined)
    if (ending)
      await house.ledger.append(id, {
        type: 'ended',
        target: execution.target.id,
        ending,
        count: execution.count ?? noOutput,
      })
  }
  const begun = state.executions.some((execution) => execution.status !== 'pending')
  const failure: Failure = {
    code: 'interrupted',
    message: begun ? 'drover stopped while this run was going on.' : 'drover stopped before this run began; nothing ran.',
    next: !begun
      ? 'Run it again if it is still wanted.'
      : state.request.rollout
        ? 'Look with rollout status before you do it again.'
        : 'Look in the containers before you run it again.',
  }
  await house.ledger.append(id, { type: 'finished', outcome: { status: 'interrupted', failure } })
}

function interruptedEnding({ status, handle }: Execution, isRollout: boolean): Ending | undefined {
  if (status === 'pending')
    return { status: 'failed', error: { code: 'not_started', message: 'drover stopped before its turn.' } }
  if (status !== 'started') return undefined
  if (isRollout)
    return {
      status: 'unknown',
      error: { code: 'interrupted', message: 'drover stopped meanwhile; the change may be on its way.' },
    }
  return {
    status: 'unknown',
    error: { code: 'interrupted', message: 'drover stopped while it ran.' },
    ...(handle ? { left: handle.pid === undefined ? {} : { pid: handle.pid } } : {}),
  }
}
