/** Output that goes on being taken from the engine while nobody asks for it, from the moment its command is being ended. */

import type { Stream } from '../../core/model.ts'
import type { Output } from './exec.ts'

/** What waits for a slow reader then; more is counted and dropped. */
const HELD_BYTES = 1024 * 1024

export type Drainable = {
  readonly events: AsyncGenerator<Output>
  /**
   * From now on read whatever comes: Engine 20.10 has not done with a command before what it wrote was taken, and a command that
   * has lost its reader is recorded with 126 [docker-swarm-containerd §2.4]. Safe to call again.
   */
  drain(): void
}

/** The first that waits is kept, not the last: a secret that begins in it is then masked whole, and none is met in its middle. */
export function drainable(source: AsyncGenerator<Output>): Drainable {
  const held: Output[] = []
  const dropped = new Map<Stream, number>()
  let heldBytes = 0
  let isDraining = false
  let ended: { readonly error?: unknown } | undefined
  let wake = (): void => {}

  async function pump(): Promise<void> {
    try {
      for (;;) {
        const next = await source.next()
        if (next.done) break
        const { stream, data } = next.value
        if (dropped.size > 0 || heldBytes + data.byteLength > HELD_BYTES) {
          dropped.set(stream, (dropped.get(stream) ?? 0) + data.byteLength)
          continue
        }
        heldBytes += data.byteLength
        // The piece alone, not the buffer that it came in.
        held.push({ ...next.value, data: data.slice() })
        wake()
      }
      ended = {}
    } catch (error) {
      ended = { error }
    }
    wake()
  }

  async function* events(): AsyncGenerator<Output> {
    try {
      for (;;) {
        const waiting = held.shift()
        if (waiting !== undefined) {
          heldBytes -= waiting.data.byteLength
          yield waiting
        } else if (!isDraining) {
          const next = await source.next()
          if (next.done) return
          yield next.value
        } else if (ended === undefined) {
          const { promise, resolve } = Promise.withResolvers<void>()
          wake = resolve
          await promise
        } else break
      }
      for (const [stream, bytes] of dropped) yield { type: 'output', stream, data: new Uint8Array(), dropped: bytes }
      if (ended !== undefined && 'error' in ended) throw ended.error
    } finally {
      // Behind a pump that waits for more it would wait for ever; the connection's own end ends both.
      const left = source.return(undefined).catch(() => undefined)
      if (!isDraining) await left
    }
  }

  return {
    events: events(),
    drain() {
      if (isDraining) return
      isDraining = true
      void pump()
    },
  }
}
