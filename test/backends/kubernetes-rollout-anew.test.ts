/** A workload that is made anew, under the name of another, while a rollout of that one is on its way. */

import { expect, test } from 'vitest'
import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf } from '../contract/backend.ts'
import { quickPace } from '../contract/workloads.ts'
import { ask } from '../peers/kubernetes-workloads.ts'
import { soon } from './kubernetes-cluster.ts'

const base = '/apis/apps/v1/namespaces/default/deployments'

function deployment(tier: string) {
  const labels = { app: 'api', tier }
  const containers = [{ name: 'main', image: 'drover-test/busybox:1' }]
  const spec = {
    replicas: 1,
    selector: { matchLabels: { app: 'api' } },
    template: { metadata: { labels }, spec: { containers } },
  }
  return { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'api', labels }, spec }
}

test('S21 [default-deny] what was judged was the one before: nothing is planned for the other, and nothing is sent', async () => {
  const peer = await startKubernetesPeer({ routes: appsRoutes() })
  try {
    const cluster = { url: peer.url, token: peer.token('admin'), namespace: 'default' }
    const { workloads } = kubernetesOver(
      { server: peer.url, headers: async () => ({ authorization: `Bearer ${cluster.token}` }), transport: nodeTransport() },
      { name: 'prod', namespaces: ['default'], pace: quickPace },
    )
    expect((await ask(cluster, 'POST', base, deployment('web'))).status).toBe(201)
    const [judged] = await workloads!.list({}, soon())
    await ask(cluster, 'DELETE', `${base}/api?propagationPolicy=Background`)
    expect((await ask(cluster, 'POST', base, deployment('payments'))).status).toBe(201)
    const scale = { verb: 'scale', replicas: 0 } as const
    const error = await failureOf(workloads!.plan(judged!, scale, soon()))
    expect([error.code, error.ran]).toEqual(['changed', 'no'])
    const [now] = await workloads!.list({}, soon())
    expect((await workloads!.plan(now!, scale, soon())).facts).toContainEqual({ name: 'replicas', before: '1', after: '0' })
  } finally {
    await peer.close()
  }
})
