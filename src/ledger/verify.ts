/** Proves the record: recomputes every hash, digest and table from the events, and says where the first break is. */

import type { RunEvent, RunId } from '../core/model.ts'
import type { VerifyReport } from '../core/ports.ts'
import { canonical, eventHash, GENESIS, linkHash } from './chain.ts'
import type { Db } from './db.ts'
import { advance, describe, type Facts, noFacts, onceKey } from './facts.ts'
import { type EventTable, type LinkTable, query, type RunTable, send, type TargetTable } from './schema.ts'
import { DamagedPayload, eventRows, payload } from './stored.ts'

const PAGE = 200

/** Where and how the record breaks; thrown from deep inside a run, never out of this file. */
class Break extends Error {
  readonly run: string | undefined
  readonly seq: number | undefined
  constructor(problem: string, run?: string, seq?: number) {
    super(problem)
    this.run = run
    this.seq = seq
  }
}

/**
 * Works beside appends: each run is proved as it stood at one moment. What it cannot see from inside: a whole run removed with
 * every trace of it before it was finished, or the newest links removed with their runs. For that, compare `head` with an older copy.
 */
export async function verify(db: Db): Promise<VerifyReport> {
  let runs = 0
  let events = 0
  try {
    for (let after = ''; ; ) {
      const [page] = await send(db, [query.selectFrom('run').select('id').where('id', '>', after).orderBy('id').limit(PAGE)])
      for (const { id } of page) {
        runs++
        await proveRun(db, id, () => events++)
        after = id
      }
      if (page.length < PAGE) break
    }
    await noOrphans(db)
    return { ok: true, runs, events, head: await proveChain(db) }
  } catch (error) {
    if (!(error instanceof Break)) throw error
    const { run, seq } = error
    return {
      ...{ ok: false, runs, events, problem: error.message },
      ...(run === undefined ? {} : { run: run as RunId }),
      ...(seq === undefined ? {} : { seq }),
    }
  }
}

async function proveRun(db: Db, id: string, count: () => void): Promise<void> {
  const [[run], targets, links, [last]] = await send(db, [
    query.selectFrom('run').selectAll().where('id', '=', id),
    query.selectFrom('target').selectAll().where('run', '=', id),
    query.selectFrom('link').selectAll().where('run', '=', id).orderBy('n'),
    query.selectFrom('event').select('seq').where('run', '=', id).orderBy('seq', 'desc').limit(1),
  ])
  if (run === undefined) return
  const facts = noFacts()
  let hash = GENESIS
  let seq = 0
  const sealed: EventTable[] = []
  for await (const row of eventRows(db, id, run.seq)) {
    count()
    if (row.seq !== seq + 1) throw new Break(`event ${seq + 1} of run ${id} is missing`, id, seq + 1)
    seq = row.seq
    hash = eventHash(hash, id as RunId, seq, row.at, row.body)
    if (hash !== row.hash) throw new Break(`event ${seq} of run ${id} is not what was recorded`, id, seq)
    const event = await proveEvent(db, row)
    advance(facts, event)
    if (facts.status === 'finished') sealed.push(row)
  }
  if (seq !== run.seq) throw new Break(`event ${seq + 1} of run ${id} is missing`, id, seq + 1)
  if (last !== undefined && last.seq > seq) throw new Break(`event ${last.seq} of run ${id} was never recorded`, id, last.seq)
  if (hash !== run.head) throw new Break(`the last hash of run ${id} is not that of its last event`, id, seq)
  proveTables(run, targets, facts)
  proveLinks(id, sealed, links)
}

/** The row's columns and its payload against what its hash covers. */
async function proveEvent(db: Db, row: EventTable): Promise<RunEvent> {
  const event = await whole(db, row)
  const columns = {
    type: event.type,
    target: 'target' in event ? event.target : null,
    idx: event.type === 'output' ? event.index : null,
    once: onceKey(event) ?? null,
  }
  if (canonical(columns) !== canonical({ type: row.type, target: row.target, idx: row.idx, once: row.once })) {
    throw new Break(`the columns of event ${row.seq} of run ${row.run} are not what was recorded`, row.run, row.seq)
  }
  return event
}

async function whole(db: Db, row: EventTable): Promise<RunEvent> {
  try {
    const text = await payload(db, row)
    return JSON.parse(row.type === 'output' || text === undefined ? row.body : text)
  } catch (error) {
    if (!(error instanceof DamagedPayload)) throw error
    throw new Break(`the payload of event ${row.seq} of run ${row.run} is not what its digest says`, row.run, row.seq)
  }
}

function proveTables(run: RunTable, targets: readonly TargetTable[], facts: Facts): void {
  const expected = {
    ...(facts.request === undefined ? {} : describe(facts.request)),
    ...{ status: facts.status, outcome: facts.outcome, succeeded: facts.succeeded, delivered: facts.delivered },
    targets: facts.targets.size,
  }
  for (const [column, value] of Object.entries(expected)) {
    if (run[column as keyof RunTable] !== value)
      throw new Break(`'${column}' of run ${run.id} is not what its events say`, run.id)
  }
  for (const { id, state } of targets) {
    const says = facts.targets.get(id)
    if (says !== state)
      throw new Break(`target ${id} of run ${run.id} is '${state}', its events say '${says ?? 'nothing'}'`, run.id)
  }
  if (targets.length !== facts.targets.size) throw new Break(`a target of run ${run.id} is missing`, run.id)
}

/** `finished` and every event after it has one link, in order. */
function proveLinks(id: string, sealed: readonly EventTable[], links: readonly LinkTable[]): void {
  for (const [index, row] of sealed.entries()) {
    const link = links[index]
    if (link?.seq !== row.seq || link.run_hash !== row.hash) {
      throw new Break(`event ${row.seq} of run ${id} is not sealed in the ledger’s chain`, id, row.seq)
    }
  }
  const extra = links[sealed.length]
  if (extra !== undefined)
    throw new Break(`the ledger’s chain seals event ${extra.seq} of run ${id}, which is not there`, id, extra.seq)
}

async function proveChain(db: Db): Promise<string> {
  let prev = GENESIS
  for (let n = 0; ; ) {
    const page = query.selectFrom('link').leftJoin('run', 'run.id', 'link.run').selectAll('link').select('run.id as known')
    const [links] = await send(db, [page.where('n', '>', n).orderBy('n').limit(PAGE)])
    for (const link of links) {
      n++
      const hash = linkHash(prev, { n: link.n, run: link.run, seq: link.seq, runHash: link.run_hash })
      if (link.n !== n) throw new Break(`link ${n} of the ledger’s chain is missing`)
      if (link.prev !== prev || link.hash !== hash)
        throw new Break(`link ${n} of the ledger’s chain is not what was recorded`, link.run, link.seq)
      if (link.known === null) throw new Break(`run ${link.run} is in the ledger’s chain and is not there`, link.run)
      prev = hash
    }
    if (links.length < PAGE) return prev
  }
}

async function noOrphans(db: Db): Promise<void> {
  const [[event], [target], [part]] = await send(db, [
    query
      .selectFrom('event')
      .leftJoin('run', 'run.id', 'event.run')
      .select(['event.run', 'event.seq'])
      .where('run.id', 'is', null)
      .limit(1),
    query.selectFrom('target').leftJoin('run', 'run.id', 'target.run').select('target.run').where('run.id', 'is', null).limit(1),
    query
      .selectFrom('part')
      .leftJoin('event', (join) => join.onRef('event.run', '=', 'part.run').onRef('event.seq', '=', 'part.seq'))
      .select(['part.run', 'part.seq'])
      .where('event.run', 'is', null)
      .limit(1),
  ])
  if (event !== undefined) throw new Break(`run ${event.run} has events and no row of its own`, event.run, event.seq)
  if (target !== undefined) throw new Break(`run ${target.run} has targets and no row of its own`, target.run)
  if (part !== undefined)
    throw new Break(`there is a payload for event ${part.seq} of run ${part.run}, which is not there`, part.run, part.seq)
}
