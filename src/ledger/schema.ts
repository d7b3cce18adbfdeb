/** The tables as types, and Kysely as the compiler of typed queries to `Db` statements. */

import { type Compilable, DummyDriver, Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely'
import type { Db, Row, Statement, Value } from './db.ts'

/** One row a run: what lists, sweeps and `verify` need without reading its events. Everything here follows from the events. */
export type RunTable = {
  id: string
  at: number
  /** Keys that queries compare (`actorKey`, `placeKey`), then the same as JSON for the reader. */
  actor_key: string
  place_key: string
  actor: string
  place: string
  argv: string
  status: string
  outcome: string | null
  targets: number
  succeeded: number
  delivered: number
  next_at: number
  /** Number and hash of the last event. */
  seq: number
  head: string
}

export type EventTable = {
  run: string
  seq: number
  at: number
  type: string
  target: string | null
  idx: number | null
  /** What may be recorded only once in a run, for example `ended:prod/1i160`; null when it may repeat. */
  once: string | null
  /** Canonical JSON; see `chain.ts`. */
  body: string
  hash: string
}

/** The pieces of what is too large for an event's body: gzip of canonical JSON, cut to rows. */
export type PartTable = { run: string; seq: number; n: number; data: Uint8Array<ArrayBuffer> }

/** `pending` → `started` → `ended`, or `pending` → `ended`; never back. `claim` is the token of the one call that won. */
export type TargetTable = { run: string; id: string; state: string; owner: string | null; claim: string | null }

/** The ledger-wide chain: one link for `finished` and for every event after it. */
export type LinkTable = { n: number; run: string; seq: number; run_hash: string; prev: string; hash: string }

export type SeenTable = { key: string; until: number }

export type MigrationTable = { id: number; at: number }

export type Schema = {
  run: RunTable
  event: EventTable
  part: PartTable
  target: TargetTable
  link: LinkTable
  seen: SeenTable
  migration: MigrationTable
}

export const query = new Kysely<Schema>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
})

export type Rows<Q> = { -readonly [K in keyof Q]: Q[K] extends Compilable<infer O> ? O[] : never }

/** Runs typed queries as one batch; the rows come back typed by position. */
export async function send<const Q extends readonly Compilable<unknown>[]>(db: Db, queries: Q): Promise<Rows<Q>> {
  const statements = queries.map((item): Statement => {
    const { sql, parameters } = item.compile()
    return { sql, parameters: parameters as readonly Value[] }
  })
  const rows: Row[][] = await db.batch(statements)
  return rows as unknown as Rows<Q>
}
