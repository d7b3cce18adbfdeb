/** The agent's end of a link: each stream is one request to its engine, if the agent's own list lets it pass. */

import type { Fields, ResponseHeaders, Transport } from '../backends/transport.ts'
import { TransportError, UpgradeRefused } from '../backends/transport.ts'
import { joined } from '../core/bytes.ts'
import { DroverError } from '../core/errors.ts'
import { type Call, type Fence, type Orders, type Passed, Refusal } from './fence.ts'
import { type Method, readAsked } from './messages.ts'
import { type Reset, type Stream, StreamReset } from './session.ts'

/** The engine as the agent reaches it, at this moment. */
export type Engine = {
  /** What comes before the paths that are asked for; no slash at its end. */
  readonly base: string
  readonly transport: Transport
  /** Credentials that the agent adds; they win over what came. */
  readonly headers: Fields
}

export type Serving = {
  readonly engine: (signal: AbortSignal) => Promise<Engine>
  readonly fence: Fence
  readonly orders?: Orders | undefined
  readonly log: (event: Readonly<Record<string, unknown>>) => void
}

const MOST_BODY_BYTES = 8 * 1024 * 1024
/** Of all requests that are going on. */
const MOST_BODIES_BYTES = 64 * 1024 * 1024
/** What the list has to see whole before it lets it go. */
const MOST_ANSWER_BYTES = 64 * 1024 * 1024
const ENGINE_PING_MS = 15_000

/** Headers that mean something to an engine. Credentials are the agent's own. */
const TO_ENGINE = ['accept', 'content-type', 'user-agent', 'x-api-no-challenge']
const FROM_ENGINE = ['api-version', 'content-type', 'date', 'server', 'retry-after', 'location', 'x-api-schemas', 'warning']

export function createServer(serving: Serving): (stream: Stream, request: unknown) => void {
  let held = 0

  async function bodyOf(stream: Stream, own: { bytes: number }): Promise<string> {
    const decoder = new TextDecoder('utf-8', { fatal: true })
    let text = ''
    for await (const { data } of stream.incoming) {
      own.bytes += data.byteLength
      held += data.byteLength
      if (own.bytes > MOST_BODY_BYTES || held > MOST_BODIES_BYTES) {
        const error = new TransportError('too_large', 'the request is larger than an agent takes')
        // Before the loop is left, which would say less.
        stream.reset({ reason: 'too_large', message: error.message })
        throw error
      }
      text += decoder.decode(data, { stream: true })
    }
    return text + decoder.decode()
  }

  async function serve(stream: Stream, request: unknown, own: { bytes: number }): Promise<void> {
    const asked = readAsked(request)
    if (!asked) throw new TransportError('other', 'this agent does not know what was asked; is it older than the gateway?')
    const call: Call = {
      kind: asked.kind,
      method: asked.method,
      path: asked.path,
      headers: lowered(asked.headers),
      body: asked.kind === 'upgrade' ? asked.body : asked.kind === 'http' ? await bodyOf(stream, own) : '',
    }
    const signal = stream.over
    let passed: Passed
    try {
      const fill = await serving.orders?.(call, signal)
      if (fill) return await filled(stream, fill(signal))
      passed = await serving.fence(call, signal)
    } catch (error) {
      if (error instanceof Refusal)
        serving.log({ level: 'warn', event: 'refused', asked: asked.method, path: shown(asked.path), why: error.message })
      throw error
    }
    const engine = await serving.engine(signal)
    const sent = {
      method: passed.method,
      url: `${engine.base}${passed.path}`,
      headers: { ...picked(call.headers, [...TO_ENGINE, ...(passed.headers ?? [])]), ...engine.headers },
      signal,
    }
    switch (asked.kind) {
      case 'http':
        return await answer(stream, engine, { ...sent, ...(passed.body ? { body: passed.body } : {}) }, passed)
      case 'upgrade':
        return await raw(stream, engine, { ...sent, ...(passed.body ? { body: passed.body } : {}), protocol: asked.protocol })
      case 'socket':
        return await websocket(stream, engine, { ...sent, protocols: asked.protocols })
      default:
        return asked satisfies never
    }
  }

  return (stream, request) => {
    const own = { bytes: 0 }
    const served = serve(stream, request, own).finally(() => {
      held -= own.bytes
    })
    served.catch((error: unknown) => {
      if (error instanceof UpgradeRefused) {
        stream.sendHead({ status: error.status === 101 ? 502 : error.status, headers: [] })
        void stream.write(new TextEncoder().encode(error.body)).catch(() => undefined)
        stream.end()
        return
      }
      if (!(error instanceof StreamReset)) stream.reset(resetOf(error, serving.log))
    })
  }
}

type Sent = {
  readonly method: Method
  readonly url: string
  readonly headers: Fields
  readonly signal: AbortSignal
}

/** Its head goes first: what breaks before it was not begun. */
async function filled(stream: Stream, body: AsyncIterable<Uint8Array>): Promise<void> {
  stream.sendHead({ status: 200, headers: [] })
  for await (const data of body) await stream.write(data)
  stream.end()
}

async function answer(
  stream: Stream,
  { transport }: Engine,
  sent: Sent & { readonly body?: string },
  { answer: edit }: Passed,
): Promise<void> {
  if (edit !== undefined) {
    const { status, headers, body } = await transport.http({ ...sent, maxBytes: MOST_ANSWER_BYTES })
    const told = edit({ status, body })
    stream.sendHead({ status, headers: pickedOf(headers) })
    await stream.write(new TextEncoder().encode(told))
    return stream.end()
  }
  const { status, headers, body } = await transport.stream(sent)
  stream.sendHead({ status, headers: pickedOf(headers) })
  for await (const data of body) await stream.write(data)
  stream.end()
}

async function raw(
  stream: Stream,
  { transport }: Engine,
  sent: Sent & { readonly body?: string; readonly protocol: string },
): Promise<void> {
  if (!transport.upgrade) throw new TransportError('other', 'there is no raw way to this engine')
  const duplex = await transport.upgrade(sent)
  stream.sendHead({ status: 101, headers: [] })
  const inwards = async () => {
    for await (const { data } of stream.incoming) await duplex.write(data)
    duplex.end()
  }
  // A command that reads nothing may close its end first; that is no failure, and what it writes still comes.
  void inwards().catch(() => undefined)
  for await (const data of duplex.incoming) await stream.write(data)
  stream.end()
  // What the engine has ended is over, whatever the gateway would still send.
  if (!stream.over.aborted) await drained(stream)
}

/** A moment for the gateway to end its side as well. */
function drained(stream: Stream): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      stream.reset({ reason: 'reset', message: 'the engine has closed it' })
      resolve()
    }, LINGER_MS)
    stream.over.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        resolve()
      },
      { once: true },
    )
  })
}

const LINGER_MS = 5_000

async function websocket(
  stream: Stream,
  { transport }: Engine,
  sent: Sent & { readonly protocols: readonly string[] },
): Promise<void> {
  const { url, headers, protocols, signal } = sent
  const socket = await transport.socket(url.replace(/^http/, 'ws'), { headers, protocols, signal })
  stream.sendHead({ status: 101, headers: [], protocol: socket.protocol })
  const pulse = setInterval(() => socket.ping(), ENGINE_PING_MS)
  const inwards = async () => {
    let parts: Uint8Array[] = []
    let bytes = 0
    for await (const { data, text, more } of stream.incoming) {
      bytes += data.byteLength
      if (bytes > MOST_BODY_BYTES) return socket.close(1009)
      parts.push(data)
      if (more) continue
      const whole = joined(parts)
      socket.send(text ? new TextDecoder().decode(whole) : whole)
      await socket.drained?.()
      parts = []
      bytes = 0
    }
    const { code, reason } = (stream.last() ?? {}) as { readonly code?: number; readonly reason?: string }
    socket.close(
      typeof code === 'number' && (code === 1000 || (code >= 3000 && code < 5000)) ? code : 1000,
      String(reason ?? '').slice(0, 40),
    )
  }
  void inwards().catch(() => socket.close(1000))
  try {
    for await (const message of socket.messages) {
      const data = message.type === 'text' ? new TextEncoder().encode(message.data) : message.data
      await stream.write(data, { text: message.type === 'text' })
    }
    stream.end(await socket.ended)
    if (!stream.over.aborted) await drained(stream)
  } finally {
    clearInterval(pulse)
    socket.close()
  }
}

function resetOf(error: unknown, log: Serving['log']): Reset {
  if (error instanceof Refusal) return { reason: 'denied', message: error.message }
  if (error instanceof TransportError) return { reason: error.reason, message: error.message }
  if (error instanceof DroverError) return { reason: 'other', message: error.message }
  const reference = crypto.randomUUID().slice(0, 8)
  log({ level: 'error', event: 'bug', reference, error: error instanceof Error ? error.stack : String(error) })
  return { reason: 'other', message: `it met a bug (reference ${reference})` }
}

/** A query may hold what a command line holds. */
const shown = (path: string): string => (path.split('?')[0] ?? '').slice(0, 200)

function lowered(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function picked(headers: Readonly<Record<string, string>>, names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => names.includes(name)))
}

function pickedOf(headers: ResponseHeaders): readonly (readonly [string, string])[] {
  return FROM_ENGINE.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [[name, value.slice(0, 4096)] as const]
  })
}
