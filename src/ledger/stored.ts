/** Reading what was recorded: pages of events, and the payloads kept beside them. */

import { DroverError } from '../core/errors.ts'
import type { OutputChunk, RunEvent, RunId, StoredEvent, TargetId } from '../core/model.ts'
import { attach, type Bytes, detachedOf } from './chain.ts'
import type { Db } from './db.ts'
import { onceKey } from './facts.ts'
import { type EventTable, query, send } from './schema.ts'

/** Bodies are at most 64 KiB of text each. */
const EVENTS_PER_PAGE = 200
/** Payloads of output fetched at once. */
const OUTPUTS_PER_PAGE = 8

/** The rows of a run after `seq`, in order; fewer than a page's worth only at the end. */
export async function* eventRows(db: Db, run: string, upTo = Number.MAX_SAFE_INTEGER): AsyncGenerator<EventTable> {
  for (let after = 0; ; ) {
    const page = query.selectFrom('event').selectAll().where('run', '=', run).where('seq', '>', after)
    const [rows] = await send(db, [page.where('seq', '<=', upTo).orderBy('seq').limit(EVENTS_PER_PAGE)])
    yield* rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < EVENTS_PER_PAGE) return
    after = last.seq
  }
}

export async function readEvents(db: Db, run: RunId): Promise<readonly StoredEvent[]> {
  const events: StoredEvent[] = []
  for await (const row of eventRows(db, run)) {
    events.push({ seq: row.seq, at: row.at, hash: row.hash, event: await eventOf(db, row) })
  }
  return events
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
    // By the key that has an index: a run's other events, of thousands of targets, are not looked at.
    const keys = Array.from(
      { length: OUTPUTS_PER_PAGE },
      (_, i) => onceKey({ type: 'output', target, index: first + i, chunks: [] }) ?? '',
    )
    const page = query.selectFrom('event').select(['run', 'seq', 'body']).where('run', '=', run).where('once', 'in', keys)
    const [rows] = await send(db, [page.orderBy('idx')])
    if (rows.length === 0) return chunks
    const parts = await send(db, rows.map(partsOf))
    for (const [index, row] of rows.entries()) {
      const data = (parts[index] ?? []).map((part): Bytes => part.data)
      const detached = detachedOf(row.body)
      const text = whole(row, detached === undefined ? undefined : attach(detached, data))
      chunks.push(...(JSON.parse(text) as OutputChunk[]))
    }
  }
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
