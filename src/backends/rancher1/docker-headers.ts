/** Takes Docker's 8-byte stream headers away where a Rancher 1.x host agent leaves them in: generation B without a terminal. */

import { joined } from './frames.ts'

export type HeaderStripper = {
  /** The bytes without headers. Headers and payloads may be split anywhere. `data` is given away: payloads move together in its place. */
  write(data: Uint8Array): Uint8Array
  /** What was held back and turned out not to be a header. */
  end(): Uint8Array
}

const HEADER = 8

/**
 * Byte 0 is the stream (1 or 2), bytes 1–3 are zero, bytes 4–7 the length, big-endian (recorded from agent v0.13.11).
 * Generation A sends no headers: the first four bytes tell. Neither the wrapper's first byte nor an engine's error text is 1 or 2.
 */
export function headerStripper(): HeaderStripper {
  let mode: 'unknown' | 'framed' | 'raw' = 'unknown'
  let held: Uint8Array = new Uint8Array()
  let left = 0

  return {
    write(data) {
      if (mode === 'raw') return data
      // Most messages lie within one payload: they pass as they are.
      if (mode === 'framed' && held.byteLength === 0 && data.byteLength <= left) {
        left -= data.byteLength
        return data
      }
      held = joined(held, data)
      if (mode === 'unknown') {
        const isHeader = looksLikeHeader(held)
        if (isHeader && held.byteLength < 4) return new Uint8Array()
        mode = isHeader ? 'framed' : 'raw'
        if (mode === 'raw') return take(held.byteLength)
      }
      const all = held
      let size = 0
      while (held.byteLength > 0) {
        if (left === 0) {
          if (held.byteLength < HEADER) break
          left = new DataView(held.buffer, held.byteOffset).getUint32(4)
          held = held.subarray(HEADER)
          continue
        }
        const piece = take(Math.min(left, held.byteLength))
        left -= piece.byteLength
        all.set(piece, size)
        size += piece.byteLength
      }
      // A copy, so that a few held bytes do not keep a large message alive.
      held = held.slice()
      return all.subarray(0, size)
    },
    end() {
      return mode === 'unknown' ? take(held.byteLength) : new Uint8Array()
    },
  }

  function take(bytes: number): Uint8Array {
    const taken = held.subarray(0, bytes)
    held = held.subarray(bytes)
    return taken
  }
}

function looksLikeHeader(data: Uint8Array): boolean {
  const [stream = 1, ...zeros] = data.subarray(0, 4)
  return (stream === 1 || stream === 2) && zeros.every((byte) => byte === 0)
}
