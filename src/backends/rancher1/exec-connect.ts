/** The way to one command through Rancher 1.x: the `execute` action for a token, and the websocket that the token opens. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { Command, Target } from '../../core/model.ts'
import { type Socket, type Transport, TransportError, UpgradeRefused } from '../transport.ts'
import { type Api, errorCode, parsed, protocol, refusal, unreachable } from './api.ts'
import { Container, EXECUTABLE_STATE } from './container.ts'

type ExecTimes = {
  /** For the websocket to be open. */
  readonly connectMs: number
  /** From then on, for the wrapper's first word. */
  readonly startMs: number
  /** Between pings; balancers cut idle connections after 60 s (rancher/rancher #2186, #6192). */
  readonly pingMs: number
  /** After the exit code, for the rest of stderr, which a background child may hold open. */
  readonly restMs: number
}

export type Connection = { readonly api: Api; readonly transport: Transport; readonly times: ExecTimes }
export type What = { readonly target: Target; readonly command: Command; readonly exec: string; readonly signal: AbortSignal }

const HostAccess = z.object({ url: z.string(), token: z.string().min(1) })
const EXEC_PATH = /^\/(v1|v2-beta|v2)\/exec\/?$/

type ExecuteBody = { readonly command: readonly string[]; readonly attachStdin: boolean; readonly tty: boolean }

/** Every connect with a token runs its command anew: there is one try and never a second. `ran` is what a broken handshake leaves open. */
export async function connect(connection: Connection, what: What, body: ExecuteBody, ran: 'no' | 'maybe'): Promise<Socket> {
  const { api, transport, times } = connection
  const url = await askForAccess(api, what, body)
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(), times.connectMs)
  try {
    return await transport.socket(url, { signal: AbortSignal.any([what.signal, deadline.signal]) })
  } catch (error) {
    if (what.signal.aborted) throw givenUp(what.signal, ran)
    if (error instanceof UpgradeRefused) throw upgradeRefused(error)
    if (!(error instanceof TransportError)) throw error
    const { code, message, next } = unreachable(error, deadline.signal.aborted)
    const couldRun = ran === 'maybe' && (error.reason === 'aborted' || error.reason === 'reset' || error.reason === 'other')
    throw new BackendError({ code, message, ...(next ? { next } : {}) }, { ran: couldRun ? 'maybe' : 'no', cause: error })
  } finally {
    clearTimeout(timer)
  }
}

async function askForAccess(api: Api, { target, signal }: What, body: ExecuteBody): Promise<string> {
  if (!/^1i\d+$/.test(target.native)) throw protocol('This is not the id of a Rancher 1.x container.')
  const path = `containers/${target.native}`
  // All three booleans: what is left out becomes true [CT ContainerExec.java].
  // It makes a token and nothing else: what runs the command is the websocket.
  const response = await api.request('POST', `${path}/?action=execute`, signal, { ...body, attachStdout: true }, 'repeatable')
  if (response.status === 422 && errorCode(response) === 'ActionNotAvailable')
    throw await whyNotOffered(api, path, target, signal)
  if (response.status !== 200) throw refusal(response, { what: `the container ${target.name}`, project: api.project })
  const access = parsed(response, HostAccess)
  const url = socketUrl(api.origin, access.url)
  url.searchParams.set('token', access.token)
  return url.href
}

/** No `execute` among the actions means "does not run" or "is not allowed"; the state decides which [CT docker.json, read-user.json]. */
async function whyNotOffered(api: Api, path: string, target: Target, signal: AbortSignal): Promise<BackendError> {
  const response = await api.request('GET', path, signal)
  if (response.status !== 200) return refusal(response, { what: `the container ${target.name}`, project: api.project })
  const { state } = parsed(response, Container)
  if (state !== EXECUTABLE_STATE)
    return new BackendError(
      {
        code: 'not_running',
        message: `The container ${target.name} is ${state}, not running.`,
        next: 'Start it, or choose one that runs.',
      },
      { ran: 'no' },
    )
  return new BackendError(
    {
      code: 'backend_forbidden',
      message: `The API key may not run commands in ${target.name}: its role is read-only, or it is restricted and the container is privileged or the platform’s own.`,
      next: 'Use a key of an owner or member, or an environment key.',
    },
    { ran: 'no' },
  )
}

/** Behind a TLS proxy that does not say so, Rancher names `ws://` for an `https` server: the token would go out in clear, so the configured server is used. */
export function socketUrl(origin: URL, given: string, path = EXEC_PATH): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined
  if (!url || !path.test(url.pathname) || !/^wss?:$/.test(url.protocol))
    throw protocol('Rancher named a websocket address that is not one for commands.')
  if (origin.protocol === 'https:' && url.protocol === 'ws:') {
    const secure = new URL(url.pathname, origin)
    secure.protocol = 'wss:'
    return secure
  }
  return url
}

function upgradeRefused(error: UpgradeRefused): BackendError {
  const no = (message: string, next: string) =>
    new BackendError({ code: 'backend_unavailable', message, next }, { ran: 'no', cause: error })
  if (error.status === 401)
    return no(
      'Rancher’s proxy did not accept its own token: the container’s host is not connected, or the clocks of server and host differ by minutes.',
      'In Rancher look whether the host is active; compare the clocks of server and host.',
    )
  if (error.status === 502 || error.status === 503 || error.status === 504)
    return no(
      `Nothing answers behind Rancher’s proxy (HTTP ${error.status}).`,
      'Check whether the Rancher server is starting or down.',
    )
  return no(
    `The websocket was answered with HTTP ${error.status}.`,
    'What stands before Rancher must pass websockets on (an ELB in TCP mode, nginx with Upgrade headers) and take long request lines.',
  )
}

export function givenUp(signal: AbortSignal, ran: 'no' | 'maybe' = 'maybe'): BackendError {
  return new BackendError(
    { code: 'stream_broken', message: 'drover closed the connection before the command ended.' },
    { ran, cause: signal.reason },
  )
}
