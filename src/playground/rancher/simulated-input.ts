/** The standard input of a simulated program: bytes that arrive whenever they do, taken whole, by line, or to the end. */

const STDIN_CAP = 8 * 1024 * 1024

export type Input = {
  push(data: Uint8Array): void
  end(): void
  /** What has come so far. */
  taken(): Uint8Array
  /** All of it, once it has ended. */
  rest(signal: AbortSignal): Promise<Uint8Array>
  /** The next so many, or what there is at the end. */
  bytes(count: number, signal: AbortSignal): Promise<Uint8Array>
  /** The next line with its newline; undefined at the end. */
  line(signal: AbortSignal): Promise<Uint8Array | undefined>
}

export function createInput(): Input {
  let held = Buffer.alloc(0)
  let ended = false
  let woken = (): void => {}
  const more = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      woken = resolve
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  const take = (bytes: number): Uint8Array => {
    const taken = held.subarray(0, bytes)
    held = held.subarray(bytes)
    return taken
  }
  return {
    push(data) {
      if (ended || held.length + data.length > STDIN_CAP) return
      held = Buffer.concat([held, data])
      woken()
    },
    end() {
      ended = true
      woken()
    },
    taken: () => take(held.length),
    async rest(signal) {
      while (!ended && !signal.aborted) await more(signal)
      return take(held.length)
    },
    async bytes(count, signal) {
      while (held.length < count && !ended && !signal.aborted) await more(signal)
      return take(count)
    },
    async line(signal) {
      for (;;) {
        const at = held.indexOf(0x0a)
        if (at >= 0) return take(at + 1)
        if (ended || signal.aborted) return held.length > 0 && !signal.aborted ? take(held.length) : undefined
        await more(signal)
      }
    },
  }
}
