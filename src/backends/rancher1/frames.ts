/** Takes the wrapper's frames out of what a container sends: a pure stream parser, whatever the pieces it is fed. */

export type FrameEvent =
  /** What the engine or the terminal said before the wrapper began; never the command's. */
  | { readonly type: 'preamble'; readonly data: Uint8Array }
  | { readonly type: 'began'; readonly pid: number }
  | { readonly type: 'stdout' | 'stderr'; readonly data: Uint8Array }
  | { readonly type: 'no-directory' }
  | { readonly type: 'exited'; readonly code: number }
  /** Nothing more comes on stderr. */
  | { readonly type: 'stderr-ended' }

export type FrameParser = {
  write(data: Uint8Array): readonly FrameEvent[]
  /** What was held back as the possible begin of a frame. */
  end(): readonly FrameEvent[]
}

/** Longer than any frame that the wrapper writes, save a stderr line in a container with neither `read -n` nor `dd`. */
const MAX_FRAME_BYTES = 1024 * 1024
const NEWLINE = new Uint8Array([10])

/** A frame is 0x1e nonce 0x20 type payload 0x1f nonce. Bytes that only look like one are output. */
export function frameParser(nonce: string): FrameParser {
  const encoder = new TextEncoder()
  const opening = encoder.encode(`\x1e${nonce} `)
  const closing = encoder.encode(`\x1f${nonce}`)
  let held: Uint8Array = new Uint8Array()
  let isInside = false
  /** In a frame: how much of `held` was searched, so that a long frame in many pieces stays linear. */
  let searched = 0
  let began = false

  const plain = (data: Uint8Array): FrameEvent[] => (data.byteLength === 0 ? [] : [{ type: began ? 'stdout' : 'preamble', data }])

  function write(data: Uint8Array): FrameEvent[] {
    held = joined(held, data)
    const events: FrameEvent[] = []
    for (;;) {
      if (!isInside) {
        const at = indexOf(held, opening, 0)
        const end = at === -1 ? held.byteLength - overlap(held, opening) : at
        events.push(...plain(held.subarray(0, end)))
        held = held.subarray(at === -1 ? end : at + opening.byteLength)
        if (at === -1) break
        isInside = true
        searched = 0
      }
      const at = indexOf(held, closing, searched)
      if (at === -1) {
        searched = Math.max(0, held.byteLength - closing.byteLength)
        if (held.byteLength > MAX_FRAME_BYTES) {
          events.push({ type: 'stderr', data: held.subarray(1) })
          held = new Uint8Array()
          isInside = false
        }
        break
      }
      events.push(...frame(held.subarray(0, at)))
      held = held.subarray(at + closing.byteLength)
      isInside = false
    }
    // A copy, so that a few held bytes do not keep a large message alive.
    if (held.byteLength < held.buffer.byteLength) held = held.slice()
    return events
  }

  function frame(content: Uint8Array): FrameEvent[] {
    const payload = content.subarray(1)
    switch (String.fromCharCode(content[0] ?? 0)) {
      case 'p':
        began = true
        return [{ type: 'began', pid: number(payload) }]
      case 'd':
        return [{ type: 'no-directory' }]
      case 'x':
        return [{ type: 'exited', code: number(payload) }]
      case 'e':
        return [{ type: 'stderr', data: joined(payload, NEWLINE) }]
      case 'E':
        return [{ type: 'stderr', data: payload }]
      case 'z':
        return [{ type: 'stderr-ended' }]
      default:
        return []
    }
  }

  return {
    write,
    end() {
      const rest = held
      held = new Uint8Array()
      if (!isInside) return plain(rest)
      isInside = false
      // The connection broke inside a piece of stderr: what came is still the command's.
      const type = String.fromCharCode(rest[0] ?? 0)
      return type === 'e' || type === 'E' ? [{ type: 'stderr', data: rest.subarray(1) }] : []
    },
  }
}

function number(bytes: Uint8Array): number {
  const text = new TextDecoder().decode(bytes)
  return /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
}

export function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.byteLength === 0) return b
  const both = new Uint8Array(a.byteLength + b.byteLength)
  both.set(a)
  both.set(b, a.byteLength)
  return both
}

function indexOf(data: Uint8Array, wanted: Uint8Array, from: number): number {
  const first = wanted[0] ?? 0
  for (let at = data.indexOf(first, from); at !== -1; at = data.indexOf(first, at + 1)) {
    if (at + wanted.byteLength > data.byteLength) return -1
    if (startsWith(data, at, wanted, wanted.byteLength)) return at
  }
  return -1
}

/** How many bytes at the end of `data` could be the begin of `wanted`. */
function overlap(data: Uint8Array, wanted: Uint8Array): number {
  for (let length = Math.min(wanted.byteLength - 1, data.byteLength); length > 0; length -= 1) {
    if (startsWith(data, data.byteLength - length, wanted, length)) return length
  }
  return 0
}

function startsWith(data: Uint8Array, at: number, wanted: Uint8Array, length: number): boolean {
  for (let i = 0; i < length; i += 1) if (data[at + i] !== wanted[i]) return false
  return true
}
