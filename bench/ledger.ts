/** What durability costs: the ledger with full synchronous writes against single inserts into node:sqlite with the same settings. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { RunEvent, RunId, RunRequest, TargetId } from '../src/core/model.ts'
import { openSqlite } from '../src/ledger/db-sqlite.ts'
import { createLedger } from '../src/ledger/ledger.ts'
import { against, type Bench, interleaved, median, type Row } from './rows.ts'

export const ledger: Bench = {
  name: 'ledger',
  async run({ quick, say }) {
    say('ledger')
    const count = quick ? 300 : 1000
    const folder = mkdtempSync(join(tmpdir(), 'drover-bench-ledger-'))
    const bare = new DatabaseSync(join(folder, 'bare.db'))
    bare.exec('pragma locking_mode = exclusive; pragma journal_mode = wal; pragma synchronous = full')
    bare.exec('create table event (run text not null, seq integer not null, body text not null, primary key (run, seq))')
    const insert = bare.prepare('insert into event values (?, ?, ?)')
    const kept = await createLedger(openSqlite(join(folder, 'drover.db')))
    let made = 0
    const request = (): RunRequest => ({
      id: `r${String(made++).padStart(15, 'a')}` as RunId,
      actor: { kind: 'cli', user: 'bench' },
      trigger: { kind: 'cli', delivery: `bench:${made}` },
      selector: { name: 'bench-*' },
      command: { argv: ['uptime'] },
      place: { kind: 'terminal' },
      receivedAt: Date.now(),
    })
    const event = (index: number): RunEvent => ({
      type: 'output',
      target: 'bench/1i1' as TargetId,
      index,
      chunks: [{ stream: 'stdout', text: `line ${index}\n` }],
    })
    const timed = async (work: () => Promise<void>): Promise<number> => {
      const begin = performance.now()
      await work()
      return performance.now() - begin
    }
    const results = await interleaved(
      quick ? 1 : 3,
      {
        bare: () =>
          timed(async () => {
            const run = request().id
            for (let i = 0; i < count; i++) insert.run(run, i, JSON.stringify(event(i)))
          }),
        append: () =>
          timed(async () => {
            const made = request()
            await kept.accept(made)
            for (let i = 0; i < count; i++) await kept.append(made.id, event(i))
          }),
        together: () =>
          timed(async () => {
            const made = request()
            await kept.accept(made)
            for (let i = 0; i < count; i += 16)
              await Promise.all(Array.from({ length: 16 }, (_, j) => kept.append(made.id, event(i + j))))
          }),
        accept: () =>
          timed(async () => {
            for (let i = 0; i < count; i++) await kept.accept(request())
          }),
        acceptTogether: () =>
          timed(async () => {
            for (let i = 0; i < count; i += 50) await Promise.all(Array.from({ length: 50 }, () => kept.accept(request())))
          }),
      },
      (ms) => ms,
    )
    await kept.close()
    bare.close()
    rmSync(folder, { recursive: true, force: true })
    const ms = (name: string) => median(results[name] ?? [])
    const baseline = { name: 'bare durable inserts', value: (count * 1000) / ms('bare') }
    const rate = (name: string, what: string): Row =>
      against({ name: what, value: (count * 1000) / ms(name), unit: 'events/s' }, baseline)
    return [
      rate('append', 'ledger, events one after the other'),
      rate('together', 'ledger, 16 events of one run at a time'),
      rate('acceptTogether', 'ledger, 50 accepts at a time'),
      against(
        { name: 'ledger, accept', value: ms('accept') / count, unit: 'ms' },
        { name: 'a bare durable insert', value: ms('bare') / count },
      ),
    ]
  },
}
