/** Where a message stands: a channel and a timestamp, as the ledger keeps it, and the thread that follows from it. */

import type { Place, RunState } from '../../core/model.ts'

export type Spot = { readonly channel: string; readonly ts: string }
export type SlackPlace = Place & { readonly kind: 'slack' }

export function refOf(spot: Spot): string {
  return `${spot.channel}:${spot.ts}`
}

export function spotOf(ref: string): Spot {
  const colon = ref.indexOf(':')
  return { channel: ref.slice(0, colon), ts: ref.slice(colon + 1) }
}

/** A parent that is itself a reply continues the thread it stands in; Slack wants the first message's timestamp, never a reply's. */
export function threadAt(parent: Spot, place: SlackPlace): Spot {
  return { channel: parent.channel, ts: parent.channel === place.channel ? (place.threadTs ?? parent.ts) : parent.ts }
}

/** The thread that a run's outputs are in, once its parent message is posted. */
export function threadOf(state: RunState): Spot | undefined {
  const { place } = state.request
  return state.posted.parent === undefined || place.kind !== 'slack' ? undefined : threadAt(spotOf(state.posted.parent), place)
}
