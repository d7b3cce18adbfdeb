/** The HTTP API of a Docker Engine as drover needs it: the way there, the version both know, and refusals in words. */

import * as z from 'zod'
import { BackendError, type Failure } from '../../core/errors.ts'
import {
  type Duplex,
  type HttpRequest,
  type HttpResponse,
  type HttpStream,
  type Transport,
  TransportError,
  type Transports,
} from '../transport.ts'
import type { Endpoint } from './endpoint.ts'

export type Engine = {
  readonly endpoint: Endpoint
  readonly transport: Transport
  /** Of the API, as both sides know it. */
  readonly version: string
  /** As it calls itself: `Docker/20.10.24 (linux)`, `Libpod/4.3.1 (linux)`. */
  readonly server: string
}

type Ask = {
  readonly method: HttpRequest['method']
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
  readonly isRepeatable?: boolean
}

export type Api = {
  /** Found once, and again after a connection failed. */
  engine(signal: AbortSignal): Promise<Engine>
  /** Any status is an answer. `path` begins with `/` and has no version. */
  request(ask: Ask): Promise<HttpResponse>
  /** A POST whose answer is a stream. `ran` is what a broken connection leaves open. */
  stream(ask: Omit<Ask, 'method'>): Promise<HttpStream>
  /** The engine's own clock, by which deadlines of what is left there are told: all that share an engine go by it. Before it has answered, this machine's. */
  now(): number
  /** The same with a way in. Throws UpgradeRefused. Only where `canUpgrade`. */
  upgrade(ask: Omit<Ask, 'method'>): Promise<Duplex>
}

/** The newest version whose changes were read: nothing drover uses differs from 1.24 on. */
const NEWEST_KNOWN = '1.51'
/** A busy engine takes its time to make an exec. */
const REQUEST_MS = 60_000
/** Clocks that differ less are taken for the same. */
const CLOCK_MS = 2_000
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

export function dockerApi(options: {
  readonly endpoint: () => Promise<Endpoint>
  readonly transports: Transports
  readonly requestTimeoutMs?: number
}): Api {
  let found: Promise<Engine> | undefined
  const requestMs = options.requestTimeoutMs ?? REQUEST_MS
  let aheadMs = 0
  const hear = ({ headers }: Pick<HttpResponse, 'headers'>): void => {
    const ms = Date.parse(headers.get('date') ?? '') - Date.now()
    // It tells whole seconds, and a moment ago.
    if (!Number.isNaN(ms)) aheadMs = Math.abs(ms) < CLOCK_MS ? 0 : ms
  }

  async function find(signal: AbortSignal): Promise<Engine> {
    const endpoint = await options.endpoint()
    const transport = options.transports(endpoint.reach)
    // The only path without a version.
    const response = await answered(
      (limited) => transport.http({ method: 'GET', url: `${endpoint.base}/_ping`, signal: limited }),
      endpoint,
      signal,
    )
    if (response.status !== 200) throw refusal(response, 'its version')
    hear(response)
    const newest = response.headers.get('api-version')
    if (newest === null || !/^\d+\.\d+$/.test(newest))
      throw protocol(`What answers at ${endpoint.address} does not say that it is a Docker Engine.`)
    return { endpoint, transport, version: older(newest, NEWEST_KNOWN), server: response.headers.get('server') ?? 'unknown' }
  }

  // One search for all who wait, so none of them may end it for the others.
  const engine = (signal: AbortSignal): Promise<Engine> => {
    if (found === undefined) {
      const search = find(AbortSignal.timeout(requestMs)).catch((error: unknown) => {
        if (found === search) found = undefined
        throw error
      })
      search.catch(() => undefined)
      found = search
    }
    return unlessGivenUp(found, signal)
  }

  async function answered<T>(ask: (signal: AbortSignal) => Promise<T>, endpoint: Endpoint, signal: AbortSignal): Promise<T> {
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(), requestMs)
    try {
      return await ask(AbortSignal.any([signal, deadline.signal]))
    } catch (error) {
      // Certificates and contexts are read anew for the next one.
      found = undefined
      if (!(error instanceof TransportError)) throw error
      throw unreachable(error, endpoint, { isLate: deadline.signal.aborted && !signal.aborted, isGivenUp: signal.aborted })
    } finally {
      clearTimeout(timer)
    }
  }

  function prepared({ path, body, headers: more }: Pick<Ask, 'path' | 'body' | 'headers'>, { endpoint, version }: Engine) {
    const headers = { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...more }
    return {
      url: `${endpoint.base}/v${version}${path}`,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }
  }

  return {
    engine,
    async request(ask) {
      const one = await engine(ask.signal)
      const response = await answered(
        (signal) =>
          one.transport.http({
            method: ask.method,
            ...prepared(ask, one),
            signal,
            maxBytes: MAX_ANSWER_BYTES,
            isRepeatable: ask.isRepeatable ?? ask.method === 'GET',
          }),
        one.endpoint,
        ask.signal,
      )
      hear(response)
      // Another engine answers now: the next request asks which.
      if (response.status === 400 && /client version \S+ is too (new|old)/.test(response.body)) found = undefined
      return response
    },
    now: () => Date.now() + aheadMs,
    // Not through `answered`: what comes may last, and its failures mean more than "not reached".
    async stream(ask) {
      const one = await engine(ask.signal)
      return one.transport.stream({ method: 'POST', ...prepared(ask, one), signal: ask.signal })
    },
    async upgrade(ask) {
      const one = await engine(ask.signal)
      if (!one.transport.upgrade) throw noWayIn()
      return one.transport.upgrade({ method: 'POST', ...prepared(ask, one), protocol: 'tcp', signal: ask.signal })
    },
  }
}

/** `work` goes on for others when this caller has had enough. */
function unlessGivenUp<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(givenUp(signal.reason))
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const abort = () => reject(givenUp(signal.reason))
  signal.addEventListener('abort', abort, { once: true })
  work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  return promise
}

function givenUp(cause: unknown): BackendError {
  const failure: Failure = {
    code: 'stream_broken',
    message: 'drover stopped waiting before the engine answered.',
    next: 'Nothing ran: ask again, or look whether its host is overloaded.',
  }
  return new BackendError(failure, { ran: 'no', cause })
}

function older(one: string, other: string): string {
  const [a, b] = [one, other].map((version) => version.split('.').map(Number))
  const isOlder = (a?.[0] ?? 0) - (b?.[0] ?? 0) || (a?.[1] ?? 0) - (b?.[1] ?? 0)
  return isOlder < 0 ? one : other
}

/** Why there was no answer. Nothing ran: no request but the start of an exec starts anything. */
export function unreachable(
  error: TransportError,
  { address }: Endpoint,
  when: { readonly isLate: boolean; readonly isGivenUp: boolean } = { isLate: false, isGivenUp: false },
): BackendError {
  const no = (code: Failure['code'], message: string, next: string) =>
    new BackendError({ code, message, next }, { ran: 'no', cause: error })
  if (when.isGivenUp) return givenUp(error)
  if (when.isLate)
    return no(
      'timeout',
      `The Docker Engine at ${address} did not answer in time.`,
      'Look at its host; `drover check` tells more.',
    )
  const code = /\(([A-Z_]+)\)$/.exec(error.message)?.[1]
  if (code === 'EACCES' || code === 'EPERM')
    return no(
      'backend_unauthorized',
      `drover may not open ${address}.`,
      'Let its user in, usually by the group docker; who may open this socket is root on that host.',
    )
  if (code === 'ENOENT' && address.startsWith('unix:'))
    return no('backend_unavailable', `There is no socket at ${address}.`, 'Start the engine, or correct the path.')
  if (error.reason === 'too_large') return protocol('The engine’s answer is larger than allowed.')
  if (
    /certificate (required|unknown)|bad certificate|CERTIFICATE_REQUIRED|BAD_CERTIFICATE/i.test(
      `${error.message} ${String(error.cause)}`,
    )
  )
    return no(
      'backend_unauthorized',
      `The Docker Engine at ${address} did not accept drover’s certificate.`,
      'Give tls.cert and tls.key, signed by the CA that the engine trusts (--tlscacert).',
    )
  if (error.reason === 'tls')
    return no(
      'backend_unavailable',
      `The TLS connection to ${address} failed${code ? ` (${code})` : ''}.`,
      'Check that tls.ca signed the engine’s certificate, and that the certificate names this host.',
    )
  return no(
    'backend_unavailable',
    `The Docker Engine cannot be reached at ${address}: ${error.message}.`,
    'Check the address and that the engine runs; `drover check` tells more.',
  )
}

export function protocol(message: string, ran: 'no' | 'maybe' = 'no', cause?: unknown): BackendError {
  return new BackendError(
    { code: 'backend_protocol', message, next: 'Check that the address is a Docker Engine’s and what stands before it.' },
    { ran, cause },
  )
}

const noWayIn = () =>
  new BackendError(
    {
      code: 'unsupported',
      message: 'stdin= needs a raw connection to the engine, and this runtime has none.',
      next: 'Run drover on Node or Deno, or run the command without stdin.',
    },
    { ran: 'no' },
  )

const Message = z.object({ message: z.string() })

/** What the engine says in words, on one line and not too long. */
export function messageOf({ body }: Pick<HttpResponse, 'body'>): string {
  let text = body
  try {
    text = Message.parse(JSON.parse(body)).message
  } catch {
    // A proxy's own page, or plain text.
  }
  return text
    .replaceAll(/[\x00-\x20]+/g, ' ')
    .trim()
    .slice(0, 300)
}

/** What an HTTP refusal means, in words a person can act on [docker-swarm-containerd §2.3]. */
export function refusal(response: Pick<HttpResponse, 'status' | 'body'>, what: string): BackendError {
  const no = (code: Failure['code'], message: string, next: string) => new BackendError({ code, message, next }, { ran: 'no' })
  const { status } = response
  const said = messageOf(response)
  if (status === 401 || status === 407)
    return no('backend_unauthorized', 'What stands before the engine does not accept drover.', 'Check its credentials.')
  if (status === 403)
    return no(
      'backend_forbidden',
      `The engine, or what stands before it, forbids ${what}: ${said}`,
      'A socket proxy or authorization plugin has to allow _ping, containers, exec and POST.',
    )
  if (status === 404)
    return no(
      'backend_not_found',
      `The engine does not know ${what}.`,
      'It may have been removed or replaced since it was listed: ask again.',
    )
  if (status === 409)
    return no(
      'not_running',
      `${what.replace(/^t/, 'T')} is ${/paused/.test(said) ? 'paused' : 'not running'}.`,
      /paused/.test(said) ? 'Unpause it first.' : 'Start it, or choose one that runs.',
    )
  if (status === 400 && /HTTP request to an HTTPS server/.test(said))
    return no('config', 'The engine speaks TLS on this port.', 'Give tls: {ca, cert, key} instead of plaintext: true.')
  if (status === 429 || status >= 500)
    return no(
      'backend_unavailable',
      `The engine answered ${what} with HTTP ${status}${said ? `: ${said}` : ''}.`,
      'Try again; if it stays so, look into the engine’s log.',
    )
  return protocol(`The engine answered ${what} with HTTP ${status}${said ? `: ${said}` : ''}.`)
}

export function parsed<T>(response: HttpResponse, schema: z.ZodType<T>, what: string): T {
  if (response.status >= 300) throw refusal(response, what)
  let json: unknown
  try {
    json = JSON.parse(response.body)
  } catch (cause) {
    throw protocol('The answer is not JSON, so it is not from a Docker Engine.', 'no', cause)
  }
  const result = schema.safeParse(json)
  // Only where it differs: an answer may hold environments.
  if (!result.success)
    throw protocol(
      `The answer is not what a Docker Engine sends (${what}, at ${result.error.issues[0]?.path.join('.') || 'its root'}).`,
    )
  return result.data
}
