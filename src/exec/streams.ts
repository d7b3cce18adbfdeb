/** Where the two outputs of a command go: a pipe that makes it wait, a sink, a buffer with a cap, and the last words of stderr. */

import { joined } from '../core/bytes.ts'

/** What a pipe holds before the command has to wait. */
const PIPE_BYTES = 256 * 1024
const TAIL_BYTES = 32 * 1024

export type Sink = {
  /** Settles when more may come. Never throws: what nobody wants any more is let go. */
  write(data: Uint8Array): Promise<void>
  /** With an error the reader is told that this is not all. Settles when all of it was taken. */
  end(error?: unknown): Promise<void>
}

/** What `TextDecoderStream`, `Response` and the like take. */
export type Bytes = Uint8Array<ArrayBuffer>

export function pipe(): { readonly sink: Sink; readonly readable: ReadableStream<Bytes> } {
  // Nothing that comes over a socket lies in shared memory.
  const { readable, writable } = new TransformStream<Uint8Array, Bytes>(
    { transform: (data, controller) => controller.enqueue(data as Bytes) },
    new ByteLengthQueuingStrategy({ highWaterMark: PIPE_BYTES }),
  )
  return { sink: sinkTo(writable, { isOurs: true }), readable }
}

/** `isOurs`: closed with the output, and nobody is waited for. */
export function sinkTo(writable: WritableStream<Uint8Array>, { isOurs }: { readonly isOurs: boolean }): Sink {
  const writer = writable.getWriter()
  let isWanted = true
  writer.closed.catch(() => {
    isWanted = false
  })
  writer.ready.catch(() => undefined)
  let last: Promise<void> = Promise.resolve()
  return {
    async write(data) {
      if (!isWanted) return
      try {
        last = writer.write(data)
        last.catch(() => undefined)
        await writer.ready
      } catch {
        isWanted = false
      }
    },
    async end(error) {
      if (isOurs) {
        const closed = error === undefined ? writer.close() : writer.abort(error)
        closed.catch(() => undefined)
        return
      }
      // What it was given is its owner's to close.
      if (error === undefined) await last.catch(() => undefined)
      writer.releaseLock()
    },
  }
}

export type Buffered = { readonly sink: Sink; bytes(): Bytes }

/** `onFull` is called once, when more came than it holds. */
export function buffer(maxBytes: number, onFull: () => void): Buffered {
  const pieces: Uint8Array[] = []
  let size = 0
  let isFull = false
  return {
    sink: {
      async write(data) {
        if (isFull) return
        if (size + data.byteLength > maxBytes) {
          isFull = true
          return onFull()
        }
        size += data.byteLength
        pieces.push(data.slice())
      },
      async end() {},
    },
    bytes: () => joined(pieces),
  }
}

/** The last of what was written, as text. */
export function tail(): { write(data: Uint8Array): void; text(): string } {
  let kept = new Uint8Array()
  return {
    write(data) {
      const last = data.subarray(-TAIL_BYTES)
      const before = kept.subarray(Math.max(0, kept.byteLength + last.byteLength - TAIL_BYTES))
      const next = new Uint8Array(before.byteLength + last.byteLength)
      next.set(before)
      next.set(last, before.byteLength)
      kept = next
    },
    text: () => new TextDecoder().decode(kept),
  }
}

export type Input = string | Uint8Array | AsyncIterable<Uint8Array | string>

/** Ends when `ended` does, so that nothing waits for a source that nobody reads. A source that fails is told, and not taken for its end. */
export async function* bytesOf(
  input: Input,
  { ended, onFailure }: { readonly ended: Promise<unknown>; readonly onFailure: (error: unknown) => void },
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  const asBytes = (one: Uint8Array | string) => (typeof one === 'string' ? encoder.encode(one) : one)
  if (typeof input === 'string' || input instanceof Uint8Array) return yield asBytes(input)
  const source = input[Symbol.asyncIterator]()
  const over = ended.then(() => ({ done: true as const, value: undefined }))
  try {
    for (;;) {
      const next = await Promise.race([source.next(), over])
      if (next.done) return
      yield asBytes(next.value)
    }
  } catch (error) {
    onFailure(error)
    throw error
  } finally {
    void Promise.resolve(source.return?.()).catch(() => undefined)
  }
}
