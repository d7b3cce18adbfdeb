/** apps/v1 of the pretend API server: workloads that can be read, written, patched and locked, and the controller that moves their pods. */

import { randomUUID } from 'node:crypto'
import { type AppKind, createController, nameOf, spaceOf } from './apps-controller.ts'
import { array, type Json, type JsonObject, object, PatchError, patched } from './apps-patch.ts'
import type { Faults } from './faults.ts'
import { type ApiRequest, listAnswer, type Route } from './http-api.ts'
import { podLogRoute } from './log.ts'
import { type Answer, badRequest, notFound, statusAnswer } from './status.ts'
import type { World } from './world.ts'

const KINDS: Readonly<Record<AppKind, string>> = {
  deployments: 'Deployment',
  statefulsets: 'StatefulSet',
  daemonsets: 'DaemonSet',
  replicasets: 'ReplicaSet',
  controllerrevisions: 'ControllerRevision',
}
const isKind = (name: string | undefined): name is AppKind => name !== undefined && Object.hasOwn(KINDS, name)
/** What an API server fills in; a client that sends the same without it changes nothing. */
const DEFAULTS = { deployments: { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 } }

export type AppsOptions = {
  /** Between two steps of the controller; default 15 ms. */
  readonly paceMs?: number
}

/** For `routes` of the peer: apps/v1 and the logs of pods. */
export function appsRoutes(options: AppsOptions = {}): (world: World, faults: Faults) => readonly Route[] {
  return (world, faults) => [appsRoute(world, faults, options), podLogRoute(world)]
}

function appsRoute(world: World, faults: Faults, options: AppsOptions): Route {
  const store = new Map<string, JsonObject>()
  const keyOf = (kind: AppKind, namespace: string, name: string) => `${kind}/${namespace}/${name}`

  const write = (kind: AppKind, value: JsonObject): JsonObject => {
    const key = keyOf(kind, spaceOf(value), nameOf(value))
    const before = store.get(key)
    const uid = object(before?.metadata).uid ?? object(value.metadata).uid ?? randomUUID()
    const next: JsonObject = { kind: KINDS[kind], apiVersion: 'apps/v1', ...value, metadata: { ...object(value.metadata), uid } }
    // A write that changes nothing is none.
    if (before && same(strip(before), strip(next))) return before
    const stored = { ...next, metadata: { ...object(next.metadata), resourceVersion: String(world.nextVersion()) } }
    store.set(key, stored)
    return stored
  }
  const controller = createController(world, {
    all: (kind) => [...store].filter(([key]) => key.startsWith(`${kind}/`)).map(([, value]) => value),
    write: (kind, value) => void write(kind, value),
    mark(kind, value, { status, annotations }) {
      const live = store.get(keyOf(kind, spaceOf(value), nameOf(value)))
      if (!live) return
      const metadata = object(live.metadata)
      const all = { ...object(metadata.annotations), ...annotations }
      write(kind, { ...live, metadata: { ...metadata, ...(Object.keys(all).length > 0 ? { annotations: all } : {}) }, status })
    },
    remove: (kind, value) => void store.delete(keyOf(kind, spaceOf(value), nameOf(value))),
  })

  let isStepping = false
  let isAwaited = false
  const kick = (): void => {
    if (isStepping) return
    isStepping = true
    setTimeout(() => {
      void controller.step().then((more) => {
        isStepping = false
        const again = more || isAwaited
        isAwaited = false
        if (again) kick()
      })
    }, options.paceMs ?? 15).unref()
  }
  const touched = (): void => {
    isAwaited = true
    kick()
  }

  /** Puts a new state in the place of an old one, or says why not. */
  const replaced = (kind: AppKind, before: JsonObject, next: JsonObject, request: ApiRequest): Answer => {
    const old = object(before.metadata)
    const given = object(next.metadata)
    if (given.resourceVersion !== undefined && given.resourceVersion !== '' && given.resourceVersion !== old.resourceVersion)
      return conflict(kind, nameOf(before))
    const fault = invalid(kind, before, next)
    if (fault) return unprocessable(kind, nameOf(before), fault)
    const isChanged = !same(before.spec, next.spec)
    const value: JsonObject = {
      ...next,
      metadata: {
        ...given,
        name: old.name,
        namespace: old.namespace,
        generation: Number(old.generation ?? 1) + (isChanged ? 1 : 0),
      },
      ...(before.status === undefined ? {} : { status: before.status }),
    }
    if (request.query.get('dryRun') === 'All') return { status: 200, body: value }
    const stored = write(kind, value)
    touched()
    return { status: 200, body: stored }
  }

  const created = (kind: AppKind, namespace: string, request: ApiRequest): Answer => {
    const body = parsed(request.body)
    if (body === undefined) return badRequest('the request body is not JSON')
    const name = nameOf(body)
    if (store.has(keyOf(kind, namespace, name)))
      return statusAnswer(409, 'AlreadyExists', `${kind}.apps "${name}" already exists`, {
        details: { name, group: 'apps', kind },
      })
    const fault = invalid(kind, undefined, body)
    if (fault) return unprocessable(kind, name, fault)
    const defaults = kind === 'deployments' ? DEFAULTS.deployments : {}
    const metadata = { ...object(body.metadata), namespace, generation: 1, creationTimestamp: new Date().toISOString() }
    const stored = write(kind, { ...body, metadata, spec: { ...defaults, ...object(body.spec) } })
    touched()
    return { status: 201, body: stored }
  }

  const list = (kind: AppKind, namespace: string | undefined, query: URLSearchParams): Answer => {
    const all = [...store].filter(([key]) => key.startsWith(`${kind}/${namespace === undefined ? '' : `${namespace}/`}`))
    const listed = all.map(([key, json]) => ({
      key,
      labels: object(object(json.metadata).labels) as Readonly<Record<string, string>>,
      fields: { 'metadata.name': nameOf(json), 'metadata.namespace': spaceOf(json) },
      json: without(json, ['kind', 'apiVersion']),
    }))
    return listAnswer(KINDS[kind], listed, query, { faults, version: world.version(), apiVersion: 'apps/v1' })
  }

  const VERBS: Readonly<Record<string, string>> = { GET: 'get', PUT: 'update', PATCH: 'patch', DELETE: 'delete', POST: 'create' }

  return (request) => {
    const { path, method, query, contentType, body, refused } = request
    const [apis, apps, v1, ...rest] = path
    if (apis !== 'apis' || apps !== 'apps' || v1 !== 'v1') return undefined
    const [namespace, kind, name, ...more] = rest[0] === 'namespaces' ? rest.slice(1) : [undefined, ...rest]
    if (!isKind(kind) || more.length > 0) return undefined
    const verb = name === undefined && method === 'GET' ? 'list' : (VERBS[method] ?? 'get')
    const no = refused({ verb, group: 'apps', resource: kind, name: name ?? '', namespace })
    if (no) return no
    if (name === undefined) {
      if (method === 'GET') return list(kind, namespace, query)
      if (method === 'POST' && namespace !== undefined) return created(kind, namespace, request)
      return statusAnswer(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')
    }
    const key = keyOf(kind, namespace ?? '', name)
    const found = store.get(key)
    if (found === undefined) return notFound(kind, name, 'apps')
    switch (method) {
      case 'GET':
        return { status: 200, body: found }
      case 'PUT': {
        const next = parsed(body)
        return next === undefined ? badRequest('the request body is not JSON') : replaced(kind, found, next, request)
      }
      case 'PATCH':
        return patchedAnswer(() => replaced(kind, found, patched(found, contentType, body), request), kind, name)
      case 'DELETE':
        store.delete(key)
        touched()
        return { status: 200, body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success' } }
      default:
        return statusAnswer(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')
    }
  }
}

function patchedAnswer(act: () => Answer, kind: AppKind, name: string): Answer {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof PatchError)) throw error
    if (error.kind === 'bad-type') return statusAnswer(415, 'UnsupportedMediaType', error.message)
    return error.kind === 'bad-body'
      ? badRequest(error.message)
      : unprocessable(kind, name, { field: '', message: error.message })
  }
}

/** apps/v1 as its validation refuses it, for what a rollout can get wrong. */
function invalid(
  kind: AppKind,
  before: JsonObject | undefined,
  next: JsonObject,
): { field: string; message: string } | undefined {
  const spec = object(next.spec)
  const pod = object(object(spec.template).spec)
  const containers = array(pod.containers).map(object)
  if (kind === 'replicasets' || kind === 'controllerrevisions') return undefined
  if (Number(spec.replicas ?? 0) < 0)
    return { field: 'spec.replicas', message: `Invalid value: ${String(spec.replicas)}: must be greater than or equal to 0` }
  if (containers.length === 0) return { field: 'spec.template.spec.containers', message: 'Required value' }
  for (const [index, one] of containers.entries()) {
    const field = `spec.template.spec.containers[${index}]`
    if (typeof one.image !== 'string' || one.image === '') return { field: `${field}.image`, message: 'Required value' }
    if (/\s/.test(one.image))
      return { field: `${field}.image`, message: 'Invalid value: must not have leading or trailing whitespace' }
  }
  const wanted = Object.entries(object(object(spec.selector).matchLabels))
  const labels = object(object(object(spec.template).metadata).labels)
  if (wanted.some(([key, value]) => labels[key] !== value))
    return { field: 'spec.template.metadata.labels', message: 'Invalid value: `selector` does not match template `labels`' }
  if (before && !same(object(before.spec).selector, spec.selector))
    return { field: 'spec.selector', message: 'Invalid value: field is immutable' }
  return undefined
}

function conflict(kind: AppKind, name: string): Answer {
  const message = `Operation cannot be fulfilled on ${kind}.apps "${name}": the object has been modified; please apply your changes to the latest version and try again`
  return statusAnswer(409, 'Conflict', message, { details: { name, group: 'apps', kind } })
}

function unprocessable(kind: AppKind, name: string, { field, message }: { field: string; message: string }): Answer {
  const causes = [{ reason: 'FieldValueInvalid', message, field }]
  return statusAnswer(422, 'Invalid', `${KINDS[kind]}.apps "${name}" is invalid: ${field}: ${message}`, {
    details: { name, group: 'apps', kind: KINDS[kind], causes },
  })
}

function parsed(text: string): JsonObject | undefined {
  try {
    return object(JSON.parse(text) as Json)
  } catch {
    return undefined
  }
}

function without(value: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)))
}
const strip = (value: JsonObject): JsonObject => ({ ...value, metadata: without(object(value.metadata), ['resourceVersion']) })

function same(a: Json | undefined, b: Json | undefined): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))
}
function sorted(value: Json | undefined): Json | undefined {
  if (Array.isArray(value)) return value.map((one: Json) => sorted(one) ?? null)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value as JsonObject).toSorted(([x], [y]) => (x < y ? -1 : 1))
  return Object.fromEntries(entries.map(([key, one]) => [key, sorted(one)]))
}
