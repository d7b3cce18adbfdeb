/** The Kubernetes API as drover needs it: requests with refusals in words, whole lists, and websockets; over any way that leads to one. */

import * as z from 'zod'
import { BackendError, type Failure } from '../../core/errors.ts'
import {
  type Fields,
  type HttpRequest,
  type HttpResponse,
  type Socket,
  type Transport,
  TransportError,
  UpgradeRefused,
} from '../transport.ts'

/** The way to one API server. */
export type Connect = {
  /** `https://host:6443`; may go on with a path, as in `https://rancher.example.com/k8s/clusters/c-abc`. No slash at its end. */
  readonly server: string
  /** The credentials of this moment. */
  headers(signal: AbortSignal): Promise<Fields>
  readonly transport: Transport
  /** The namespace that the credentials come with; for a backend that names none. */
  readonly namespace?: string
  /** Called at 401: forgets credentials that can be had anew. True: asking once more may help. */
  renew?(): boolean
  /** What stands before Kubernetes may refuse in its own words. Undefined: these are not its. */
  refusal?(response: Refused, about: About): BackendError | undefined
}

/** Asked for each operation, for a way may change: a new client certificate is a new transport. */
export type Connecting = (signal: AbortSignal) => Promise<Connect>

/** A response with status 400 and more, or an ordinary one to an upgrade. */
export type Refused = { readonly status: number; readonly body: string }
/** What the request was about, for the words of a refusal: `the pod web-1`. */
export type About = { readonly what: string; readonly ran?: 'no' | 'maybe' }

export type RequestOptions = About & {
  readonly signal: AbortSignal
  readonly query?: Query
  readonly body?: unknown
  /** Default `application/json`. */
  readonly contentType?: string
  /** Default 64 MiB. */
  readonly maxBytes?: number
  /** A question that is asked with POST. */
  readonly isRepeatable?: boolean
  /** For this request alone, as `Impersonate-User`. */
  readonly headers?: Fields
}
/** A key may come several times, as `command` does. */
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

export type Api = {
  /** The connection of this moment; its server is the address for the reader. */
  connect: Connecting
  /** Below 400, whole. Throws BackendError for a refusal and for no answer. `path` begins with `/api` or the like. */
  request(method: HttpRequest['method'], path: string, options: RequestOptions): Promise<HttpResponse>
  /** The same, parsed; what does not fit is `backend_protocol` and says where. */
  read<T>(method: HttpRequest['method'], path: string, schema: z.ZodType<T>, options: RequestOptions): Promise<T>
  /** All pages, as of one moment: when its snapshot expires half-way it begins anew. */
  list<T>(path: string, item: z.ZodType<T>, options: RequestOptions): Promise<readonly T[]>
  /** Throws UpgradeRefused or TransportError: what they mean depends on what was asked to run. */
  socket(path: string, options: SocketRequest): Promise<Socket>
  refusal(response: Refused, about: About): Promise<BackendError>
}

export type SocketRequest = {
  readonly query: Query
  readonly protocols: readonly string[]
  readonly signal: AbortSignal
  readonly headers?: Fields
}

/** Of a pod with managed fields it takes about 10 kB. */
const PAGE_LIMIT = 500
const MAX_PAGES = 200
const MAX_RESTARTS = 3
const MAX_PAGE_BYTES = 64 * 1024 * 1024
const REQUEST_TIMEOUT_MS = 30_000

const Page = z.object({
  metadata: z.object({ continue: z.string().nullish() }).nullish(),
  items: z.array(z.unknown()).nullish(),
})

/** meta/v1 Status; everything but `kind` may be absent. */
export const Status = z.object({
  kind: z.literal('Status'),
  status: z.string().nullish(),
  message: z.string().nullish(),
  reason: z.string().nullish(),
  code: z.number().nullish(),
  details: z
    .object({
      name: z.string().nullish(),
      kind: z.string().nullish(),
      causes: z
        .array(z.object({ reason: z.string().nullish(), message: z.string().nullish(), field: z.string().nullish() }))
        .nullish(),
    })
    .nullish(),
})
export type Status = z.infer<typeof Status>

export function kubernetesApi(connect: Connecting, options: { readonly requestTimeoutMs?: number } = {}): Api {
  const timeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS

  async function send(method: HttpRequest['method'], path: string, asked: RequestOptions): Promise<HttpResponse> {
    const deadline = AbortSignal.timeout(timeoutMs)
    const signal = AbortSignal.any([asked.signal, deadline])
    const attempt = async (way: Connect): Promise<HttpResponse> =>
      await way.transport.http({
        method,
        isRepeatable: asked.isRepeatable ?? method === 'GET',
        url: `${way.server}${path}${search(asked.query)}`,
        headers: {
          accept: 'application/json',
          'user-agent': 'drover',
          ...(asked.body === undefined ? {} : { 'content-type': asked.contentType ?? 'application/json' }),
          ...(await way.headers(signal)),
          ...asked.headers,
        },
        ...(asked.body === undefined ? {} : { body: JSON.stringify(asked.body) }),
        signal,
        maxBytes: asked.maxBytes ?? MAX_PAGE_BYTES,
      })
    try {
      const way = await connect(signal)
      const response = await attempt(way)
      // Refused before it did anything: a token that has just expired is no reason to fail.
      if (response.status === 401 && way.renew?.()) return await attempt(await connect(signal))
      return response
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      // A write that got no answer may have been done.
      const open = method === 'GET' || surelyUnsent(error) ? 'no' : 'maybe'
      throw unreachable(error, { isLate: deadline.aborted && !asked.signal.aborted, ran: open })
    }
  }

  async function refusal(response: Refused, about: About, signal?: AbortSignal): Promise<BackendError> {
    const way = await connect(signal ?? AbortSignal.timeout(timeoutMs))
    return way.refusal?.(response, about) ?? refused(response, about)
  }

  async function request(method: HttpRequest['method'], path: string, asked: RequestOptions): Promise<HttpResponse> {
    const response = await send(method, path, asked)
    if (response.status >= 300 && response.status < 400) throw redirected(response)
    if (response.status >= 400) throw await refusal(response, asked, asked.signal)
    return response
  }

  async function read<T>(method: HttpRequest['method'], path: string, schema: z.ZodType<T>, asked: RequestOptions): Promise<T> {
    return parsed(await request(method, path, asked), schema, asked.what)
  }

  async function list<T>(path: string, item: z.ZodType<T>, asked: RequestOptions): Promise<readonly T[]> {
    for (let restarts = 0; restarts <= MAX_RESTARTS; restarts += 1) {
      const items = await pages(path, item, asked)
      if (items !== 'expired') return items
    }
    throw new BackendError(
      {
        code: 'backend_unavailable',
        message: `The list of ${asked.what} expired ${MAX_RESTARTS + 1} times before it was whole.`,
        next: 'The API server is slow or its history short: try again, or narrow the selector.',
      },
      { ran: 'no' },
    )
  }

  /** The same selectors on every page: with other ones an old token silently gives other items. */
  async function pages<T>(path: string, item: z.ZodType<T>, asked: RequestOptions): Promise<readonly T[] | 'expired'> {
    const items: T[] = []
    let next: string | undefined
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const response = await send('GET', path, { ...asked, query: { ...asked.query, limit: String(PAGE_LIMIT), continue: next } })
      // The token that comes with a 410 goes on with a later state: two halves of different moments are no list.
      if (response.status === 410 && next !== undefined) return 'expired'
      if (response.status >= 300 && response.status < 400) throw redirected(response)
      if (response.status !== 200) throw await refusal(response, asked, asked.signal)
      const found = parsed(response, Page, asked.what)
      for (const one of found.items ?? []) items.push(checked(item, one, asked.what))
      next = found.metadata?.continue || undefined
      if (next === undefined) return items
    }
    throw protocol(`The list of ${asked.what} has more than ${MAX_PAGES} pages.`)
  }

  async function socket(path: string, asked: SocketRequest): Promise<Socket> {
    const attempt = async (way: Connect): Promise<Socket> =>
      await way.transport.socket(`${way.server.replace(/^http/, 'ws')}${path}${search(asked.query)}`, {
        headers: { 'user-agent': 'drover', ...(await way.headers(asked.signal)), ...asked.headers },
        protocols: asked.protocols,
        signal: asked.signal,
      })
    const way = await connect(asked.signal)
    try {
      return await attempt(way)
    } catch (error) {
      // Refused for its credentials, so nothing was started.
      if (error instanceof UpgradeRefused && error.status === 401 && way.renew?.())
        return await attempt(await connect(asked.signal))
      throw error
    }
  }

  return { connect, request, read, list, socket, refusal }
}

/** Everything encoded: of a raw `;` the server drops the whole parameter silently. */
function search(query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : (typeof value === 'string' ? [value] : value).map((one) => [key, one] as const),
  )
  if (pairs.length === 0) return ''
  return `?${pairs.map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`).join('&')}`
}

export function statusOf(body: string): Status | undefined {
  try {
    return Status.parse(JSON.parse(body))
  } catch {
    return undefined
  }
}

/** What a refusal of Kubernetes means, in words a person can act on (kubernetes.md §5). */
export function refused(response: Refused, about: About): BackendError {
  const no = (code: Failure['code'], message: string, next: string) =>
    new BackendError({ code, message, next }, { ran: about.ran ?? 'no' })
  const status = statusOf(response.body)
  const said = told(status?.message ?? (status === undefined ? response.body : ''))
  switch (response.status) {
    case 400:
    case 415:
      return no(
        'backend_protocol',
        `Kubernetes does not take the request for ${about.what}${said}`,
        'Ask again; if it stays so, report it.',
      )
    case 401:
      return no(
        'backend_unauthorized',
        'Kubernetes does not accept the credentials: they are wrong, or have expired.',
        'Make a new token (kubectl create token …) or correct the kubeconfig’s user; `drover check` tells more.',
      )
    case 403:
      return no(
        'backend_forbidden',
        `Kubernetes forbids it: ${about.what}${said}`,
        'Give drover’s account the Role that `drover check` prints.',
      )
    case 404:
      return no(
        'backend_not_found',
        `Kubernetes does not know ${about.what}.`,
        'It may have been removed or replaced since it was listed: ask again.',
      )
    case 409:
      return no('changed', `Somebody else has changed ${about.what} in the meantime.`, 'Look again, then decide.')
    case 422:
      return no('unsupported', `Kubernetes finds the change of ${about.what} invalid${said}`, 'Correct what it names.')
    case 429:
      return no('backend_unavailable', 'Kubernetes has too much to do (HTTP 429).', 'Try again in a moment.')
    default:
      return response.status >= 500
        ? no(
            'backend_unavailable',
            `Kubernetes answered ${about.what} with HTTP ${response.status}${said}`,
            'Try again; if it stays so, look at the API server and at the node.',
          )
        : no(
            'backend_protocol',
            `Kubernetes answered ${about.what} with HTTP ${response.status}${said}`,
            'Check that the address is a Kubernetes API server and what stands before it.',
          )
  }
}

/** A server's own words as the end of a sentence; a page of HTML says nothing. */
function told(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, ' ')
  return line === '' || line.startsWith('<') ? '.' : `: ${line.slice(0, 300).replace(/\.$/, '')}.`
}

/** Not one byte of the request can have arrived. */
export function surelyUnsent(error: TransportError): boolean {
  return error.reason === 'refused' || error.reason === 'dns' || error.reason === 'tls'
}

export function unreachable(
  error: TransportError,
  about: { readonly isLate?: boolean; readonly ran: 'no' | 'maybe' },
): BackendError {
  const failure: Failure = about.isLate
    ? {
        code: 'timeout',
        message: `Kubernetes did not answer in time (${error.message}).`,
        next: 'Check whether the API server is overloaded; `drover check` tells more.',
      }
    : {
        code: error.reason === 'too_large' ? 'backend_protocol' : 'backend_unavailable',
        message: `Kubernetes cannot be reached: ${error.message}.`,
        next:
          (error.certificate ? certificateStep[error.certificate] : nextStep[error.reason]) ??
          'Check the address and the network between drover and the API server; `drover check` tells more.',
      }
  return new BackendError(failure, { ran: about.ran, cause: error })
}

const nextStep: Partial<Record<TransportError['reason'], string>> = {
  dns: 'Check the server’s name, and that the machine drover runs on can resolve it.',
  refused: 'Check the port, and that the API server runs and listens there.',
  tls: 'If a private CA has signed the server’s certificate, name it: `ca:` of this backend, or certificate-authority in the kubeconfig.',
}

const certificateStep: Readonly<Record<NonNullable<TransportError['certificate']>, string>> = {
  'for another name':
    'Name the server as its certificate does: in the address, or with tls-server-name in the kubeconfig. Another CA would not help.',
  expired: 'Renew the API server’s certificate (kubeadm certs renew apiserver); compare the clocks of both machines.',
}

export function protocol(message: string, ran: 'no' | 'maybe' = 'no', cause?: unknown): BackendError {
  return new BackendError(
    { code: 'backend_protocol', message, next: 'Check that the address is a Kubernetes API server and what stands before it.' },
    { ran, cause },
  )
}

function redirected(response: HttpResponse): BackendError {
  const location = response.headers.get('location') ?? ''
  const to = URL.canParse(location) ? ` to ${new URL(location).origin}` : ''
  return protocol(`The API server’s address redirects${to}; drover does not send credentials after a redirect.`)
}

function parsed<T>(response: HttpResponse, schema: z.ZodType<T>, what: string): T {
  let json: unknown
  try {
    json = JSON.parse(response.body)
  } catch (cause) {
    throw protocol(`The answer about ${what} is not JSON, so it is not from Kubernetes.`, 'no', cause)
  }
  return checked(schema, json, what)
}

function checked<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value)
  // Only where it differs: an answer may hold secrets.
  if (!result.success)
    throw protocol(
      `The answer about ${what} is not what Kubernetes sends (at ${result.error.issues[0]?.path.join('.') || 'its root'}).`,
    )
  return result.data
}
