/** Every shape in which a pretend Rancher 2 says no (rancher-2.md §5). */

export type PeerAnswer = {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** A string goes out as it is, anything else as JSON. */
  readonly body: unknown
}

const text = { 'Content-Type': 'text/plain; charset=utf-8' }

/** From authentication, on any path: `status` is a string, and there is no `code` (RR pkg/auth/util/common_util.go). */
export const unauthenticated = (message = 'must authenticate'): PeerAnswer => ({
  status: 401,
  body: {
    type: 'error',
    status: '401',
    message: message === 'must authenticate' ? 'Unauthorized 401: must authenticate' : message,
  },
})

/** From the handlers of `/v3` (N httperror/handler/handler.go). */
export const v3Error = (status: number, code: string, message = code, fieldName?: string): PeerAnswer => ({
  status,
  body: { type: 'error', baseType: 'error', status, code, message, ...(fieldName === undefined ? {} : { fieldName }) },
})

/** From the way to clusters: capital keys, and said to be text (RR pkg/clusterrouter/router.go). */
export const routerError = (status: 403 | 404 | 503, message: string): PeerAnswer => ({
  status,
  headers: text,
  body: JSON.stringify({
    Code: { Code: { 403: 'PermissionDenied', 404: 'NotFound', 503: 'ClusterUnavailable' }[status], Status: status },
    Message: message,
    Cause: null,
    FieldName: '',
  }),
})

/** The agent's tunnel is gone: plain requests get the dial error, upgrades an empty 502 (Go httputil.ReverseProxy). */
export const agentDown = (cluster: string, upgrade: boolean): PeerAnswer =>
  upgrade
    ? { status: 502, body: '' }
    : { status: 500, headers: text, body: `dial tcp: failed to find Session for client ${cluster}\n` }

/** RR pkg/websocket/handler.go and pkg/api/steve/proxy/proxy.go: which of the two depends on the path. */
export const podShellOff = (asJson: boolean): PeerAnswer =>
  asJson
    ? { status: 403, body: { type: 'error', status: '403', message: 'pod-shell feature is disabled' } }
    : { status: 403, headers: text, body: 'pod-shell feature is disabled\n' }

export const originNotAllowed: PeerAnswer = { status: 403, headers: text, body: 'origin not allowed\n' }

/** What the cluster's own API server says to one who may not. */
export const forbidden = (user: string, verb: string, resource: string): PeerAnswer => ({
  status: 403,
  body: {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: `${resource} is forbidden: User "${user}" cannot ${verb} resource "${resource}" in API group "" at the cluster scope`,
    reason: 'Forbidden',
    details: { kind: resource },
    code: 403,
  },
})

export function bytesOf(answer: PeerAnswer): { readonly headers: Record<string, string>; readonly body: Buffer } {
  const isText = typeof answer.body === 'string'
  const body = Buffer.from(isText ? (answer.body as string) : JSON.stringify(answer.body))
  return {
    headers: {
      ...(isText ? {} : { 'Content-Type': 'application/json' }),
      ...answer.headers,
      'Content-Length': String(body.length),
    },
    body,
  }
}
