/** The tables as types, and Kysely as the compiler of typed queries to `Db` statements. */

import {
  type Compilable,
  DefaultConnectionProvider,
  DefaultQueryExecutor,
  DummyDriver,
  QueryCreator,
  SqliteAdapter,
  SqliteQueryCompiler,
} from 'kysely'
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

/** What compiles and nothing else: a whole `Kysely` would bring its schema builders into the Worker's bundle. */
export const query = new QueryCreator<Schema>({
  executor: new DefaultQueryExecutor(
    new SqliteQueryCompiler(),
    new SqliteAdapter(),
    new DefaultConnectionProvider(new DummyDriver()),
  ),
})

/** A compiled query that is ready to go, with the type of its rows. */
export type Prepared<O = unknown> = Statement & { readonly rows?: O }

type RowOf<Q> = Q extends Compilable<infer O> ? O : Q extends Prepared<infer O> ? O : never
export type Rows<Q> = { -readonly [K in keyof Q]: RowOf<Q[K]>[] }

/** Runs typed queries as one batch; the rows come back typed by position. */
export async function send<const Q extends readonly (Compilable<unknown> | Prepared)[]>(db: Db, queries: Q): Promise<Rows<Q>> {
  const rows: Row[][] = await db.batch(queries.map((item) => ('sql' in item ? item : statementOf(item))))
  return rows as unknown as Rows<Q>
}

function statementOf(item: Compilable<unknown>): Statement {
  const { sql, parameters } = item.compile()
  return { sql, parameters: parameters as readonly Value[] }
}

/**
 * A query that is compiled once, because compiling costs more than running it: `build` gets a stand-in for each name, and each
 * call puts its own values in their places.
 */
export function prepared<V extends Readonly<Record<string, Value>>, O = unknown>(
  names: readonly (keyof V & string)[],
  build: (values: V) => Compilable<O>,
): (values: V) => Prepared<O> {
  const standIn = (name: string) => `\u0000${name}`
  let made: { readonly sql: string; readonly places: readonly (string | { readonly value: Value })[] } | undefined
  const compile = () => {
    const { sql, parameters } = statementOf(build(Object.fromEntries(names.map((name) => [name, standIn(name)])) as unknown as V))
    const byStandIn = new Map(names.map((name) => [standIn(name), name]))
    return { sql, places: parameters.map((value) => (typeof value === 'string' ? byStandIn.get(value) : undefined) ?? { value }) }
  }
  return (values) => {
    made ??= compile()
    const parameters = made.places.map((place) => (typeof place === 'string' ? (values[place] as Value) : place.value))
    return { sql: made.sql, parameters }
  }
}
