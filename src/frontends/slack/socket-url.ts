/** Asks Slack for the address of one Socket Mode connection, and says what a refusal means. */

import * as z from 'zod'
import { readCapped } from '../body.ts'

export type SocketUrlRequest = {
  readonly appToken: string
  /** Default `https://slack.com/api/`. */
  readonly apiUrl?: string
  readonly fetch?: typeof fetch
  readonly signal?: AbortSignal
}

export type SocketUrl =
  /** Works once, and soon; it is a credential and belongs in no log. */
  | { readonly ok: true; readonly url: string }
  | {
      readonly ok: false
      /** Slack's word for why, or ours: `no_answer`, `http_503`, `ratelimited`. */
      readonly error: string
      readonly next: string
      /** Asking again is of no use until somebody changes something. */
      readonly isFinal: boolean
      readonly retryAfterMs?: number
    }

const TIMEOUT_MS = 10_000
const MAX_ANSWER_BYTES = 64 * 1024
/** Behind every Retry-After, however large. */
const LONGEST_RETRY_MS = 10 * 60_000

const answerSchema = z.looseObject({
  ok: z.boolean(),
  error: z.string().optional(),
  url: z.url({ protocol: /^wss?$/ }).optional(),
})

const newToken = 'Make an app-level token with the scope connections:write under "Basic Information" of the app.'
/** Slack's errors that only a person can mend: docs.slack.dev, apps.connections.open. */
const FINAL: Readonly<Record<string, string>> = {
  invalid_auth: newToken,
  not_authed: newToken,
  account_inactive: newToken,
  token_revoked: newToken,
  token_expired: newToken,
  missing_scope: newToken,
  no_permission: newToken,
  not_allowed_token_type: `This is another kind of token: the app-level one begins with xapp-. ${newToken}`,
  access_denied: 'Ask a workspace administrator to allow the app.',
  forbidden_team: 'Ask a workspace administrator to allow the app.',
  team_access_not_granted: 'Ask a workspace administrator to allow the app.',
}

/** Never throws: what is no answer is a refusal too. */
export async function askSocketUrl(request: SocketUrlRequest): Promise<SocketUrl> {
  const url = `${(request.apiUrl ?? 'https://slack.com/api/').replace(/\/*$/, '/')}apps.connections.open`
  const deadline = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const response = await (request.fetch ?? fetch)(url, {
      method: 'POST',
      redirect: 'manual', // a redirect would carry the token somewhere else
      headers: { authorization: `Bearer ${request.appToken}`, 'content-type': 'application/x-www-form-urlencoded' },
      signal: request.signal === undefined ? deadline : AbortSignal.any([request.signal, deadline]),
    })
    const body = await readCapped(response.body, MAX_ANSWER_BYTES)
    if (response.status === 429) {
      const waitMs = Math.max(1, Number(response.headers.get('retry-after')) || 1) * 1000
      return { ...refused('ratelimited'), retryAfterMs: Math.min(waitMs, LONGEST_RETRY_MS) }
    }
    if (response.status !== 200 || body === 'too_large') return refused(`http_${response.status}`)
    const answer = answerSchema.safeParse(JSON.parse(new TextDecoder().decode(body)))
    if (!answer.success) return refused('unreadable_answer')
    if (!answer.data.ok) return refused(answer.data.error ?? 'unknown_error')
    const address = answer.data.url
    // Nothing else proves that a delivery is Slack's: where the question went over TLS, the connection does too.
    const isSafe = address !== undefined && (address.startsWith('wss:') || url.startsWith('http:'))
    return isSafe ? { ok: true, url: address } : refused('unreadable_answer')
  } catch {
    return refused('no_answer')
  }
}

function refused(error: string) {
  const next = Object.hasOwn(FINAL, error) ? FINAL[error] : undefined
  return {
    ok: false,
    error,
    next: next ?? 'drover tries again by itself; if it goes on, look at the network and at "Socket Mode" in the app’s settings.',
    isFinal: next !== undefined,
  } as const
}
