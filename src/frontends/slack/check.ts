/** Whether Slack accepts these tokens, from where, with which scopes, and how it reaches drover: for `drover check`. */

import type { CheckLine } from '../../core/ports.ts'
import { checkChannels, type NamedChannels } from './check-channels.ts'
import { askSocketUrl } from './socket-url.ts'

const timeoutMs = 10_000

/** `needed`: scopes that drover uses. Slack tells a token's scopes in the header `x-oauth-scopes` of any answer. */
export async function checkSlack(options: {
  readonly apiUrl: string
  readonly token: string
  readonly team: string
  readonly needed: readonly string[]
  readonly channels: NamedChannels
}): Promise<readonly CheckLine[]> {
  const url = `${options.apiUrl.replace(/\/*$/, '/')}auth.test`
  try {
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'manual',
      headers: { authorization: `Bearer ${options.token}` },
      signal: AbortSignal.timeout(timeoutMs),
    })
    const answer = (await response.json()) as { ok?: boolean; error?: string; team_id?: string; team?: string; user_id?: string }
    if (answer.ok !== true) {
      return [
        {
          ok: false,
          what: 'slack token',
          detail: `auth.test says ${answer.error ?? `HTTP ${response.status}`}`,
          next: 'Copy the bot token (xoxb-…) from "OAuth & Permissions" of the app.',
        },
      ]
    }
    const scopes = response.headers.get('x-oauth-scopes')
    const granted = (scopes ?? '').split(',').map((scope) => scope.trim())
    return [
      { ok: true, what: 'slack token', detail: `bot ${answer.user_id ?? '?'}` },
      answer.team_id === options.team
        ? { ok: true, what: 'slack team', detail: options.team }
        : {
            ok: false,
            what: 'slack team',
            detail: `the token belongs to ${answer.team_id ?? '?'}, drover.yaml says ${options.team}`,
            next: `Set slack.team to ${answer.team_id ?? 'the id of your workspace'}.`,
          },
      scopeLine(scopes === null ? undefined : granted, options.needed),
      clockLine(response.headers.get('date')),
      ...(await checkChannels(options.channels, { ...options, granted })),
    ]
  } catch (error) {
    const reason =
      error instanceof Error && error.name === 'TimeoutError' ? `no answer in ${timeoutMs / 1000} s` : 'no connection'
    return [
      {
        ok: false,
        what: 'slack',
        detail: `${new URL(url).host}: ${reason}`,
        next: 'Check the network, a proxy, and slack.apiUrl.',
      },
    ]
  }
}

/** Which way Slack takes to drover, and what it still needs. Asks for a connection's address and opens none. */
export async function checkSlackWay(options: {
  readonly apiUrl: string
  readonly signingSecret: boolean
  readonly appToken: string | undefined
  /** The slash commands that the app has to have; Slack tells nobody which it has. */
  readonly commands: readonly string[]
}): Promise<readonly CheckLine[]> {
  const { apiUrl, signingSecret, appToken } = options
  const commands = options.commands.join(' and ')
  if (appToken === undefined) {
    return [
      {
        ok: true,
        what: 'how Slack reaches drover',
        detail: `HTTP: Slack has to reach https://<your host>/slack/events, the request URL of ${commands}, of interactivity and of events; if it cannot, set slack.appToken for Socket Mode`,
      },
    ]
  }
  const answer = await askSocketUrl({ apiUrl, appToken })
  const socketMode: CheckLine = answer.ok
    ? { ok: true, what: 'slack socket mode', detail: 'the app token opens connections (connections:write)' }
    : {
        ok: answer.retryAfterMs === undefined ? false : 'warn',
        what: 'slack socket mode',
        detail: `apps.connections.open says ${answer.error}`,
        next: answer.next,
      }
  const detail = signingSecret
    ? 'Socket Mode while it is on in the app’s settings, HTTP at /slack/events while it is off'
    : `Socket Mode: drover connects to Slack, and nothing has to reach drover; it has to be on in the app’s settings, with the commands ${commands} (slack-manifest.socket.yml)`
  return [{ ok: true, what: 'how Slack reaches drover', detail }, socketMode]
}

function scopeLine(granted: readonly string[] | undefined, needed: readonly string[]): CheckLine {
  if (granted === undefined)
    return { ok: 'warn', what: 'slack scopes', detail: 'Slack did not tell them', next: `Needed: ${needed.join(', ')}.` }
  const missing = needed.filter((scope) => !granted.includes(scope))
  if (missing.length === 0) return { ok: true, what: 'slack scopes', detail: needed.join(', ') }
  return {
    ok: false,
    what: 'slack scopes',
    detail: `missing: ${missing.join(', ')}`,
    next: 'Add them as in slack-manifest.yml and install the app again.',
  }
}

function clockLine(date: string | null): CheckLine {
  const skewS = date === null ? Number.NaN : Math.round((Date.now() - Date.parse(date)) / 1000)
  if (Number.isNaN(skewS)) return { ok: 'warn', what: 'clock', detail: 'Slack did not send its time' }
  if (Math.abs(skewS) <= 60) return { ok: true, what: 'clock', detail: `within ${Math.max(1, Math.abs(skewS))} s of Slack` }
  return {
    ok: false,
    what: 'clock',
    detail: `${skewS} s away from Slack's`,
    next: 'Set the clock (NTP): signatures more than 5 minutes away are refused.',
  }
}
