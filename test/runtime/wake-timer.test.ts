/** Wakes by timers, and the sweep over a real ledger. */

import { expect, test, vi } from 'vitest'
import type { RunId } from '../../src/core/model.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { createTimerWake, startSweep } from '../../src/runtime/wake-timer.ts'
import { request } from '../contract/ledger-words.ts'
import { wakeContract } from '../contract/wake.ts'
import { wakeServer } from './wake-rpc.ts'

vi.setConfig({ testTimeout: 30_000 })
const patient = { timeout: 15_000, interval: 5 }
const quiet = { log: () => {} }

wakeContract('wakes by timers', async () => {
  const server = wakeServer()
  const wake = createTimerWake(server.work, quiet)
  return {
    ask: (call) => server.answer(call, wake),
    sweep: (run) => wake.wake(run),
    close: () => wake.close(),
  }
})

test('[bounded] no more runs are worked on at once than the limit, and all get their turn', async () => {
  let now = 0
  let most = 0
  const done: RunId[] = []
  const wake = createTimerWake(
    async (run) => {
      most = Math.max(most, ++now)
      await new Promise((resolve) => setImmediate(resolve))
      now--
      done.push(run)
    },
    { ...quiet, limit: 3 },
  )
  const runs = Array.from({ length: 20 }, (_, n) => `r${n}` as RunId)
  for (const run of runs) await wake.wake(run)
  await vi.waitFor(() => expect(done).toHaveLength(20), patient)
  expect(new Set(done)).toEqual(new Set(runs))
  expect(most).toBe(3)
  await wake.close()
})

test('[nothing-lost] a wake that rings in the middle of the work leads to another work after it', async () => {
  const began: RunId[] = []
  const gate = Promise.withResolvers<void>()
  const wake = createTimerWake((run) => {
    began.push(run)
    return gate.promise
  }, quiet)
  await wake.wake('r1' as RunId)
  await vi.waitFor(() => expect(began).toEqual(['r1']), patient)
  await wake.wake('r1' as RunId)
  // Rings after the one before it, and is seen to.
  await wake.wake('mark' as RunId)
  await vi.waitFor(() => expect(began).toEqual(['r1', 'mark']), patient)
  gate.resolve()
  await vi.waitFor(() => expect(began).toEqual(['r1', 'mark', 'r1']), patient)
  await wake.close()
})

test('what work throws is logged with its run', async () => {
  const lines: string[] = []
  const wake = createTimerWake(() => Promise.reject(new Error('no')), {
    log: (message, error) => lines.push(`${message}: ${error}`),
  })
  await wake.wake('r1' as RunId)
  await vi.waitFor(() => expect(lines).toEqual(['work on run r1 failed: Error: no']), patient)
  await wake.close()
})

test('after close nothing begins; work under way is waited for, but not for ever', async () => {
  const began: RunId[] = []
  const never = new Promise<void>(() => {})
  const wake = createTimerWake(
    (run) => {
      began.push(run)
      return never
    },
    { ...quiet, graceMs: 20 },
  )
  await wake.wake('r1' as RunId)
  await vi.waitFor(() => expect(began).toEqual(['r1']), patient)
  await wake.wake('r2' as RunId, Date.now() + 5)
  await wake.close()
  await wake.wake('r3' as RunId)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(began).toEqual(['r1'])
})

test('[nothing-lost] the sweep wakes what a ledger owes, again until it is delivered, and survives a ledger that fails', async () => {
  const ledger = await createLedger(openSqlite(':memory:'))
  await ledger.accept(request('r1'))
  await ledger.accept(request('r2'))
  await ledger.append('r2' as RunId, { type: 'delivered' })
  const worked: RunId[] = []
  const lines: string[] = []
  const wake = createTimerWake(async (run) => {
    worked.push(run)
    if (worked.length === 3) await ledger.append(run, { type: 'delivered' })
  }, quiet)
  let broken = true
  const due: typeof ledger.due = async (now, limit) => {
    if (!broken) return ledger.due(now, limit)
    broken = false
    throw new Error('locked')
  }
  const sweep = startSweep({ due }, wake, { everyMs: 5, log: (message) => lines.push(message) })
  await vi.waitFor(async () => expect(await ledger.due(Date.now(), 9)).toEqual([]), patient)
  await sweep.close()
  await wake.close()
  expect(new Set(worked)).toEqual(new Set(['r1']))
  expect(lines).toEqual(['the sweep could not read what is owed'])
  await ledger.close()
})
