/** `kill -9` on a process that writes the ledger without end. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { RunId, TargetId } from '../../src/core/model.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'

const ROUNDS = 10
const writer = fileURLToPath(new URL('ledger-writer.ts', import.meta.url))

/** Runs the writer until it has acknowledged something, then to a moment that nobody chose. The lines it got out. */
async function killedWhileWriting(path: string, round: number): Promise<readonly string[]> {
  const child = spawn(process.execPath, [writer, path, String(round)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8')
  const writing = new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (piece: string) => {
      text += piece
      if (text.includes('event')) resolve()
    })
    child.once('exit', () => reject(new Error('the writer ended by itself')))
  })
  await writing
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 250))
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
  // The last line may be cut by the kill; a whole one ends with a line feed.
  return text.slice(0, text.lastIndexOf('\n')).split('\n')
}

/** What the writer said it had, against what is there. */
async function missing(ledger: Ledger, lines: readonly string[]): Promise<readonly string[]> {
  const lost: string[] = []
  for (const line of lines) {
    const [what, run, ...rest] = line.split(' ') as [string, RunId, ...string[]]
    if (what === 'ready') continue
    const events = await ledger.read(run)
    const [first, second] = rest
    const there =
      what === 'event'
        ? events.some(({ seq }) => seq === Number(first))
        : what === 'claim'
          ? events.some(({ event }) => event.type === 'started' && event.target === first)
          : (await ledger.output(run, first as TargetId)).length > Number(second)
    if (!there) lost.push(line)
  }
  return lost
}

test('[nothing-lost] [once] after kill -9 at any moment every acknowledged event is there, nothing is half, and no claim is open again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drover-kill-'))
  const path = join(folder, 'drover.db')
  try {
    let events = 0
    for (let round = 0; round < ROUNDS; round++) {
      const lines = await killedWhileWriting(path, round)
      const ledger = await createLedger(openSqlite(path))
      const report = await ledger.verify()
      expect(report).toMatchObject({ ok: true })
      expect(report.events).toBeGreaterThan(events)
      events = report.events
      expect(await missing(ledger, lines)).toEqual([])
      for (const line of lines.filter((one) => one.startsWith('claim'))) {
        const [, run, id] = line.split(' ') as [string, RunId, TargetId]
        expect(await ledger.claim(run, id, 'another' as never)).toBe(false)
      }
      const owed = await ledger.due(Date.now(), 10_000)
      const undelivered = (await ledger.list({ limit: 10_000 })).map(({ id }) => id)
      for (const run of undelivered) {
        const delivered = (await ledger.read(run)).some(({ event }) => event.type === 'delivered')
        expect(owed.includes(run)).toBe(!delivered)
      }
      await ledger.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 120_000)
