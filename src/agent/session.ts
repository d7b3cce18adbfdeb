/** Many streams over one link, each with its own credit: a reader that stops stops its writer, and nobody else. */

import type { TransportError } from '../backends/transport.ts'
import {
  type Bytes,
  costOf,
  creditOf,
  creditPayload,
  DATA_BYTES,
  decodeFrame,
  encodeFrame,
  type Frame,
  jsonOf,
  jsonPayload,
  MAX_STREAMS,
  MOST_REQUEST_BYTES,
  WINDOW_BYTES,
} from './frame.ts'

/** The connection below: it sends whole messages in order, and tells the session what came and when it ended. */
export type Wire = {
  send(message: Bytes): void
  /** Resolves when little enough is waiting to be sent; absent where the runtime cannot tell. */
  drained?(): Promise<void>
  close(code: number, reason: string): void
}

/** Why a stream was broken off. `denied`: by the agent's own list. */
export type Reset = { readonly reason: TransportError['reason'] | 'denied'; readonly message: string }

/** Of words on the end of a stream: so many that they fit into its frame whatever characters they are made of, at six bytes for each. */
const MOST_END_WORDS = 140
const MOST_RESET_WORDS = 600

/** How a stream of messages ended, as its connection was closed. */
export type Last = { readonly code: number; readonly reason: string; readonly clean?: boolean }

export class StreamReset extends Error {
  override readonly name = 'StreamReset'
  readonly reset: Reset
  constructor(reset: Reset) {
    super(reset.message)
    this.reset = reset
  }
}

export type Chunk = { readonly data: Uint8Array; readonly text: boolean; readonly more: boolean }

export type Stream = {
  /** What the other side answered; rejects with StreamReset. */
  readonly head: Promise<unknown>
  sendHead(head: unknown): void
  /** Resolves when all of it is on its way, which is when the other side has room. Rejects with StreamReset. */
  write(data: Uint8Array, as?: { readonly text: boolean }): Promise<void>
  /** Nothing more comes from here. `last` tells the other side how it ended. */
  end(last?: Last): void
  reset(reset: Reset): void
  /** Iterate once; leaving the loop breaks the stream off. Throws StreamReset. */
  readonly incoming: AsyncIterable<Chunk>
  /** What the other side's `end` said. */
  readonly last: () => unknown
  /** Aborts when the stream is over, however it ended. */
  readonly over: AbortSignal
}

export type Session = {
  /** A message as it came. What does not belong into the protocol ends the link. */
  receive(message: Uint8Array): void
  /** Throws StreamReset when there are as many streams as there may be, or the request is too long. */
  open(request: unknown): Stream
  /** The link is gone, and all that is on it with it. */
  end(why: string): void
  readonly streams: () => number
  readonly isOver: () => boolean
}

export type SessionOptions = {
  /** Takes streams that the other side opens; absent where it may open none. */
  readonly accept?: (stream: Stream, request: unknown) => void
  readonly maxStreams?: number
  /** How long a write waits for a reader that takes nothing; for the side that has no deadline of its own. */
  readonly stallMs?: number
}

/** As `close` codes of the websocket. */
export const FAULT = 4000

type Lane = { receive(frame: Frame): string | undefined; lose(reset: Reset): void }

export function createSession(wire: Wire, options: SessionOptions = {}): Session {
  const lanes = new Map<number, Lane>()
  const maxStreams = options.maxStreams ?? MAX_STREAMS
  let lastOpened = 0
  let over: Reset | undefined

  const end = (why: string): void => {
    if (over) return
    over = { reason: 'reset', message: why }
    for (const lane of [...lanes.values()]) lane.lose(over)
    lanes.clear()
  }
  const fault = (why: string): void => {
    end(why)
    wire.close(FAULT, why)
  }

  function accept(frame: Frame): string | undefined {
    if (!options.accept) return 'a stream was opened by the side that may open none'
    if (frame.id <= lastOpened) return 'the number of a stream was used again'
    lastOpened = frame.id
    if (lanes.size >= maxStreams) {
      wire.send(encodeFrame('reset', frame.id, jsonPayload(tooMany(maxStreams))))
      return undefined
    }
    options.accept(addLane(frame.id, 'there'), jsonOf(frame.payload))
    return undefined
  }

  function addLane(id: number, opened: 'here' | 'there'): Stream {
    const { stream, lane } = createLane(id, opened, wire, () => lanes.delete(id), options.stallMs)
    lanes.set(id, lane)
    return stream
  }

  return {
    receive(message) {
      if (over) return
      const frame = decodeFrame(message)
      if (!frame) return fault('what came is no frame')
      if (frame.type === 'open') {
        const problem = accept(frame)
        return problem === undefined ? undefined : fault(problem)
      }
      const lane = lanes.get(frame.id)
      // What was on its way when a stream ended may still come.
      if (!lane) return frame.id === 0 || frame.id > lastOpened ? fault('a stream that was never opened') : undefined
      const problem = lane.receive(frame)
      if (problem !== undefined) fault(problem)
    },
    open(request) {
      if (over) throw new StreamReset(over)
      if (lanes.size >= maxStreams) throw new StreamReset(tooMany(maxStreams))
      const payload = jsonPayload(request)
      if (payload.byteLength > MOST_REQUEST_BYTES)
        throw new StreamReset({ reason: 'too_large', message: 'the request is longer than a link takes' })
      lastOpened += 1
      const stream = addLane(lastOpened, 'here')
      wire.send(encodeFrame('open', lastOpened, payload))
      return stream
    },
    end,
    streams: () => lanes.size,
    isOver: () => over !== undefined,
  }
}

const tooMany = (most: number): Reset => ({ reason: 'other', message: `${most} requests are going on at a time already` })

function createLane(
  id: number,
  opened: 'here' | 'there',
  wire: Wire,
  forget: () => void,
  stallMs: number | undefined,
): { readonly stream: Stream; readonly lane: Lane } {
  const head = Promise.withResolvers<unknown>()
  const over = new AbortController()
  // Nobody may be waiting for it.
  head.promise.catch(() => undefined)
  let isHeadSent = false
  /** Who opened it gives no head. */
  let isHeadHere = opened === 'there'
  let isEndSent = false
  let isEndHere = false
  let last: unknown
  let broken: Reset | undefined
  /** What may be sent; what may come; what was read and not told yet. */
  let credit = WINDOW_BYTES
  let allowed = WINDOW_BYTES
  let read = 0
  const waiting: Chunk[] = []
  let wakeReader: (() => void) | undefined
  const writers: (() => void)[] = []
  let turn: Promise<void> = Promise.resolve()

  const finish = (): void => {
    forget()
    wakeReader?.()
    for (const wake of writers.splice(0)) wake()
    over.abort()
  }
  const lose = (reset: Reset): void => {
    if (broken || (isEndSent && isEndHere)) return
    broken = reset
    head.reject(new StreamReset(reset))
    finish()
  }
  const reset = (why: Reset): void => {
    if (broken || (isEndSent && isEndHere)) return
    wire.send(encodeFrame('reset', id, jsonPayload({ ...why, message: why.message.slice(0, MOST_RESET_WORDS) })))
    // Given up here: what has come is not wanted any more.
    waiting.length = 0
    lose(why)
  }
  const finishIfBothEnded = (): void => {
    if (isEndSent && isEndHere) finish()
  }

  async function room(bytes: number): Promise<void> {
    while (credit < bytes && !broken && !isEndSent) {
      let timer: ReturnType<typeof setTimeout> | undefined
      if (stallMs !== undefined)
        timer = setTimeout(() => reset({ reason: 'aborted', message: 'nobody reads it any more' }), stallMs)
      await new Promise<void>((resolve) => writers.push(resolve))
      clearTimeout(timer)
    }
  }

  async function writeAll(data: Uint8Array, as?: { readonly text: boolean }): Promise<void> {
    for (let at = 0; at < data.byteLength || at === 0; at += DATA_BYTES) {
      const piece = data.subarray(at, at + DATA_BYTES)
      const cost = costOf(piece)
      await room(cost)
      await wire.drained?.()
      if (broken) throw new StreamReset(broken)
      if (isEndSent) throw new StreamReset({ reason: 'reset', message: 'the stream has ended' })
      credit -= cost
      const more = as !== undefined && at + DATA_BYTES < data.byteLength
      wire.send(encodeFrame('data', id, piece, { more, text: as?.text ?? false }))
    }
  }

  async function* incoming(): AsyncGenerator<Chunk> {
    try {
      for (;;) {
        const chunk = waiting.shift()
        if (chunk) {
          read += costOf(chunk.data)
          if (read >= WINDOW_BYTES / 2 && !broken && !isEndHere) {
            wire.send(encodeFrame('credit', id, creditPayload(read)))
            allowed += read
            read = 0
          }
          yield chunk
          continue
        }
        if (broken) throw new StreamReset(broken)
        if (isEndHere) return
        await new Promise<void>((resolve) => {
          wakeReader = resolve
        })
      }
    } finally {
      waiting.length = 0
      if (!isEndHere) reset({ reason: 'aborted', message: 'the reader has left' })
    }
  }

  const lane: Lane = {
    lose,
    receive(frame) {
      switch (frame.type) {
        case 'head':
          if (isHeadHere) return 'a stream was answered that was not asked, or twice'
          isHeadHere = true
          head.resolve(jsonOf(frame.payload))
          return undefined
        case 'data':
          if (!isHeadHere) return 'data came before the answer'
          if (isEndHere) return 'data came after the end of a stream'
          allowed -= costOf(frame.payload)
          if (allowed < 0) return 'more came on a stream than there was room for'
          waiting.push({ data: frame.payload, text: frame.text, more: frame.more })
          wakeReader?.()
          return undefined
        case 'end':
          if (!isHeadHere) return 'a stream ended before its answer'
          if (isEndHere) return 'a stream was ended twice'
          isEndHere = true
          last = frame.payload.byteLength === 0 ? undefined : jsonOf(frame.payload)
          wakeReader?.()
          finishIfBothEnded()
          return undefined
        case 'credit':
          credit += creditOf(frame.payload)
          if (credit > WINDOW_BYTES) return 'more room was given on a stream than it has'
          for (const wake of writers.splice(0)) wake()
          return undefined
        case 'reset':
          lose(resetOf(jsonOf(frame.payload)))
          return undefined
        case 'open':
          return 'a stream was opened in itself'
        default:
          return frame.type satisfies never
      }
    },
  }
  const stream: Stream = {
    head: head.promise,
    sendHead(answer) {
      if (broken || isHeadSent) return
      isHeadSent = true
      wire.send(encodeFrame('head', id, jsonPayload(answer)))
    },
    write(data, as) {
      // One after the other, so that the frames of two writes do not mix.
      const done = turn.then(() => writeAll(data, as))
      turn = done.catch(() => undefined)
      return done
    },
    end(how) {
      void turn.then(() => {
        if (broken || isEndSent) return
        isEndSent = true
        const words = how && jsonPayload({ ...how, reason: how.reason.slice(0, MOST_END_WORDS) })
        wire.send(encodeFrame('end', id, words))
        finishIfBothEnded()
      })
    },
    reset,
    incoming: incoming(),
    last: () => last,
    over: over.signal,
  }
  return { stream, lane }
}

const REASONS: readonly string[] = ['denied', 'refused', 'dns', 'tls', 'reset', 'aborted', 'too_large', 'other']

function resetOf(value: unknown): Reset {
  const { reason, message } = (typeof value === 'object' && value !== null ? value : {}) as Readonly<Record<string, unknown>>
  return {
    reason: typeof reason === 'string' && REASONS.includes(reason) ? (reason as Reset['reason']) : 'other',
    message: typeof message === 'string' ? message.slice(0, 1000) : 'it was broken off',
  }
}
