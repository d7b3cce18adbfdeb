/** The append-only record of runs over any `Db`: recovery, history and audit are the same rows. */

import { DroverError } from '../core/errors.ts'
import { createGate } from '../core/fan-out.ts'
import type { OutputChunk, Owner, RunEvent, RunId, RunRequest, StoredEvent, TargetId } from '../core/model.ts'
import type { Ledger } from '../core/ports.ts'
import { GENESIS, linkHash, pack, sha256 } from './chain.ts'
import type { Db } from './db.ts'
import { alone, type Claim, type Draft, drafted, type Entry, type Head, together } from './draft.ts'
import { describe, mayFollowFinished } from './facts.ts'
import { actorKey, placeKey } from './keys.ts'
import { createLanes } from './lanes.ts'
import { migrate } from './migrations.ts'
import { type EventTable, type LinkTable, type Prepared, prepared, query, type RunTable, send } from './schema.ts'
import { readEvents, readOutput } from './stored.ts'
import { verify } from './verify.ts'

/** How often an event is tried again because another process appended first. */
const MAX_ATTEMPTS = 20
const MAX_HEADS = 1000
/** Outputs that are read at a time: whoever asks for those of a thousand targets gets them one after the other. */
const MAX_READING = 4
/** Events of one run that are written in one batch, at most. */
const MAX_TOGETHER = 64
/** The one lane of the ledger-wide chain; no run id looks like it. */
const CHAIN = 'chain'

/** An event that waits for its turn, and whoever waits for it. */
type Waiting = {
  readonly entry: Entry
  /** `undefined`: the claim was lost. */
  resolve(seq: number | undefined): void
  reject(error: unknown): void
}

/** Brings the tables up to date first. `now` is the clock of event times and of `firstTime`. */
export async function createLedger(db: Db, options: { readonly now?: () => number } = {}): Promise<Ledger> {
  const now = options.now ?? Date.now
  const lanes = createLanes()
  const reading = createGate(MAX_READING)
  const heads = new Map<RunId, Head>()
  const waiting = new Map<RunId, Waiting[]>()
  const followers = new Map<RunId, Set<(event: StoredEvent) => void>>()
  await migrate(db, now())

  const remember = (run: RunId, head: Head): void => {
    if (!heads.has(run) && heads.size >= MAX_HEADS) heads.delete(heads.keys().next().value as RunId)
    heads.set(run, head)
  }

  const headOf = async (run: RunId): Promise<Head> => {
    const known = heads.get(run)
    if (known !== undefined) return known
    const [[row]] = await send(db, [headRow({ run })])
    if (row === undefined) {
      throw new DroverError({ code: 'not_found', message: `There is no run ${run}.`, next: 'Check the run’s id with `runs`.' })
    }
    return { seq: row.seq, hash: row.head, finished: row.status === 'finished' }
  }

  /** After they are durable, and before whoever asked for them goes on. */
  const tell = (drafts: readonly Draft[]): void => {
    for (const { entry, row } of drafts) {
      const stored = { seq: row.seq, at: row.at, hash: row.hash, event: entry.event }
      for (const follow of followers.get(row.run as RunId) ?? []) follow(stored)
    }
  }

  /** The event's number, or undefined when its claim was lost. One call at a time for a run. */
  const commitOne = async (run: RunId, entry: Entry): Promise<number | undefined> => {
    const { event, claim } = entry
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const head = await headOf(run)
      if (head.finished && !mayFollowFinished(event)) {
        if (claim !== undefined) return undefined
        throw new Error(`run ${run} is finished: '${event.type}' cannot follow`)
      }
      const [draft] = drafted(run, head, now(), [entry]) as readonly [Draft]
      const sealing = head.finished || event.type === 'finished'
      try {
        const won = await (sealing ? lanes.run(CHAIN, () => written(db, draft, true)) : written(db, draft, false))
        if (!won) return undefined
        remember(run, { seq: draft.row.seq, hash: draft.row.hash, finished: sealing })
        tell([draft])
        return draft.row.seq
      } catch (error) {
        heads.delete(run)
        const found = await outcome(db, draft)
        if (found === 'kept') {
          tell([draft])
          return draft.row.seq
        }
        if (found === 'twice') throw new Error(`run ${run} has its '${draft.row.once}' already`, { cause: error })
        if (found === 'nothing' && !sealing) throw error
        if (attempt === MAX_ATTEMPTS - 1) throw error
      }
    }
    throw new Error('unreachable')
  }

  /** All of them in one batch. Undefined: nothing was written, and each has to be tried alone to see which of them cannot be. */
  const commitTogether = async (run: RunId, entries: readonly Entry[]): Promise<readonly Draft[] | undefined> => {
    const head = await headOf(run).catch(() => undefined)
    if (head === undefined || head.finished) return undefined
    const drafts = drafted(run, head, now(), entries)
    const last = (drafts.at(-1) as Draft).row
    try {
      await send(db, together(drafts))
      remember(run, { seq: last.seq, hash: last.hash, finished: false })
    } catch {
      heads.delete(run)
      // One of them stands for all: the batch was kept whole, or not at all.
      const witness = drafts.find(({ entry }) => entry.claim !== undefined) ?? (drafts.at(-1) as Draft)
      if ((await outcome(db, witness)) !== 'kept') return undefined
    }
    tell(drafts)
    return drafts
  }

  /** What waits for the run, in order, and as much of it as possible together: one wait for the disk instead of many. */
  const writeWaiting = async (run: RunId): Promise<void> => {
    const all = waiting.get(run) ?? []
    waiting.delete(run)
    for (let from = 0; from < all.length; from += MAX_TOGETHER) {
      const some = all.slice(from, from + MAX_TOGETHER)
      const entries = some.map(({ entry }) => entry)
      // What seals a run goes alone: it has a place in the ledger-wide chain as well.
      const mayShare = some.length > 1 && entries.every(({ event }) => event.type !== 'finished')
      try {
        const drafts = mayShare ? await commitTogether(run, entries) : undefined
        for (const [n, one] of some.entries()) {
          if (drafts) one.resolve(drafts[n]?.row.seq)
          else await commitOne(run, one.entry).then(one.resolve, one.reject)
        }
      } catch (error) {
        // Nobody can tell whether they were kept: trying each again could record it twice.
        for (const one of some) one.reject(error)
      }
    }
  }

  const record = (run: RunId, event: RunEvent, claim?: Claim): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const entry = { event, packed: pack(event), ...(claim === undefined ? {} : { claim }) }
      const one: Waiting = { entry, resolve, reject }
      const others = waiting.get(run)
      if (others !== undefined) {
        others.push(one)
        return
      }
      waiting.set(run, [one])
      void lanes.run(run, () => writeWaiting(run))
    })

  return {
    accept: (request: RunRequest) =>
      lanes.run(request.id, async () => {
        const event: RunEvent = { type: 'accepted', request }
        const packed = pack(event)
        if (await exists(db, request.id)) return 'duplicate'
        const head = { seq: 0, hash: GENESIS, finished: false }
        const [draft] = drafted(request.id, head, now(), [{ event, packed }]) as readonly [Draft]
        const row: RunTable = {
          id: request.id,
          ...describe(request),
          ...{ status: 'accepted', outcome: null, targets: 0, succeeded: 0, delivered: 0 },
          ...{ next_at: draft.row.at, seq: 1, head: draft.row.hash },
        }
        try {
          await send(db, [insertRun(row), ...alone(draft)])
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
      return record(run, event) as Promise<number>
    },

    async claim(run: RunId, target: TargetId, owner: Owner): Promise<boolean> {
      const token = crypto.randomUUID()
      return (await record(run, { type: 'started', target, owner }, { target, owner, token })) !== undefined
    },

    follow(run: RunId, listener: (event: StoredEvent) => void): () => void {
      const listeners = followers.get(run) ?? new Set()
      followers.set(run, listeners.add(listener))
      return () => {
        listeners.delete(listener)
        if (listeners.size === 0 && followers.get(run) === listeners) followers.delete(run)
      }
    },

    read: (run: RunId): Promise<readonly StoredEvent[]> => readEvents(db, run),

    async output(run: RunId, target: TargetId): Promise<readonly OutputChunk[]> {
      const leave = await reading.enter()
      return readOutput(db, run, target).finally(leave)
    },

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
      const hashed = sha256(key)
      const [, inserted] = await send(db, [forgetSeen({ at }), insertSeen({ key: hashed, until: at + ttlMs })])
      return inserted.length === 1
    },

    verify: () => verify(db),

    async close() {
      await lanes.idle()
      await db.close()
    },
  }
}

const headRow = prepared<{ run: string }, Pick<RunTable, 'seq' | 'head' | 'status'>>(['run'], ({ run }) =>
  query.selectFrom('run').select(['seq', 'head', 'status']).where('id', '=', run),
)
const idRow = prepared<{ run: string }, Pick<RunTable, 'id'>>(['run'], ({ run }) =>
  query.selectFrom('run').select('id').where('id', '=', run),
)
const insertRun = prepared<RunTable>(
  [
    ...(['id', 'at', 'actor_key', 'place_key', 'actor', 'place', 'argv', 'status', 'outcome'] as const),
    ...(['targets', 'succeeded', 'delivered', 'next_at', 'seq', 'head'] as const),
  ],
  (row) => query.insertInto('run').values(row),
)
const forgetSeen = prepared<{ at: number }>(['at'], ({ at }) => query.deleteFrom('seen').where('until', '<=', at))
const insertSeen = prepared<{ key: string; until: number }, { key: string }>(['key', 'until'], (row) =>
  query
    .insertInto('seen')
    .values(row)
    .onConflict((conflict) => conflict.column('key').doNothing())
    .returning('key'),
)
const lastLink = prepared<Record<never, never>, Pick<LinkTable, 'n' | 'hash'>>([], () =>
  query.selectFrom('link').select(['n', 'hash']).orderBy('n', 'desc').limit(1),
)
const insertLink = prepared<LinkTable>(['n', 'run', 'seq', 'run_hash', 'prev', 'hash'], (row) =>
  query.insertInto('link').values(row),
)

async function exists(db: Db, run: RunId): Promise<boolean> {
  const [rows] = await send(db, [idRow({ run })])
  return rows.length > 0
}

/** One batch. False: the claim was lost, and nothing was written. */
async function written(db: Db, draft: Draft, sealing: boolean): Promise<boolean> {
  const [first] = await send(db, sealing ? [...alone(draft), await nextLink(db, draft.row)] : alone(draft))
  return draft.entry.claim === undefined || (first !== undefined && first.length > 0)
}

async function nextLink(db: Db, row: EventTable): Promise<Prepared> {
  const [[last]] = await send(db, [lastLink({})])
  const link = { n: (last?.n ?? 0) + 1, run: row.run, seq: row.seq }
  const prev = last?.hash ?? GENESIS
  return insertLink({ ...link, run_hash: row.hash, prev, hash: linkHash(prev, { ...link, runHash: row.hash }) })
}

/** After a failed batch: whether it was kept after all (the answer was lost), or why it was not. */
async function outcome(db: Db, { row, entry: { claim } }: Draft): Promise<'kept' | 'twice' | 'overtaken' | 'nothing'> {
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
