/** A rollout in words: what is asked, what would change, how it goes and how it ended; the same in chat and on a terminal. */

import type { Execution, Plan, Rollout } from './model.ts'

/** What is asked for, as a clause: `set the image of main to repo:2`. */
export function sayRollout(rollout: Rollout): string {
  switch (rollout.verb) {
    case 'image':
      return `set the image${rollout.container === undefined ? '' : ` of ${rollout.container}`} to ${rollout.image}`
    case 'scale':
      return rollout.replicas === 0 ? 'scale to 0: nothing of it runs afterwards' : `scale to ${rollout.replicas}`
    case 'undo':
      return rollout.to === undefined ? 'undo: back to the revision before' : `undo: back to revision ${rollout.to}`
    case 'restart':
      return 'restart, a few at a time'
    case 'pause':
      return 'pause: changes of it wait until it is resumed'
    case 'resume':
      return 'resume'
    case 'finish':
      return 'finish the upgrade: no way back afterwards'
    case 'status':
      return 'look how it stands'
    default:
      return rollout satisfies never
  }
}

/** One line for each fact, `before → after` where it changes; the arrow on a line of its own where both do not fit. */
export function formatFacts({ facts }: Plan, width = 76): string {
  const longest = Math.max(0, ...facts.map(({ name }) => name.length))
  return facts
    .flatMap(({ name, before, after }) => {
      const head = `${name.padEnd(longest)}  `
      if (after === undefined || after === before) return [`${head}${before}`]
      const line = `${head}${before} → ${after}`
      return line.length <= width ? [line] : [`${head}${before}`, `${' '.repeat(longest)}→ ${after}`]
    })
    .join('\n')
}

const done: Readonly<Record<Rollout['verb'], string>> = {
  image: 'rolled out',
  restart: 'restarted',
  pause: 'paused',
  resume: 'resumed',
  undo: 'rolled back',
  scale: 'scaled',
  finish: 'finished',
  status: 'as it stands now',
}

/** One phrase for how one workload's rollout stands or ended. The change stays unless it says that nothing was changed. */
export function describeRollout(execution: Execution, rollout: Rollout, timeoutMs?: number): string {
  const { ending, handle, status, progress } = execution
  switch (ending?.status) {
    case undefined:
      return status === 'pending' ? 'waiting' : (progress ?? (handle ? 'taken' : 'being sent'))
    case 'exited':
      if (ending.code !== 0) return rollout.verb === 'status' ? 'stuck' : 'stuck; the change stays'
      // Done as far as it can be: a backend says so with its last word.
      if (progress?.startsWith(held)) return progress
      return rollout.verb === 'scale' ? `scaled to ${rollout.replicas}` : done[rollout.verb]
    case 'timed_out': {
      const when = timeoutMs === undefined ? 'in time' : `after ${sayTime(timeoutMs)}`
      return handle ? `not finished ${when}; the change stays` : `no answer ${when}; whether the change was taken is not known`
    }
    case 'cancelled':
      return handle
        ? 'no longer watched; the change stays'
        : 'cancelled while it was sent; whether the change was taken is not known'
    case 'failed':
      return `nothing was changed: ${ending.error.message}`
    case 'unknown':
      return `outcome unknown: ${ending.error.message}`
    default:
      return ending satisfies never
  }
}

/** How a backend's last progress begins when the change waits for somebody: a resume, or pods to be deleted. */
export const held = 'taken, held'

function sayTime(ms: number): string {
  return ms >= 60_000 && ms % 60_000 === 0 ? `${ms / 60_000} min` : `${ms / 1000} s`
}

/** Whether something was or may have been changed, so that there is something to undo. */
export function mayHaveChanged({ ending, handle, status }: Execution): boolean {
  return handle !== undefined || (status !== 'pending' && ending !== undefined && ending.status !== 'failed')
}
