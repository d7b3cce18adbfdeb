/** Everything a run needs, put together by `rooms.ts`, and what may be shown of what goes wrong in it. */

import { DroverError, type Failure, failureOf } from './errors.ts'
import type { Gate } from './fan-out.ts'
import type { Instant, Owner, RunId, RunRequest, RunState, StoredEvent, Target } from './model.ts'
import { makeVisible } from './output.ts'
import type { Backend, Directory, Ledger, Reporter } from './ports.ts'
import type { Redactor } from './redact.ts'
import type { Policy } from './rule.ts'
import { createFold } from './run-state.ts'
import type { Earlier } from './settle.ts'
import type { Turns } from './turns.ts'

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
  /** What a whole run may take at most, where the runtime ends it after that. */
  readonly runMs?: number
}

export type House = {
  readonly ledger: Ledger
  readonly backends: readonly Backend[]
  readonly policy: Policy
  readonly directory: Directory
  reporter(request: RunRequest): Reporter
  readonly redactor: Redactor
  readonly owner: Owner
  /** When this life of drover began: a run that was accepted since then was not interrupted by its start. */
  readonly since: Instant
  readonly limits: SiteLimits
  /** Absent: all runs are in this ledger. */
  readonly earlier?: Earlier
  readonly handshake: Gate
  readonly turns: Turns
  now(): Instant
  log(event: Readonly<Record<string, unknown>>): void
}

export async function load(run: RunId, house: House): Promise<RunState | undefined> {
  const fold = createFold()
  await house.ledger.replay(run, fold.apply)
  return fold.state()
}

export type Live = {
  /** How the run stands now; undefined when there is no such run. */
  state(): Promise<RunState | undefined>
  close(): void
}

/** A run in hand: read from the ledger once, then kept up with what is written to it here. What others write is read again. */
export function follow(run: RunId, house: House): Live {
  const fold = createFold()
  let seq = 0
  let isBehind = true
  /** What is written while the ledger is read. */
  let meanwhile: StoredEvent[] | undefined
  const take = (event: StoredEvent): void => {
    if (event.seq > seq + 1) isBehind = true
    if (event.seq !== seq + 1) return
    fold.apply(event)
    seq = event.seq
  }
  const catchUp = async (): Promise<void> => {
    meanwhile = []
    try {
      await house.ledger.replay(run, take)
      // Where there is no run yet, there may be one later.
      isBehind = seq === 0
      for (const event of meanwhile) take(event)
    } finally {
      meanwhile = undefined
    }
  }
  const close = house.ledger.follow(run, (event) => (meanwhile ? void meanwhile.push(event) : take(event)))
  return {
    async state() {
      if (isBehind) await catchUp()
      return fold.state()
    },
    close,
  }
}

export function backendOf(target: Target, house: House): Backend {
  const backend = house.backends.find((candidate) => candidate.name === target.backend)
  if (!backend)
    throw new DroverError({
      code: 'config',
      message: `The backend ${target.backend} is no longer configured.`,
      next: 'Put it back into drover.yaml, or ask again with on= and another.',
    })
  return backend
}

/** What a person may see of an error; a bug is logged whole, under the reference that they see. */
export function shown(error: unknown, house: House): Failure {
  return failureOf(error, (reference, bug) => {
    const text = bug instanceof Error ? (bug.stack ?? bug.message) : String(bug)
    house.log({ level: 'error', event: 'bug', reference, error: house.redactor.text(text).text })
  })
}

export function maskFailure(failure: Failure, house: House): Failure {
  // An engine's words may hold what a terminal obeys (S36).
  const clean = (text: string) => makeVisible(house.redactor.text(text).text)
  return { ...failure, message: clean(failure.message), ...(failure.next === undefined ? {} : { next: clean(failure.next) }) }
}
