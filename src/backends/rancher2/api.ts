/** Rancher's own API, `/v3`, as drover needs it: whole lists, single things, and its refusals. Questions, and the few changes that `mode: v3` asks for. */

import type * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import { type HttpResponse, type Transport, TransportError } from '../transport.ts'
import { maybe } from '../wire/rollout.ts'
import { notRancher, redirected, refusal, unreachable } from './errors.ts'
import { Page } from './resources.ts'

export type RancherApi = {
  readonly base: string
  /** The key, for requests to clusters. No Accept, which the Kubernetes client sends with its own: the runtime's websocket answers 406 to one (recorded). */
  readonly credentials: Readonly<Record<string, string>>
  /** Any status is an answer. `anonymous`: without the key. */
  get(path: string, signal: AbortSignal, how?: 'anonymous'): Promise<HttpResponse>
  one<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T>
  /** A change, sent once. Any status is an answer; without one it may have been taken, and the error says so. */
  write(method: 'PUT' | 'POST', path: string, signal: AbortSignal, body?: unknown): Promise<HttpResponse>
  /** All pages. */
  list<T>(path: string, item: z.ZodType<T>, signal: AbortSignal): Promise<readonly T[]>
}

const PAGE_LIMIT = 1000
const MAX_PAGES = 50
const REQUEST_MS = 30_000
/** Not one byte of the request can have arrived. */
const UNSENT = ['refused', 'dns', 'tls']

export function rancherApi(base: string, token: string, transport: Transport): RancherApi {
  // Never an Origin, never a browser's name: Rancher asks such callers for more (rancher-2.md §2, §4).
  const anonymous = { accept: 'application/json', 'user-agent': 'drover' }
  const credentials = { authorization: `Bearer ${token}` }

  async function send(
    url: string,
    signal: AbortSignal,
    how?: 'anonymous',
    change?: { readonly method: 'PUT' | 'POST'; readonly body?: unknown },
  ): Promise<HttpResponse> {
    const deadline = AbortSignal.timeout(REQUEST_MS)
    const body = change?.body === undefined ? undefined : JSON.stringify(change.body)
    try {
      const response = await transport.http({
        method: change?.method ?? 'GET',
        url,
        headers: {
          ...anonymous,
          ...(how === 'anonymous' ? {} : credentials),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body }),
        signal: AbortSignal.any([signal, deadline]),
      })
      if (response.status >= 300 && response.status < 400) throw redirected(response.headers.get('location'))
      return response
    } catch (error) {
      throw error instanceof TransportError ? unreachable(error, base, deadline.aborted && !signal.aborted) : error
    }
  }

  function checked<T>(response: HttpResponse, schema: z.ZodType<T>): T {
    if (response.status !== 200) throw refusal(response) ?? notRancher(`HTTP ${response.status}`)
    let json: unknown
    try {
      json = JSON.parse(response.body)
    } catch {
      throw notRancher('no JSON')
    }
    return valid(schema, json)
  }

  return {
    base,
    credentials,
    get: (path, signal, how) => send(`${base}${path}`, signal, how),
    write: async (method, path, signal, body) =>
      await send(`${base}${path}`, signal, undefined, { method, body }).catch((error: unknown) => {
        const { cause } = error instanceof BackendError ? error : {}
        throw cause instanceof TransportError && UNSENT.includes(cause.reason) ? error : maybe(error, signal)
      }),
    one: async (path, schema, signal) => checked(await send(`${base}${path}`, signal), schema),
    async list(path, item, signal) {
      const items = []
      const seen = new Set<string>()
      let url: string | undefined = `${base}${path}${path.includes('?') ? '&' : '?'}limit=${PAGE_LIMIT}`
      while (url !== undefined) {
        if (seen.has(url)) throw notRancher('a list that leads back to a page it already gave')
        if (seen.size >= MAX_PAGES) throw notRancher(`a list of more than ${MAX_PAGES} pages`)
        seen.add(url)
        const page: z.infer<typeof Page> = checked(await send(url, signal), Page)
        for (const one of page.data) items.push(valid(item, one))
        const { next, partial } = page.pagination ?? {}
        if (!next && partial && seen.size === 1) throw notRancher('a list that is not whole and does not say how it goes on')
        url = next ? sameServer(next, base) : undefined
      }
      return items
    },
  }
}

function valid<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  // Only where it differs: an answer may hold tokens.
  if (!result.success) throw notRancher(`at ${result.error.issues[0]?.path.join('.') || 'its root'}`)
  return result.data
}

/** Behind a balancer Rancher may write another scheme into its links; the key stays with the configured server. */
function sameServer(link: string, base: string): string {
  const own = new URL(base)
  const next = URL.canParse(link, base) ? new URL(link, base) : undefined
  if (next?.hostname !== own.hostname) throw notRancher('a list that goes on at another server, which is not asked')
  return `${own.origin}${next.pathname}${next.search}`
}
