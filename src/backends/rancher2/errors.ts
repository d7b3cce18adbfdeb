/** What Rancher 2 itself says no with, in words a person can act on; what the cluster behind it says is the Kubernetes client's to read. */

import * as z from 'zod'
import { BackendError, type Failure } from '../../core/errors.ts'
import { TransportError } from '../transport.ts'
import type { RancherApi } from './api.ts'
import { User } from './resources.ts'

/** Three shapes, and `status` may be a string (rancher-2.md §5). */
const Body = z.object({
  kind: z.string().nullish(),
  message: z.string().nullish(),
  Message: z.string().nullish(),
  status: z.union([z.number(), z.string()]).nullish(),
  code: z.union([z.number(), z.string()]).nullish(),
  Code: z.object({ Code: z.string().nullish(), Status: z.number().nullish() }).nullish(),
})

export type RancherError = {
  readonly status: number
  /** `NotFound`, `ClusterUnavailable`, …; authentication gives none. */
  readonly code?: string
  readonly message: string
  /** `cluster`: a Kubernetes Status. `router`: Rancher's way to clusters, with its capital keys. `text`: no JSON at all. */
  readonly from: 'cluster' | 'router' | 'rancher' | 'text'
}

/** Never assumes JSON: agents and balancers answer with text, or with nothing. */
export function readError(status: number, body: string): RancherError {
  const parsed = Body.safeParse(jsonOf(body))
  if (!parsed.success) return { status, message: body.trim().slice(0, 300), from: 'text' }
  const { kind, message, Message, Code, code } = parsed.data
  if (kind === 'Status') return { status, message: message ?? '', from: 'cluster' }
  const said = Number(parsed.data.status ?? (typeof code === 'number' ? code : Code?.Status))
  const named = typeof code === 'string' ? code : Code?.Code
  return {
    status: said >= 400 && said < 600 ? said : status,
    ...(named ? { code: named } : {}),
    message: (message ?? Message ?? '').slice(0, 300),
    from: Code ? 'router' : 'rancher',
  }
}

function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

export type About = {
  /** Set for what goes on to a cluster: then other words may be the cluster's own. */
  readonly cluster?: string
  readonly ran?: 'no' | 'maybe' | undefined
}

/** The dial error of the agent's tunnel; a kubelet's own text (kubernetes.md §5) says other things. */
const DIAL = /dial|tunnel|session|disconnect|connection refused|no route|not connected|i\/o timeout/i

/** Undefined: the cluster said this, not Rancher. */
export function refusal(answer: { readonly status: number; readonly body: string }, about: About = {}): BackendError | undefined {
  const said = refusedBy(answer, about)
  return said && about.ran === 'maybe' ? new BackendError(said.toFailure(), { ran: 'maybe' }) : said
}

function refusedBy(answer: { readonly status: number; readonly body: string }, about: About): BackendError | undefined {
  const error = readError(answer.status, answer.body)
  const { status, message, code } = error
  const cluster = about.cluster === undefined ? 'the cluster' : `the cluster ${about.cluster}`
  if (error.from === 'cluster') return undefined
  if (/pod-shell/.test(message))
    return no(
      'backend_forbidden',
      'Rancher’s feature “pod-shell” is turned off, and without it Rancher lets no command into any container.',
      'An administrator can turn it on (Global Settings → Feature Flags → pod-shell); or give drover the cluster’s own address, kind: kubernetes.',
    )
  if (status === 403 && /origin not allowed/.test(message))
    return no(
      'backend_protocol',
      'Rancher refuses the Origin header of the websocket, and drover sends none: something between them adds it.',
      'Let the proxy in front of Rancher pass websockets on as they are.',
    )
  if (status === 401) return unauthorized(message)
  if (error.from === 'router' || code === 'ClusterUnavailable') return notReady(error, cluster)
  if (error.from === 'text' && about.cluster !== undefined) {
    if ((status === 502 && message === '') || (status === 500 && DIAL.test(message))) return agentDown(cluster)
    // Rancher's own 502 is empty: a page is of what stands before it.
    if (status < 502) return undefined
  }
  if (status === 403)
    return no(
      'backend_forbidden',
      `Rancher does not let this API key do that${message ? ` (${message})` : ''}.`,
      'Make the key’s user a member of the project or the cluster.',
    )
  if (status === 404 && error.from === 'rancher')
    return no(
      'backend_not_found',
      'Rancher does not know it, or does not show it to this API key.',
      'Check the ids of cluster and project: they are in the address of their pages.',
    )
  if (status >= 502 && error.from === 'text')
    return no(
      'backend_unavailable',
      `What stands before Rancher answered with HTTP ${status}: Rancher may be starting or down.`,
      'Look at the Rancher server and at the balancer before it, then try again.',
    )
  if (status === 429 || status >= 500)
    return no(
      'backend_unavailable',
      `Rancher answered with HTTP ${status}${message && error.from !== 'text' ? ` (${message})` : ''}.`,
      'Try again; if it stays so, look into the server’s log.',
    )
  return notRancher(`HTTP ${status}`)
}

function unauthorized(message: string): BackendError {
  if (/clusterID does not match/i.test(message))
    return no(
      'backend_unauthorized',
      'The API key is limited to another cluster.',
      'Use a key of this cluster, or one without a scope.',
    )
  return no(
    'backend_unauthorized',
    'Rancher does not accept the API key: it expired or was revoked, or it is limited to another cluster.',
    'Make a new one (your picture → Account & API Keys). Since Rancher 2.8 a key lives 90 days unless auth-token-max-ttl-minutes says otherwise.',
  )
}

/** RR pkg/clusterrouter/router.go: the cluster is not there, not allowed, or not ready. */
function notReady({ status, message }: RancherError, cluster: string): BackendError {
  if (status === 404)
    return no(
      'backend_not_found',
      `Rancher does not know ${cluster}, or does not show it to this API key.`,
      'Check the id: it is in the address of the cluster’s pages, /dashboard/c/<id>/.',
    )
  if (status === 403)
    return no(
      'backend_forbidden',
      `The API key may not use ${cluster}.`,
      'Make the key’s user a member of the cluster or of one of its projects.',
    )
  return no(
    'backend_unavailable',
    `Rancher says that ${cluster} is not ready${message ? ` (${message})` : ''}.`,
    'Look at the cluster’s state in Rancher, then try again.',
  )
}

function agentDown(cluster: string): BackendError {
  return no(
    'backend_unavailable',
    `Rancher does not reach ${cluster}: the agent in it is not connected.`,
    'In the cluster, look at the pods of cattle-cluster-agent in cattle-system; `drover check` tells more.',
  )
}

export function notRancher(how: string): BackendError {
  return no(
    'backend_protocol',
    `What answers there is not Rancher 2, or something between changes its answers (${how}).`,
    'Check the address, and what stands before Rancher: the API is at https://<rancher>/v3.',
  )
}

export function redirected(location: string | null): BackendError {
  const to = location !== null && URL.canParse(location) ? ` to ${new URL(location).origin}` : ''
  return no(
    'backend_protocol',
    `Rancher’s address redirects${to}; drover does not send the key after a redirect.`,
    'Configure the address it redirects to.',
  )
}

/** No request that goes this way starts a command. */
export function unreachable(error: TransportError, origin: string, isLate = false): BackendError {
  if (isLate || error.reason === 'aborted')
    return no('timeout', `Rancher did not answer in time (${error.message}).`, 'Check whether the server is overloaded.', error)
  if (error.certificate !== undefined)
    return no(
      'backend_unavailable',
      `Rancher’s TLS certificate is ${error.certificate}: ${tlsWords(error)}.`,
      error.certificate === 'expired'
        ? 'Renew it; compare the clocks of both machines.'
        : 'Name the server in url: as its certificate does. Another CA would not help.',
      error,
    )
  if (error.reason === 'tls')
    return no('backend_unavailable', `Rancher’s certificate is not trusted: ${tlsWords(error)}.`, trustHint(origin), error)
  return no(
    error.reason === 'too_large' ? 'backend_protocol' : 'backend_unavailable',
    `Rancher cannot be reached: ${error.message}.`,
    'Check the address and the network between drover and the server; `drover check` tells more.',
    error,
  )
}

export const trustHint = (origin: string): string =>
  `If Rancher has a private CA, pin it once: drover trust ${origin} (on Workers: put a public certificate before it).`

/** The runtime's own remedy is for every backend; here there is a better one. */
function tlsWords({ message }: TransportError): string {
  const [host = '', ...rest] = message.split(': ')
  const code = /\(([A-Z_0-9]+)\)$/.exec(rest.join(': '))?.[1]
  return `${host}${code ? ` (${code})` : ''}`
}

export function no(code: Failure['code'], message: string, next: string, cause?: unknown): BackendError {
  return new BackendError({ code, message, next }, { ran: 'no', cause })
}

/** What the Kubernetes client said, in Rancher's words where they help more: of a certificate, and of a right that a person lacks. */
export async function inRancherWords(error: unknown, rancher: RancherApi): Promise<unknown> {
  if (!(error instanceof BackendError)) return error
  const { cause, ran, code } = error
  if (cause instanceof TransportError && cause.reason === 'tls') return unreachable(cause, rancher.base)
  const user = /\bUser "([^"]{1,100})"/i.exec(error.message)?.[1]
  if (code !== 'backend_forbidden' || user === undefined) return error
  const name = await displayName(user, rancher)
  return new BackendError(
    {
      code,
      message: `${error.message.replace(/\.$/, '')}${name === undefined ? '' : ` (${user} is ${name})`}.`,
      next: `In Rancher, make ${name ?? user} a Project Member, or give a role with “Manage Workloads”: Read-only lets nobody run commands.`,
    },
    { ran, cause },
  )
}

/** The cluster knows a Rancher user by id alone. A key may always ask for its own. */
async function displayName(user: string, rancher: RancherApi): Promise<string | undefined> {
  try {
    const found = await rancher.one(`/v3/users/${encodeURIComponent(user)}`, User, AbortSignal.timeout(NAME_MS))
    return (found.name || found.username || undefined)?.slice(0, 100)
  } catch (error) {
    if (error instanceof BackendError) return undefined
    throw error
  }
}

const NAME_MS = 5_000
