/** Wakes by the alarm of a Durable Object, in real workerd. */

import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { RunId } from '../../src/core/model.ts'
import { wakeContract } from '../contract/wake.ts'
import { startFixture } from '../ledger/fixture-worker/start.ts'
import type { Delivery, WakeCall } from './wake-rpc.ts'

let fixture: Awaited<ReturnType<typeof startFixture>>
let objects = 0
beforeAll(async () => {
  fixture = await startFixture()
}, 60_000)
afterAll(() => fixture?.close())

const post = (door: string, name: string, body: unknown): Promise<Response> =>
  fetch(`${fixture.url}/${door}/${name}`, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(20_000) })
const asking =
  (name: string) =>
  async (call: WakeCall): Promise<unknown> =>
    (await post('wake', name, call)).json()

wakeContract('wakes by an alarm', async () => ({
  ask: asking(`wake-${objects++}`),
  sweep: async () => {},
  close: async () => {},
}))

test('[bounded] a wake for later rings once when it is time, not all the time until then', async () => {
  const name = `wake-${objects++}`
  await asking(name)({ call: 'wake', run: 'r1' as RunId, at: Date.now() + 500 })
  await vi.waitFor(async () => expect(await asking(name)({ call: 'deliveries' })).toHaveLength(1), {
    timeout: 15_000,
    interval: 50,
  })
  expect(await (await post('alarms', name, {})).json()).toBeLessThan(4)
}, 30_000)

test('[nothing-lost] a wake outlives the object that took it', async () => {
  const name = `wake-${objects++}`
  const at = Date.now() + 300
  await asking(name)({ call: 'wake', run: 'r1' as RunId, at })
  expect((await post('kill', name, {})).ok).toBe(false)
  await vi.waitFor(
    async () => {
      const deliveries = (await asking(name)({ call: 'deliveries' })) as readonly Delivery[]
      expect(deliveries.map(({ run }) => run)).toContain('r1')
      expect(deliveries[0]?.at).toBeGreaterThanOrEqual(at)
    },
    { timeout: 15_000, interval: 50 },
  )
}, 30_000)
