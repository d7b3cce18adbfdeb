/** Reads what a host says on an exec websocket, for a person to follow: Docker's headers, drover's frames, and the output between them. */

/** One thing that was said: what it is called, and what it holds. */
export type Part = { readonly name: string; readonly text: string }

export type FrameReader = { client(data: Uint8Array): readonly Part[]; host(data: Uint8Array): readonly Part[] }

const MAX_TEXT = 1200
const HEADER = 8
const KINDS: Readonly<Record<string, (payload: string) => Part>> = {
  p: (pid) => ({ name: 'drover frame “p”', text: `the wrapper began, pid ${pid}` }),
  x: (code) => ({ name: 'drover frame “x”', text: `the command exited with code ${code}` }),
  z: () => ({ name: 'drover frame “z”', text: 'nothing more comes on stderr' }),
  d: () => ({ name: 'drover frame “d”', text: 'there is no such directory' }),
  e: (line) => ({ name: 'drover frame “e”', text: `stderr, a line: ${shortened(line)}` }),
  E: (piece) => ({ name: 'drover frame “E”', text: `stderr, a piece: ${shortened(piece)}` }),
  '.': () => ({ name: 'drover frame “.”', text: 'says nothing: it may be lost' }),
}

/** One for each websocket: headers and frames may be cut anywhere. */
export function frameReader(): FrameReader {
  let nonce: string | undefined
  let mode: 'unknown' | 'headers' | 'plain' = 'unknown'
  let header = Buffer.alloc(0)
  let left = 0
  let held = ''

  /** Takes headers off, in order with what they announce. */
  const unwrap = (data: Uint8Array, parts: Part[]): void => {
    let rest = Buffer.concat([header, data])
    const mayBeHeader = rest[0] === 1 || rest[0] === 2
    if (mode === 'unknown' && mayBeHeader && rest.length < 2) {
      header = rest
      return
    }
    if (mode === 'unknown') mode = mayBeHeader && rest[1] === 0 ? 'headers' : 'plain'
    header = Buffer.alloc(0)
    if (mode === 'plain') {
      framed(rest.toString('latin1'), parts)
      return
    }
    while (rest.length > 0) {
      if (left === 0) {
        if (rest.length < HEADER) {
          header = rest
          return
        }
        left = rest.readUInt32BE(4)
        parts.push({ name: 'Docker header', text: `${rest[0] === 2 ? 'stderr' : 'stdout'}, ${left} bytes follow` })
        rest = rest.subarray(HEADER)
      }
      framed(rest.subarray(0, left).toString('latin1'), parts)
      const taken = Math.min(left, rest.length)
      left -= taken
      rest = rest.subarray(taken)
    }
  }

  const framed = (payload: string, parts: Part[]): void => {
    held += payload
    const [opening, closing] = [`\x1e${nonce} `, `\x1f${nonce}`]
    for (;;) {
      const at = nonce === undefined ? -1 : held.indexOf(opening)
      if (at < 0) {
        // An opening that has not come whole waits for its rest.
        const partial = nonce === undefined ? -1 : held.lastIndexOf('\x1e')
        const cut = partial >= 0 && opening.startsWith(held.slice(partial)) ? partial : held.length
        output(held.slice(0, cut), parts)
        held = held.slice(cut)
        return
      }
      output(held.slice(0, at), parts)
      const end = held.indexOf(closing, at)
      if (end < 0) {
        held = held.slice(at)
        return
      }
      const content = held.slice(at + opening.length, end)
      const kind = KINDS[content.slice(0, 1)]
      parts.push(kind ? kind(utf8(content.slice(1))) : { name: 'drover frame', text: utf8(content) })
      held = held.slice(end + closing.length)
    }
  }

  return {
    client(data) {
      const text = Buffer.from(data).toString('utf8')
      if (nonce === undefined && /^[\w-]{16,64}\n$/.test(text)) {
        nonce = text.trimEnd()
        const about = 'a fresh secret for this execution: it marks drover’s own frames, so that no output can forge one'
        return [{ name: 'nonce', text: `${nonce.slice(0, 4)}… ${about}` }]
      }
      return [{ name: 'input', text: shortened(text) }]
    },
    host(data) {
      const parts: Part[] = []
      unwrap(data, parts)
      return parts
    },
  }
}

function output(text: string, parts: Part[]): void {
  if (text !== '') parts.push({ name: 'output', text: shortened(utf8(text)) })
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8')
}

export function shortened(text: string, most = MAX_TEXT): string {
  return text.length <= most ? text : `${text.slice(0, most)} … and ${text.length - most} more characters`
}
