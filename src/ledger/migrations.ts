/** The tables as they grew: forward only, each step one batch together with its own record. */

import { DroverError } from '../core/errors.ts'
import type { Db } from './db.ts'
import { query, send } from './schema.ts'

/**
 * `bytea` is PostgreSQL's word; SQLite takes any type name and keeps blobs in such a column as they are.
 * Never edit a step that was released: add one.
 */
export const migrations: readonly (readonly string[])[] = [
  [
    `create table run (
      id text not null primary key, at bigint not null,
      actor_key text not null, place_key text not null, actor text not null, place text not null, argv text not null,
      status text not null, outcome text, targets integer not null, succeeded integer not null,
      delivered integer not null, next_at bigint not null, seq integer not null, head text not null)`,
    'create index run_due on run (delivered, next_at)',
    'create index run_at on run (at)',
    'create index run_place on run (place_key, at)',
    'create index run_actor on run (actor_key, at)',
    `create table event (
      run text not null, seq integer not null, at bigint not null, type text not null, target text, idx integer,
      once text, body text not null, hash text not null, primary key (run, seq))`,
    'create unique index event_once on event (run, once)',
    `create table part (
      run text not null, seq integer not null, n integer not null, data bytea not null, primary key (run, seq, n))`,
    `create table target (
      run text not null, id text not null, state text not null default 'pending', owner text, claim text,
      primary key (run, id))`,
    `create table link (
      n integer not null primary key, run text not null, seq integer not null, run_hash text not null,
      prev text not null, hash text not null)`,
    'create unique index link_event on link (run, seq)',
    'create table seen (key text not null primary key, until bigint not null)',
    'create index seen_until on seen (until)',
  ],
]

const recordTable = 'create table if not exists migration (id integer not null primary key, at bigint not null)'

/** Brings the tables up to date. Safe to start twice at once: the record's primary key lets one of them win each step. */
export async function migrate(db: Db, at: number, steps: readonly (readonly string[])[] = migrations): Promise<void> {
  for (;;) {
    const done = await applied(db)
    if (done > steps.length) {
      throw new DroverError({
        code: 'ledger_unavailable',
        message: `The ledger was written by a newer drover (its tables are at step ${done}, this one knows ${steps.length}).`,
        next: 'Start the newer version again, or give this one a ledger of its own.',
      })
    }
    const step = steps[done]
    if (step === undefined) return
    const record = query
      .insertInto('migration')
      .values({ id: done + 1, at })
      .compile()
    try {
      // The record's own table comes with the first step: a new ledger is made by one write.
      const base = done === 0 ? [{ sql: recordTable, parameters: [] }] : []
      await db.batch([...base, { sql: record.sql, parameters: [done + 1, at] }, ...step.map((sql) => ({ sql, parameters: [] }))])
    } catch (error) {
      if ((await applied(db)) === done) throw error
    }
  }
}

/** How many steps were taken; 0 when there is not even a record of them. */
async function applied(db: Db): Promise<number> {
  try {
    const [[row]] = await send(db, [query.selectFrom('migration').select(({ fn }) => fn.max('id').as('last'))])
    return row?.last ?? 0
  } catch (error) {
    if (error instanceof DroverError) throw error
    return 0
  }
}
