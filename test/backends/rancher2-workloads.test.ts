import { rancher2 } from '../../src/backends/rancher2/backend.ts'
import { appsRoutes } from '../../src/playground/kubernetes/apps.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { quickPace, workloadsContract } from '../contract/workloads.ts'
import { counting, kubernetesFixture } from '../peers/kubernetes-workloads.ts'

for (const mode of ['proxy', 'v3'] as const) {
  workloadsContract(`Rancher 2, mode ${mode}`, async () => {
    const behind = await startKubernetesPeer({ routes: appsRoutes() })
    const peer = await startRancher2Peer({
      upstream: { url: behind.url, token: behind.token('admin') },
      projects: [{ id: 'c-abc12:p-def34', name: 'Shop', namespaces: ['default'] }],
      users: { member: { user: 'admin' } },
    })
    const seen: string[] = []
    const backend = rancher2(
      { name: 'rancher', url: peer.url, token: bearerOf(peer.keys.member), project: 'c-abc12:p-def34', mode, pace: quickPace },
      { transport: (reach) => counting(nodeTransport(reach), seen) },
    )
    const fixture = kubernetesFixture(
      { url: behind.url, token: behind.token('admin'), namespace: 'default' },
      {
        workloads: backend.workloads!,
        kind: 'deployment',
        seen,
        prefix: 'api',
        settleMs: 5_000,
        lastWords: { image: 'drover-test/busybox:crashing', text: 'cannot find the database' },
        loseAnswer: () =>
          void peer.faults.http.push({
            match: mode === 'v3' ? 'PUT /v3' : 'PATCH /k8s',
            answer: { status: 502, body: '' },
            times: 1,
          }),
      },
    )
    return {
      ...fixture,
      async tearDown() {
        await peer.close()
        await behind.close()
      },
    }
  })
}
