/** The append-only record of runs over any `Db`: recovery, history and audit are the same rows. */

import type { Compilable } from 'kysely'
import { DroverError } from '../core/errors.ts'
import type { OutputChunk, Owner, RunEvent, RunId, RunRequest, StoredEvent, TargetId } from '../core/model.ts'
import type { Ledger } from '../core/ports.ts'
import { GENESIS, linkHash, sha256 } from './chain.ts'
import type { Db } from './db.ts'
import { type Claim, type Draft, drafted, type Head } from './draft.ts'
import { describe, mayFollowFinished } from './facts.ts'
import { actorKey, placeKey } from './keys.ts'
import { createLanes } from './lanes.ts'
import { migrate } from './migrations.ts'
import { type EventTable, query, type RunTable, send } from './schema.ts'
import { readEvents, readOutput } from './stored.ts'
import { verify } from './verify.ts'

/** How often an event is tried again because another process appended first. */
const MAX_ATTEMPTS = 20
const MAX_HEADS = 1000
/** The one lane of the ledger-wide chain; no run id looks like it. */
const CHAIN = 'chain'

/** Brings the tables up to date first. `now` is the clock of event times and of `firstTime`. */
export async function createLedger(db: Db, options: { readonly now?: () => number } = {}): Promise<Ledger> {
  const now = options.now ?? Date.now
  const lanes = createLanes()
  const heads = new Map<RunId, Head>()
  await migrate(db, now())

  const remember = (run: RunId, head: Head): void => {
    if (!heads.has(run) && heads.size >= MAX_HEADS) heads.delete(heads.keys().next().value as RunId)
    heads.set(run, head)
  }

  const headOf = async (run: RunId): Promise<Head> => {
    const known = heads.get(run)
    if (known !== undefined) return known
    const [[row]] = await send(db, [query.selectFrom('run').select(['seq', 'head', 'status']).where('id', '=', run)])
    if (row === undefined) {
      throw new DroverError({ code: 'not_found', message: `There is no run ${run}.`, next: 'Check the run’s id with `runs`.' })
    }
    return { seq: row.seq, hash: row.head, finished: row.status === 'finished' }
  }

  /** The event's number, or undefined when its claim was lost. One call at a time for a run. */
  const commit = async (run: RunId, event: RunEvent, claim?: Claim): Promise<number | undefined> => {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const head = await headOf(run)
      if (head.finished && !mayFollowFinished(event)) {
        if (claim !== undefined) return undefined
        throw new Error(`run ${run} is finished: '${event.type}' cannot follow`)
      }
      const draft = await drafted(run, head, now(), event, claim)
      const sealing = head.finished || event.type === 'finished'
      try {
        const won = await (sealing ? lanes.run(CHAIN, () => written(db, draft, claim, true)) : written(db, draft, claim, false))
        if (!won) return undefined
        remember(run, { seq: draft.row.seq, hash: draft.row.hash, finished: sealing })
        return draft.row.seq
      } catch (error) {
        heads.delete(run)
        const found = await outcome(db, draft, claim)
        if (found === 'kept') return draft.row.seq
        if (found === 'twice') throw new Error(`run ${run} has its '${draft.row.once}' already`, { cause: error })
        if (found === 'nothing' && !sealing) throw error
        if (attempt === MAX_ATTEMPTS - 1) throw error
      }
    }
    throw new Error('unreachable')
  }

  return {
    accept: (request: RunRequest) =>
      lanes.run(request.id, async () => {
        if (await exists(db, request.id)) return 'duplicate'
        const head = { seq: 0, hash: GENESIS, finished: false }
        const draft = await drafted(request.id, head, now(), { type: 'accepted', request })
        const row: RunTable = {
          id: request.id,
          ...describe(request),
          ...{ status: 'accepted', outcome: null, targets: 0, succeeded: 0, delivered: 0 },
          ...{ next_at: draft.row.at, seq: 1, head: draft.row.hash },
        }
        try {
          await send(db, [query.insertInto('run').values(row), ...draft.queries])
        } catch (error) {
          if (await exists(db, request.id)) return 'duplicate'
          throw error
        }
        remember(request.id, { seq: 1, hash: draft.row.hash, finished: false })
        return 'accepted'
      }),

    append: (run: RunId, event: RunEvent) => {
      if (event.type === 'accepted' || event.type === 'started') {
        return Promise.reject(new Error(`'${event.type}' is written by ${event.type === 'accepted' ? 'accept' : 'claim'}`))
      }
      return lanes.run(run, async () => (await commit(run, event)) as number)
    },

    claim: (run: RunId, target: TargetId, owner: Owner) =>
      lanes.run(run, async () => {
        const token = crypto.randomUUID()
        return (await commit(run, { type: 'started', target, owner }, { target, owner, token })) !== undefined
      }),

    read: (run: RunId): Promise<readonly StoredEvent[]> => readEvents(db, run),

    output: (run: RunId, target: TargetId): Promise<readonly OutputChunk[]> => readOutput(db, run, target),

    async list({ place, actor, limit, before }) {
      let rows = query
        .selectFrom('run')
        .select(['id', 'at', 'actor', 'place', 'argv', 'status', 'outcome', 'targets', 'succeeded'])
        .orderBy('at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit)
      if (place !== undefined) rows = rows.where('place_key', '=', placeKey(place))
      if (actor !== undefined) rows = rows.where('actor_key', '=', actorKey(actor))
      if (before !== undefined) rows = rows.where('at', '<', before)
      const [found] = await send(db, [rows])
      return found.map(({ outcome: ended, ...row }) => ({
        ...row,
        id: row.id as RunId,
        actor: JSON.parse(row.actor),
        place: JSON.parse(row.place),
        argv: JSON.parse(row.argv),
        status: row.status as 'accepted' | 'running' | 'finished',
        ...(ended === null ? {} : { outcome: ended }),
      }))
    },

    async due(at, limit) {
      const owed = query.selectFrom('run').select('id').where('delivered', '=', 0).where('next_at', '<=', at)
      const [rows] = await send(db, [owed.orderBy('at').orderBy('id').limit(limit)])
      return rows.map(({ id }) => id as RunId)
    },

    async postpone(run, at) {
      await send(db, [query.updateTable('run').set({ next_at: at }).where('id', '=', run)])
    },

    async firstTime(key, ttlMs) {
      const at = now()
      // A delivery key may be a credential (a response URL, a trigger id): only its hash is kept.
      const hashed = await sha256(key)
      const [, inserted] = await send(db, [
        query.deleteFrom('seen').where('until', '<=', at),
        query
          .insertInto('seen')
          .values({ key: hashed, until: at + ttlMs })
          .onConflict((conflict) => conflict.column('key').doNothing())
          .returning('key'),
      ])
      return inserted.length === 1
    },

    verify: () => verify(db),

    async close() {
      await lanes.idle()
      await db.close()
    },
  }
}

async function exists(db: Db, run: RunId): Promise<boolean> {
  const [rows] = await send(db, [query.selectFrom('run').select('id').where('id', '=', run)])
  return rows.length > 0
}

/** One batch. False: the claim was lost, and nothing was written. */
async function written(db: Db, draft: Draft, claim: Claim | undefined, sealing: boolean): Promise<boolean> {
  const [first] = await send(db, sealing ? [...draft.queries, await nextLink(db, draft.row)] : draft.queries)
  return claim === undefined || (first !== undefined && first.length > 0)
}

async function nextLink(db: Db, row: EventTable): Promise<Compilable<unknown>> {
  const [[last]] = await send(db, [query.selectFrom('link').select(['n', 'hash']).orderBy('n', 'desc').limit(1)])
  const link = { n: (last?.n ?? 0) + 1, run: row.run, seq: row.seq }
  const prev = last?.hash ?? GENESIS
  const hash = await linkHash(prev, { ...link, runHash: row.hash })
  return query.insertInto('link').values({ ...link, run_hash: row.hash, prev, hash })
}

/** After a failed batch: whether it was kept after all (the answer was lost), or why it was not. */
async function outcome(db: Db, { row }: Draft, claim?: Claim): Promise<'kept' | 'twice' | 'overtaken' | 'nothing'> {
  const [[there], [same], [target]] = await send(db, [
    query.selectFrom('event').select('hash').where('run', '=', row.run).where('seq', '=', row.seq),
    query.selectFrom('event').select('seq').where('run', '=', row.run).where('once', '=', row.once),
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
    if (same !== undefined) return 'twice'
  }
  return there === undefined ? 'nothing' : 'overtaken'
}
