/** Actors and places as text that queries compare; ids only. */

import type { Actor, Place } from '../core/model.ts'

export function actorKey(actor: Actor): string {
  switch (actor.kind) {
    case 'slack-user':
      return JSON.stringify([actor.kind, actor.team, actor.user])
    case 'cli':
      return JSON.stringify([actor.kind, actor.user])
    case 'api-key':
    case 'webhook':
    case 'schedule':
      return JSON.stringify([actor.kind, actor.name])
    default:
      return actor satisfies never
  }
}

/** A channel, whatever the thread. */
export function placeKey(place: Place): string {
  switch (place.kind) {
    case 'slack':
      return JSON.stringify([place.kind, place.team, place.channel])
    case 'terminal':
      return JSON.stringify([place.kind])
    default:
      return place satisfies never
  }
}
