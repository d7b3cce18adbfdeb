/** Work that must go one at a time, by key, in the order it was asked for. */

export type Lanes = {
  run<T>(key: string, work: () => Promise<T>): Promise<T>
  /** Settles when nothing is left of what was asked for so far. */
  idle(): Promise<void>
}

export function createLanes(): Lanes {
  const tails = new Map<string, Promise<unknown>>()
  return {
    run<T>(key: string, work: () => Promise<T>): Promise<T> {
      const mine = (tails.get(key) ?? Promise.resolve()).then(work)
      const tail: Promise<unknown> = mine
        .catch(() => undefined)
        .then(() => {
          if (tails.get(key) === tail) tails.delete(key)
        })
      tails.set(key, tail)
      return mine
    },
    async idle(): Promise<void> {
      await Promise.all(tails.values())
    },
  }
}
