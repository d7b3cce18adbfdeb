/** Events on their way into the ledger: their rows, and every statement that must happen together with them. */

import type { Owner, RunEvent, RunId, TargetId } from '../core/model.ts'
import { eventHash, type Packed } from './chain.ts'
import type { Db } from './db.ts'
import { isSuccess, onceKey } from './facts.ts'
import { type EventTable, type PartTable, type Prepared, prepared, query, send } from './schema.ts'

/** Three columns a target: below the 100 parameters a Durable Object allows. */
const TARGETS_PER_STATEMENT = 30
/** Looked for at once: below the same 100. */
const MOST_KEYS = 64

export type Head = { readonly seq: number; readonly hash: string; readonly finished: boolean }
/** A claim in flight: its event is written only if its row was won, by this very call. */
export type Claim = { readonly target: TargetId; readonly owner: Owner; readonly token: string }
export type Entry = { readonly event: RunEvent; readonly packed: Packed; readonly claim?: Claim }
export type Draft = { readonly entry: Entry; readonly row: EventTable }

/** The events after `head`, in order. */
export function drafted(run: RunId, head: Head, at: number, entries: readonly Entry[]): readonly Draft[] {
  let { seq, hash } = head
  return entries.map((entry) => {
    const { event, packed } = entry
    seq++
    hash = eventHash(hash, run, seq, at, packed.body)
    const row: EventTable = {
      ...{ run, seq, at, type: event.type, body: packed.body, hash },
      target: 'target' in event ? event.target : null,
      idx: event.type === 'output' ? event.index : null,
      once: onceKey(event) ?? null,
    }
    return { entry, row }
  })
}

/** Writes one event and all that follows from it. The first answer has a row unless a claim was lost; then nothing is written. */
export function alone(draft: Draft): readonly Prepared[] {
  const { claim } = draft.entry
  if (claim === undefined) return [...recorded(draft), ...advanced([draft])]
  const { target, owner, token } = claim
  const { run, seq, hash } = draft.row
  return [
    take({ run, target, owner, token }),
    insertClaimed({ ...draft.row, token }),
    advanceClaimed({ run, seq, head: hash, target, token }),
  ]
}

/** Writes several events of one run together, or fails whole: a claim that was lost, too, breaks the batch. */
export function together(drafts: readonly Draft[]): readonly Prepared[] {
  return [...drafts.flatMap(recorded), ...advanced(drafts)]
}

/** The event, the payload beside it and the rows of targets; not yet the run's own row. */
function recorded({ entry, row }: Draft): readonly Prepared[] {
  const { event, packed, claim } = entry
  const parts = packed.parts.map((data, n) => insertPart({ run: row.run, seq: row.seq, n, data }))
  if (claim !== undefined) {
    const { target, owner, token } = claim
    return [take({ run: row.run, target, owner, token }), insertOrBreak({ ...row, token })]
  }
  const written = [insertEvent(row), ...parts]
  if (event.type === 'ended') return [...written, endTarget({ run: row.run, target: event.target })]
  if (event.type === 'resolved') return [...written, ...pending(row.run, event.targets)]
  return written
}

/** The run's own row after these events; `accepted` is written with it. */
function advanced(drafts: readonly Draft[]): readonly Prepared[] {
  const last = drafts.at(-1)?.row
  if (last === undefined || last.type === 'accepted') return []
  const statements: Prepared[] = []
  let succeeded = 0
  let status: string | null = null
  for (const { entry, row } of drafts) {
    const { event } = entry
    if (isSuccess(event)) succeeded++
    if (event.type === 'started') status = 'running'
    else if (event.type === 'resolved') statements.push(countTargets({ run: row.run }))
    else if (event.type === 'finished') statements.push(finish({ run: row.run, outcome: event.outcome.status, at: row.at }))
    else if (event.type === 'delivered') statements.push(deliver({ run: row.run }))
  }
  return [advance({ run: last.run, seq: last.seq, head: last.hash, status, succeeded }), ...statements]
}

/**
 * After a failed batch: whether it was kept after all (the answer was lost), or why it was not. It was kept whole or not at all, so
 * one of them stands for all.
 */
export async function outcome(
  db: Db,
  drafts: readonly Draft[],
): Promise<'kept' | { readonly twice: string } | 'overtaken' | 'nothing'> {
  const { row, entry } = drafts.find((one) => one.entry.claim !== undefined) ?? (drafts.at(-1) as Draft)
  const { claim } = entry
  const once = drafts.flatMap((draft) => draft.row.once ?? [])
  const [[there], [same], [target]] = await send(db, [
    query.selectFrom('event').select('hash').where('run', '=', row.run).where('seq', '=', row.seq),
    query.selectFrom('event').select('once').where('run', '=', row.run).where('once', 'in', once.slice(0, MOST_KEYS)).limit(1),
    query
      .selectFrom('target')
      .select('claim')
      .where('run', '=', row.run)
      .where('id', '=', claim?.target ?? ''),
  ])
  if (claim !== undefined) {
    if (target?.claim === claim.token) return 'kept'
  } else {
    if (there?.hash === row.hash) return 'kept'
    if (same) return { twice: same.once ?? '' }
  }
  return there === undefined ? 'nothing' : 'overtaken'
}

function pending(run: string, targets: readonly { readonly id: TargetId }[]): readonly Prepared[] {
  const whole = targets.length - (targets.length % TARGETS_PER_STATEMENT)
  const statements: Prepared[] = []
  for (let from = 0; from < whole; from += TARGETS_PER_STATEMENT)
    statements.push(insertMany({ run, ...Object.fromEntries(places.map((place, i) => [place, targets[from + i]!.id])) }))
  return [...statements, ...targets.slice(whole).map(({ id }) => insertOne({ run, id }))]
}

const places = Array.from({ length: TARGETS_PER_STATEMENT }, (_, i) => `id${i}`)
const insertPending = (names: readonly string[]) =>
  prepared<Readonly<Record<string, string>>>(['run', ...names], ({ run = '', ...ids }) =>
    query
      .insertInto('target')
      .values(Object.values(ids).map((id) => ({ run, id, state: 'pending' })))
      .onConflict((conflict) => conflict.doNothing()),
  )
const insertMany = insertPending(places)
const insertOne = insertPending(['id'])

const columns = ['run', 'seq', 'at', 'type', 'target', 'idx', 'once', 'body', 'hash'] as const

const insertEvent = prepared<EventTable>(columns, (row) => query.insertInto('event').values(row))

const insertPart = prepared<PartTable>(['run', 'seq', 'n', 'data'], (row) => query.insertInto('part').values(row))

const endTarget = prepared<{ run: string; target: string }>(['run', 'target'], ({ run, target }) =>
  query.updateTable('target').set({ state: 'ended' }).where('run', '=', run).where('id', '=', target),
)

type Taking = { run: string; target: string; owner: string; token: string }

/** The conditional update that decides. */
const take = prepared<Taking, { id: string }>(['run', 'target', 'owner', 'token'], ({ run, target, owner, token }) =>
  query
    .updateTable('target')
    .set({ state: 'started', owner, claim: token })
    .where('run', '=', run)
    .where('id', '=', target)
    .where('state', '=', 'pending')
    .returning('id'),
)

/** PostgreSQL takes a bare parameter in a select for text. */
function typeOf(column: keyof EventTable): 'bigint' | 'text' {
  return column === 'seq' || column === 'at' || column === 'idx' ? 'bigint' : 'text'
}

/**
 * The event of a claim, if this call's token is what the update left. A run that was finished meanwhile has that event in the
 * place of this one, so the batch fails and the claim is looked at again.
 */
const insertClaimed = prepared<EventTable & { token: string }>([...columns, 'token'], (row) =>
  query
    .insertInto('event')
    .columns([...columns])
    .expression((eb) =>
      eb
        .selectFrom('target')
        .select((each) => columns.map((column) => each.cast(each.val(row[column]), typeOf(column)).as(column)))
        .where('run', '=', row.run)
        .where('id', '=', row.target as string)
        .where('claim', '=', row.token),
    ),
)

/** The same among others, whose hashes follow from it: without this call's token there is no hash, and no hash is refused. */
const insertOrBreak = prepared<EventTable & { token: string }>([...columns, 'token'], ({ token, ...row }) =>
  query.insertInto('event').values(({ selectFrom }) => ({
    ...row,
    hash: selectFrom('target')
      .select((each) => each.cast<string>(each.val(row.hash), 'text').as('hash'))
      .where('run', '=', row.run)
      .where('id', '=', row.target as string)
      .where('claim', '=', token) as never,
  })),
)

type Advance = { run: string; seq: number; head: string; status: string | null; succeeded: number }

const advance = prepared<Advance>(['run', 'seq', 'head', 'status', 'succeeded'], ({ run, seq, head, status, succeeded }) =>
  query
    .updateTable('run')
    .set(({ eb, fn, val, ref }) => ({
      ...{ seq, head },
      status: fn.coalesce(val(status), ref('status')),
      succeeded: eb('succeeded', '+', succeeded),
    }))
    .where('id', '=', run),
)

type AdvanceClaimed = { run: string; seq: number; head: string; target: string; token: string }

const advanceClaimed = prepared<AdvanceClaimed>(['run', 'seq', 'head', 'target', 'token'], ({ run, seq, head, target, token }) =>
  query
    .updateTable('run')
    .set({ seq, head, status: 'running' })
    .where('id', '=', run)
    .where(({ exists, selectFrom }) =>
      exists(selectFrom('target').select('id').where('run', '=', run).where('id', '=', target).where('claim', '=', token)),
    ),
)

const countTargets = prepared<{ run: string }>(['run'], ({ run }) =>
  query
    .updateTable('run')
    .set(({ selectFrom }) => ({
      targets: selectFrom('target')
        .select(({ fn }) => fn.countAll<number>().as('n'))
        .where('run', '=', run),
    }))
    .where('id', '=', run),
)

const finish = prepared<{ run: string; outcome: string; at: number }>(['run', 'outcome', 'at'], ({ run, outcome, at }) =>
  query.updateTable('run').set({ status: 'finished', outcome, next_at: at }).where('id', '=', run),
)

const deliver = prepared<{ run: string }>(['run'], ({ run }) =>
  query.updateTable('run').set({ delivered: 1 }).where('id', '=', run),
)
