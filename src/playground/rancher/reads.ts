/** How the host agent reads Docker's stream: in pieces of 4096 bytes at most, each of which becomes one message. */

/** What is written together is read together. `loseLast` drops the last of several reads. */
export function createReader(readBytes: () => number, loseLast: () => boolean, read: (data: Uint8Array) => void) {
  let parts: Uint8Array[] = []
  let held: Uint8Array | undefined
  let reads = 0
  let scheduled = false
  let largeFrames = 0

  const emit = (data: Uint8Array): void => {
    reads++
    if (!loseLast()) {
      read(data)
      return
    }
    if (held) read(held)
    held = data
  }
  const flush = (): void => {
    scheduled = false
    const all = Buffer.concat(parts)
    parts = []
    const step = Math.max(1, Math.min(4096, readBytes()))
    for (let at = 0; at < all.length; at += step) emit(all.subarray(at, at + step))
  }
  const push = (data: Uint8Array): void => {
    if (data.length === 0) return
    parts.push(data.slice())
    if (scheduled) return
    scheduled = true
    setImmediate(() => scheduled && flush())
  }
  return {
    push,
    /** Docker's frame: stream, three zero bytes, big-endian length, payload. */
    pushFrame(stream: 1 | 2, data: Uint8Array) {
      const header = Buffer.alloc(8)
      header[0] = stream
      header.writeUInt32BE(data.length, 4)
      push(header)
      // A read that ends right behind a header is common with large writes [REC 2].
      if (data.length > 4096 && largeFrames++ % 2 === 0) flush()
      push(data)
    },
    end() {
      flush()
      // Single short messages were never lost in 400 recorded runs.
      if (held && reads === 1) read(held)
      held = undefined
    },
  }
}
