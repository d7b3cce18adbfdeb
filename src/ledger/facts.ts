/** What the tables beside the events say about a run, worked out from its events: how they are written, and how they are proved. */

import { succeeded } from '../core/fold.ts'
import type { RunEvent, RunRequest } from '../core/model.ts'
import { canonical } from './chain.ts'
import { actorKey, placeKey } from './keys.ts'
import type { RunTable } from './schema.ts'

/** Longest argv that a list shows, in characters; the whole of it is in the `accepted` event. */
const MAX_SUMMARY_CHARS = 4096

type Described = Pick<RunTable, 'at' | 'actor_key' | 'place_key' | 'actor' | 'place' | 'argv'>

export function describe(request: RunRequest): Described {
  return {
    at: request.receivedAt,
    actor_key: actorKey(request.actor),
    place_key: placeKey(request.place),
    actor: canonical(request.actor),
    place: canonical(request.place),
    argv: canonical(shorten(request.command.argv)),
  }
}

function shorten(argv: readonly string[]): readonly string[] {
  let room = MAX_SUMMARY_CHARS
  const kept: string[] = []
  for (const word of argv) {
    if (word.length >= room) return [...kept, `${word.slice(0, room)}…`]
    kept.push(word)
    room -= word.length + 1
  }
  return kept
}

/** What may happen only once in a run; undefined when it may repeat. */
export function onceKey(event: RunEvent): string | undefined {
  switch (event.type) {
    case 'accepted':
    case 'finished':
      return event.type
    case 'planned':
    case 'started':
    case 'ended':
      return `${event.type}:${event.target}`
    case 'output':
      return `output:${event.index}:${event.target}`
    default:
      return undefined
  }
}

/** A finished run is not changed any more: only its delivery and what people then do with it is added. */
export function mayFollowFinished(event: RunEvent): boolean {
  return ['posted', 'delivered', 'shared', 'cancel-asked', 'killed', 'settled'].includes(event.type)
}

export type Facts = Pick<RunTable, 'status' | 'outcome' | 'succeeded' | 'delivered'> & {
  request?: RunRequest
  /** Target id → state. */
  readonly targets: Map<string, string>
}

export function noFacts(): Facts {
  return { status: 'accepted', outcome: null, succeeded: 0, delivered: 0, targets: new Map() }
}

/** Makes the facts those after one more event. */
export function advance(facts: Facts, event: RunEvent): void {
  switch (event.type) {
    case 'accepted':
      facts.request = event.request
      break
    case 'resolved':
      for (const { id } of event.targets) if (!facts.targets.has(id)) facts.targets.set(id, 'pending')
      break
    case 'started':
      facts.status = 'running'
      facts.targets.set(event.target, 'started')
      break
    case 'ended':
      if (isSuccess(event)) facts.succeeded++
      facts.targets.set(event.target, 'ended')
      break
    case 'finished':
      facts.status = 'finished'
      facts.outcome = event.outcome.status
      break
    case 'delivered':
      facts.delivered = 1
      break
  }
}

export function isSuccess(event: RunEvent): boolean {
  return event.type === 'ended' && succeeded(event.ending)
}
