/** What both transports share of a websocket: a bounded queue of messages, one ending, and words for a failed connection. */

import type { SocketEnd, SocketMessage } from '../backends/transport.ts'
import { TransportError } from '../backends/transport.ts'

export const DEFAULT_MAX_BODY_BYTES = 16 * 1024 * 1024
export const DEFAULT_MAX_BUFFERED_BYTES = 32 * 1024 * 1024
/** Behind every deadline of a caller, for the caller that has none. */
export const LONGEST_HANDSHAKE_MS = 60_000
export const LONGEST_REQUEST_MS = 300_000
export const CLOSE_GRACE_MS = 1_000
export const REFUSAL_BODY_BYTES = 4096

/** Text as it came, to be decoded when it is read: a string that has to wait costs the garbage collector more than bytes do. */
export type LateText = { readonly type: 'late-text'; readonly data: { readonly byteLength: number; toString(): string } }

export type MessageQueue = {
  /** Keeps a message for the reader; false when the cap is passed: the owner then drops the connection. */
  push(message: SocketMessage | LateText): boolean
  /** The first call decides how it ended; what was pushed before can still be read. */
  end(how: SocketEnd): void
  readonly isEnded: () => boolean
  readonly messages: AsyncIterable<SocketMessage>
  readonly take: () => readonly SocketMessage[]
  readonly ended: Promise<SocketEnd>
}

/** Where the reader is slower than the connection, the connection waits: TCP then slows the far side down. */
export type Flow = { pause(): void; resume(): void }

/** Bytes that wait for the reader before the connection is paused, and at which it goes on. */
const PAUSE_BYTES = 64 * 1024
const RESUME_BYTES = 16 * 1024
/** Of messages that are taken together. What is held at a time lives through a collection of V8’s young objects, and makes their room grow. */
const TOGETHER_BYTES = 32 * 1024

/** `flow`: without it (workerd cannot pause) a fast sender meets the cap. */
export function messageQueue(maxBufferedBytes: number, flow?: Flow): MessageQueue {
  let isPaused = false
  const goOn = (): void => {
    if (!isPaused) return
    isPaused = false
    flow?.resume()
  }
  let waiting: (SocketMessage | LateText)[] = []
  /** Taken from `waiting` as a whole, which keeps a long backlog linear. */
  let reading: ArrayIterator<SocketMessage | LateText> = [].values()
  let bytes = 0
  let how: SocketEnd | undefined
  let isAbandoned = false
  let wake: (() => void) | undefined
  const { promise: ended, resolve } = Promise.withResolvers<SocketEnd>()

  const next = (): SocketMessage | undefined => {
    let { value: message } = reading.next()
    if (message === undefined && waiting.length > 0) {
      reading = waiting.values()
      waiting = []
      message = reading.next().value
    }
    if (message === undefined) return undefined
    bytes -= sizeOf(message)
    if (bytes <= RESUME_BYTES) goOn()
    return message.type === 'late-text' ? { type: 'text', data: message.data.toString() } : message
  }

  async function* read(): AsyncGenerator<SocketMessage> {
    try {
      for (;;) {
        const message = next()
        if (message !== undefined) {
          yield message
          continue
        }
        if (how !== undefined) return
        await new Promise<void>((resume) => {
          wake = resume
        })
      }
    } finally {
      isAbandoned = true
      waiting = []
      reading = [].values()
      goOn()
    }
  }

  return {
    push(message) {
      if (how !== undefined || isAbandoned) return true
      bytes += sizeOf(message)
      if (bytes > maxBufferedBytes) return false
      waiting.push(message)
      if (bytes > PAUSE_BYTES && !isPaused && flow !== undefined) {
        isPaused = true
        flow.pause()
      }
      wake?.()
      return true
    },
    end(cause) {
      if (how !== undefined) return
      how = cause
      resolve(cause)
      wake?.()
    },
    isEnded: () => how !== undefined,
    messages: read(),
    take() {
      const some: SocketMessage[] = []
      let size = 0
      for (let message = next(); message !== undefined; message = size < TOGETHER_BYTES ? next() : undefined) {
        size += sizeOf(message)
        some.push(message)
      }
      return some
    },
    ended,
  }
}

function sizeOf(message: SocketMessage | LateText): number {
  return message.type === 'text' ? message.data.length : message.data.byteLength
}

export function parseUrl(url: string, schemes: readonly string[]): URL {
  // Parsed here, because the platforms' own errors quote the URL with its query.
  const parsed = URL.parse(url)
  if (parsed === null) throw new TransportError('other', 'the address is not a URL')
  if (!schemes.includes(parsed.protocol))
    throw new TransportError('other', `${parsed.host}: ${parsed.protocol} is not one of ${schemes.join(' ')}`)
  return parsed
}

const REASON_BY_CODE: Readonly<Record<string, TransportError['reason']>> = {
  ECONNREFUSED: 'refused',
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ERR_STREAM_PREMATURE_CLOSE: 'reset',
  UND_ERR_SOCKET: 'reset',
  EPROTO: 'tls',
}
const TLS_CODE = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA)/

const WORDS: Readonly<Record<TransportError['reason'], string>> = {
  refused: 'connection refused',
  dns: 'the host name is not known',
  tls: 'the TLS connection failed; if the certificate is signed by a private CA, add it with NODE_EXTRA_CA_CERTS (Deno: DENO_CERT)',
  reset: 'the connection was cut',
  aborted: 'no answer before the deadline',
  too_large: 'the answer is larger than allowed',
  other: 'the connection failed',
}

/** Any failure to get an answer, as an error that is safe to show: the host, never the path or the query. */
export function transportError(url: URL, error: unknown, signal: AbortSignal): TransportError {
  if (error instanceof TransportError) return error
  if (signal.aborted) return new TransportError('aborted', `${url.host}: ${WORDS.aborted}`, { cause: signal.reason })
  const code = codeOf(error)
  const reason = REASON_BY_CODE[code] ?? (TLS_CODE.test(code) ? 'tls' : reasonFromText(error))
  const detail = code === '' ? '' : ` (${code})`
  const certificate = reason === 'tls' ? certificateFault(code, error) : undefined
  const words = certificate === undefined ? WORDS[reason] : `the TLS certificate is ${certificate}`
  return new TransportError(reason, `${url.host}: ${words}${detail}`, { cause: error, certificate })
}

function certificateFault(code: string, error: unknown): TransportError['certificate'] {
  const text = `${code} ${textOf(error)}`
  if (/ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH|NotValidForName|not valid for (any )?name/i.test(text))
    return 'for another name'
  return /CERT_HAS_EXPIRED|certificate( has)? expired|: Expired/i.test(text) ? 'expired' : undefined
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${error.message} ${error.cause instanceof Error ? error.cause.message : ''}` : ''
}

function codeOf(error: unknown): string {
  for (let e = error, depth = 0; e instanceof Error && depth < 5; e = e.cause, depth += 1) {
    if ('code' in e && typeof e.code === 'string') return e.code
  }
  return ''
}

// workerd and Deno give no codes, only sentences.
function reasonFromText(error: unknown): TransportError['reason'] {
  const text = textOf(error)
  if (/certificate|TLS|SSL|NoApplicationProtocol/i.test(text)) return 'tls'
  if (/refused/i.test(text)) return 'refused'
  if (/dns|resolve|lookup|name not known/i.test(text)) return 'dns'
  if (/hang up|reset|connection lost|disconnected/i.test(text)) return 'reset'
  return 'other'
}

export function tooLarge(host: string, maxBytes: number): TransportError {
  return new TransportError('too_large', `${host}: ${WORDS.too_large} (${maxBytes} bytes)`)
}

/** Reads at most `maxBytes` of a body as UTF-8 text; more is an error, or is cut when `cut` is set. */
export async function readText(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
  host: string,
  mode: 'whole' | 'cut' = 'whole',
): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of body) {
    const room = maxBytes - bytes
    bytes += chunk.byteLength
    if (bytes > maxBytes) {
      if (mode === 'cut') return text + decoder.decode(chunk.subarray(0, room))
      throw tooLarge(host, maxBytes)
    }
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}
