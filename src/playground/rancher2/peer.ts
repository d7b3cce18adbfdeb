/** A pretend Rancher 2: keys, clusters and refusals of its own, and behind `/k8s/clusters/<id>` any Kubernetes API server that is there. */

import { createServer as createHttp, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  agentDown,
  bytesOf,
  forbidden,
  originNotAllowed,
  type PeerAnswer,
  podShellOff,
  routerError,
  unauthenticated,
} from './errors.ts'
import { clusterOfPath, identify, newKey, type PeerKey, type PeerKeySpec } from './keys.ts'
import { createProxy, type ProxyFaults, refuse, type Upstream } from './proxy.ts'
import { answerV3, type PeerCluster, type PeerProject } from './v3.ts'
import { answerWorkloads } from './workloads.ts'

export { bearerOf, type PeerKey } from './keys.ts'
export type { Upstream } from './proxy.ts'
export type { PeerCluster, PeerProject } from './v3.ts'

export type Rancher2PeerOptions = {
  readonly port?: number
  /** For every cluster, or for each by its id. */
  readonly upstream: Upstream | Readonly<Record<string, Upstream>>
  readonly clusters?: readonly PeerCluster[]
  readonly projects?: readonly PeerProject[]
  /** The user of the first three keys: `u-admin`, `u-member`, `u-scoped`. */
  readonly users?: Partial<Record<'admin' | 'member' | 'scoped', Partial<PeerKeySpec>>>
  /** PEM. With it the peer speaks https; `ca` is what it names at `/v3/settings/cacerts`, none for a public one. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: string }
  /** `v2.15.0`. Before 2.8 there is no /rancherversion; before 2.15 every Origin is looked at, and there is no pod-shell. */
  readonly release?: string
}

export type Rancher2Faults = ProxyFaults & {
  /** Ids of clusters whose agent is not connected. */
  readonly agentDown: Set<string>
  /** Switched off by an administrator, as since 2.15. */
  podShellOff: boolean
  /** Prepared answers for requests of any kind whose `METHOD /path` holds `match`; used `times` times. */
  readonly http: { readonly match: string; readonly answer: PeerAnswer | 'reset'; times: number }[]
}

export type SeenRequest = {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly status: number
  readonly upgrade: boolean
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
}

export type Rancher2Peer = {
  readonly url: string
  readonly clusters: PeerCluster[]
  readonly projects: PeerProject[]
  /** An administrator's, a project member's and a cluster's own; more with `addKey`. */
  readonly keys: Readonly<Record<'admin' | 'member' | 'scoped', PeerKey>>
  addKey(spec: PeerKeySpec): PeerKey
  /** As if it had been deleted. */
  revoke(key: PeerKey): void
  readonly faults: Rancher2Faults
  /** The key and what it names as its CA are another's from now on; only with `tls`. */
  changeCertificate(tls: NonNullable<Rancher2PeerOptions['tls']>): void
  readonly seen: { readonly requests: SeenRequest[]; openSockets(): number }
  close(): Promise<void>
}

const SEEN_CAP = 10_000
const MAX_HEADER = 2 * 1024 * 1024

export async function startRancher2Peer(options: Rancher2PeerOptions): Promise<Rancher2Peer> {
  const release = options.release ?? 'v2.15.0'
  const minor = Number(/^v2\.(\d+)/.exec(release)?.[1] ?? 0)
  const clusters = [...(options.clusters ?? [{ id: 'c-abc12', name: 'shop', state: 'active' }])]
  const projects = [...(options.projects ?? [{ id: 'c-abc12:p-def34', name: 'Shop', namespaces: ['shop'] }])]
  const firstCluster = clusters[0]?.id ?? 'local'
  const member = projects.filter(({ id }) => id.startsWith(`${firstCluster}:`)).map(({ id }) => id)
  const own = {
    admin: newKey({ user: 'u-admin', displayName: 'Ada Admin', ...options.users?.admin }),
    member: newKey({ user: 'u-member', displayName: 'Max Member', projects: member, ...options.users?.member }),
    scoped: newKey({ user: 'u-scoped', displayName: 'Sue Scoped', cluster: firstCluster, ...options.users?.scoped }),
  }
  const keys: PeerKey[] = Object.values(own)
  const faults: Rancher2Faults = { agentDown: new Set(), podShellOff: false, http: [], breakAfterBytes: undefined }
  const requests: SeenRequest[] = []
  const proxy = createProxy(faults)
  let cacerts = options.tls?.ca ?? ''

  const upstreamOf = (cluster: string): Upstream | undefined =>
    typeof options.upstream.url === 'string'
      ? (options.upstream as Upstream)
      : (options.upstream as Readonly<Record<string, Upstream>>)[cluster]

  /** What Rancher itself says before anything goes on to a cluster; undefined: it lets it through. */
  function gate(
    request: IncomingMessage,
    url: URL,
    isUpgrade: boolean,
  ): PeerAnswer | { readonly key: PeerKey; readonly upstream?: undefined } {
    const path = url.pathname
    if (path === '/v3/settings/cacerts') return { status: 200, body: { type: 'setting', id: 'cacerts', value: cacerts } }
    if (path === '/rancherversion' && minor >= 8)
      return { status: 200, body: { Version: release, GitCommit: '0000000', RancherPrime: 'false' } }
    const key = identify(keys, request.headers)
    if (!key) return unauthenticated()
    const named = clusterOfPath(path)
    if (key.cluster !== undefined && named !== key.cluster)
      return minor <= 4 ? unauthenticated('clusterID does not match') : unauthenticated()
    const { origin, 'user-agent': agent = '' } = request.headers
    const looksAtOrigin = minor < 15 || agent.includes('Mozilla')
    if (isUpgrade && origin !== undefined && looksAtOrigin && !origin.endsWith(`//${request.headers.host}`))
      return originNotAllowed
    if (agent.includes('Mozilla') && path.startsWith('/v3') && !String(request.headers.accept).includes('json'))
      return { status: 200, headers: { 'Content-Type': 'text/html' }, body: '<!DOCTYPE html><html></html>' }
    return { key }
  }

  /** The way to a cluster, or why there is none. */
  function wayOf(key: PeerKey, url: URL, rest: string, cluster: string, isUpgrade: boolean) {
    const known = clusters.find(({ id }) => id === cluster)
    if (!known) return routerError(404, `clusters.management.cattle.io "${cluster}" not found`)
    const isMember = key.projects === undefined || key.projects.some((id) => id.startsWith(`${cluster}:`))
    if (!isMember) return routerError(403, `user ${key.user} may not use the cluster`)
    if (known.state === 'provisioning') return routerError(503, 'cluster not ready')
    if (faults.podShellOff && /\/(exec|attach)$/.test(rest)) return podShellOff(!isUpgrade)
    if (faults.agentDown.has(cluster)) return agentDown(cluster, isUpgrade)
    const upstream = upstreamOf(cluster)
    return upstream ? { upstream, path: `${rest || '/'}${url.search}`, key, cluster } : agentDown(cluster, isUpgrade)
  }

  /** What the labels that Rancher puts on namespaces, and the rights that it hands on, make of two questions to a cluster. */
  function answeredHere(method: string, rest: string, url: URL, key: PeerKey, cluster: string): PeerAnswer | undefined {
    if (method !== 'GET') return undefined
    const isMember = key.projects !== undefined
    if (rest === '/api/v1/pods' && isMember) return forbidden(key.user, 'list', 'pods')
    if (rest !== '/api/v1/namespaces') return undefined
    if (isMember) return forbidden(key.user, 'list', 'namespaces')
    const wanted = /^field\.cattle\.io\/projectId(?:=|\s+in\s+\()([a-z0-9,\s-]+)\)?$/.exec(
      url.searchParams.get('labelSelector') ?? '',
    )
    if (!wanted) return undefined
    const ids = (wanted[1] ?? '').split(',').map((id) => `${cluster}:${id.trim()}`)
    const items = projects
      .filter(({ id }) => ids.includes(id))
      .flatMap(({ id, namespaces }) =>
        namespaces.map((name) => ({
          metadata: {
            name,
            labels: { 'field.cattle.io/projectId': id.split(':')[1] },
            annotations: { 'field.cattle.io/projectId': id },
          },
        })),
      )
    return { status: 200, body: { kind: 'NamespaceList', apiVersion: 'v1', metadata: { resourceVersion: '1' }, items } }
  }

  function prepared(request: IncomingMessage): PeerAnswer | 'reset' | undefined {
    const line = `${request.method} ${request.url}`
    const at = faults.http.findIndex(({ match }) => line.includes(match))
    const fault = faults.http[at]
    if (!fault) return undefined
    fault.times -= 1
    if (fault.times <= 0) faults.http.splice(at, 1)
    return fault.answer
  }

  function note(request: IncomingMessage, status: number, upgrade: boolean): void {
    requests.push({ method: request.method ?? '', path: request.url ?? '', status, upgrade, headers: request.headers })
    if (requests.length > SEEN_CAP) requests.shift()
  }

  function give(request: IncomingMessage, response: ServerResponse, answer: PeerAnswer): void {
    note(request, answer.status, false)
    const { headers, body } = bytesOf(answer)
    response.writeHead(answer.status, headers).end(body)
  }

  /** An answer of Rancher's own, the way to a cluster, or a key for what is no cluster's. */
  function route(request: IncomingMessage, url: URL, isUpgrade: boolean) {
    const fault = prepared(request)
    if (fault === 'reset') return 'reset'
    if (fault) return fault
    const passed = gate(request, url, isUpgrade)
    const [, cluster = '', rest = ''] = /^\/k8s\/clusters\/([^/]+)(.*)$/.exec(url.pathname) ?? []
    if (cluster === '' || !('key' in passed)) return passed
    const way = wayOf(passed.key, url, rest, cluster, isUpgrade)
    return (isUpgrade || 'status' in way ? undefined : answeredHere(request.method ?? '', rest, url, passed.key, cluster)) ?? way
  }

  async function answer(request: IncomingMessage, url: URL, key: PeerKey): Promise<PeerAnswer> {
    const project = /^\/v3\/project\/([^/:]+):([^/]+)\/workloads(\/.*)?$/.exec(decodeURIComponent(url.pathname))
    const upstream = project?.[1] === undefined ? undefined : upstreamOf(project[1])
    const found = projects.find(({ id }) => id === `${project?.[1]}:${project?.[2]}`)
    if (upstream && found) return answerWorkloads({ upstream, key, project: found }, request, url)
    if (url.pathname.startsWith('/v3')) return answerV3({ clusters, projects, keys, cacerts, release }, key, url.pathname, url)
    return { status: 404, body: '404 page not found\n' }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = urlOf(request)
    const to = route(request, url, false)
    if (to === 'reset') request.socket.destroy()
    else if ('status' in to) give(request, response, to)
    else if (to.upstream) note(request, await proxy.plain(request, response, to), false)
    else give(request, response, await answer(request, url, to.key))
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => {})
    const to = route(request, urlOf(request), true)
    if (to === 'reset') socket.destroy()
    else if (!('status' in to) && to.upstream) {
      note(request, 101, true)
      proxy.upgrade(request, socket, head, to)
    } else {
      const refused = !('status' in to) ? { status: 404, body: '404 page not found\n' } : to
      note(request, refused.status, true)
      refuse(socket, refused)
    }
  }

  const urlOf = (request: IncomingMessage): URL =>
    new URL(request.url ?? '/', `${options.tls ? 'https' : 'http'}://${request.headers.host}`)

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    handle(request, response).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500)
      response.end(String(error))
    })
  }
  const server: Server = options.tls
    ? createHttps({ key: options.tls.key, cert: options.tls.cert, maxHeaderSize: MAX_HEADER }, listener)
    : createHttp({ maxHeaderSize: MAX_HEADER }, listener)
  server.on('upgrade', upgrade)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })

  return {
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    clusters,
    projects,
    keys: own,
    addKey(spec) {
      const key = newKey(spec)
      keys.push(key)
      return key
    },
    revoke(key) {
      const at = keys.indexOf(key)
      if (at >= 0) keys.splice(at, 1)
    },
    faults,
    changeCertificate({ key, cert, ca }) {
      cacerts = ca ?? ''
      if ('setSecureContext' in server) (server as ReturnType<typeof createHttps>).setSecureContext({ key, cert })
    },
    seen: { requests, openSockets: () => proxy.openSockets() },
    async close() {
      proxy.cut()
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
