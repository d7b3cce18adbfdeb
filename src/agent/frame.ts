/** What goes over the one websocket between an agent and its gateway: frames of many streams, each with its own credit. docs/decisions/0009 says why. */

/** Of the protocol, told in the handshake. */
export const VERSION = 1

/** A stream begins with `open` and ends with `end` from both sides, or with `reset` from one. */
export const FRAME_TYPES = ['open', 'head', 'data', 'end', 'reset', 'credit'] as const
export type FrameType = (typeof FRAME_TYPES)[number]

/** Never shared memory: every runtime's websocket takes it. */
export type Bytes = Uint8Array<ArrayBuffer>

export type Frame = {
  readonly type: FrameType
  readonly id: number
  /** Only of `data`, where a stream carries messages: the same message goes on in the next frame. */
  readonly more: boolean
  /** Only of `data`, where a stream carries messages: this one is text. */
  readonly text: boolean
  readonly payload: Uint8Array
}

/** What one stream may have on its way to a reader that does not read; times `MAX_STREAMS` it is all that a link can hold. */
export const WINDOW_BYTES = 128 * 1024
export const MAX_STREAMS = 512
/** Small enough that streams take turns. */
export const DATA_BYTES = 32 * 1024
const HEADER_BYTES = 6
/** A frame without bytes is not free: it would be a way around the window. */
const FRAME_COST = 16

const MOST: Readonly<Record<FrameType, number>> = {
  // In Kubernetes a command is part of the path.
  open: 1024 * 1024,
  head: 64 * 1024,
  data: DATA_BYTES,
  end: 1024,
  reset: 4096,
  credit: 4,
}
/** What a stream may be opened with. */
export const MOST_REQUEST_BYTES = MOST.open
/** The largest websocket message that an agent takes from a gateway, and that a gateway takes from an agent. */
export const MOST_TO_AGENT = MOST.open + HEADER_BYTES
export const MOST_TO_GATEWAY = MOST.head + HEADER_BYTES

const MORE = 1
const TEXT = 2

export function encodeFrame(
  type: FrameType,
  id: number,
  payload: Uint8Array = new Uint8Array(),
  flags: { readonly more?: boolean; readonly text?: boolean } = {},
): Bytes {
  if (payload.byteLength > MOST[type]) throw new RangeError(`${type} of ${payload.byteLength} bytes`)
  const bytes = new Uint8Array(HEADER_BYTES + payload.byteLength)
  bytes[0] = FRAME_TYPES.indexOf(type)
  bytes[1] = (flags.more ? MORE : 0) | (flags.text ? TEXT : 0)
  new DataView(bytes.buffer).setUint32(2, id)
  bytes.set(payload, HEADER_BYTES)
  return bytes
}

/** Undefined: this is no frame of this protocol, and whoever sent it is not spoken to any more. */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  const type = FRAME_TYPES[bytes[0] ?? -1]
  const flags = bytes[1] ?? 0
  if (type === undefined || bytes.byteLength < HEADER_BYTES || bytes.byteLength - HEADER_BYTES > MOST[type]) return undefined
  if (flags > (MORE | TEXT) || (flags !== 0 && type !== 'data')) return undefined
  if (type === 'credit' && bytes.byteLength !== HEADER_BYTES + 4) return undefined
  return {
    type,
    id: new DataView(bytes.buffer, bytes.byteOffset).getUint32(2),
    more: (flags & MORE) !== 0,
    text: (flags & TEXT) !== 0,
    payload: bytes.subarray(HEADER_BYTES),
  }
}

/** The same frame on another link, where the stream has another number. */
export function renumbered(bytes: Uint8Array, id: number): Bytes {
  const copy = bytes.slice()
  new DataView(copy.buffer).setUint32(2, id)
  return copy
}

/** What a data frame takes of the window. */
export const costOf = (payload: Uint8Array): number => payload.byteLength + FRAME_COST

export const creditPayload = (bytes: number): Uint8Array => {
  const payload = new Uint8Array(4)
  new DataView(payload.buffer).setUint32(0, bytes)
  return payload
}
export const creditOf = (payload: Uint8Array): number => new DataView(payload.buffer, payload.byteOffset).getUint32(0)

export const jsonPayload = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
/** Undefined where it is no JSON. */
export function jsonOf(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload))
  } catch {
    return undefined
  }
}
