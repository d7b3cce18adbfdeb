/** What an agent beside a Kubernetes cluster lets pass: looking at pods and commands in them, in the namespaces that its file names. */

import * as z from 'zod'
import { bodyOf, type Call, type Fence, only, type Passed, partsOf, quoted, Refusal, unknownCall } from './fence.ts'

const LIST = ['limit', 'continue', 'labelSelector', 'fieldSelector', 'resourceVersion']
const EXEC = ['container', 'command', 'stdin', 'stdout', 'stderr', 'tty']
const POD = /^[a-z0-9][-a-z0-9.]*$/

const text = z.string().max(253)
/** What drover may do, as the check asks it: a question that changes nothing. */
const Review = z.strictObject({
  apiVersion: text.optional(),
  kind: text.optional(),
  spec: z.strictObject({
    resourceAttributes: z
      .strictObject({ group: text, resource: text, subresource: text, verb: text, namespace: text, name: text, version: text })
      .partial()
      .optional(),
  }),
})

/** `namespaces`: absent for all of them, which the file has to say. `prefix`: what comes before the API's own paths. */
export function kubernetesFence(namespaces: readonly string[] | undefined, prefix: readonly string[] = []): Fence {
  const inside = (namespace: string | undefined): void => {
    if (namespace === undefined || (namespaces !== undefined && !namespaces.includes(namespace)))
      throw new Refusal(`the namespace ${quoted(namespace ?? '(all of them)')} is not on its list`)
  }

  return async (call) => {
    if (Object.keys(call.headers).some((name) => name.startsWith('impersonate-')))
      throw new Refusal('it does not take the gateway’s word for who asks (Impersonate-User)')
    const { segments, query } = partsOf(call.path, ['command'])
    if (prefix.some((one, i) => segments[i] !== one)) throw unknownCall(call)
    const [api, version, ...rest] = segments.slice(prefix.length)
    const path = `/${segments.join('/')}`
    const is = (kind: Call['kind'], method: string) => call.kind === kind && call.method === method
    const get = (search: string): Passed => ({ method: 'GET', path: `${path}${search}` })

    if (is('http', 'GET') && segments.length === prefix.length + 1 && api === 'version') return get(only(query, []))
    if (
      is('http', 'POST') &&
      api === 'apis' &&
      version === 'authorization.k8s.io' &&
      rest.join('/') === 'v1/selfsubjectaccessreviews'
    )
      return { method: 'POST', path: `${path}${only(query, [])}`, body: bodyOf(Review, call, 'an access review') }
    if (api !== 'api' || version !== 'v1') throw unknownCall(call)
    const [what, namespace, kind, name, sub, ...more] = rest
    if (what === 'pods' && rest.length === 1 && is('http', 'GET')) {
      inside(namespaces === undefined ? '' : undefined)
      return get(only(query, LIST))
    }
    if (what !== 'namespaces' || kind !== 'pods' || more.length > 0) throw unknownCall(call)
    inside(namespace)
    if (name !== undefined && !POD.test(name)) throw unknownCall(call)
    if (is('http', 'GET') && name === undefined) return get(only(query, LIST))
    if (is('http', 'GET') && sub === undefined) return get(only(query, []))
    // `get` on it is enough for some servers, so a plain GET is not let through as a look (S40).
    if (is('socket', 'GET') && sub === 'exec') return get(only(query, EXEC))
    throw unknownCall(call)
  }
}
