/** Whether a target that waited for its turn is still the one that was judged: names come again, and another may have it by then (S21). */

import type { Failure } from './errors.ts'
import { within } from './fan-out.ts'
import { backendOf, type House, maskFailure, shown } from './house.ts'
import type { Instant, Target } from './model.ts'

/** What was judged less long ago is taken as it was listed. */
const freshMs = 10_000
const lookMs = 10_000

/** Why nothing may run on it any more, until it is judged anew. */
export async function whyNotStill(target: Target, judgedAt: Instant, house: House): Promise<Failure | undefined> {
  const { isStill } = backendOf(target, house)
  if (isStill === undefined || house.now() - judgedAt < freshMs) return undefined
  try {
    if (await within(lookMs, `Looking at ${target.name}`, (signal) => isStill(target, signal))) return undefined
  } catch (error) {
    return maskFailure(shown(error, house), house)
  }
  return {
    code: 'changed',
    message: `${target.name} was replaced by another of the same name before its turn; nothing ran there.`,
    next: 'Ask again: what is there now is judged anew.',
  }
}
