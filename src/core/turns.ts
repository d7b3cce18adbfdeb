/** How many runs one actor may have going on at a time, so that nobody's long runs keep everybody else waiting. */

import type { Failure } from './errors.ts'
import type { Actor, RunId } from './model.ts'

export type Turns = {
  /** What to call at the run's end, or why it may not begin. */
  enter(actor: Actor, run: RunId): Turn | Promise<Turn>
}

export type Turn = { readonly leave: () => void } | { readonly failure: Failure }

/** Counts the runs of this process. */
export function createTurns(most: number): Turns & { enter(actor: Actor): Turn } {
  const going = new Map<string, number>()
  return {
    enter(actor) {
      const key = JSON.stringify(actor)
      const count = going.get(key) ?? 0
      if (count >= most) return { failure: tooManyRuns(most) }
      going.set(key, count + 1)
      return {
        leave() {
          const left = (going.get(key) ?? 1) - 1
          if (left === 0) going.delete(key)
          else going.set(key, left)
        },
      }
    },
  }
}

export const tooManyRuns = (most: number): Failure => ({
  code: 'too_many_runs',
  message: `${most} runs of the same asker are going on already, and that is the limit. Nothing ran.`,
  next: 'Wait for one of them, or cancel one. Whoever runs drover can raise limits.runsPerActor.',
})
