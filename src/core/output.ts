/** What a command writes, made safe to show and bounded: decode → control codes → mask → cap, keeping head and tail. */

import type { OutputChunk, OutputCount, Stream } from './model.ts'
import { createRawTail, type Gap, type RawTail } from './raw-tail.ts'
import type { Redactor, RedactStream } from './redact.ts'

/** Bytes kept of one target by default; what does not fit is dropped from the middle, counted and said. */
export const defaultMaxBytes = 2 * 1024 * 1024

/** The count of a command that wrote nothing, or never ran. */
export const noOutput: OutputCount = { stdout: 0, stderr: 0, dropped: 0, masked: 0 }

export type Collector = {
  write(stream: Stream, data: Uint8Array): void
  /** Bytes that were written and never came here. */
  skip(stream: Stream, bytes: number): void
  /** What is ready to be stored, once each; the tail comes with `end`. */
  take(): readonly OutputChunk[]
  end(): readonly OutputChunk[]
  count(): OutputCount
  /** Bytes waiting for `take`. */
  readonly waiting: number
}

/** `isOpen`: the decoder may hold the begin of a character. */
type Lane = { readonly decoder: TextDecoder; held: string; isOpen: boolean; readonly redact: RedactStream }

export const streams = ['stdout', 'stderr'] as const
/** So much is looked at before it is asked again whether there is room for it. */
const pieceBytes = 65_536

/** `maxBytes`: cap on the kept text in UTF-16 units, three quarters of it for the head. */
export function createCollector(options: { redactor: Redactor; maxBytes?: number }): Collector {
  const maxBytes = options.maxBytes ?? defaultMaxBytes
  const headMax = Math.floor((maxBytes * 3) / 4)
  const tailMax = maxBytes - headMax
  const lane = (isInKey = false): Lane => ({
    decoder: new TextDecoder('utf-8'),
    held: '',
    isOpen: false,
    redact: options.redactor.stream(isInKey),
  })
  const lanes: Record<Stream, Lane> = { stdout: lane(), stderr: lane() }
  const seen: Record<Stream, number> = { stdout: 0, stderr: 0 }
  const ready: OutputChunk[] = []
  const tail: OutputChunk[] = []
  let waiting = 0
  let headSize = 0
  let tailSize = 0
  let dropped = 0
  let masked = 0
  /** Once the head is full: most of what comes then falls out of the tail, and nobody has to look at it. */
  let raw: RawTail | undefined
  /** The tail begins wherever the bytes happened to be cut. */
  let isTorn = false

  function keep(stream: Stream, text: string): void {
    if (text === '') return
    const room = headMax - headSize
    if (room > 0) {
      const part = cut(text, room)
      headSize += part.length
      waiting += part.length
      push(ready, stream, part)
      text = text.slice(part.length)
      if (text !== '') headSize = headMax
    }
    if (text === '') return
    push(tail, stream, text)
    tailSize += text.length
    // Whole pieces only: the exact cut is made once, at the end.
    while (tailSize - tail[0]!.text.length >= tailMax) dropFirst()
  }

  function dropFirst(): void {
    const { text } = tail.shift()!
    tailSize -= text.length
    dropped += byteLength(text)
  }

  function trimTail(): void {
    const first = tail[0]
    const excess = Math.max(0, tailSize - tailMax)
    if (!first || (excess === 0 && !isTorn)) return
    if (first.text.length <= excess) {
      dropFirst()
      return
    }
    // Cut at a line end where one is near, so that the tail starts with a whole line.
    const newline = first.text.indexOf('\n', Math.max(0, excess - 1))
    const at = newline >= 0 && newline < excess + 1_000 ? newline + 1 : excess
    const from = isLowSurrogate(first.text.charCodeAt(at)) ? at + 1 : at
    dropped += byteLength(first.text.slice(0, from))
    tailSize -= from
    tail[0] = { stream: first.stream, text: first.text.slice(from) }
  }

  /** What can be shown by now. */
  function shown(stream: Stream, data: Uint8Array): string {
    const it = lanes[stream]
    // Most output needs nothing done to it: one pass over its bytes tells.
    const bits = it.isOpen || it.held !== '' ? undefined : it.redact.look(data)
    const text = it.decoder.decode(data, { stream: true })
    if (bits !== undefined) return it.redact.write(text, bits)
    if (data.byteLength > 0) it.isOpen = data.at(-1)! > 0x7f
    const [whole, held] = splitUnfinished(it.held + text)
    it.held = held
    return it.redact.write(makeVisible(whole))
  }

  /** The rest. */
  function last(stream: Stream): string {
    const it = lanes[stream]
    return it.redact.write(makeVisible(it.held + it.decoder.decode())) + it.redact.end()
  }

  /** Takes a stream over what nobody looked at, to where its tail begins. A secret that lies astride is masked. */
  function cross(stream: Stream, gap: Gap): void {
    if (gap.forgotten > 0) {
      dropped += byteLength(shown(stream, gap.begin) + last(stream)) + gap.forgotten - gap.begin.byteLength
      const { redact } = lanes[stream]
      masked += redact.masked
      lanes[stream] = lane(gap.isInKey ?? redact.isInKey)
    }
    for (const data of gap.before) dropped += byteLength(shown(stream, data))
    dropped += byteLength(lanes[stream].redact.hide())
  }

  return {
    get waiting() {
      return waiting
    },
    write(stream, data) {
      seen[stream] += data.byteLength
      let at = 0
      for (; at < data.byteLength && headSize < headMax; at += pieceBytes)
        keep(stream, shown(stream, data.subarray(at, at + pieceBytes)))
      if (at >= data.byteLength) return
      raw ??= createRawTail(tailMax, () => options.redactor.reach)
      raw.write(stream, data.subarray(at))
    },
    skip(stream, bytes) {
      seen[stream] += bytes
      dropped += bytes
    },
    take() {
      waiting = 0
      return ready.splice(0)
    },
    end() {
      const gaps = streams.map((stream) => [stream, raw?.gap(stream)] as const)
      isTorn = gaps.some(([, gap]) => gap)
      while (isTorn && tail.length > 0) dropFirst()
      for (const [stream, gap] of gaps) if (gap) cross(stream, gap)
      for (const [stream, data] of raw?.read() ?? []) keep(stream, shown(stream, data))
      for (const stream of streams) keep(stream, last(stream))
      trimTail()
      if (dropped > 0) ready.push({ stream: tail[0]?.stream ?? 'stdout', text: `\n[drover: ${dropped} bytes dropped here]\n` })
      ready.push(...tail.splice(0))
      waiting = 0
      return ready.splice(0)
    },
    count: () => ({ ...seen, dropped, masked: masked + lanes.stdout.redact.masked + lanes.stderr.redact.masked }),
  }
}

function push(chunks: OutputChunk[], stream: Stream, text: string): void {
  const last = chunks.at(-1)
  // Pieces of one stream grow together up to 64 KiB, so that a million short lines are not a million objects.
  if (last?.stream === stream && last.text.length < 65_536) chunks[chunks.length - 1] = { stream, text: last.text + text }
  else chunks.push({ stream, text })
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}

function cut(text: string, room: number): string {
  if (text.length <= room) return text
  return text.slice(0, isLowSurrogate(text.charCodeAt(room)) ? room - 1 : room)
}

const encoder = new TextEncoder()
const byteLength = (text: string) => encoder.encode(text).byteLength

/** Longest unfinished escape sequence that waits for its end; a longer one is shown as it is. */
const maxSequence = 64

/** Holds back what the next piece may complete: carriage returns at the end, and the start of an escape sequence. */
function splitUnfinished(text: string): [string, string] {
  const at = text.lastIndexOf('\u001b')
  if (at < 0 && !text.endsWith('\r')) return [text, '']
  const isOpen = at >= 0 && text.length - at < maxSequence && /^\u001b(\[[0-?]*[ -/]*)?$/.test(text.slice(at))
  const open = isOpen ? text.slice(at) : ''
  const whole = (isOpen ? text.slice(0, at) : text).replaceAll(unseen, '')
  let end = whole.length
  while (whole[end - 1] === '\r') end--
  // A run of carriage returns shows as one, so one stands for all of them.
  return [whole.slice(0, end), (end < whole.length ? '\r' : '') + open]
}

// What changes no text goes without a trace: colours and weights (ECMA-48 §8.3.117 SGR), and EL to the end of a line (§8.3.41), where there
// is nothing yet; grep writes both around each match, which may be a part of a secret.
const unseen = /\u001b\[(?:[0-9;:]{0,60}m|0?K)/g
const carriageReturns = /\r+(\n?)/g
// C0 but for \n and \t, DEL, C1, bidi controls, zero-width and invisible characters, fillers, line separators, tags (S36).
const controls =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|\u034f|[\u180b-\u180f]|\u17b4|\u17b5|[\u{e0000}-\u{e0fff}]/gu
const suspect = /[^\t\n\u0020-\u007e]/

/**
 * Control characters as visible text: C0 as its control picture (`␛[2J`), others as `\u{202e}`. Terminal line ends become `\n`;
 * carriage returns elsewhere, which would let later text hide earlier text, show as one `␍` and a line end.
 */
export function makeVisible(text: string): string {
  if (!suspect.test(text)) return text
  return text
    .replaceAll(unseen, '')
    .replaceAll(carriageReturns, (_, lineEnd: string) => (lineEnd ? '\n' : '␍\n'))
    .replaceAll(controls, (c) => {
      const code = c.codePointAt(0)!
      if (code < 32) return String.fromCodePoint(0x2400 + code)
      if (code === 127) return '␡'
      return `\\u{${code.toString(16)}}`
    })
}

const mark = (line: string) => (line.startsWith('\n') ? line : `stderr| ${line}`)

/** The output as one text; stderr lines are marked when there is stdout beside them. */
export function joinChunks(chunks: readonly OutputChunk[]): string {
  const both = chunks.some((chunk) => chunk.stream === 'stdout') && chunks.some((chunk) => chunk.stream === 'stderr')
  if (!both) return chunks.map((chunk) => chunk.text).join('')
  let text = ''
  let before: Stream | undefined
  for (const { stream, text: piece } of chunks) {
    // A line belongs to one stream; pieces of one stream may part in the middle of a line.
    if (before !== undefined && before !== stream && !text.endsWith('\n')) text += '\n'
    const marked = stream === 'stdout' ? piece : piece.replaceAll(/(?<=\n)(?=.)/g, 'stderr| ')
    text += stream === 'stderr' && piece !== '' && (before !== stream || text.endsWith('\n')) ? mark(marked) : marked
    if (piece !== '') before = stream
  }
  return text
}
