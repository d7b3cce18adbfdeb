/** The verbs of `rollout`, and a rollout in words: what policy judges and the ledger lists. */

import type { Argv, Rollout } from './model.ts'

export const rolloutVerbs = ['image', 'restart', 'pause', 'resume', 'undo', 'scale', 'finish', 'status'] as const

/** For example `rollout image main=registry.example.com/shop/api:2`; rules match what follows the first word. */
export function isRolloutVerb(word: string): word is Rollout['verb'] {
  return rolloutVerbs.some((verb) => verb === word)
}

/** Most copies that one line may ask for. */
const maxReplicas = 10_000

export type Fault = { readonly field: 'image' | 'container' | 'replicas' | 'to'; readonly message: string; readonly next: string }

/** What is wrong with the values of a rollout, wherever it came from; they become parts of URLs, bodies and patterns of rules. */
export function faultOf(rollout: Rollout): Fault | undefined {
  switch (rollout.verb) {
    case 'image': {
      // Neither `=`, which parts container from image in a rule, nor a space, a quote or a wildcard.
      if (!/^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}$/.test(rollout.image) || /(^|\/)\.\.(\/|$)/.test(rollout.image))
        return {
          field: 'image',
          message: 'image= is not the name of an image.',
          next: 'For example image=registry.example.com/shop/api:2.',
        }
      if (rollout.container !== undefined && !/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(rollout.container))
        return { field: 'container', message: 'container= is not the name of a container.', next: 'For example container=main.' }
      return undefined
    }
    case 'scale':
      if (Number.isSafeInteger(rollout.replicas) && rollout.replicas >= 0 && rollout.replicas <= maxReplicas) return undefined
      return { field: 'replicas', message: `replicas= takes a number from 0 to ${maxReplicas}.`, next: 'For example replicas=3.' }
    case 'undo':
      if (rollout.to === undefined || /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$/.test(rollout.to)) return undefined
      return {
        field: 'to',
        message: 'to= is not the name of a revision.',
        next: 'For example to=3; rollout status shows the revision there is.',
      }
    default:
      return undefined
  }
}

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
