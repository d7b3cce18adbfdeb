/** `/v3/project/<c>:<p>/workloads` of a pretend Rancher 2, over the apps/v1 of the cluster behind it: PUTs that replace lists, actions that answer nothing. */

import * as http from 'node:http'
import * as https from 'node:https'
import { type PeerAnswer, v3Error } from './errors.ts'
import type { PeerKey } from './keys.ts'
import { passedHeaders, type Upstream } from './proxy.ts'
import { collection, type PeerProject } from './v3.ts'
import { array, type Json, type JsonObject, KINDS, merged, object, workloadToV3 } from './workload-shape.ts'

type Way = { readonly upstream: Upstream; readonly key: PeerKey; readonly project: PeerProject }
type Said = { readonly status: number; readonly json: JsonObject }

const MAX_BODY = 4 * 1024 * 1024
/** N store/proxy/proxy_store.go Update. */
const MAX_CONFLICTS = 5
const DONE: PeerAnswer = { status: 200, body: '' }

export async function answerWorkloads(way: Way, request: http.IncomingMessage, url: URL): Promise<PeerAnswer> {
  const { method = 'GET' } = request
  const [base = '', rest = ''] = decodeURIComponent(url.pathname).split('/workloads')
  const here = `${url.origin}${base}`
  const [, id = '', tail = ''] = rest.split('/')
  if (id === '') return method === 'GET' ? await list(way, here, url) : v3Error(405, 'MethodNotAllow')
  const [type = '', namespace = '', name = ''] = id.split(':')
  const kind = KINDS[type]
  if (kind === undefined || !way.project.namespaces.includes(namespace)) return v3Error(404, 'NotFound', 'not found')
  const one: Workload = { ...way, type, namespace, name, path: `/apis/apps/v1/namespaces/${namespace}/${kind}/${name}` }
  const action = url.searchParams.get('action')
  if (method === 'POST' && action !== null) return await act(one, action, await bodyOf(request))
  if (method === 'GET' && tail === 'revisions' && type === 'deployment') return await revisions(one, here, url)
  if (method === 'GET' && tail === '') {
    const live = await ask(way, 'GET', one.path)
    return live.status === 200 ? shown(one, live.json, here) : fromCluster(live)
  }
  if (method === 'PUT' && tail === '') {
    const body = parsed(await bodyOf(request))
    if (body === undefined) return v3Error(422, 'InvalidBodyContent', 'invalid character in body')
    if (array(body.containers).some((container) => 'environment' in object(container)))
      return v3Error(422, 'InvalidOption', 'environment is not supported, use env')
    const written = await write(one, (live) => merged(live, body))
    return written.status === 200 ? shown(one, written.json, here) : fromCluster(written)
  }
  return v3Error(405, 'MethodNotAllow')
}

type Workload = Way & { readonly type: string; readonly namespace: string; readonly name: string; readonly path: string }

const shown = ({ type, project }: Workload, live: JsonObject, here: string): PeerAnswer => ({
  status: 200,
  body: workloadToV3(type, live, here, project.id),
})

async function list(way: Way, here: string, url: URL): Promise<PeerAnswer> {
  const all = []
  for (const namespace of way.project.namespaces)
    for (const [type, kind] of Object.entries(KINDS)) {
      const found = await ask(way, 'GET', `/apis/apps/v1/namespaces/${namespace}/${kind}`)
      if (found.status !== 200) return fromCluster(found)
      all.push(...array(found.json.items).map((live) => workloadToV3(type, object(live), here, way.project.id)))
    }
  return collection('workload', all as (Record<string, Json> & { id: string; type: string })[], url)
}

/** RR pkg/api/norman/customization/workload/workload.go. Success has an empty body. */
async function act(one: Workload, action: string, text: string): Promise<PeerAnswer> {
  const live = await ask(one, 'GET', one.path)
  if (live.status === 404) return v3Error(422, 'InvalidReference', `workload ${one.name} not found`)
  if (live.status !== 200) return v3Error(404, 'NotFound', 'not found')
  const isPaused = object(live.json.spec).paused === true
  const isDeployment = one.type === 'deployment'
  if (action === 'redeploy') {
    const annotations = object(object(object(object(live.json.spec).template).metadata).annotations)
    const timestamp = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
    return done(await write(one, (now) => merged(now, { annotations: { ...annotations, 'cattle.io/timestamp': timestamp } })))
  }
  if (isDeployment && (action === 'pause' || action === 'resume')) {
    if (isPaused === (action === 'pause'))
      return v3Error(422, 'InvalidAction', `Deployment ${one.name} is ${isPaused ? 'already' : 'not'} paused`)
    return done(await write(one, (now) => merged(now, { paused: action === 'pause' })))
  }
  if (isDeployment && action === 'rollback') return await rollback(one, text)
  return v3Error(404, 'ActionNotAvailable')
}

/** Copies the pod's spec of a ReplicaSet; template labels and annotations stay as they are now. */
async function rollback(one: Workload, text: string): Promise<PeerAnswer> {
  const body = parsed(text)
  if (body === undefined) return v3Error(422, 'InvalidBodyContent', 'Error parsing body')
  const id = typeof body.replicaSetId === 'string' ? body.replicaSetId : ''
  const [type, namespace, name] = id.split(':')
  const wrong = v3Error(500, 'ServerError', `Invalid ReplicaSet ${id}`)
  if (type !== 'replicaset' || namespace !== one.namespace || !name) return wrong
  const set = await ask(one, 'GET', `/apis/apps/v1/namespaces/${namespace}/replicasets/${name}`)
  if (set.status !== 200 || !isOwnedBy(set.json, one.name)) return wrong
  const spec = object(object(object(set.json.spec).template).spec)
  return done(
    await write(one, (live) => {
      const old = object(live.spec)
      return { ...live, spec: { ...old, template: { ...object(old.template), spec } } }
    }),
  )
}

async function revisions(one: Workload, here: string, url: URL): Promise<PeerAnswer> {
  const sets = await ask(one, 'GET', `/apis/apps/v1/namespaces/${one.namespace}/replicasets`)
  // The LinkHandler swallows what goes wrong: 200 with an empty body.
  if (sets.status !== 200) return DONE
  const own = array(sets.json.items)
    .map(object)
    .filter((set) => isOwnedBy(set, one.name))
  const all = own.map((set) => ({ ...workloadToV3('replicaset', set, here, one.project.id), type: 'replicaSet' }))
  return collection('replicaSet', all as (Record<string, Json> & { id: string; type: string })[], url)
}

function isOwnedBy(set: JsonObject, deployment: string): boolean {
  return array(object(set.metadata).ownerReferences).some((owner) => {
    const { kind, name, controller } = object(owner)
    return kind === 'Deployment' && name === deployment && controller === true
  })
}

const done = (written: Said): PeerAnswer => (written.status === 200 ? DONE : fromCluster(written))

/** Read, change, write back with the version that was read; again when somebody else was faster. */
async function write(one: Workload, change: (live: JsonObject) => JsonObject): Promise<Said> {
  for (let tries = 0; ; tries += 1) {
    const live = await ask(one, 'GET', one.path)
    if (live.status !== 200) return live
    const written = await ask(one, 'PUT', one.path, change(live.json))
    if (written.status !== 409 || tries >= MAX_CONFLICTS) return written
  }
}

/** Status code and reason of the cluster, in the shape of `/v3` (N store/proxy/error_wrapper.go). */
function fromCluster({ status, json }: Said): PeerAnswer {
  if (status === 404) return v3Error(404, 'NotFound', 'not found')
  const reason = typeof json.reason === 'string' ? json.reason : 'ServerError'
  return v3Error(status, reason, typeof json.message === 'string' ? json.message : reason)
}

function parsed(text: string): JsonObject | undefined {
  try {
    const json = JSON.parse(text) as Json
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as JsonObject) : undefined
  } catch {
    return undefined
  }
}

async function bodyOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of stream) {
    size += part.length
    if (size > MAX_BODY) throw new Error('body too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

async function ask({ upstream, key }: Way, method: string, path: string, body?: JsonObject): Promise<Said> {
  const url = new URL(`${upstream.url.replace(/\/$/, '')}${path}`)
  const headers = {
    ...passedHeaders({}, key, upstream),
    accept: 'application/json',
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  }
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>()
  const options = { method, headers, agent: false, ...(upstream.ca === undefined ? {} : { ca: upstream.ca }) } as const
  const request = (url.protocol === 'https:' ? https : http).request(url, options, resolve)
  request.on('error', reject)
  request.end(body === undefined ? undefined : JSON.stringify(body))
  const response = await promise
  return { status: response.statusCode ?? 0, json: parsed(await bodyOf(response)) ?? {} }
}
