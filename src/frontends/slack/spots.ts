/** Where a message stands: a channel and a timestamp, as the ledger keeps it, and the thread that follows from it. */

import type { Place, RunState } from '../../core/model.ts'
import type { PostedPart } from '../../core/ports.ts'

export type Spot = { readonly channel: string; readonly ts: string }
export type SlackPlace = Place & { readonly kind: 'slack' }

export function refOf(spot: Spot): string {
  return `${spot.channel}:${spot.ts}`
}

export function spotOf(ref: string): Spot {
  const colon = ref.indexOf(':')
  return { channel: ref.slice(0, colon), ts: ref.slice(colon + 1) }
}

/** The message that says how a run stands. `isOutside`: beside the thread in which it was asked, which took no answer. */
export type Parent = Spot & { readonly isOutside: boolean }

/** As the ledger keeps it: `thread` is written first, so that a parent is never without it. */
export function partsOf(parent: Parent): readonly PostedPart[] {
  const ref = refOf(parent)
  return [...(parent.isOutside ? [{ part: 'thread', ref }] : []), { part: 'parent', ref }]
}

export function parentAt(ref: string, { posted }: RunState): Parent {
  return { ...spotOf(ref), isOutside: posted.thread === ref }
}

/** A parent that is itself a reply continues the thread it stands in; Slack wants the first message's timestamp, never a reply's. */
export function threadFor({ channel, ts, isOutside }: Parent, place: SlackPlace): Spot {
  return { channel, ts: channel === place.channel && !isOutside ? (place.threadTs ?? ts) : ts }
}

/** The thread that a run's outputs are in, once its parent message is posted. */
export function threadOf(state: RunState): Spot | undefined {
  const { place } = state.request
  const { parent } = state.posted
  return parent === undefined || place.kind !== 'slack' ? undefined : threadFor(parentAt(parent, state), place)
}
