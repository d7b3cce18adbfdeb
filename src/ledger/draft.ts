/** One event on its way into the ledger: its row, and every statement that must happen together with it. */

import type { Compilable } from 'kysely'
import type { Owner, RunEvent, RunId, TargetId } from '../core/model.ts'
import { eventHash, pack } from './chain.ts'
import { isSuccess, onceKey } from './facts.ts'
import { type EventTable, query, type RunTable } from './schema.ts'

/** Three columns a target: below the 100 parameters a Durable Object allows. */
const TARGETS_PER_STATEMENT = 30

export type Head = { readonly seq: number; readonly hash: string; readonly finished: boolean }
export type Draft = { readonly row: EventTable; readonly queries: readonly Compilable<unknown>[] }
/** A claim in flight: its event is written only if its row was won, by this very call. */
export type Claim = { readonly target: TargetId; readonly owner: Owner; readonly token: string }

/** The event after `head`, and the statements that write it together with all that follows from it. */
export async function drafted(run: RunId, head: Head, at: number, event: RunEvent, claim?: Claim): Promise<Draft> {
  const { body, parts } = await pack(event)
  const seq = head.seq + 1
  const row: EventTable = {
    ...{ run, seq, at, type: event.type, body },
    target: 'target' in event ? event.target : null,
    idx: event.type === 'output' ? event.index : null,
    once: onceKey(event) ?? null,
    hash: await eventHash(head.hash, run, seq, at, body),
  }
  return {
    row,
    queries: [
      ...(claim === undefined ? [query.insertInto('event').values(row)] : claiming(row, claim)),
      ...parts.map((data, n) => query.insertInto('part').values({ run, seq, n, data })),
      ...(event.type === 'accepted' ? [] : following(row, event, claim)),
    ],
  }
}

/**
 * The conditional update that decides, then the event if this call's token is what it left. A run that was finished meanwhile
 * has that event in the place of this one, so the batch fails and the claim is looked at again.
 */
function claiming(row: EventTable, { target, owner, token }: Claim): readonly Compilable<unknown>[] {
  const columns = Object.keys(row) as (keyof EventTable)[]
  return [
    query
      .updateTable('target')
      .set({ state: 'started', owner, claim: token })
      .where('run', '=', row.run)
      .where('id', '=', target)
      .where('state', '=', 'pending')
      .returning('id'),
    query
      .insertInto('event')
      .columns(columns)
      .expression((eb) =>
        eb
          .selectFrom('target')
          .select((each) => columns.map((column) => each.cast(each.val(row[column]), typeOf(column)).as(column)))
          .where('run', '=', row.run)
          .where('id', '=', target)
          .where('claim', '=', token),
      ),
  ]
}

/** PostgreSQL takes a bare parameter in a select for text. */
function typeOf(column: keyof EventTable): 'bigint' | 'text' {
  return column === 'seq' || column === 'at' || column === 'idx' ? 'bigint' : 'text'
}

/** What else is true once the event is there. */
function following(row: EventTable, event: RunEvent, claim?: Claim): readonly Compilable<unknown>[] {
  const queries: Compilable<unknown>[] = []
  const change: Partial<RunTable> = { seq: row.seq, head: row.hash }
  switch (event.type) {
    case 'resolved':
      for (let from = 0; from < event.targets.length; from += TARGETS_PER_STATEMENT) {
        const some = event.targets.slice(from, from + TARGETS_PER_STATEMENT)
        const rows = some.map(({ id }) => ({ run: row.run, id, state: 'pending' }))
        queries.push(
          query
            .insertInto('target')
            .values(rows)
            .onConflict((conflict) => conflict.doNothing()),
        )
      }
      break
    case 'started':
      change.status = 'running'
      break
    case 'ended':
      queries.push(query.updateTable('target').set({ state: 'ended' }).where('run', '=', row.run).where('id', '=', event.target))
      break
    case 'finished':
      Object.assign(change, { status: 'finished', outcome: event.outcome.status, next_at: row.at })
      break
    case 'delivered':
      change.delivered = 1
      break
  }
  const update = query
    .updateTable('run')
    .set(change)
    .where('id', '=', row.run)
    .$if(event.type === 'resolved', (q) =>
      q.set(({ selectFrom, fn }) => ({
        targets: selectFrom('target').select(fn.countAll<number>().as('n')).where('run', '=', row.run),
      })),
    )
    .$if(isSuccess(event), (q) => q.set((eb) => ({ succeeded: eb('succeeded', '+', 1) })))
    .$if(claim !== undefined, (q) =>
      q.where(({ exists: any, selectFrom }) =>
        any(
          selectFrom('target')
            .select('id')
            .where('run', '=', row.run)
            .where('claim', '=', claim?.token ?? ''),
        ),
      ),
    )
  return [...queries, update]
}
