/** The logs of pods: plain text, from the end, within bounds; a container that never began has none. */

import type { Route } from './http-api.ts'
import { type Answer, badRequest, notFound } from './status.ts'
import type { World } from './world.ts'

export function podLogRoute(world: World): Route {
  return ({ path, query, method, refused }): Answer | undefined => {
    const [api, v1, scope, namespace = '', resource, name = '', subresource, ...more] = path
    if (api !== 'api' || v1 !== 'v1' || scope !== 'namespaces' || resource !== 'pods' || subresource !== 'log') return undefined
    if (method !== 'GET' || more.length > 0) return undefined
    const no = refused({ verb: 'get', group: '', resource: 'pods/log', name, namespace })
    if (no) return no
    const pod = world.find(namespace, name)
    if (!pod) return notFound('pods', name)
    const wanted = query.get('container') ?? pod.containers[0]?.name
    const container = pod.containers.find((one) => one.name === wanted)
    if (!container) return badRequest(`container ${wanted} is not valid for pod ${name}`)
    const { problem, logs = [] } = container
    const at = `container "${wanted}" in pod "${name}"`
    if (problem && problem.exitCode === undefined) {
      const why = problem.reason.includes('Image') ? 'trying and failing to pull image' : problem.reason
      return badRequest(`${at} is waiting to start: ${why}`)
    }
    if (query.get('previous') === 'true' && problem === undefined) return badRequest(`previous terminated ${at} not found`)
    const tail = Number(query.get('tailLines') ?? logs.length)
    const lines = tail === 0 ? [] : logs.slice(-tail)
    const text = lines.map((line) => `${line}\n`).join('')
    const body = text.slice(0, Number(query.get('limitBytes') ?? text.length))
    return { status: 200, body, headers: { 'Content-Type': 'text/plain' } }
  }
}
