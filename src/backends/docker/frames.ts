/** Takes apart what a Docker engine sends for both streams on one connection: a pure parser, whatever the pieces it is fed. */

export type Piece = {
  readonly stream: 'stdout' | 'stderr' | 'engine'
  readonly data: Uint8Array
  /** The last of its frame. */
  readonly ends?: boolean
}

export type Frames = {
  /** Payload as it comes; `data` is part of what was fed, not a copy. Throws `NotFrames`. */
  write(bytes: Uint8Array): readonly Piece[]
  /** False in the middle of a frame: then the connection was cut. */
  isWhole(): boolean
}

/** What came is not this protocol. */
export class NotFrames extends Error {
  override readonly name = 'NotFrames'
}

const HEADER_BYTES = 8
/** Byte 0. 0 is what the engine echoes of stdin, which its own client prints as stdout; 3 an error of the engine itself. */
const STREAMS: readonly Piece['stream'][] = ['stdout', 'stdout', 'stderr', 'engine']

/** Byte 0 is the stream, bytes 1–3 are zero, bytes 4–7 the length, big-endian (moby pkg/stdcopy). */
export function dockerFrames(): Frames {
  const header = new Uint8Array(HEADER_BYTES)
  let got = 0
  let left = 0
  let stream: Piece['stream'] = 'stdout'

  return {
    write(bytes) {
      const pieces: Piece[] = []
      let at = 0
      while (at < bytes.byteLength) {
        if (left > 0) {
          const data = bytes.subarray(at, at + left)
          at += data.byteLength
          left -= data.byteLength
          pieces.push({ stream, data, ends: left === 0 })
          continue
        }
        header[got] = bytes[at] ?? 0
        got += 1
        at += 1
        if (got < HEADER_BYTES) continue
        got = 0
        const [kind = 0, ...zeros] = header.subarray(0, 4)
        const named = STREAMS[kind]
        if (named === undefined || zeros.some((byte) => byte !== 0)) throw new NotFrames('not a Docker stream')
        stream = named
        left = new DataView(header.buffer).getUint32(4)
      }
      return pieces
    },
    isWhole: () => got === 0 && left === 0,
  }
}
