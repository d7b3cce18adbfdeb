/** What an agent beside a Rancher 2 server lets pass: looks at one cluster, and through its proxy what it lets pass to Kubernetes. */

import { type Fence, only, partsOf, unknownCall } from './fence.ts'
import { kubernetesFence } from './fence-kubernetes.ts'

const LIST = ['limit', 'marker', 'clusterId', 'sort', 'order', 'state', 'name']
/** Of Rancher's own API these are read, and nothing is written. */
const LOOKS = ['clusters', 'projects', 'settings']

export function rancher2Fence(cluster: string, namespaces: readonly string[]): Fence {
  const inside = kubernetesFence(namespaces, ['k8s', 'clusters', cluster])
  return async (call, signal) => {
    const { segments, query } = partsOf(call.path, ['command'])
    if (segments[0] === 'k8s') return inside(call, signal)
    if (call.kind !== 'http' || call.method !== 'GET' || segments[0] !== 'v3' || segments.length > 3) throw unknownCall(call)
    const [, kind, id] = segments
    if (kind !== undefined && !LOOKS.includes(kind)) throw unknownCall(call)
    if (kind === 'clusters' && id !== undefined && id !== cluster) throw unknownCall(call)
    if (kind === 'projects' && id !== undefined && !id.startsWith(`${cluster}:`)) throw unknownCall(call)
    return { method: 'GET', path: `/${segments.join('/')}${only(query, LIST)}` }
  }
}
