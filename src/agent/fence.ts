/** What an agent lets pass: whole calls that it knows, rebuilt from their parts; everything else is refused in words. */

import type * as z from 'zod'
import type { Method } from './messages.ts'

/** A request as the gateway sent it, and not to be believed. Header names are in lower case. */
export type Call = {
  readonly kind: 'http' | 'upgrade' | 'socket'
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What is sent to the engine instead: nothing of the call that was not understood is in it. */
export type Passed = {
  readonly method: Method
  readonly path: string
  readonly body?: string
  /** Further headers of the call that go along. */
  readonly headers?: readonly string[]
  /** The engine's answer as the gateway may see it; then it is read whole first. */
  readonly answer?: (response: { readonly status: number; readonly body: string }) => string
}

/** Throws Refusal. */
export type Fence = (call: Call, signal: AbortSignal) => Promise<Passed>

/** What the agent does itself, in calls of its own, and answers. Undefined: this is none of these calls. Throws Refusal. */
export type Orders = (
  call: Call,
  signal: AbortSignal,
) => Promise<((signal: AbortSignal) => AsyncIterable<Uint8Array>) | undefined>

/** Told to the gateway and to the log: it holds nothing but what was asked. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
}

export type Parts = { readonly segments: readonly string[]; readonly query: URLSearchParams }

/**
 * A path in its parts. Refused is what two readers could read in two ways: dots, empty parts, encoded slashes, backslashes, what is
 * not ASCII, a fragment, a key that comes twice where `many` does not name it.
 */
export function partsOf(path: string, many: readonly string[] = []): Parts {
  const [, pathname = '', , search = ''] = /^([^?#]*)(\?([^#]*))?$/.exec(path) ?? []
  if (!/^(\/[A-Za-z0-9._:@~-]+)+$/.test(pathname)) throw new Refusal(`the path ${quoted(pathname)} is not written plainly`)
  const segments = pathname.slice(1).split('/')
  if (segments.some((one) => /^\.+$/.test(one))) throw new Refusal(`the path ${quoted(pathname)} is not written plainly`)
  const query = new URLSearchParams(search)
  const keys = [...query.keys()]
  const twice = keys.find((key, i) => keys.indexOf(key) < i && !many.includes(key))
  if (twice !== undefined) throw new Refusal(`${quoted(twice)} stands twice in the query`)
  return { segments, query }
}

/** Of the query these keys and no others. */
export function only(query: URLSearchParams, keys: readonly string[]): string {
  const stray = [...query.keys()].find((key) => !keys.includes(key))
  if (stray !== undefined) throw new Refusal(`${quoted(stray)} is not on its list for this call`)
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}

export function unknownCall({ kind, method, path }: Call): Refusal {
  const what = kind === 'http' ? method : kind === 'upgrade' ? `${method} (raw)` : 'a websocket to'
  return new Refusal(`${what} ${quoted(path.split('?')[0] ?? '')} is not on its list`)
}

export const quoted = (text: string): string => JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text)

/** Written anew from what was understood, so that nothing else is in it. */
export function bodyOf<T>(schema: z.ZodType<T>, { body }: Call, what: string): string {
  const result = schema.safeParse(jsonOf(body))
  if (result.success) return JSON.stringify(result.data)
  const issue = result.error.issues[0]
  const where = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : issue?.path.join('.')
  throw new Refusal(`${quoted(where || 'the body')} of ${what} is not on its list`)
}

/** Undefined where it is no JSON. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
