/** The ledger on node:sqlite: the contract on a file, and what is particular to the file. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import type { RunId } from '../../src/core/model.ts'
import type { Db, Statement } from '../../src/ledger/db.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { migrate, migrations } from '../../src/ledger/migrations.ts'
import { ledgerContract } from '../contract/ledger.ts'
import { output, request, target } from '../contract/ledger-words.ts'

vi.setConfig({ testTimeout: 30_000 })
const folders: string[] = []
function ledgerFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'drover-ledger-'))
  folders.push(folder)
  return join(folder, 'data', 'drover.db')
}
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

ledgerContract('the ledger on a SQLite file', async () => {
  const path = ledgerFile()
  let clock = Date.now()
  const now = (): number => clock
  let db = openSqlite(path)
  let ledger = await createLedger(db, { now })
  return {
    ledger,
    async reopen() {
      await ledger.close()
      db = openSqlite(path)
      ledger = await createLedger(db, { now })
      return ledger
    },
    async tamper(sql) {
      await db.batch([{ sql, parameters: [] }])
    },
    async advance(ms) {
      clock += ms
    },
    close: () => ledger.close(),
  }
})

const unused = { sql: 'insert into migration (id, at) values (?, ?)', parameters: [99, 0] }

test('a batch happens whole or not at all', async () => {
  const db = openSqlite(':memory:')
  await migrate(db, 0)
  await expect(db.batch([unused, unused])).rejects.toThrow()
  expect(await db.batch([{ sql: 'select id from migration where id = ?', parameters: [99] }])).toEqual([[]])
  await db.close()
})

test('[no-secret-shown] S33 a delivery key is kept as a hash only', async () => {
  const db = openSqlite(':memory:')
  const ledger = await createLedger(db)
  await ledger.firstTime('https://hooks.example/secret', 1000)
  expect(JSON.stringify(await db.batch([{ sql: 'select * from seen', parameters: [] }]))).not.toContain('secret')
  await ledger.close()
})

test('what one target wrote is found by an index, however many targets the run has', async () => {
  const db = openSqlite(':memory:')
  const asked: Statement[] = []
  const batch = (statements: readonly Statement[]) => {
    asked.push(...statements)
    return db.batch(statements)
  }
  const ledger = await createLedger({ batch, close: () => db.close() })
  await ledger.accept(request('r1'))
  for (let index = 0; index < 20; index++) await ledger.append('r1' as RunId, output('1i1', index, `line ${index}`))
  await ledger.append('r1' as RunId, output('1i2', 0, 'another'))
  asked.length = 0
  expect((await ledger.output('r1' as RunId, target('1i1').id)).map(({ text }) => text)).toEqual(
    Array.from({ length: 20 }, (_, index) => `line ${index}`),
  )
  for (const { sql, parameters } of asked) {
    const [plan] = await db.batch([{ sql: `explain query plan ${sql}`, parameters }])
    const steps = (plan ?? []).map(({ detail }) => String(detail)).filter((detail) => !/TEMP B-TREE/.test(detail))
    for (const step of steps) expect(step).toMatch(/event_once \(run=\? AND once=\?\)|\(run=\? AND seq=\?\)/)
  }
  await ledger.close()
})

test('[bounded] no row comes near 1 MB, however large what is recorded', async () => {
  const db = openSqlite(':memory:')
  const ledger = await createLedger(db)
  const stdin = Array.from({ length: 200_000 }, (_, n) => ((n * 2_654_435_761) % 2 ** 32).toString(36)).join('')
  const asked = request('r1', { command: { argv: ['sh', '-c', 'x'.repeat(300_000)], stdin } })
  await ledger.accept(asked)
  await ledger.append('r1' as RunId, output('1i1', 0, stdin))
  const [largest] = await db.batch([
    {
      sql: `select max(n) as n from (select length(body) as n from event union all select length(data) from part
        union all select length(argv) + length(actor) + length(place) from run)`,
      parameters: [],
    },
  ])
  expect(largest?.[0]?.n).toBeLessThanOrEqual(256 * 1024)
  expect((await ledger.read('r1' as RunId))[0]?.event).toEqual({ type: 'accepted', request: asked })
  expect((await ledger.list({ limit: 1 }))[0]?.argv.join(' ')).toMatch(/^sh -c x{4000,4096}…$/)
  await ledger.close()
})

test('the file and its journal can be read by their owner only, also when the file was there before', async () => {
  const path = ledgerFile()
  mkdirSync(dirname(path))
  writeFileSync(path, '', { mode: 0o644 })
  const ledger = await createLedger(openSqlite(path))
  await ledger.accept(request('r1'))
  for (const file of [path, `${path}-wal`, `${path}.holder`]) expect(statSync(file).mode & 0o777).toBe(0o600)
  await ledger.close()
  expect(existsSync(`${path}.holder`)).toBe(false)
})

test('[once] a second process is refused at once, and told who holds the ledger', async () => {
  const path = ledgerFile()
  const ledger = await createLedger(openSqlite(path))
  const module = new URL('../../src/ledger/db-sqlite.ts', import.meta.url).href
  const script = `import(${JSON.stringify(module)}).then(({ openSqlite }) => openSqlite(${JSON.stringify(path)}))
    .catch((error) => console.log(JSON.stringify({ ...error.toFailure() })))`
  const second = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 20_000 })
  expect(JSON.parse(second.stdout)).toMatchObject({
    code: 'ledger_unavailable',
    message: expect.stringContaining(`process ${process.pid}`),
    next: expect.stringContaining('Stop the other drover'),
  })
  expect(await ledger.accept(request('r1'))).toBe('accepted')
  await ledger.close()
})

test('[recorded-first] S39 a full disk refuses the event, keeps what was there, and takes events again when there is room', async () => {
  const db = openSqlite(ledgerFile())
  const ledger = await createLedger(db)
  await ledger.accept(request('r1'))
  const [[size]] = (await db.batch([{ sql: 'pragma page_count', parameters: [] }])) as [[{ page_count: number }]]
  await db.batch([{ sql: `pragma max_page_count = ${size.page_count + 2}`, parameters: [] }])
  const noise = Array.from({ length: 40_000 }, (_, n) => (n * 2_654_435_761).toString(36)).join('')
  await expect(ledger.append('r1' as RunId, output('1i1', 0, noise))).rejects.toMatchObject({
    code: 'ledger_unavailable',
    message: expect.stringContaining('the disk is full'),
  })
  await db.batch([{ sql: 'pragma max_page_count = 1000000', parameters: [] }])
  expect(await ledger.append('r1' as RunId, output('1i1', 0, noise))).toBe(2)
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 2 })
  await ledger.close()
})

test('a file that is not a ledger, and a path that is not a file, are refused with what to do', () => {
  const path = `${ledgerFile()}.txt`
  openSqlite(path.replace('.txt', '')) satisfies Db
  writeFileSync(path, 'not a database, and long enough to be seen as one that is none '.repeat(20))
  for (const wrong of [path, join(path, 'below')]) {
    expect(() => openSqlite(wrong)).toThrow(expect.objectContaining({ code: 'ledger_unavailable', next: expect.any(String) }))
  }
})

test('[recorded-first] S39 a read-only ledger refuses the request', async () => {
  const db = openSqlite(ledgerFile())
  const ledger = await createLedger(db)
  await db.batch([{ sql: 'pragma query_only = on', parameters: [] }])
  await expect(ledger.accept(request('r1'))).rejects.toMatchObject({ code: 'ledger_unavailable' })
  await ledger.close()
})

test('no statement carries more than 100 parameters', async () => {
  const db = openSqlite(':memory:')
  const seen: number[] = []
  const watched: Db = {
    batch(statements) {
      seen.push(...statements.map(({ parameters }) => parameters.length))
      return db.batch(statements)
    },
    close: () => db.close(),
  }
  const ledger = await createLedger(watched)
  await ledger.accept(request('r1'))
  const targets = Array.from({ length: 500 }, (_, n) => ({ id: `prod/${n}` }) as never)
  await ledger.append('r1' as RunId, { type: 'resolved', targets })
  expect(Math.max(...seen)).toBeLessThanOrEqual(100)
  await ledger.close()
})

test('[nothing-lost] an event that was kept although its answer was lost is not written again', async () => {
  const db = openSqlite(':memory:')
  let lose = false
  const flaky: Db = {
    async batch(statements) {
      const rows = await db.batch(statements)
      if (lose && statements.some(({ sql }) => sql.startsWith('insert'))) {
        lose = false
        throw new Error('connection lost')
      }
      return rows
    },
    close: () => db.close(),
  }
  const ledger = await createLedger(flaky)
  const run = 'r1' as RunId
  await ledger.accept(request(run))
  await ledger.append(run, { type: 'resolved', targets: [{ id: 'prod/1' } as never] })
  lose = true
  expect(await ledger.append(run, { type: 'posted', part: 'a', ref: '1' })).toBe(3)
  lose = true
  expect(await ledger.claim(run, 'prod/1' as never, 'o' as never)).toBe(true)
  lose = true
  expect(await ledger.append(run, { type: 'finished', outcome: { status: 'done' } })).toBe(5)
  expect(await ledger.append(run, { type: 'delivered' })).toBe(6)
  expect(await ledger.verify()).toMatchObject({ ok: true, events: 6 })
  await ledger.close()
})

test('[once] two ledgers over one database share its runs: one winner, one unbroken chain', async () => {
  const db = openSqlite(':memory:')
  const ledgers = await Promise.all([createLedger(db), createLedger(db), createLedger(db)])
  const runs = Array.from({ length: 4 }, (_, n) => `r${n}` as RunId)
  for (const run of runs) {
    const accepted = await Promise.all(ledgers.map((ledger) => ledger.accept(request(run))))
    expect(accepted.filter((answer) => answer === 'accepted')).toHaveLength(1)
    await ledgers[0]?.append(run, { type: 'resolved', targets: [{ id: 'prod/1' } as never] })
    const claims = ledgers.map((ledger) => ledger.claim(run, 'prod/1' as never, 'same-owner' as never))
    const posts = ledgers.map((ledger, n) => ledger.append(run, { type: 'posted', part: `${n}`, ref: 'x' }))
    expect((await Promise.all(claims)).filter(Boolean)).toHaveLength(1)
    expect(new Set(await Promise.all(posts)).size).toBe(3)
  }
  await Promise.all(runs.map((run, n) => ledgers[n % 3]?.append(run, { type: 'finished', outcome: { status: 'done' } })))
  await Promise.all(runs.map((run, n) => ledgers[(n + 1) % 3]?.append(run, { type: 'delivered' })))
  expect(await ledgers[2]?.verify()).toMatchObject({ ok: true, runs: 4, events: 32 })
  await db.close()
})

test('events that one process asks for at once are recorded in that order', async () => {
  const ledger = await createLedger(openSqlite(':memory:'))
  await ledger.accept(request('r1'))
  const parts = Array.from({ length: 20 }, (_, n) => `part-${n}`)
  await Promise.all(parts.map((part) => ledger.append('r1' as RunId, { type: 'posted', part, ref: 'x' })))
  const events = (await ledger.read('r1' as RunId)).slice(1)
  expect(events.map(({ event }) => 'part' in event && event.part)).toEqual(parts)
  await ledger.close()
})

test('two starts at once migrate once; a newer ledger is left alone', async () => {
  const db = openSqlite(':memory:')
  const steps = [...migrations, ['create table later (id integer)']]
  await Promise.all([migrate(db, 1, steps), migrate(db, 2, steps), migrate(db, 3, steps)])
  expect(await db.batch([{ sql: 'select id from migration order by id', parameters: [] }])).toEqual([[{ id: 1 }, { id: 2 }]])
  await expect(createLedger(db)).rejects.toMatchObject({ code: 'ledger_unavailable', message: expect.stringContaining('newer') })
  await db.close()
})
