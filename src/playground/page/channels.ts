/** Reads what goes over a Kubernetes exec websocket, for a person to follow: the channels, drover's marks on stderr, and the output between them. */

import { type FrameReader, type Part, shortened } from './frames.ts'

const NAMES: Readonly<Record<number, string>> = {
  0: 'stdin',
  1: 'stdout',
  2: 'stderr',
  3: 'status',
  4: 'size of the terminal',
  255: 'close',
}
/** As `backends/kubernetes/wrapper.ts` writes them: a name, a letter, a number. */
const MARK = /\x1e(\S+) ([pbdhx])(\d*)\r?\n/

const MARKS: Readonly<Record<string, (number: string) => Part>> = {
  p: (pid) => ({ name: 'drover mark “p”', text: `the wrapper is there, pid ${pid}, and waits for its line` }),
  x: (code) => ({ name: 'drover mark “x”', text: `the command exited with code ${code}` }),
  b: () => ({ name: 'drover mark “b”', text: 'the command’s own output begins' }),
  d: () => ({ name: 'drover mark “d”', text: 'there is no such directory' }),
  h: () => ({ name: 'drover mark “h”', text: 'there is no head to count stdin' }),
}

/** One for each websocket: its first line of stdin is the nonce, which is not shown. */
export function channelReader(): FrameReader {
  let isFirst = true
  return {
    client(message) {
      const [channel = 0] = message
      const text = Buffer.from(message.subarray(1)).toString('utf8')
      if (channel !== 0) return [part(channel, text)]
      if (text === '') return [{ name: 'channel 0, stdin', text: 'empty: it keeps the connection from being idle' }]
      const nonce = isFirst ? /^([\w-]{16,64})\n/.exec(text)?.[1] : undefined
      isFirst = false
      if (nonce === undefined) return [part(0, text)]
      const about =
        'a fresh secret for this execution: the command begins when it has come, and no output can forge the marks that bear it'
      const rest = text.slice(nonce.length + 1)
      return [{ name: 'nonce', text: `${nonce.slice(0, 4)}… ${about}` }, ...(rest === '' ? [] : [part(0, rest)])]
    },
    host(message) {
      const [channel = 0] = message
      let text = Buffer.from(message.subarray(1)).toString('utf8')
      const parts: Part[] = []
      for (let mark = MARK.exec(text); mark; mark = MARK.exec(text)) {
        if (mark.index > 0) parts.push(part(channel, text.slice(0, mark.index)))
        const [all, , letter = '', number = ''] = mark
        parts.push(MARKS[letter]?.(number) ?? part(channel, all))
        text = text.slice(mark.index + all.length)
      }
      return text !== '' || parts.length === 0 ? [...parts, part(channel, text)] : parts
    },
  }
}

function part(channel: number, text: string): Part {
  const name = `channel ${channel}, ${NAMES[channel] ?? 'unknown'}`
  return { name, text: text === '' ? 'empty: the channel is there' : shortened(text) }
}
