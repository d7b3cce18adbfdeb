/** The append-only record of runs over any `Db`: recovery, history and audit are the same rows. */

import { DroverError } from '../core/errors.ts'
import { createGate } from '../core/fan-out.ts'
import type { OutputChunk, Owner, RunEvent, RunId, RunRequest, StoredEvent, TargetId } from '../core/model.ts'
import type { Ledger } from '../core/ports.ts'
import { GENESIS, pack, sha256 } from './chain.ts'
import type { Db } from './db.ts'
import { alone, type Claim, type Draft, drafted, type Entry, type Head, outcome, together } from './draft.ts'
import { describe, mayFollowFinished } from './facts.ts'
import { actorKey, placeKey } from './keys.ts'
import { createLanes } from './lanes.ts'
import { insertLink, type Link, lastOf, linked } from './links.ts'
import { migrate } from './migrations.ts'
import { type EventTable, type Prepared, prepared, query, type RunTable, send } from './schema.ts'
import { otherEndings, readOutput, storedEvents } from './stored.ts'
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

/** Events that stand or fall together and wait for their turn, and whoever waits for them. A claim is one by itself. */
type Waiting = {
  readonly entries: readonly [Entry, ...Entry[]]
  /** The number of the last of them. `undefined`: the claim was lost. */
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
  /** The last of the ledger-wide chain; undefined: to be read. One that another process has passed is refused. */
  let link: Link | undefined
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

  /** One batch, in the ledger-wide chain as well where the run is sealed with it. The first answer is that of the first statement. */
  const write = async (statements: readonly Prepared[], last: EventTable, sealing: boolean): Promise<readonly unknown[]> => {
    if (!sealing) return (await send(db, statements))[0] ?? []
    return await lanes.run(CHAIN, async () => {
      const before = link ?? (await lastOf(db))
      link = undefined
      const next = linked(before, last)
      const [first] = await send(db, [...statements, insertLink(next)])
      link = next
      return first ?? []
    })
  }

  /** The number of the last event, or undefined when its claim was lost. One call at a time for a run. */
  const commitOne = async (run: RunId, entries: Waiting['entries']): Promise<number | undefined> => {
    const [{ claim }] = entries
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const head = await headOf(run)
      const late = head.finished ? entries.find(({ event }) => entries.length > 1 || !mayFollowFinished(event)) : undefined
      if (late !== undefined) {
        if (claim !== undefined) return undefined
        throw new Error(`run ${run} is finished: '${late.event.type}' cannot follow`)
      }
      const drafts = drafted(run, head, now(), entries)
      const last = lastRow(drafts)
      const sealing = head.finished || last.type === 'finished'
      try {
        const first = await write(drafts.length === 1 ? alone(drafts[0] as Draft) : together(drafts), last, sealing)
        if (claim !== undefined && first.length === 0) return undefined
        remember(run, { seq: last.seq, hash: last.hash, finished: sealing })
        tell(drafts)
        return last.seq
      } catch (error) {
        heads.delete(run)
        const found = await outcome(db, drafts)
        if (found === 'kept') {
          tell(drafts)
          return last.seq
        }
        if (found === 'overtaken' || (found === 'nothing' && sealing)) {
          if (attempt === MAX_ATTEMPTS - 1) throw error
        } else if (found === 'nothing') throw error
        else throw new Error(`run ${run} has its '${found.twice}' already`, { cause: error })
      }
    }
    throw new Error('unreachable')
  }

  /** All of them in one batch. Undefined: nothing was written, and each has to be tried alone to see which of them cannot be. */
  const commitTogether = async (run: RunId, entries: readonly Entry[]): Promise<readonly Draft[] | undefined> => {
    const head = await headOf(run).catch(() => undefined)
    // What follows `finished` has a place of its own in the ledger-wide chain.
    if (head === undefined || head.finished || entries.slice(0, -1).some(isFinish)) return undefined
    const drafts = drafted(run, head, now(), entries)
    const last = lastRow(drafts)
    const sealing = last.type === 'finished'
    try {
      await write(together(drafts), last, sealing)
      remember(run, { seq: last.seq, hash: last.hash, finished: sealing })
    } catch {
      heads.delete(run)
      if ((await outcome(db, drafts)) !== 'kept') return undefined
    }
    tell(drafts)
    return drafts
  }

  /** What waits for the run, in order, and as much of it as possible together: one wait for the disk instead of many. */
  const writeWaiting = async (run: RunId): Promise<void> => {
    // What a short command says first and last comes in one turn.
    await db.turn?.()
    const all = waiting.get(run) ?? []
    waiting.delete(run)
    for (let from = 0; from < all.length; from += MAX_TOGETHER) {
      const some = all.slice(from, from + MAX_TOGETHER)
      const entries = some.flatMap((one) => one.entries)
      try {
        const drafts = some.length > 1 ? await commitTogether(run, entries) : undefined
        let n = -1
        for (const one of some) {
          n += one.entries.length
          if (drafts) one.resolve(drafts[n]?.row.seq)
          else await commitOne(run, one.entries).then(one.resolve, one.reject)
        }
      } catch (error) {
        // Nobody can tell whether they were kept: trying each again could record it twice.
        for (const one of some) one.reject(error)
      }
    }
  }

  const record = (run: RunId, entries: Waiting['entries']): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const one: Waiting = { entries, resolve, reject }
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
        const head = { seq: 0, hash: GENESIS, finished: false }
        const [draft] = drafted(request.id, head, now(), [{ event, packed }]) as readonly [Draft]
        const row: RunTable = {
          id: request.id,
          ...describe(request),
          ...{ status: 'accepted', outcome: null, targets: 0, succeeded: 0, delivered: 0 },
          ...{ next_at: draft.row.at, seq: 1, head: draft.row.hash },
        }
        try {
          // A delivery that comes twice is rare: its run is looked for only where it could not be written.
          await send(db, [insertRun(row), ...alone(draft)])
        } catch (error) {
          if (await exists(db, request.id)) return 'duplicate'
          throw error
        }
        remember(request.id, { seq: 1, hash: draft.row.hash, finished: false })
        return 'accepted'
      }),

    async append(run: RunId, first: RunEvent, ...more: readonly RunEvent[]) {
      const entries = [entryOf(first), ...more.map((event) => entryOf(event))] as const
      for (const { event } of entries)
        if (event.type === 'accepted' || event.type === 'started')
          throw new Error(`'${event.type}' is written by ${event.type === 'accepted' ? 'accept' : 'claim'}`)
      if (entries.slice(0, -1).some(isFinish)) throw new Error("'finished' is the last of what is written together")
      return (await record(run, entries)) as number
    },

    async claim(run: RunId, target: TargetId, owner: Owner): Promise<boolean> {
      const token = crypto.randomUUID()
      const claim = { target, owner, token }
      return (await record(run, [entryOf({ type: 'started', target, owner }, claim)])) !== undefined
    },

    follow(run: RunId, listener: (event: StoredEvent) => void): () => void {
      const listeners = followers.get(run) ?? new Set()
      followers.set(run, listeners.add(listener))
      return () => {
        listeners.delete(listener)
        if (listeners.size === 0 && followers.get(run) === listeners) followers.delete(run)
      }
    },

    async read(run: RunId): Promise<readonly StoredEvent[]> {
      const events: StoredEvent[] = []
      for await (const event of storedEvents(db, run)) events.push(event)
      return events
    },

    async replay(run: RunId, listener: (event: StoredEvent) => void): Promise<void> {
      for await (const event of storedEvents(db, run)) listener(event)
    },

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
      const others = await otherEndings(db, found)
      return found.map(({ outcome: ended, ...row }) => ({
        ...row,
        ...others.get(row.id),
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
async function exists(db: Db, run: RunId): Promise<boolean> {
  const [rows] = await send(db, [idRow({ run })])
  return rows.length > 0
}

const lastRow = (drafts: readonly Draft[]): EventTable => (drafts.at(-1) as Draft).row
const isFinish = ({ event }: Entry): boolean => event.type === 'finished'
const entryOf = (event: RunEvent, claim?: Claim): Entry => ({ event, packed: pack(event), ...(claim ? { claim } : {}) })
