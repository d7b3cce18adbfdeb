/** Many things at once, bounded; and one thing, bounded in time. */

import { DroverError } from './errors.ts'

/** Runs `work` on each item, at most `limit` at a time; settles when all have. `work` must not throw. */
export async function fanOut<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values()
  const lane = async () => {
    for (const item of queue) await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane))
}

/**
 * Lets `limit` in at a time. The function returned by `enter` leaves; calling it again does nothing. Who gives up waiting, by `signal`,
 * comes through at once and is not inside.
 */
export type Gate = { enter(signal?: AbortSignal): Promise<() => void> }

export function createGate(limit: number): Gate {
  let inside = 0
  const waiting = new Set<() => void>()
  const turn = (signal?: AbortSignal): Promise<boolean> =>
    new Promise((resolve) => {
      const settle = (isIn: boolean) => {
        waiting.delete(enter)
        signal?.removeEventListener('abort', giveUp)
        resolve(isIn)
      }
      const enter = () => settle(true)
      const giveUp = () => settle(false)
      waiting.add(enter)
      signal?.addEventListener('abort', giveUp)
    })
  return {
    async enter(signal) {
      if (signal?.aborted) return () => {}
      if (inside < limit) inside++
      else if (!(await turn(signal))) return () => {}
      let left = false
      return () => {
        if (left) return
        left = true
        const [next] = waiting
        if (next) next()
        else inside--
      }
    },
  }
}

/** Gives `work` a signal that aborts after `ms`, and throws `timeout` then even if the work never notices. */
export async function within<T>(ms: number, what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const deadline = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new DroverError({
        code: 'timeout',
        message: `${what} took longer than ${ms / 1000} s.`,
        next: 'Try again; if it lasts, whoever runs drover can look with `drover check`.',
      })
      reject(error)
      deadline.abort(error)
    }, ms)
  })
  try {
    return await Promise.race([work(deadline.signal), late])
  } finally {
    clearTimeout(timer)
  }
}
