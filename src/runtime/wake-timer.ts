/** Wake-ups inside one process: timers, and a sweep of the ledger that makes up for every one that was lost. */

import type { Instant, RunId } from '../core/model.ts'
import type { Ledger, Wake } from '../core/ports.ts'

/** The longest delay `setTimeout` takes; longer ones fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1

export type TimerWakeOptions = {
  /** Gets what `work` threw; the sweep brings the run back. */
  readonly log: (message: string, error: unknown) => void
  /** Runs worked on at once; more wait their turn. Default 64. */
  readonly limit?: number
  /** How long `close` waits for work that is under way. Default 10,000. */
  readonly graceMs?: number
}

/** What is asked for a run and not begun. Two instants are enough: the first is when it may go, the last is what must still be met. */
type Asked = { first: Instant; last: Instant; timer?: ReturnType<typeof setTimeout> }

export function createTimerWake(
  work: (run: RunId) => Promise<void>,
  options: TimerWakeOptions,
): Wake & { close(): Promise<void> } {
  const { log, limit = 64, graceMs = 10_000 } = options
  const asked = new Map<RunId, Asked>()
  /** Due, in order, waiting for room; a run is in here at most once. */
  const ready = new Set<RunId>()
  const working = new Map<RunId, Promise<void>>()
  let closed = false

  const arm = (run: RunId, entry: Asked): void => {
    clearTimeout(entry.timer)
    const delayMs = Math.min(Math.max(entry.first - Date.now(), 0), MAX_DELAY_MS)
    entry.timer = setTimeout(() => ring(run, entry), delayMs)
  }

  const ring = (run: RunId, entry: Asked): void => {
    if (Date.now() < entry.first) {
      arm(run, entry)
      return
    }
    if (entry.last > Date.now()) {
      entry.first = entry.last
      arm(run, entry)
    } else {
      asked.delete(run)
    }
    ready.add(run)
    begin()
  }

  /** A run that is being worked on stays ready, so that a wake in the middle of the work is not lost. */
  const begin = (): void => {
    for (const run of ready) {
      if (working.size >= limit) return
      if (working.has(run)) continue
      ready.delete(run)
      const turn = Promise.resolve()
        .then(() => work(run))
        .catch((error: unknown) => log(`work on run ${run} failed`, error))
        .then(() => {
          working.delete(run)
          begin()
        })
      working.set(run, turn)
    }
  }

  return {
    async wake(run: RunId, at: Instant = 0): Promise<void> {
      if (closed) return
      const entry = asked.get(run)
      if (entry === undefined) {
        const made: Asked = { first: at, last: at }
        asked.set(run, made)
        arm(run, made)
        return
      }
      entry.last = Math.max(entry.last, at)
      if (at < entry.first) {
        entry.first = at
        arm(run, entry)
      }
    },
    async close(): Promise<void> {
      closed = true
      for (const { timer } of asked.values()) clearTimeout(timer)
      asked.clear()
      ready.clear()
      let grace: ReturnType<typeof setTimeout> | undefined
      const patience = new Promise<void>((resolve) => {
        grace = setTimeout(resolve, graceMs)
      })
      await Promise.race([Promise.all(working.values()), patience])
      clearTimeout(grace)
    },
  }
}

export type SweepOptions = {
  readonly log: (message: string, error: unknown) => void
  /** Default 1,000. */
  readonly everyMs?: number
  /** Runs woken in one sweep; the others are still owed at the next. Default 100. */
  readonly limit?: number
}

/** Asks the ledger at once and then every second what is owed, and wakes it. Losing a wake-up costs one interval, never a run. */
export function startSweep(ledger: Pick<Ledger, 'due'>, wake: Wake, options: SweepOptions): { close(): Promise<void> } {
  const { log, everyMs = 1000, limit = 100 } = options
  let closed = false
  let timer: ReturnType<typeof setTimeout> | undefined
  let current: Promise<void> = Promise.resolve()

  const sweep = async (): Promise<void> => {
    try {
      for (const run of await ledger.due(Date.now(), limit)) await wake.wake(run)
    } catch (error) {
      log('the sweep could not read what is owed', error)
    }
    if (!closed) timer = setTimeout(next, everyMs)
  }
  const next = (): void => {
    current = sweep()
  }
  next()
  return {
    async close(): Promise<void> {
      closed = true
      clearTimeout(timer)
      await current
    },
  }
}
