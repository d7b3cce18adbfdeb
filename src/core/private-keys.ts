/** Where private keys begin and end, in text, and in bytes that nobody is going to read. */

export const keyBegin = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g
export const keyEnd = /-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g

export type KeyWatch = {
  write(data: Uint8Array): void
  /** Whether the last that was seen was the begin of a key; undefined when none was seen, nor an end. */
  readonly isOpen: boolean | undefined
}

/** Longer than a begin or an end, with colours in it. */
export const longestMark = 200
const dash = 0x2d
// ECMA-48 §8.3.117 SGR.
const colours = /\u001b\[[0-9;:]{0,60}m/g

export function createKeyWatch(): KeyWatch {
  const decoder = new TextDecoder()
  let isOpen: boolean | undefined
  let before: Uint8Array = new Uint8Array()

  /** True for a begin, false for an end, undefined for neither. */
  function lastIn(data: Uint8Array): boolean | undefined {
    // Five dashes in a row cannot be stepped over by fives.
    for (let at = data.length - 1; at >= 0; at -= 5) {
      if (data[at] !== dash) continue
      let end = at + 1
      while (data[end] === dash) end++
      while (at > 0 && data[at - 1] === dash) at--
      if (end - at < 5 || end === data.length || !begins(data[end]!)) continue
      const text = decoder.decode(data.subarray(end - 5, end + longestMark)).replaceAll(colours, '')
      if (text.search(keyBegin) === 0) return true
      if (text.search(keyEnd) === 0) return false
    }
    return undefined
  }

  return {
    get isOpen() {
      return isOpen
    },
    write(data) {
      const border = new Uint8Array(before.length + Math.min(data.length, longestMark))
      border.set(before)
      border.set(data.subarray(0, longestMark), before.length)
      isOpen = lastIn(data) ?? lastIn(border) ?? isOpen
      before = (data.length < longestMark ? border : data).slice(-longestMark)
    },
  }
}

/** `B`, `E`, or the begin of a colour. */
function begins(byte: number): boolean {
  return byte === 0x42 || byte === 0x45 || byte === 0x1b
}
