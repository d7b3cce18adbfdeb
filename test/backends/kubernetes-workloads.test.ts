/** The contract of workloads on a pretend Kubernetes, for each of its kinds. */

import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { quickPace, workloadsContract } from '../contract/workloads.ts'
import { ask, counting, type Kind, kubernetesFixture } from '../peers/kubernetes-workloads.ts'

for (const kind of ['deployment', 'statefulset', 'daemonset'] as const satisfies readonly Kind[]) {
  workloadsContract(`a pretend Kubernetes, ${kind}s`, async () => {
    // Slower than drover looks, so that what is half done is seen.
    const peer = await startKubernetesPeer({ routes: appsRoutes({ paceMs: 40 }) })
    const seen: string[] = []
    // With drover's own Role and no more; what the test itself does, it does as the administrator.
    const backend = kubernetesOver(
      {
        server: peer.url,
        headers: async () => ({ authorization: `Bearer ${peer.token('exec-user')}` }),
        transport: counting(nodeTransport(), seen),
      },
      { name: 'prod', namespaces: ['default'], pace: quickPace },
    )
    const cluster = { url: peer.url, token: peer.token('admin'), namespace: 'default' }
    const fixture = kubernetesFixture(cluster, {
      workloads: backend.workloads!,
      kind,
      seen,
      prefix: 'api',
      settleMs: 5_000,
      lastWords: { image: 'drover-test/busybox:crashing', text: 'cannot find the database' },
      loseAnswer: () => void peer.faults.http.push({ match: /^PATCH /, status: 502, body: '' }),
      conflict(target, times, moved) {
        const { service } = target.facets
        const path = `/apis/apps/v1/namespaces/default/${kind}s/${service}`
        const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'Conflict', message: 'modified', code: 409 }
        const fault = { match: new RegExp(`^PATCH .*/${service}\\?fieldManager`), status: 409, body, times }
        peer.faults.http.push({
          ...fault,
          get body() {
            // While drover's patch is on its way, another client's comes first.
            if (moved) void ask(cluster, 'PATCH', path, { spec: { minReadySeconds: 1 } }, 'application/merge-patch+json')
            return body
          },
        })
      },
    })
    return { ...fixture, tearDown: () => peer.close() }
  })
}
