/** What waits for the disk together: batches in one commit, and events of one run in one batch. */

import { expect, test } from 'vitest'
import type { RunId, StoredEvent } from '../../src/core/model.ts'
import type { Db, Statement } from '../../src/ledger/db.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { ended, output, request, target } from '../contract/ledger-words.ts'

const run = 'r1' as RunId
const create = { sql: 'create table item (n integer primary key, of integer references item (n) deferrable initially deferred)' }
const insert = (n: number, of: number | null = null): Statement => ({
  sql: 'insert into item (n, of) values (?, ?)',
  parameters: [n, of],
})
const all: Statement = { sql: 'select n from item order by rowid', parameters: [] }

async function items(): Promise<Db> {
  const db = openSqlite(':memory:')
  await db.batch([{ ...create, parameters: [] }])
  return db
}

/** How each of them went, and when: the numbers in the order in which their promises settled. */
async function outcomes(batches: readonly Promise<unknown>[]): Promise<{ kept: readonly boolean[]; order: readonly number[] }> {
  const order: number[] = []
  const settled = batches.map((batch, n) => batch.finally(() => order.push(n)))
  return { kept: (await Promise.allSettled(settled)).map(({ status }) => status === 'fulfilled'), order }
}

test('[recorded-first] a batch that fails among others is undone whole and takes none of them along', async () => {
  const db = await items()
  const { kept } = await outcomes([
    db.batch([insert(1)]),
    db.batch([insert(2), insert(1)]),
    db.batch([insert(3)]),
    db.batch([insert(4), { sql: 'no statement at all', parameters: [] }]),
    db.batch([insert(5)]),
  ])
  expect(kept).toEqual([true, false, true, false, true])
  expect(await db.batch([all])).toEqual([[{ n: 1 }, { n: 3 }, { n: 5 }]])
  await db.close()
})

test('[recorded-first] a commit that fails fails every batch that it carried, and the next one is taken again', async () => {
  const db = await items()
  // The reference is looked at by the commit itself, not by the statement.
  const { kept } = await outcomes([db.batch([insert(1)]), db.batch([insert(2, 99)]), db.batch([insert(3)])])
  expect(kept).toEqual([false, false, false])
  expect(await db.batch([all])).toEqual([[]])
  await db.batch([insert(4)])
  expect(await db.batch([all])).toEqual([[{ n: 4 }]])
  await db.close()
})

test('batches are carried out in the order they were asked for, each sees those before it, and they are answered in that order', async () => {
  const db = await items()
  const numbers = Array.from({ length: 600 }, (_, n) => n)
  const { kept, order } = await outcomes(
    numbers.map(async (n) => {
      const [, rows] = await db.batch([insert(n), all])
      expect(rows).toHaveLength(n + 1)
    }),
  )
  expect(kept.every(Boolean)).toBe(true)
  expect(order).toEqual(numbers)
  await db.close()
})

test('what was asked for before the close is carried out by it', async () => {
  const db = await items()
  const last = db.batch([insert(1), all])
  await db.close()
  expect((await last)[1]).toEqual([{ n: 1 }])
})

/** The batches that wrote something, by how many events each of them held. */
function watched(db: Db): { readonly db: Db; readonly eventsOf: number[] } {
  const eventsOf: number[] = []
  const batch = (statements: readonly Statement[]) => {
    const events = statements.filter(({ sql }) => sql.startsWith('insert into "event"')).length
    if (events > 0) eventsOf.push(events)
    return db.batch(statements)
  }
  return { db: { batch, ...(db.turn ? { turn: () => db.turn!() } : {}), close: () => db.close() }, eventsOf }
}

test('events of one run that wait for the same turn are written in one batch, claims among them, in one unbroken chain', async () => {
  const { db, eventsOf } = watched(openSqlite(':memory:'))
  const ledger = await createLedger(db)
  await ledger.accept(request(run))
  const natives = Array.from({ length: 16 }, (_, n) => `1i${n}`)
  await ledger.append(run, { type: 'resolved', targets: natives.map(target) })
  eventsOf.length = 0
  const claims = await Promise.all(natives.map((native) => ledger.claim(run, target(native).id, 'o' as never)))
  await Promise.all(
    natives.flatMap((native) => [ledger.append(run, output(native, 0, native)), ledger.append(run, ended(native))]),
  )
  expect(claims).toEqual(natives.map(() => true))
  expect(eventsOf).toEqual([16, 32])
  expect((await ledger.list({ limit: 1 }))[0]).toMatchObject({ status: 'running', targets: 16, succeeded: 16 })
  expect((await ledger.output(run, target('1i7').id)).map(({ text }) => text)).toEqual(['1i7'])
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 50 })
  await ledger.close()
})

test('the first and the last words of a run that one turn brings are written in one batch, and the run is sealed with it', async () => {
  const { db, eventsOf } = watched(openSqlite(':memory:'))
  const ledger = await createLedger(db)
  await ledger.accept(request(run))
  await ledger.append(run, { type: 'resolved', targets: [target('1i1')] })
  await ledger.claim(run, target('1i1').id, 'o' as never)
  eventsOf.length = 0
  const handle = { target: target('1i1').id, exec: 'e' }
  const first = ledger.append(run, { type: 'handle', target: target('1i1').id, handle })
  for (let i = 0; i < 100; i++) await Promise.resolve()
  const last = ledger.append(run, output('1i1', 0, 'up'), ended('1i1'), { type: 'finished', outcome: { status: 'done' } })
  expect(await Promise.all([first, last])).toEqual([4, 7])
  expect(eventsOf).toEqual([4])
  await ledger.append(run, { type: 'delivered' })
  expect((await ledger.list({ limit: 1 }))[0]).toMatchObject({ status: 'finished', succeeded: 1 })
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 8 })
  await ledger.close()
})

test('two ledgers over one database that seal runs in turns keep one chain', async () => {
  const db = openSqlite(':memory:')
  const ledgers = [await createLedger(db), await createLedger(db)]
  for (let i = 0; i < 6; i++) {
    const id = `r${i}` as RunId
    const ledger = ledgers[i % 2]!
    await ledger.accept(request(id))
    await ledger.append(id, { type: 'finished', outcome: { status: 'done' } })
    await ledger.append(id, { type: 'delivered' })
  }
  expect(await ledgers[0]!.verify()).toMatchObject({ ok: true, events: 18 })
  await db.close()
})

test('[once] [true-ending] a claim that is lost and an event that came too late are refused among the others, which are kept in order', async () => {
  const ledger = await createLedger(openSqlite(':memory:'))
  await ledger.accept(request(run))
  await ledger.append(run, { type: 'resolved', targets: ['1i1', '1i2', '1i3'].map(target) })
  await ledger.claim(run, target('1i1').id, 'another' as never)
  await ledger.append(run, ended('1i1'))
  const settled = await Promise.allSettled([
    ledger.append(run, { type: 'posted', part: 'a', ref: '1' }),
    ledger.claim(run, target('1i1').id, 'o' as never),
    ledger.claim(run, target('1i2').id, 'o' as never),
    ledger.append(run, ended('1i1', { status: 'cancelled' })),
    ledger.append(run, { type: 'posted', part: 'b', ref: '2' }),
    ledger.claim(run, target('1i2').id, 'o' as never),
    ledger.claim(run, target('1i3').id, 'o' as never),
  ])
  expect(settled.map((one) => (one.status === 'fulfilled' ? one.value : 'refused'))).toEqual([
    ...[5, false, true, 'refused', 7, false, true],
  ])
  expect((await ledger.read(run)).slice(4).map(({ event }) => event)).toMatchObject([
    { type: 'posted', part: 'a' },
    { type: 'started', target: 'prod/1i2' },
    { type: 'posted', part: 'b' },
    { type: 'started', target: 'prod/1i3' },
  ])
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 8 })
  await ledger.close()
})

test('[once] a claim that is lost among others leaves no gap in the run’s numbers', async () => {
  const ledger = await createLedger(openSqlite(':memory:'))
  await ledger.accept(request(run))
  await ledger.append(run, { type: 'resolved', targets: [target('1i1'), target('1i2')] })
  await ledger.append(run, ended('1i1'))
  const answers = await Promise.all([
    ledger.claim(run, target('1i1').id, 'o' as never),
    ledger.append(run, { type: 'posted', part: 'a', ref: '1' }),
    ledger.claim(run, target('1i2').id, 'o' as never),
  ])
  expect(answers).toEqual([false, 4, true])
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 5 })
  await ledger.close()
})

test('[once] of two ledgers that claim the same targets in the same millisecond for the same owner, one wins all and one none', async () => {
  const db = openSqlite(':memory:')
  const [one, another] = await Promise.all([createLedger(db, { now: () => 1 }), createLedger(db, { now: () => 1 })])
  await one.accept(request(run))
  await one.append(run, { type: 'resolved', targets: [target('1i1'), target('1i2')] })
  const asked = [one, another].flatMap((ledger) => [
    ...['1i1', '1i2'].map((native) => ledger.claim(run, target(native).id, 'o' as never)),
    ledger.append(run, { type: 'posted', part: 'a', ref: '1' }),
  ])
  expect(await Promise.all(asked)).toEqual([true, true, 5, false, false, 6])
  expect(await another.verify()).toMatchObject({ ok: true, events: 6 })
  await db.close()
})

test('[nothing-lost] events that were kept together although the answer was lost are not written again', async () => {
  const real = openSqlite(':memory:')
  let lose = false
  const flaky: Db = {
    async batch(statements) {
      const rows = await real.batch(statements)
      if (lose && statements.some(({ sql }) => sql.startsWith('insert'))) {
        lose = false
        throw new Error('connection lost')
      }
      return rows
    },
    close: () => real.close(),
  }
  const ledger = await createLedger(flaky)
  await ledger.accept(request(run))
  await ledger.append(run, { type: 'resolved', targets: [target('1i1')] })
  const post = (part: string) => ledger.append(run, { type: 'posted', part, ref: '1' })
  lose = true
  expect(await Promise.all([post('a'), post('b')])).toEqual([3, 4])
  lose = true
  expect(await Promise.all([ledger.claim(run, target('1i1').id, 'o' as never), post('c')])).toEqual([true, 6])
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 6 })
  await ledger.close()
})

test('[recorded-first] when nobody can say whether events were kept, all of them are refused and none is tried again', async () => {
  const real = openSqlite(':memory:')
  let gone = false
  const failing: Db = {
    batch: (statements) => (gone ? Promise.reject(new Error('gone')) : real.batch(statements)),
    close: () => real.close(),
  }
  const ledger = await createLedger(failing)
  await ledger.accept(request(run))
  const post = (part: string) => ledger.append(run, { type: 'posted', part, ref: '1' })
  gone = true
  const settled = await Promise.allSettled([post('a'), post('b'), post('c')])
  expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  gone = false
  expect(await post('d')).toBe(2)
  await ledger.close()
})

test('a replay tells what a read returns', async () => {
  const ledger = await createLedger(openSqlite(':memory:'))
  await ledger.accept(request(run))
  for (let i = 0; i < 250; i++) await ledger.append(run, output('1i1', i, `${i}`))
  const told: StoredEvent[] = []
  await ledger.replay(run, (event) => told.push(event))
  expect(told).toHaveLength(251)
  expect(told).toEqual(await ledger.read(run))
  await ledger.close()
})

test('whoever follows a run is told each event as it is stored, in order, before whoever asked for it goes on', async () => {
  const ledger = await createLedger(openSqlite(':memory:'))
  await ledger.accept(request(run))
  await ledger.accept(request('r2'))
  const told: StoredEvent[] = []
  const stop = ledger.follow(run, (event) => told.push(event))
  await ledger.append(run, { type: 'resolved', targets: [target('1i1'), target('1i2')] })
  expect(told).toHaveLength(1)
  await Promise.all([
    ledger.claim(run, target('1i1').id, 'o' as never),
    ledger.append(run, ended('1i2')),
    ledger.append('r2' as RunId, { type: 'posted', part: 'a', ref: '1' }),
  ])
  await ledger.append(run, { type: 'finished', outcome: { status: 'done' } })
  await expect(ledger.append(run, ended('1i1'))).rejects.toThrow('finished')
  expect(told).toEqual((await ledger.read(run)).slice(1))
  stop()
  await ledger.append(run, { type: 'delivered' })
  expect(told).toHaveLength(4)
  await ledger.close()
})
