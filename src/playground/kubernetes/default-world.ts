/** The cluster of the playground: one deployment, in a namespace of its own, that moves slowly enough to be watched. */

import { defaultPeople } from './access.ts'
import { appsRoutes } from './apps.ts'
import { type KubernetesPeer, startKubernetesPeer } from './peer.ts'

export const NAMESPACE = 'store'
/** What there is to roll out; the last is in no registry. */
export const IMAGES = ['drover-test/busybox:1', 'drover-test/busybox:2', 'drover-test/busybox:missing']
const DEPLOYMENTS = `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`
/** Between two steps of a change; while the world is made there is nobody to watch. */
const WATCHED_MS = 400
const READY_MS = 10_000

const api = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'api', namespace: NAMESPACE, labels: { 'example.com/team': 'store' } },
  spec: {
    replicas: 3,
    selector: { matchLabels: { 'example.com/part': 'store-api' } },
    template: {
      metadata: { labels: { 'example.com/part': 'store-api' } },
      spec: {
        containers: [{ name: 'main', image: 'drover-test/busybox:1', env: [{ name: 'LOG_LEVEL', value: 'info' }] }],
      },
    },
  },
}

export async function startDefaultCluster(): Promise<KubernetesPeer> {
  const pace = { paceMs: 1 }
  const peer = await startKubernetesPeer({ routes: appsRoutes(pace), people: defaultPeople([NAMESPACE]) })
  const headers = { authorization: `Bearer ${peer.token('admin')}`, 'content-type': 'application/json' }
  const made = await fetch(peer.url + DEPLOYMENTS, { method: 'POST', headers, body: JSON.stringify(api) })
  if (made.status !== 201) throw new Error(`the pretend cluster made no deployment: ${made.status}`)
  for (const until = Date.now() + READY_MS; Date.now() < until; await new Promise((resolve) => setTimeout(resolve, 5))) {
    const now = await fetch(`${peer.url}${DEPLOYMENTS}/api`, { headers })
    const { status } = (await now.json()) as { status?: { availableReplicas?: number } }
    if (status?.availableReplicas === api.spec.replicas) break
  }
  pace.paceMs = WATCHED_MS
  return peer
}
