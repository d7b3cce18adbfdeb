/** What a temporary service wrote: live while it runs, then the rest from the log itself, every byte once. */

import type { Stream } from '../../core/model.ts'
import type { Api } from '../docker/api.ts'
import { messageOf } from '../docker/api.ts'
import { brokenStream, givenUp, type Output } from '../docker/exec.ts'
import { dockerFrames, NotFrames } from '../docker/frames.ts'
import { TransportError } from '../transport.ts'
import { serviceName } from './temporary.ts'

/** One line, or a part of a long one: what the log holds as one piece, and sends as one frame. */
type Message = { readonly stream: Stream; readonly at: string; readonly data: Uint8Array }

/** How far a stream has been taken. `isOpen`: the last of it was no whole line. */
type Taken = { messages: number; at: string; sameTime: number; isOpen: boolean }

export type Log = {
  /** As it comes, until `until` aborts; what it misses, `rest` brings. */
  live(until: AbortSignal): AsyncGenerator<Output>
  /** After the end: what `live` did not bring, as far as it can be read in `ms`. Throws BackendError when it cannot be read to its end. */
  rest(signal: AbortSignal, ms?: number): AsyncGenerator<Output>
}

/** More is not read, and the answer says so; two files of this size are kept. */
const MAX_BYTES = 64 * 1024 * 1024
/** Some ten thousand lines a second is what a swarm's logs bring. */
const REST_MS = 45_000
const IDLE_MS = 15_000
/** So few, and so short that the log kept them all in one file, are read again from the start: then no clock has a part in it. */
const WHOLE_MESSAGES = 5_000
const WHOLE_BYTES = 16 * 1024 * 1024
const NEWLINE = 10
/** 16 KiB is the longest part of a line; it may come with marks of its own. */
const MAX_MESSAGE = 1024 * 1024

export function logOf(api: Api, exec: string): Log {
  const taken: Record<Stream, Taken> = { stdout: nothing(), stderr: nothing() }
  let bytes = 0

  /** What of a message is to be told, after what came before it. */
  const take = (message: Message): Message => {
    const { stream, at, data } = message
    const one = taken[stream]
    // The parts of a long line have one time; of its last part Docker 20.10 drops the newline (moby daemon/logger/local/read.go).
    const isCut = one.isOpen && one.sameTime > 1 && one.at !== at
    one.sameTime = one.at === at ? one.sameTime + 1 : 1
    one.at = at
    one.messages += 1
    one.isOpen = data.at(-1) !== NEWLINE
    bytes += data.byteLength
    return isCut ? { ...message, data: joined([Uint8Array.of(NEWLINE), data], data.byteLength + 1) } : message
  }

  async function* live(until: AbortSignal): AsyncGenerator<Output> {
    try {
      for await (const messages of read(api, exec, { stdout: '1', stderr: '1', follow: '1' }, until)) {
        yield* outputs(messages.map(take))
        if (bytes > MAX_BYTES) return
      }
    } catch {
      // Whatever it was, the log itself is read after the end.
    }
  }

  async function* rest(signal: AbortSignal, ms = REST_MS): AsyncGenerator<Output> {
    if (bytes > MAX_BYTES) return yield tooMuch(`more than ${MAX_BYTES / 1024 / 1024} MiB`)
    const late = AbortSignal.timeout(Math.min(ms, REST_MS))
    const isShort = bytes < WHOLE_BYTES && taken.stdout.messages + taken.stderr.messages < WHOLE_MESSAGES
    const asks: readonly (readonly Stream[])[] = isShort ? [['stdout', 'stderr']] : [['stdout'], ['stderr']]
    try {
      for (const streams of asks) {
        // A whole read passes over what was taken; a read from a time on, over what was taken of that very time.
        const over = { stdout: 0, stderr: 0 }
        const query: Record<string, string> = {}
        for (const stream of streams) {
          const { messages, at, sameTime } = taken[stream]
          query[stream] = '1'
          over[stream] = isShort ? messages : sameTime
          if (!isShort && at !== '') query.since = secondsOf(at)
        }
        for await (const messages of read(api, exec, query, AbortSignal.any([signal, late]))) {
          const fresh = messages.filter(({ stream }) => {
            over[stream] -= 1
            return over[stream] < 0
          })
          yield* outputs(fresh.map(take))
          if (bytes > MAX_BYTES) return yield tooMuch(`more than ${MAX_BYTES / 1024 / 1024} MiB`)
        }
      }
    } catch (error) {
      if (signal.aborted) throw givenUp(signal)
      if (late.aborted) return yield tooMuch('more than could be read in its time')
      if (error instanceof TransportError || error instanceof NotFrames)
        throw brokenStream('The command ended, but what it wrote could not be read to its end.', error)
      throw error
    }
  }

  return { live, rest }
}

const nothing = (): Taken => ({ messages: 0, at: '', sameTime: 0, isOpen: false })

function tooMuch(why: string): Output {
  const text = `\ndrover: it wrote ${why} through a temporary service; what followed was not read\n`
  return { type: 'output', stream: 'stderr', data: new TextEncoder().encode(text) }
}

async function* read(
  api: Api,
  exec: string,
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
): AsyncGenerator<readonly Message[]> {
  const quiet = new AbortController()
  const { endpoint, transport, version } = await api.engine(signal)
  const asked = new URLSearchParams({ ...query, timestamps: '1' })
  // One that follows may be silent for as long as the command is.
  let idle = query.follow ? undefined : setTimeout(() => quiet.abort(), IDLE_MS)
  try {
    const response = await transport.stream({
      method: 'GET',
      url: `${endpoint.base}/v${version}/services/${serviceName(exec)}/logs?${asked}`,
      signal: AbortSignal.any([signal, quiet.signal]),
    })
    const parser = messages()
    let refusal = ''
    for await (const chunk of response.body) {
      if (idle) {
        clearTimeout(idle)
        idle = setTimeout(() => quiet.abort(), IDLE_MS)
      }
      if (response.status === 200) yield parser.write(chunk)
      else if (refusal.length < 2_000) refusal += new TextDecoder().decode(chunk)
    }
    if (response.status !== 200) throw brokenStream(`The log cannot be read: ${messageOf({ body: refusal })}`)
    if (!parser.isWhole()) throw new NotFrames('cut in the middle')
  } finally {
    clearTimeout(idle)
    quiet.abort()
  }
}

/** As `2006-01-02T15:04:05.000000000Z ` before each (moby api/server/httputils/write_log_stream.go). */
const STAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{9}Z $/
const STAMP_BYTES = 31

function messages() {
  const frames = dockerFrames()
  const decoder = new TextDecoder()
  let parts: Uint8Array[] = []
  let size = 0
  return {
    write(bytes: Uint8Array): readonly Message[] {
      const found: Message[] = []
      for (const { stream, data, ends } of frames.write(bytes)) {
        parts.push(data.slice())
        size += data.byteLength
        if (size > MAX_MESSAGE) throw new NotFrames('longer than a log holds')
        if (!ends) continue
        const whole = joined(parts, size)
        parts = []
        size = 0
        // moby: a node that is out of reach.
        if (stream === 'engine')
          throw brokenStream(`The swarm could not bring all of the log: ${decoder.decode(whole).slice(0, 300)}`)
        const stamp = decoder.decode(whole.subarray(0, STAMP_BYTES))
        if (!STAMP.test(stamp)) throw new NotFrames('without a time')
        found.push({ stream, at: stamp.trimEnd(), data: whole.subarray(STAMP_BYTES) })
      }
      return found
    },
    isWhole: () => frames.isWhole() && size === 0,
  }
}

/** Neighbours of one stream together: a line each would be as many events as lines. */
function* outputs(all: readonly Message[]): Generator<Output> {
  for (let at = 0; at < all.length; ) {
    const stream = all[at]!.stream
    const run: Uint8Array[] = []
    let size = 0
    for (; all[at]?.stream === stream; at += 1) {
      run.push(all[at]!.data)
      size += all[at]!.data.byteLength
    }
    if (size > 0) yield { type: 'output', stream, data: joined(run, size) }
  }
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  if (parts.length === 1) return parts[0]!
  const whole = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.byteLength
  }
  return whole
}

/** As the API takes a time: seconds and nine digits. */
function secondsOf(stamp: string): string {
  return `${Math.floor(Date.parse(`${stamp.slice(0, 19)}Z`) / 1000)}.${stamp.slice(20, 29)}`
}
