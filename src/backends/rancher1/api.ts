/** The HTTP API of Rancher 1.x as drover needs it: which version, which environment, whole lists, and refusals in words. */

import * as z from 'zod'
import { BackendError, type Failure } from '../../core/errors.ts'
import { type HttpResponse, type Transport, TransportError } from '../transport.ts'

export type ApiOptions = {
  readonly url: string
  readonly accessKey: string
  readonly secretKey: string
  readonly project?: string
  /** Deadline of one HTTP request; default 30 s. */
  readonly requestTimeoutMs?: number
}

export type Api = {
  readonly origin: URL
  /** The environment, when one is named. */
  readonly project: string | undefined
  /** Below the environment when one is named. Any status is an answer. */
  request(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    signal: AbortSignal,
    body?: unknown,
    is?: 'repeatable',
  ): Promise<HttpResponse>
  /** What stacks are called in this version: the frozen /v1 says `environments`. */
  stacks(signal: AbortSignal): Promise<'stacks' | 'environments'>
  /** The API's own root, whatever the environment; for `check`. */
  root(signal: AbortSignal): Promise<HttpResponse>
  /** All pages; `path` may name another environment with a leading `/`. */
  list<T>(path: string, item: z.ZodType<T>, signal: AbortSignal): Promise<readonly T[]>
}

/** Cattle allows 3000; a container takes about 6 kB. */
const PAGE_LIMIT = 1000
const MAX_PAGES = 50
const MAX_PAGE_BYTES = 64 * 1024 * 1024

const Page = z.object({
  type: z.literal('collection'),
  data: z.array(z.unknown()),
  pagination: z.object({ next: z.string().nullish(), partial: z.boolean().nullish() }).nullish(),
})

const ErrorBody = z.object({ code: z.string().nullish(), fieldName: z.string().nullish() })

export function rancherApi(options: ApiOptions, transport: Transport): Api {
  const { origin, path, project } = endpoint(options)
  // A user agent of our own: cattle answers a "Mozilla" with HTML pages and wants a CSRF cookie of it.
  const headers = {
    authorization: `Basic ${base64(`${options.accessKey}:${options.secretKey}`)}`,
    accept: 'application/json',
    'user-agent': 'drover',
    'x-api-no-challenge': 'true',
  }
  let version: '/v2-beta' | '/v1' | undefined
  /** By the signal of who asks: what one caller asks for at a time waits for one answer. */
  const roots = new WeakMap<AbortSignal, Promise<HttpResponse>>()

  async function send(
    method: 'GET' | 'POST' | 'PUT',
    url: string,
    signal: AbortSignal,
    body?: unknown,
    isRepeatable = method === 'GET',
  ): Promise<HttpResponse> {
    // Not `AbortSignal.timeout`: that one and all that hangs on it stay until the time has passed, and there is one for each request.
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(), options.requestTimeoutMs ?? 30_000)
    try {
      const response = await transport.http({
        method,
        url,
        headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.any([signal, deadline.signal]),
        maxBytes: MAX_PAGE_BYTES,
        isRepeatable,
      })
      if (response.status >= 300 && response.status < 400) throw redirected(response)
      return response
    } catch (error) {
      throw error instanceof TransportError ? unreachable(error, deadline.signal.aborted && !signal.aborted) : error
    } finally {
      clearTimeout(timer)
    }
  }

  async function root(signal: AbortSignal): Promise<HttpResponse> {
    const known = await send('GET', `${origin.origin}${path}${version ?? '/v2-beta'}`, signal)
    if (version !== undefined) return known
    // Rancher 1.0 and 1.1 have only /v1; `execute` works in both.
    if (known.status === 404) {
      const old = await send('GET', `${origin.origin}${path}/v1`, signal)
      if (old.status === 404) throw notRancher()
      if (old.status < 400) version = '/v1'
      return old
    }
    if (known.status < 400) version = '/v2-beta'
    return known
  }

  async function base(signal: AbortSignal): Promise<string> {
    if (version === undefined) {
      const asked = roots.get(signal) ?? root(signal)
      roots.set(signal, asked)
      const answer = await asked
      if (answer.status >= 400) throw refusal(answer, { what: 'its API', project })
    }
    return `${origin.origin}${path}${version}`
  }

  async function under(path: string, signal: AbortSignal): Promise<string> {
    const environment = path.startsWith('/') || project === undefined ? '' : `/projects/${encodeURIComponent(project)}`
    return `${await base(signal)}${environment}/${path.replace(/^\//, '')}`
  }

  async function list<T>(listPath: string, item: z.ZodType<T>, signal: AbortSignal): Promise<readonly T[]> {
    const items: T[] = []
    const seen = new Set<string>()
    let url: string | undefined = await under(`${listPath}${listPath.includes('?') ? '&' : '?'}limit=${PAGE_LIMIT}`, signal)
    while (url !== undefined) {
      if (seen.has(url)) throw protocol('Rancher’s list leads back to a page it already gave.')
      if (seen.size >= MAX_PAGES) throw protocol(`Rancher’s list has more than ${MAX_PAGES} pages.`)
      seen.add(url)
      const response = await send('GET', url, signal)
      if (response.status !== 200) throw refusal(response, { what: 'the list', project })
      const page = parsed(response, Page)
      for (const one of page.data) items.push(checked(item, one))
      const next: string | null | undefined = page.pagination?.next
      // The last page of several is called partial, too.
      if (!next && page.pagination?.partial && seen.size === 1)
        throw protocol('Rancher’s list says that it is not whole and does not say how to go on.')
      url = next ? sameServer(next) : undefined
    }
    return items
  }

  // Behind a TLS proxy that does not say so, Rancher writes `http://` into its links; the credentials stay with the configured origin.
  function sameServer(link: string): string {
    const next = URL.canParse(link, origin.origin) ? new URL(link, origin.origin) : undefined
    if (next?.hostname !== origin.hostname) throw protocol('Rancher’s list goes on at another server, which is not asked.')
    return `${origin.origin}${next.pathname}${next.search}`
  }

  return {
    origin,
    project,
    root,
    list,
    stacks: async (signal) => ((await base(signal)).endsWith('/v1') ? 'environments' : 'stacks'),
    request: async (method, path, signal, body, is) =>
      send(method, await under(path, signal), signal, body, method === 'GET' || is === 'repeatable'),
  }
}

/** `…/v1`, `…/v2-beta`, both with `/projects/1a5`, or bare, as Rancher’s own Go client takes them. */
function endpoint(options: ApiOptions): { origin: URL; path: string; project: string | undefined } {
  const problem = (message: string) =>
    new BackendError(
      { code: 'config', message, next: 'Give the address of the Rancher server, for example https://rancher.example.com.' },
      { ran: 'no' },
    )
  if (!URL.canParse(options.url)) throw problem('The Rancher address is not a URL.')
  const origin = new URL(options.url)
  if (origin.protocol !== 'http:' && origin.protocol !== 'https:')
    throw problem('The Rancher address must begin with http:// or https://.')
  if (origin.username || origin.password) throw problem('The Rancher address holds credentials; they belong in the two keys.')
  const [, path = '', fromUrl] =
    /^(.*?)(?:\/(?:v1|v2-beta)(?:\/projects\/([^/]+))?)?$/.exec(origin.pathname.replace(/\/+$/, '')) ?? []
  if (/\/v3(\/|$)/.test(path)) throw problem('This is the address of a Rancher 2 server.')
  return { origin, path, project: options.project ?? fromUrl }
}

/** A failure to get an answer over HTTP: no request of drover starts a command, so nothing ran. */
export function unreachable(error: TransportError, isLate = false): BackendError {
  const failure: Failure = isLate
    ? {
        code: 'timeout',
        message: `Rancher did not answer in time (${error.message}).`,
        next: 'Check whether the server is overloaded; `drover check` tells more.',
      }
    : {
        code: error.reason === 'too_large' ? 'backend_protocol' : 'backend_unavailable',
        message: `Rancher cannot be reached: ${error.message}.`,
        next: 'Check the address and the network between drover and the server; `drover check` tells more.',
      }
  return new BackendError(failure, { ran: 'no', cause: error })
}

export function protocol(message: string, ran: 'no' | 'maybe' = 'no', cause?: unknown): BackendError {
  return new BackendError(
    { code: 'backend_protocol', message, next: 'Check that the address is a Rancher 1.x server and what stands before it.' },
    { ran, cause },
  )
}

export function errorCode(response: HttpResponse): string | undefined {
  try {
    return ErrorBody.parse(JSON.parse(response.body)).code ?? undefined
  } catch {
    return undefined
  }
}

/** What an HTTP refusal means, in words a person can act on [CT messages.properties]. */
export function refusal(
  response: HttpResponse,
  about: { readonly what: string; readonly project: string | undefined },
): BackendError {
  const no = (code: Failure['code'], message: string, next: string) => new BackendError({ code, message, next }, { ran: 'no' })
  const code = errorCode(response)
  const { status } = response
  const place = about.project === undefined ? 'there' : `in environment ${about.project}`
  if (status === 401)
    return no(
      'backend_unauthorized',
      'Rancher does not accept the API key.',
      'Check the access key and the secret key, and in Rancher under API → Keys that the key is active.',
    )
  if (status === 403)
    return no(
      'backend_forbidden',
      `The API key may not work ${place}, or there is no such environment.`,
      'Use a key made in that environment (API → Keys → Advanced), or make the key’s owner a member of it.',
    )
  if (status === 404)
    return no(
      'backend_not_found',
      `Rancher does not know ${about.what}, or does not show it to this API key.`,
      'It may have been removed or replaced since it was listed: ask again.',
    )
  if (status === 409) return no('backend_unavailable', `Rancher is busy with ${about.what}.`, 'Try again in a moment.')
  if (status === 422 && code === 'InvalidAction')
    return no(
      'backend_forbidden',
      'The API key’s role may not run commands (read-only).',
      'Use a key of an owner or member of the environment.',
    )
  if (status === 501)
    return no(
      'backend_unavailable',
      'This Rancher server runs with its websocket proxy off, so nothing can be run through it.',
      'Turn the websocket proxy on in the server’s settings.',
    )
  if (status === 429 || status >= 500)
    return no(
      'backend_unavailable',
      `Rancher answered with HTTP ${status}.`,
      'Try again; if it stays so, look into the server’s log.',
    )
  return protocol(`Rancher answered ${about.what} with HTTP ${status}${code ? ` (${code})` : ''}.`)
}

function redirected(response: HttpResponse): BackendError {
  const location = response.headers.get('location') ?? ''
  const to = URL.canParse(location) ? ` to ${new URL(location).origin}` : ''
  return new BackendError(
    {
      code: 'backend_protocol',
      message: `Rancher’s address redirects${to}; drover does not send credentials after a redirect.`,
      next: 'Configure the address it redirects to.',
    },
    { ran: 'no' },
  )
}

function notRancher(): BackendError {
  return protocol('There is no Rancher 1.x API at this address (neither /v2-beta nor /v1).')
}

export function parsed<T>(response: HttpResponse, schema: z.ZodType<T>): T {
  let json: unknown
  try {
    json = JSON.parse(response.body)
  } catch (cause) {
    throw protocol('The answer is not JSON, so it is not from Rancher’s API.', 'no', cause)
  }
  return checked(schema, json)
}

function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  // Only where it differs: an answer may hold tokens.
  if (!result.success)
    throw protocol(`The answer is not what Rancher 1.x sends (at ${result.error.issues[0]?.path.join('.') || 'its root'}).`)
  return result.data
}

export function base64(data: string | Uint8Array): string {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}
