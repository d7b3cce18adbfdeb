/** Wake-ups inside a Durable Object: a queue in its SQLite, because an object has one alarm. */

import type { Instant, RunId } from '../core/model.ts'
import type { Wake } from '../core/ports.ts'

/** Rings again this long after work began, in case the object is gone before the work ends. */
const WATCHDOG_MS = 15_000
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 60_000
/** Runs worked on in one alarm; the next one follows at once. */
const RUNS_PER_ALARM = 16

type Cell = string | number | null | ArrayBuffer

/** The part of `DurableObjectStorage` that is used. */
export type AlarmStorage = {
  readonly sql: { exec(sql: string, ...parameters: Cell[]): { toArray(): Record<string, Cell>[] } }
  setAlarm(at: number): Promise<void>
  deleteAlarm(): Promise<void>
  sync(): Promise<void>
}

export type AlarmWake = Wake & {
  /** Call it from the object's `alarm()`, and nothing else there. */
  alarm(): Promise<void>
}

/**
 * An entry holds the first instant it may go, the last that must still be met, and a count that says whether it was asked for again
 * while its work ran. Alarms of an object never overlap, so neither do two works on one run. An entry leaves only after its work did not throw; until then it is retried, with a growing pause.
 */
export function createAlarmWake(
  storage: AlarmStorage,
  work: (run: RunId) => Promise<void>,
  options: { readonly log: (message: string, error: unknown) => void },
): AlarmWake {
  storage.sql.exec(`create table if not exists wake (
    run text not null primary key, first_at integer not null, last_at integer not null, asked integer not null, failed integer not null)`)

  /** Always to the earliest entry: setting it again is how an object takes its alarm back. */
  const arm = async (): Promise<void> => {
    const [row] = storage.sql.exec('select min(first_at) as at from wake').toArray()
    if (typeof row?.at === 'number') await storage.setAlarm(Math.max(row.at, Date.now()))
    else await storage.deleteAlarm()
    await storage.sync()
  }

  const attempt = async (run: RunId, asked: number): Promise<void> => {
    try {
      await work(run)
      const now = Date.now()
      storage.sql.exec('delete from wake where run = ? and asked = ? and last_at <= ?', run, asked, now)
      // What is left was asked for meanwhile (at once), or for later.
      storage.sql.exec('update wake set first_at = last_at, failed = 0 where run = ? and asked = ?', run, asked)
    } catch (error) {
      options.log(`work on run ${run} failed`, error)
      const [row] = storage.sql.exec('update wake set failed = failed + 1 where run = ? returning failed', run).toArray()
      const pauseMs = Math.min(FIRST_RETRY_MS * 2 ** (Number(row?.failed ?? 1) - 1), MAX_RETRY_MS)
      storage.sql.exec('update wake set first_at = ? where run = ? and asked = ?', Date.now() + pauseMs, run, asked)
    }
  }

  return {
    async wake(run: RunId, at: Instant = Date.now()): Promise<void> {
      storage.sql.exec(
        `insert into wake (run, first_at, last_at, asked, failed) values (?, ?, ?, 1, 0)
        on conflict (run) do update set asked = asked + 1,
          first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)`,
        ...[run, at, at],
      )
      await arm()
    },
    async alarm(): Promise<void> {
      const due = 'select run, asked from wake where first_at <= ? order by first_at, run limit ?'
      const entries = storage.sql.exec(due, Date.now(), RUNS_PER_ALARM).toArray()
      if (entries.length > 0) await storage.setAlarm(Date.now() + WATCHDOG_MS)
      await Promise.all(entries.map(({ run, asked }) => attempt(run as RunId, Number(asked))))
      await arm()
    },
  }
}
