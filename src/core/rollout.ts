/** The verbs of `rollout`, and a rollout in words: what policy judges and the ledger lists. */

import type { Argv, Rollout } from './model.ts'

export const rolloutVerbs = ['image', 'restart', 'pause', 'resume', 'undo', 'scale', 'finish', 'status'] as const

/** For example `rollout image main=registry.example.com/shop/api:2`; rules match what follows the first word. */
export function rolloutArgv(rollout: Rollout): Argv {
  return ['rollout', rollout.verb, ...operands(rollout)]
}

function operands(rollout: Rollout): readonly string[] {
  switch (rollout.verb) {
    case 'image':
      return [rollout.container === undefined ? rollout.image : `${rollout.container}=${rollout.image}`]
    case 'scale':
      return [String(rollout.replicas)]
    case 'undo':
      return rollout.to === undefined ? [] : [rollout.to]
    default:
      return []
  }
}
