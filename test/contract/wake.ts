/** What every wake must do: deliver at least once, never early, and not lose what is asked for while work runs. */

import { afterEach, describe, expect, test, vi } from 'vitest'
import type { RunId } from '../../src/core/model.ts'
import type { Delivery, WakeCall } from '../runtime/wake-rpc.ts'

export type WakeBench = {
  ask(call: WakeCall): Promise<unknown>
  /** Brings back what was not delivered to a work that threw, as the sweep or the wake itself does. */
  sweep(run: RunId): Promise<void>
  close(): Promise<void>
}

export function wakeContract(name: string, open: () => Promise<WakeBench>): void {
  describe(name, { timeout: 30_000 }, () => {
    const benches: WakeBench[] = []
    const opened = async (): Promise<WakeBench> => {
      const bench = await open()
      benches.push(bench)
      return bench
    }
    afterEach(async () => {
      await Promise.all(benches.splice(0).map((bench) => bench.close()))
    })
    const wake = (bench: WakeBench, run: string, at?: number) =>
      bench.ask({ call: 'wake', run: run as RunId, ...(at === undefined ? {} : { at }) })
    const delivered = async (bench: WakeBench, ...runs: string[]): Promise<readonly Delivery[]> =>
      vi.waitFor(
        async () => {
          const deliveries = (await bench.ask({ call: 'deliveries' })) as readonly Delivery[]
          expect(deliveries.map(({ run }) => run)).toEqual(expect.arrayContaining(runs))
          for (const run of new Set(runs)) {
            const wanted = runs.filter((one) => one === run).length
            expect(deliveries.filter((one) => one.run === run).length).toBeGreaterThanOrEqual(wanted)
          }
          return deliveries
        },
        { timeout: 15_000, interval: 20 },
      )

    test('what is asked for is delivered, each run for itself', async () => {
      const bench = await opened()
      await Promise.all(['r1', 'r2', 'r3'].map((run) => wake(bench, run)))
      await delivered(bench, 'r1', 'r2', 'r3')
    })

    test('a wake for later is delivered at its time or after it, never before', async () => {
      const bench = await opened()
      const at = Date.now() + 400
      await wake(bench, 'r1', at)
      await wake(bench, 'r2')
      const deliveries = await delivered(bench, 'r1', 'r2')
      for (const delivery of deliveries.filter(({ run }) => run === 'r1')) expect(delivery.at).toBeGreaterThanOrEqual(at)
    })

    test('a wake for now does not replace one for later, nor the other way round', async () => {
      const bench = await opened()
      const at = Date.now() + 500
      await wake(bench, 'r1', at)
      await wake(bench, 'r1')
      await wake(bench, 'r2')
      await wake(bench, 'r2', at)
      const deliveries = await delivered(bench, 'r1', 'r1', 'r2', 'r2')
      for (const run of ['r1', 'r2']) expect(deliveries.filter((one) => one.run === run).at(-1)?.at).toBeGreaterThanOrEqual(at)
    })

    test('many wakes for one run are few deliveries', async () => {
      const bench = await opened()
      await bench.ask({ call: 'hold' })
      await wake(bench, 'r1')
      await delivered(bench, 'r1')
      for (let n = 0; n < 50; n++) await wake(bench, 'r1')
      await bench.ask({ call: 'release' })
      await wake(bench, 'after', Date.now() + 1)
      const deliveries = await delivered(bench, 'r1', 'r1', 'after')
      expect(deliveries.filter(({ run }) => run === 'r1').length).toBeLessThan(6)
    })

    test('[nothing-lost] a wake in the middle of the work leads to another work after it', async () => {
      const bench = await opened()
      await bench.ask({ call: 'hold' })
      await wake(bench, 'r1')
      await delivered(bench, 'r1')
      await wake(bench, 'r1')
      await bench.ask({ call: 'release' })
      await delivered(bench, 'r1', 'r1')
    })

    test('[nothing-lost] work that throws harms no other run and is brought back', async () => {
      const bench = await opened()
      await bench.ask({ call: 'fail', times: 1 })
      await wake(bench, 'r1')
      await delivered(bench, 'r1')
      await bench.sweep('r1' as RunId)
      await wake(bench, 'r2')
      await delivered(bench, 'r1', 'r1', 'r2')
    })
  })
}
