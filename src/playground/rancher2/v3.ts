/** The `/v3` API of a pretend Rancher 2, as much of it as finds clusters, projects and namespaces, and says who a key is. */

import { type PeerAnswer, v3Error } from './errors.ts'
import { isExpired, type PeerKey } from './keys.ts'

export type PeerCluster = {
  readonly id: string
  name: string
  /** `active`, `provisioning`, `unavailable`, … */
  state: string
  transitioningMessage?: string
}

export type PeerProject = { readonly id: string; readonly name: string; readonly namespaces: readonly string[] }

export type V3World = {
  readonly clusters: readonly PeerCluster[]
  readonly projects: readonly PeerProject[]
  readonly keys: readonly PeerKey[]
  /** `''`: the certificate is a public one. */
  readonly cacerts: string
  /** `v2.15.0`. */
  readonly release: string
}

type Resource = { readonly id: string; readonly type: string } & Readonly<Record<string, unknown>>

/** N parse/collection.go. */
const DEFAULT_LIMIT = 1000
const MAX_LIMIT = 10_000

export function answerV3(world: V3World, key: PeerKey, path: string, url: URL): PeerAnswer {
  const [first, second, third] = path.replace(/^\/v3\/?/, '').split('/')
  const maySee = (project: PeerProject) => key.projects === undefined || key.projects.includes(project.id)
  const projects = world.projects.filter(maySee)
  const clusters = world.clusters.filter(
    ({ id }) => key.projects === undefined || projects.some((project) => project.id.startsWith(`${id}:`)),
  )
  const link = (resource: Resource): Resource => ({
    ...resource,
    baseType: resource.type,
    links: { self: `${url.origin}/v3/${resource.type}s/${resource.id}` },
  })
  const found: Readonly<Record<string, readonly Resource[]>> = {
    clusters: clusters.map((one) => ({ type: 'cluster', provider: 'rke2', transitioningMessage: '', ...one })),
    projects: projects.map(({ id, name }) => ({ type: 'project', id, name, clusterId: id.split(':')[0] })),
    tokens: world.keys.filter((one) => one.user === key.user && !one.name.startsWith('ext/')).map(tokenResource),
    users: usersSeen(world.keys, key, url),
    settings: [
      { type: 'setting', id: 'cacerts', value: world.cacerts },
      { type: 'setting', id: 'server-version', value: world.release },
    ],
  }
  const kind = first === 'cluster' && third === 'namespaces' ? 'namespaces' : (first ?? '')
  if (kind === 'namespaces') {
    if (!clusters.some(({ id }) => id === second)) return v3Error(404, 'NotFound', 'not found')
    const list = projects
      .filter(({ id }) => id.startsWith(`${second}:`))
      .flatMap(({ id, namespaces }) => namespaces.map((name) => ({ type: 'namespace', id: name, name, projectId: id })))
    return collection('namespace', list.map(link), url)
  }
  const list = found[kind]
  if (list === undefined) return v3Error(404, 'NotFound', 'not found')
  if (second === undefined || second === '') return collection(kind.slice(0, -1), list.map(link), url)
  const one = list.find(({ id }) => id === decodeURIComponent(second))
  return one ? { status: 200, body: link(one) } : v3Error(404, 'NotFound', 'not found')
}

function tokenResource(key: PeerKey): Resource {
  return {
    type: 'token',
    id: key.name,
    name: key.name,
    userId: key.user,
    expiresAt: key.expiresAt,
    expired: isExpired(key),
    clusterId: key.cluster ?? '',
    authProvider: 'local',
    isDerived: true,
  }
}

/** A plain user sees nobody else. */
function usersSeen(keys: readonly PeerKey[], key: PeerKey, url: URL): Resource[] {
  const seen = keys.filter(
    (one) => one.user === key.user || (key.projects === undefined && url.searchParams.get('me') !== 'true'),
  )
  const byId = new Map(seen.map((one) => [one.user, one.displayName]))
  return [...byId].map(([id, name]) => ({ type: 'user', id, name, username: id }))
}

/** Filters are by whole value and by suffix; one that is not known is ignored silently (N types/reflection.go). */
export function collection(resourceType: string, all: readonly Resource[], url: URL): PeerAnswer {
  const filtered = all.filter((one) =>
    [...url.searchParams].every(([name, value]) => {
      const [, field = '', modifier] = /^(.*?)(?:_(ne|in|notin))?$/.exec(name) ?? []
      if (!(field in one) || typeof one[field] !== 'string') return true
      const isIn = value.split(',').includes(one[field])
      return modifier === 'ne' || modifier === 'notin' ? !isIn : isIn
    }),
  )
  const asked = Number(url.searchParams.get('limit') ?? DEFAULT_LIMIT)
  const limit = asked === -1 ? MAX_LIMIT : Math.min(asked || DEFAULT_LIMIT, MAX_LIMIT)
  const from = Math.max(
    0,
    filtered.findIndex(({ id }) => id === url.searchParams.get('marker')),
  )
  const data = filtered.slice(from, from + limit)
  const after = filtered[from + limit]
  const next = new URL(url)
  if (after) next.searchParams.set('marker', after.id)
  return {
    status: 200,
    body: {
      type: 'collection',
      resourceType,
      links: { self: `${url.origin}${url.pathname}` },
      createTypes: {},
      actions: {},
      pagination: { limit, total: filtered.length, ...(after ? { partial: true, next: next.href } : {}) },
      sort: { order: 'asc', reverse: url.href },
      filters: {},
      data,
    },
  }
}
