/** The worked-on side of a wake bench that lives in another process: what was delivered, and how the next work should go. */

import type { RunId } from '../../src/core/model.ts'
import type { Wake } from '../../src/core/ports.ts'

export type WakeCall =
  | { readonly call: 'wake'; readonly run: RunId; readonly at?: number }
  | { readonly call: 'deliveries' | 'hold' | 'release' }
  | { readonly call: 'fail'; readonly times: number }

export type Delivery = { readonly run: RunId; readonly at: number }

/** `hold` makes work wait until `release`; `fail` makes the next ones throw. A delivery is noted when its work begins. */
export function wakeServer(): { work(run: RunId): Promise<void>; answer(call: WakeCall, wake: Wake): Promise<unknown> } {
  const deliveries: Delivery[] = []
  let failures = 0
  let gate = Promise.withResolvers<void>()
  gate.resolve()
  return {
    async work(run) {
      deliveries.push({ run, at: Date.now() })
      await gate.promise
      if (failures > 0) {
        failures--
        throw new Error('work failed, as the test asked for')
      }
    },
    async answer(call, wake) {
      switch (call.call) {
        case 'wake':
          await wake.wake(call.run, call.at)
          return null
        case 'deliveries':
          return deliveries
        case 'fail':
          failures = call.times
          return null
        case 'hold':
          gate = Promise.withResolvers<void>()
          return null
        case 'release':
          gate.resolve()
          return null
        default:
          return call satisfies never
      }
    },
  }
}
