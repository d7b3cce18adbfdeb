/** The HTTP side of the pretend API server: who asks, whether they may, and the resources that clients of exec read. */

import type { IncomingMessage } from 'node:http'
import { type Asked, may, type Person } from './access.ts'
import type { Faults } from './faults.ts'
import { podFields, podJson } from './pods.ts'
import { fieldTerms, labelTerms } from './selectors.ts'
import { type Answer, badRequest, forbidden, notFound, statusAnswer, unauthorized } from './status.ts'
import type { World } from './world.ts'

export type ApiRequest = {
  readonly method: string
  /** Without its query, each part decoded: `['api', 'v1', 'namespaces', 'shop', 'pods']`. */
  readonly path: readonly string[]
  readonly query: URLSearchParams
  readonly contentType: string
  readonly body: string
  readonly person: Person
  /** The refusal, or undefined: they may. */
  refused(asked: Asked): Answer | undefined
}

/** Undefined: not its path. */
export type Route = (request: ApiRequest) => Answer | undefined | Promise<Answer | undefined>

const ANONYMOUS: Person = { name: 'system:anonymous', token: '', rules: [] }

/** Who comes, or the answer to them: by token, and in whose name (kubernetes.md §8). */
export function identify(
  people: readonly Person[],
  request: Pick<IncomingMessage, 'headers' | 'headersDistinct'>,
): Person | Answer {
  const { authorization, 'impersonate-user': asUser } = request.headers
  // A comma is part of a name.
  const asGroup = request.headersDistinct['impersonate-group']
  const token = /^Bearer (.+)$/i.exec(authorization ?? '')?.[1]
  const person = authorization === undefined ? ANONYMOUS : people.find((one) => one.token === token)
  if (person === undefined) return unauthorized()
  if (asUser === undefined && asGroup === undefined) return person
  const user = String(asUser ?? '')
  if (user === '') return badRequest('requested [{"Group"  system:authenticated}] without impersonating a user')
  const groups = asGroup ?? []
  const wanted: readonly Asked[] = [
    { verb: 'impersonate', group: '', resource: 'users', name: user },
    ...groups.map((name) => ({ verb: 'impersonate', group: '', resource: 'groups', name })),
  ]
  const lacking = wanted.find((asked) => !may(person, asked))
  if (lacking) return forbidden(person.name, lacking)
  const same = people.filter(({ name }) => name === user || groups.some((group) => name === `group:${group}`))
  return { name: user, groups, token: '', rules: same.flatMap(({ rules }) => rules) }
}

export function isAnswer(value: Person | Answer): value is Answer {
  return 'status' in value
}

/** An object that can be listed. */
export type Listed = {
  readonly key: string
  readonly labels: Readonly<Record<string, string>>
  readonly fields: Readonly<Record<string, string>>
  readonly json: unknown
}

/** A page of a list: selectors, `limit`, and tokens that grow old. */
export function listAnswer(
  kind: string,
  all: readonly Listed[],
  query: URLSearchParams,
  of: { readonly faults: Faults; readonly version: number; readonly apiVersion?: string },
): Answer {
  const { faults, version, apiVersion = 'v1' } = of
  const labelSelector = query.get('labelSelector') ?? ''
  const fieldSelector = query.get('fieldSelector') ?? ''
  let chosen: readonly Listed[]
  try {
    const byLabel = labelTerms(labelSelector)
    chosen = all.filter((one) => byLabel(one.labels) && fieldTerms(fieldSelector, one.fields))
  } catch (error) {
    return badRequest(error instanceof Error ? error.message : String(error))
  }
  const sorted = chosen.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const token = query.get('continue')
  let after = ''
  if (token) {
    const decoded = Buffer.from(token, 'base64').toString()
    if (!decoded.startsWith('after ')) return badRequest('continue key is not valid: encoded resource version')
    if (faults.expireContinue > 0) {
      faults.expireContinue -= 1
      const message = 'The provided continue parameter is too old to display a consistent list result.'
      const { body, ...expired } = statusAnswer(410, 'Expired', message)
      // A fresh token, which would go on with what there is by now.
      return { ...expired, body: { ...(body as object), metadata: { continue: token } } }
    }
    after = decoded.slice('after '.length)
  }
  const limit = Number(query.get('limit') ?? 0) || sorted.length
  const rest = sorted.filter(({ key }) => key > after)
  const page = rest.slice(0, limit)
  const remaining = rest.length - page.length
  return {
    status: 200,
    body: {
      kind: `${kind}List`,
      apiVersion,
      metadata: {
        resourceVersion: String(version),
        ...(remaining > 0 ? { continue: Buffer.from(`after ${page.at(-1)?.key}`).toString('base64') } : {}),
        ...(remaining > 0 && labelSelector === '' && fieldSelector === '' ? { remainingItemCount: remaining } : {}),
      },
      items: page.map(({ json }) => json),
    },
  }
}

export function podRoutes(world: World, faults: Faults): Route {
  return (request) => {
    const { path, query, refused, method } = request
    const [api, v1, scope, namespace, resource, name, subresource] = path
    if (api !== 'api' || v1 !== 'v1') return undefined
    const isAll = scope === 'pods' && path.length === 3
    const isList = isAll || (scope === 'namespaces' && resource === 'pods' && path.length === 5)
    const isOne = scope === 'namespaces' && resource === 'pods' && path.length >= 6
    if (!isList && !isOne) return undefined
    if (isList) {
      if (method !== 'GET')
        return statusAnswer(405, 'MethodNotAllowed', `the server does not allow this method on the requested resource`)
      const no = refused({ verb: 'list', group: '', resource: 'pods', name: '', namespace: isAll ? undefined : namespace })
      if (no) return no
      const pods = world.pods().filter((pod) => isAll || pod.namespace === namespace)
      const listed = pods.map((pod) => ({
        key: `${pod.namespace}/${pod.name}`,
        labels: pod.labels,
        fields: podFields(pod),
        json: podJson(pod),
      }))
      return listAnswer('Pod', listed, query, { faults, version: world.version() })
    }
    if (subresource !== undefined || method !== 'GET') return undefined
    const no = refused({ verb: 'get', group: '', resource: 'pods', name: name ?? '', namespace })
    if (no) return no
    const pod = world.find(namespace ?? '', name ?? '')
    return pod ? { status: 200, body: podJson(pod) } : notFound('pods', name ?? '')
  }
}

type Review = {
  spec?: {
    resourceAttributes?: {
      namespace?: string
      verb?: string
      group?: string
      resource?: string
      subresource?: string
      name?: string
    }
  }
}

/** SelfSubjectAccessReview: for everybody who is somebody (the built-in system:basic-user). */
export const accessRoutes: Route = ({ path, method, body, person }) => {
  if (path.join('/') !== 'apis/authorization.k8s.io/v1/selfsubjectaccessreviews' || method !== 'POST') return undefined
  const asked = { verb: 'create', group: 'authorization.k8s.io', resource: 'selfsubjectaccessreviews', name: '' }
  if (person === ANONYMOUS) return forbidden(person.name, asked)
  const review = JSON.parse(body) as Review
  const { namespace, verb = '', group = '', resource = '', subresource, name = '' } = review.spec?.resourceAttributes ?? {}
  const full = subresource ? `${resource}/${subresource}` : resource
  const allowed = may(person, { verb, group, resource: full, name, namespace: namespace || undefined })
  return {
    status: 201,
    body: { kind: 'SelfSubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', ...review, status: { allowed } },
  }
}

export function versionRoute(minor: () => number): Route {
  return ({ path }) =>
    path.length === 1 && path[0] === 'version'
      ? { status: 200, body: { major: '1', minor: String(minor()), gitVersion: `v1.${minor()}.2`, platform: 'linux/amd64' } }
      : undefined
}
