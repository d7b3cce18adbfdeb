/** So many commands at a time in one container, and a bounded wait for a place. */

import { BackendError } from '../../core/errors.ts'

export type Slots = {
  /** Gives the way to leave. Throws BackendError when there is no place within the time, or `signal` aborts. */
  enter(container: string, signal: AbortSignal): Promise<() => void>
}

export function createSlots(limit: number, waitMs: number): Slots {
  const places = new Map<string, { inside: number; readonly waiting: Set<() => void> }>()
  return {
    async enter(container, signal) {
      const place = places.get(container) ?? { inside: 0, waiting: new Set() }
      places.set(container, place)
      if (place.inside < limit) place.inside += 1
      else await turn(place.waiting, signal)
      let left = false
      return () => {
        if (left) return
        left = true
        const [next] = place.waiting
        if (next) return next()
        place.inside -= 1
        if (place.inside === 0) places.delete(container)
      }
    },
  }

  function turn(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        waiting.delete(next)
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        settle()
      }
      const next = () => done(resolve)
      const late = () =>
        done(() =>
          reject(
            new BackendError(
              {
                code: 'backend_unavailable',
                message: `${limit} commands run in this container already, and none ended within ${waitMs / 1000} s.`,
                next: 'Wait until one of them has ended, or cancel one; `parallel` of this backend is the limit.',
              },
              { ran: 'no' },
            ),
          ),
        )
      const abort = () =>
        done(() =>
          reject(new BackendError({ code: 'stream_broken', message: 'It was cancelled before its turn.' }, { ran: 'no' })),
        )
      const timer = setTimeout(late, waitMs)
      signal.addEventListener('abort', abort, { once: true })
      waiting.add(next)
    })
  }
}
