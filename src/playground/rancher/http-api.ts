/** Cattle's HTTP API, as much of it as finds containers and runs commands in them (rancher-1.md §1). */

import { randomUUID } from 'node:crypto'
import { type ActionHost, bodyOf, runAction } from './actions.ts'
import type { PeerContainer, PeerGroup } from './containers.ts'
import { PROJECTS } from './containers.ts'
import type { Faults } from './faults.ts'
import type { Generation } from './host-agent.ts'
import { type Identity, identify, type PeerKeys, type Role } from './keys.ts'
import { pageOf, rowOf } from './listing.ts'
import {
  type ApiVersion,
  containerResource,
  hostResource,
  projectResource,
  type Resource,
  stackResource,
  type View,
} from './resources.ts'
import type { Services } from './services.ts'

export type ApiRequest = {
  readonly method: string
  /** As the caller sees the server: scheme and host from `X-Forwarded-*` or `Host`. */
  readonly url: URL
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

export type ApiAnswer = { readonly status: number; readonly headers: Record<string, string>; readonly body: unknown }

/** The server release of each generation, as the header names it [CT ApiRequestFilter]. */
const RELEASES: Readonly<Record<Generation, string>> = { A: 'v1.2.0', B0: 'v1.3.0', B: 'v1.6.26' }
const CHALLENGE = 'Basic realm="Enter API access key and secret key as username and password"'

export class ApiError extends Error {
  readonly status: number
  readonly code: string
  readonly fieldName: string | undefined

  constructor(status: number, code: string, fieldName?: string) {
    super(code)
    this.status = status
    this.code = code
    this.fieldName = fieldName
  }
}

/** `code` equals `message`, save in validation errors, which have no message but a field [CT ValidationErrorImpl]. */
export function errorBody(status: number, code: string, fieldName?: string): Readonly<Record<string, unknown>> {
  return {
    id: randomUUID(),
    type: 'error',
    links: {},
    actions: {},
    status,
    code,
    message: fieldName === undefined ? code : null,
    detail: null,
    ...(fieldName === undefined ? {} : { fieldName }),
    baseType: 'error',
  }
}

export function createHttpApi(
  options: ActionHost & {
    readonly keys: PeerKeys
    readonly faults: Faults
    readonly generation: () => Generation
    readonly accessControl: boolean
    readonly services: Services
  },
) {
  const { world, keys, services: orchestrator } = options

  const answer = (request: ApiRequest): { status: number; body: unknown } => {
    const { url, headers, method } = request
    const [, version, ...path] = url.pathname.split('/').filter((part, index) => index === 0 || part !== '')
    const who = identify(keys, headers.authorization, options.accessControl)
    if (!who) throw new ApiError(401, 'Unauthorized')
    if (version === undefined) return { status: 200, body: versions(url.origin) }
    if (version !== 'v1' && version !== 'v2-beta') throw new ApiError(404, 'Not Found')
    if (isBrowser(request) && method !== 'GET') throw new ApiError(403, 'InvalidCSRFToken')
    const byPath = path[0] === 'projects' && path.length > 2 ? path[1] : undefined
    const rest = byPath === undefined ? path : path.slice(2)
    const { project, role } = scopeOf(
      who,
      byPath ?? headers['x-api-project-id'] ?? url.searchParams.get('projectId') ?? undefined,
    )
    const base = `${url.origin}/${version}${byPath === undefined ? '' : `/projects/${byPath}`}`
    const view: View = { version, base, role }
    const found = find(rest, project, who, view)
    if (found === undefined) throw new ApiError(404, 'Not Found')
    if (method === 'GET') {
      if ('one' in found) return { status: 200, body: found.one }
      return { status: 200, body: collection(found.type, found.list, url) }
    }
    const action = url.searchParams.get('action')
    if ('service' in found && found.service) {
      if (method === 'PUT' && action === null) return orchestrator.update(found.service, bodyOf(request.body), view)
      if (method === 'POST' && action !== null) return orchestrator.act(found.service, action, bodyOf(request.body), view)
    }
    if (method !== 'POST' || action === null || !('container' in found) || !found.container)
      throw new ApiError(405, 'Method not allowed')
    return runAction(found.container, action, request.body, view, options)
  }

  /** What a path means inside one project: a collection, a resource, or nothing. */
  const find = (
    path: readonly string[],
    project: string,
    who: Identity,
    view: View,
  ):
    | { one: Resource; container?: PeerContainer; service?: PeerGroup }
    | { type: string; list: readonly Resource[] }
    | undefined => {
    const [kind, id, link, ...more] = path
    if (more.length > 0) return undefined
    if (kind === undefined) return { one: root(view) }
    if (kind === 'projects' || kind === 'project') {
      const mine = PROJECTS.filter((one) => one in who.roles)
      if (id === undefined) return { type: 'project', list: mine.map((one) => projectResource(one, view)) }
      const one = mine.find((each) => each === id)
      return one === undefined ? undefined : { one: projectResource(one, view) }
    }
    const row = id === undefined ? undefined : rowOf(id)
    if (id !== undefined && row === undefined) return undefined
    const containers = world.containers.filter((one) => one.project === project)
    const listed = (some: readonly PeerContainer[]): readonly Resource[] =>
      some.filter((one) => !['removed', 'purged'].includes(one.state)).map((one) => containerResource(one, view))
    const hosts = world.hosts.filter((one) => one.project === project)
    const services = world.services.filter((one) => one.project === project)
    switch (kind) {
      case 'containers':
      case 'container':
      case 'instances': {
        if (id === undefined) return { type: kind === 'instances' ? 'instance' : 'container', list: listed(containers) }
        const container = containers.find((one) => one.row === row)
        if (!container) return undefined
        if (link === undefined) return { one: containerResource(container, view), container }
        if (link !== 'hosts') return undefined
        return { type: 'host', list: hosts.filter((one) => one.id === container.host).map((one) => hostResource(one, view)) }
      }
      case 'hosts':
      case 'host': {
        if (id === undefined) return { type: 'host', list: hosts.map((one) => hostResource(one, view)) }
        const host = hosts.find((one) => rowOf(one.id) === row)
        if (!host) return undefined
        if (link === 'instances') return { type: 'instance', list: listed(containers.filter((one) => one.host === host.id)) }
        return link === undefined ? { one: hostResource(host, view) } : undefined
      }
      case 'services':
      case 'service': {
        if (id === undefined) return { type: 'service', list: services.map((one) => orchestrator.resource(one, view)) }
        const service = services.find((one) => one.row === row)
        if (!service) return undefined
        if (link === 'instances')
          return { type: 'instance', list: listed(containers.filter((one) => one.serviceRow === service.row)) }
        return link === undefined ? { one: orchestrator.resource(service, view), service } : undefined
      }
      case view.version === 'v1' ? 'environments' : 'stacks': {
        const stacks = world.stacks.filter((one) => one.project === project)
        if (id === undefined) return { type: kind.slice(0, -1), list: stacks.map((one) => stackResource(one, view)) }
        const stack = stacks.find((one) => one.row === row)
        if (!stack) return undefined
        if (link !== 'services') return link === undefined ? { one: stackResource(stack, view) } : undefined
        const own = services.filter((one) => one.stackRow === stack.row)
        return { type: 'service', list: own.map((one) => orchestrator.resource(one, view)) }
      }
      default:
        return undefined
    }
  }

  return {
    handle(request: ApiRequest): ApiAnswer {
      const common = {
        'Content-Type': 'application/json; charset=utf-8',
        'X-Rancher-Version': RELEASES[options.generation()],
        'X-API-Schemas': `${request.url.origin}/v2-beta/schemas`,
      }
      try {
        const { status, body } = answer(request)
        // A browser gets a page around the JSON, whatever it asked for [CT RequestUtils.isBrowser].
        if (isBrowser(request))
          return { status, headers: { ...common, 'Content-Type': 'text/html; charset=utf-8' }, body: page(body) }
        return { status, headers: common, body }
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
        const challenge = error.status === 401 && request.headers['x-api-no-challenge'] !== 'true'
        return {
          status: error.status,
          headers: { ...common, ...(challenge ? { 'WWW-Authenticate': CHALLENGE } : {}) },
          body: errorBody(error.status, error.code, error.fieldName),
        }
      }
    },
  }
}

function scopeOf(who: Identity, named: string | undefined): { project: string; role: Role } {
  if (named === undefined || named === who.home) return { project: who.home, role: who.roles[who.home] ?? 'owner' }
  const role = who.roles[named]
  if (role === undefined) throw new ApiError(403, 'Forbidden')
  return { project: named, role }
}

function collection(type: string, list: readonly Resource[], url: URL): unknown {
  const page = pageOf(list, url.searchParams, url.toString())
  return {
    type: 'collection',
    resourceType: type,
    links: { self: url.toString() },
    createTypes: {},
    actions: {},
    data: page.data,
    sortLinks: {},
    pagination: {
      first: null,
      previous: null,
      next: page.next,
      limit: page.limit,
      total: null,
      partial: page.next !== null || url.searchParams.has('marker'),
    },
    sort: page.sort === null ? null : { name: page.sort, order: url.searchParams.get('order') ?? 'asc', reverse: null },
    filters: {},
    createDefaults: {},
  }
}

function root(view: View): Resource {
  const links = Object.fromEntries(
    ['containers', 'hosts', 'instances', 'projects', 'services'].map((one) => [one, `${view.base}/${one}`]),
  )
  return { id: view.version, type: 'apiVersion', links: { self: view.base, ...links }, actions: {} }
}

function versions(origin: string): unknown {
  const each = (version: ApiVersion) => ({
    id: version,
    type: 'apiVersion',
    links: { self: `${origin}/${version}` },
    actions: {},
  })
  return { type: 'collection', resourceType: 'apiVersion', links: { self: `${origin}/` }, data: [each('v1'), each('v2-beta')] }
}

function isBrowser(request: ApiRequest): boolean {
  const { headers, url } = request
  if (url.searchParams.get('_format') === 'json') return false
  return (headers['user-agent'] ?? '').includes('Mozilla') && (headers.accept ?? '*/*').includes('*/*')
}

function page(body: unknown): string {
  return `<!DOCTYPE html>\n<html><head><script>var data = ${JSON.stringify(body).replaceAll('<', '\\u003c')};</script></head><body></body></html>\n`
}
