/** Reading what was recorded: pages of events, and the payloads kept beside them. */

import { DroverError } from '../core/errors.ts'
import { countedAs } from '../core/fold.ts'
import type { Ending, OutputChunk, RunEvent, RunId, StoredEvent, TargetId } from '../core/model.ts'
import type { RunSummary } from '../core/ports.ts'
import { attach, type Bytes, detachedOf } from './chain.ts'
import type { Db } from './db.ts'
import { onceKey } from './facts.ts'
import { type EventTable, prepared, query, type RunTable, send } from './schema.ts'

/** Bodies are at most 64 KiB of text each. */
const EVENTS_PER_PAGE = 200
/** Payloads of output fetched at once. */
const OUTPUTS_PER_PAGE = 8

/** The rows of a run after `seq`, in order; fewer than a page's worth only at the end. */
export async function* eventRows(db: Db, run: string, upTo = Number.MAX_SAFE_INTEGER): AsyncGenerator<EventTable> {
  for (let after = 0; ; ) {
    const [rows] = await send(db, [eventPage({ run, after, upTo })])
    yield* rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < EVENTS_PER_PAGE) return
    after = last.seq
  }
}

const eventPage = prepared<{ run: string; after: number; upTo: number }, EventTable>(
  ['run', 'after', 'upTo'],
  ({ run, after, upTo }) =>
    query
      .selectFrom('event')
      .selectAll()
      .where('run', '=', run)
      .where('seq', '>', after)
      .where('seq', '<=', upTo)
      .orderBy('seq')
      .limit(EVENTS_PER_PAGE),
)

export async function* storedEvents(db: Db, run: RunId): AsyncGenerator<StoredEvent> {
  for await (const row of eventRows(db, run)) yield { seq: row.seq, at: row.at, hash: row.hash, event: await eventOf(db, row) }
}

/** The event of a row; `output` without its chunks. Throws when its payload is not what the digest says. */
async function eventOf(db: Db, row: EventTable): Promise<RunEvent> {
  const { detached, ...event } = JSON.parse(row.body)
  if (row.type === 'output') return { ...event, chunks: [] }
  return detached === undefined ? event : JSON.parse((await payload(db, row)) ?? row.body)
}

/** The canonical JSON kept beside an event, undefined when there is none. Throws when it is damaged. */
export async function payload(db: Db, row: Pick<EventTable, 'run' | 'seq' | 'body'>): Promise<string | undefined> {
  const detached = detachedOf(row.body)
  if (detached === undefined) return undefined
  const [parts] = await send(db, [partsOf(row)])
  return whole(
    row,
    attach(
      detached,
      parts.map(({ data }) => data),
    ),
  )
}

export async function readOutput(db: Db, run: RunId, target: TargetId): Promise<readonly OutputChunk[]> {
  const chunks: OutputChunk[] = []
  for (let first = 0; ; first += OUTPUTS_PER_PAGE) {
    const [rows] = await send(db, [outputPage({ run, ...outputKeys(target, first) })])
    const events = Map.groupBy(rows, ({ seq }) => seq)
    for (const [seq, parts] of events) {
      const detached = detachedOf(parts[0]!.body)
      const data = parts.flatMap((part) => part.data ?? [])
      const text = whole({ run, seq }, detached && attach(detached, data))
      chunks.push(...(JSON.parse(text) as OutputChunk[]))
    }
    if (events.size < OUTPUTS_PER_PAGE) return chunks
  }
}

const places = Array.from({ length: OUTPUTS_PER_PAGE }, (_, i) => `key${i}`)

/** By the key that has an index: a run's other events, of thousands of targets, are not looked at. */
const outputPage = prepared<Readonly<Record<string, string>>, { seq: number; body: string; data: Bytes | null }>(
  ['run', ...places],
  ({ run = '', ...keys }) =>
    query
      .selectFrom('event')
      .leftJoin('part', (join) => join.onRef('part.run', '=', 'event.run').onRef('part.seq', '=', 'event.seq'))
      .select(['event.seq', 'body', 'data'])
      .where('event.run', '=', run)
      .where('once', 'in', Object.values(keys))
      .orderBy('idx')
      .orderBy('n'),
)

/** Of runs with more targets a list counts only what succeeded. */
const MOST_COUNTED = 1_000

/** How those ended that did not succeed, by run; of finished runs that have some. */
export async function otherEndings(
  db: Db,
  runs: readonly Pick<RunTable, 'id' | 'status' | 'targets' | 'succeeded'>[],
): Promise<ReadonlyMap<string, Pick<RunSummary, 'others'>>> {
  const some = runs.filter(
    ({ status, targets, succeeded }) => status === 'finished' && succeeded < targets && targets <= MOST_COUNTED,
  )
  const pages = await send(
    db,
    some.map(({ id }) => endedPage({ run: id })),
  )
  return new Map(some.map(({ id }, i) => [id, { others: countOthers(pages[i] ?? []) }]))
}

function countOthers(rows: readonly { readonly body: string }[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { body } of rows) {
    const { ending } = JSON.parse(body) as { readonly ending?: Ending }
    // Without one it is kept beside its row; a list does not fetch it.
    const word = ending && countedAs(ending)
    if (word !== undefined) counts[word] = (counts[word] ?? 0) + 1
  }
  return counts
}

/** By the key that has an index: `;` is the character after `:`. */
const endedPage = prepared<{ run: string }, { body: string }>(['run'], ({ run }) =>
  query
    .selectFrom('event')
    .select('body')
    .where('run', '=', run)
    .where('once', '>=', 'ended:')
    .where('once', '<', 'ended;')
    .limit(MOST_COUNTED),
)

function outputKeys(target: TargetId, first: number): Readonly<Record<string, string>> {
  const key = (index: number) => onceKey({ type: 'output', target, index, chunks: [] }) ?? ''
  return Object.fromEntries(places.map((place, i) => [place, key(first + i)]))
}

function partsOf({ run, seq }: Pick<EventTable, 'run' | 'seq'>) {
  return query.selectFrom('part').select('data').where('run', '=', run).where('seq', '=', seq).orderBy('n')
}

function whole({ run, seq }: Pick<EventTable, 'run' | 'seq'>, text: string | undefined): string {
  if (text === undefined) throw new DamagedPayload(run, seq)
  return text
}

export class DamagedPayload extends DroverError {
  override readonly name = 'DamagedPayload'
  constructor(run: string, seq: number) {
    super({
      code: 'ledger_unavailable',
      message: `The stored payload of event ${seq} of run ${run} is damaged: it is not what its digest says.`,
      next: 'Run `drover verify` to see how far the damage goes, and restore the ledger from a copy.',
    })
  }
}
