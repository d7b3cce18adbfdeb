/** The transport whose far end is an agent: what a backend asks here is asked there, of the one engine that the agent stands beside. */

import type {
  Duplex,
  HttpRequest,
  HttpResponse,
  HttpStream,
  Socket,
  SocketEnd,
  SocketMessage,
  SocketOptions,
  Transport,
} from '../backends/transport.ts'
import { TransportError, UpgradeRefused } from '../backends/transport.ts'
import { joined } from '../core/bytes.ts'
import { BackendError } from '../core/errors.ts'
import type { Instant } from '../core/model.ts'
import {
  CLOSE_GRACE_MS,
  DEFAULT_MAX_BODY_BYTES,
  DEFAULT_MAX_BUFFERED_BYTES,
  LONGEST_REQUEST_MS,
  messageQueue,
  parseUrl,
  REFUSAL_BODY_BYTES,
  readText,
} from '../runtime/socket.ts'
import type { ProvedBy } from './handshake.ts'
import { readHead } from './messages.ts'
import { type Session, type Stream, StreamReset } from './session.ts'

export type AgentState = {
  readonly name: string
  readonly connected: boolean
  /** Connected or lost since then; absent where it never was. */
  readonly since?: Instant
  /** What it says of itself. */
  readonly says?: string
  /** By which of its keys it is connected. */
  readonly by?: ProvedBy
  /** Why it is not there, or why one was refused. */
  readonly why?: string
}

/** Finds the link of this moment; throws BackendError where there is none. */
export type Connect = (signal: AbortSignal) => Promise<Session>

export function throughAgent(name: string, connect: Connect): Transport {
  const there = (error: unknown, signal: AbortSignal) => failureOf(name, error, signal)

  /** Opens a stream and waits for its head; `signal` breaks it off for as long as it lasts. */
  async function ask(asked: Readonly<Record<string, unknown>>, body: string | undefined, signal: AbortSignal) {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), LONGEST_REQUEST_MS)
    const either = AbortSignal.any([signal, late.signal])
    try {
      either.throwIfAborted()
      const stream = (await connect(either)).open(asked)
      const abort = () => stream.reset({ reason: 'aborted', message: 'it was given up' })
      signal.addEventListener('abort', abort, { once: true })
      late.signal.addEventListener('abort', abort, { once: true })
      stream.over.addEventListener('abort', () => signal.removeEventListener('abort', abort), { once: true })
      if (signal.aborted) abort()
      // A refusal comes while the rest of the body waits; it is told by the head.
      if (body !== undefined) void send(stream, body).catch(() => undefined)
      const head = readHead(await stream.head)
      if (!head) {
        stream.reset({ reason: 'other', message: 'that is no answer' })
        throw new TransportError('other', 'its answer is not of this protocol')
      }
      return { stream, head }
    } catch (error) {
      throw there(error, either)
    } finally {
      clearTimeout(timer)
    }
  }

  async function* bytesOf(stream: Stream, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    try {
      for await (const { data } of stream.incoming) yield data
    } catch (error) {
      throw there(error, signal)
    }
  }

  async function stream(request: HttpRequest): Promise<HttpStream> {
    const { method, headers } = request
    const opened = await ask({ kind: 'http', method, path: pathOf(request.url), headers }, request.body ?? '', request.signal)
    return {
      status: opened.head.status,
      headers: new Headers([...opened.head.headers]),
      body: bytesOf(opened.stream, request.signal),
    }
  }

  return {
    stream,
    async http(request): Promise<HttpResponse> {
      const late = new AbortController()
      const timer = setTimeout(() => late.abort(), LONGEST_REQUEST_MS)
      try {
        const { status, headers, body } = await stream({ ...request, signal: AbortSignal.any([request.signal, late.signal]) })
        return { status, headers, body: await readText(body, request.maxBytes ?? DEFAULT_MAX_BODY_BYTES, `the agent ${name}`) }
      } finally {
        clearTimeout(timer)
      }
    },
    async upgrade(request): Promise<Duplex> {
      const { method, headers, protocol, body, signal } = request
      const asked = { kind: 'upgrade', method, path: pathOf(request.url), headers, protocol, body: body ?? '' }
      const { stream: opened, head } = await ask(asked, undefined, signal)
      if (head.status !== 101) throw await refused(opened, head.status)
      return {
        write: (data) =>
          opened.write(data).catch((error: unknown) => {
            throw there(error, signal)
          }),
        end: () => opened.end(),
        close: () => opened.reset({ reason: 'aborted', message: 'it was closed' }),
        incoming: bytesOf(opened, signal),
      }
    },
    async socket(url, options): Promise<Socket> {
      const { headers, protocols = [], signal } = options
      const asked = { kind: 'socket', method: 'GET', path: pathOf(url), headers, protocols }
      const { stream: opened, head } = await ask(asked, undefined, signal)
      if (head.status !== 101) throw await refused(opened, head.status)
      return socketOver(opened, head.protocol ?? '', options)
    },
  }

  async function refused(opened: Stream, status: number): Promise<UpgradeRefused> {
    opened.end()
    const body = (async function* () {
      for await (const { data } of opened.incoming) yield data
    })()
    return new UpgradeRefused(status, await readText(body, REFUSAL_BODY_BYTES, name, 'cut').catch(() => ''))
  }
}

/** The agent knows its engine's address; ours stands for it. */
function pathOf(url: string): string {
  const { pathname, search } = parseUrl(url, ['http:', 'https:', 'ws:', 'wss:'])
  return `${pathname}${search}`
}

async function send(stream: Stream, body: string): Promise<void> {
  if (body !== '') await stream.write(new TextEncoder().encode(body))
  stream.end()
}

function failureOf(name: string, error: unknown, signal: AbortSignal): Error {
  if (error instanceof BackendError || error instanceof UpgradeRefused) return error
  if (error instanceof StreamReset) {
    const { reason, message } = error.reset
    if (reason === 'denied')
      return new BackendError(
        {
          code: 'backend_forbidden',
          message: `The agent ${name} refused it: ${message}`,
          next: 'Its own list decides (allow: in the agent’s file), not drover.yaml: ask who runs the agent.',
        },
        { ran: 'no' },
      )
    if (!signal.aborted) return new TransportError(reason, `the agent ${name}: ${message}`)
  }
  if (signal.aborted)
    return new TransportError('aborted', `the agent ${name}: no answer before the deadline`, { cause: signal.reason })
  if (error instanceof TransportError)
    return new TransportError(error.reason, `the agent ${name}: ${error.message}`, { cause: error })
  return error instanceof Error ? error : new TransportError('other', `the agent ${name}: the connection failed`)
}

function socketOver(stream: Stream, protocol: string, options: SocketOptions): Socket {
  const maxBytes = options.maxBufferedBytes ?? DEFAULT_MAX_BUFFERED_BYTES
  let goOn: (() => void) | undefined
  let isPaused = false
  const queue = messageQueue(maxBytes, {
    pause: () => {
      isPaused = true
    },
    resume: () => {
      isPaused = false
      goOn?.()
    },
  })
  let unsent = 0
  let grace: ReturnType<typeof setTimeout> | undefined

  const drop = (how: SocketEnd): void => {
    clearTimeout(grace)
    queue.end(how)
    stream.reset({ reason: 'aborted', message: how.reason.slice(0, 100) })
  }

  async function pump(): Promise<void> {
    let parts: Uint8Array[] = []
    let bytes = 0
    for await (const { data, text, more } of stream.incoming) {
      parts.push(data)
      bytes += data.byteLength
      if (bytes > maxBytes) return drop({ code: 1009, reason: `a message of more than ${maxBytes} bytes`, clean: false })
      if (more) continue
      if (!queue.push(messageOf(parts, text)))
        return drop({ code: 1009, reason: `more than ${maxBytes} bytes were waiting`, clean: false })
      parts = []
      bytes = 0
      if (isPaused)
        await new Promise<void>((resolve) => {
          goOn = resolve
        })
    }
    clearTimeout(grace)
    stream.end()
    queue.end(endOf(stream.last()))
  }
  void pump().catch((error: unknown) => {
    clearTimeout(grace)
    queue.end({ code: 1006, reason: options.signal.aborted ? 'aborted' : wordsOf(error), clean: false })
  })

  return {
    protocol,
    send(data) {
      if (queue.isEnded()) return
      const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data.slice()
      unsent += bytes.byteLength
      if (unsent > maxBytes) return drop({ code: 1009, reason: `more than ${maxBytes} bytes were waiting`, clean: false })
      stream.write(bytes, { text: typeof data === 'string' }).then(
        () => {
          unsent -= bytes.byteLength
        },
        () => undefined,
      )
    },
    // The agent pings its engine, and the link has a pulse of its own.
    ping() {},
    close(code = 1000, reason = '') {
      if (queue.isEnded() || grace !== undefined) return
      stream.end({ code, reason })
      grace = setTimeout(
        () => drop({ code: 1006, reason: 'the far side did not finish the close', clean: false }),
        CLOSE_GRACE_MS,
      )
    },
    messages: queue.messages,
    ended: queue.ended,
  }
}

function messageOf(parts: readonly Uint8Array[], text: boolean): SocketMessage {
  const whole = joined(parts)
  return text ? { type: 'text', data: new TextDecoder().decode(whole) } : { type: 'binary', data: whole }
}

function endOf(last: unknown): SocketEnd {
  const { code, reason, clean } = (typeof last === 'object' && last !== null ? last : {}) as Readonly<Record<string, unknown>>
  return {
    code: typeof code === 'number' ? code : 1006,
    reason: typeof reason === 'string' ? reason : '',
    clean: clean === true,
  }
}

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message.slice(0, 200) : 'the connection failed')

export function notConnected({ name, since, why }: AgentState): BackendError {
  const when = since === undefined ? 'and has not been since this gateway started' : `since ${new Date(since).toISOString()}`
  return new BackendError(
    {
      code: 'backend_unavailable',
      message: `The agent ${name} is not connected ${when}${why ? ` (${why})` : ''}.`,
      next: 'Start it beside its engine with: drover agent --config agent.yaml. Its own output says why it cannot connect.',
    },
    { ran: 'no' },
  )
}
