import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import type { Pace } from '../../src/backends/wire/rollout.ts'
import { workloadsContract } from '../contract/workloads.ts'
import { counting, kubernetesFixture } from '../peers/kubernetes-workloads.ts'
import { cluster, connectAs } from './kubernetes-cluster.ts'

/** A kubelet takes its time: a crash shows after seconds. */
const pace: Pace = { pollMs: 300, maxPollMs: 1_000, settleMs: 1_000, brokenMs: 15_000, stillMs: 60_000, silentMs: 20_000 }

for (const kind of ['deployment', 'statefulset', 'daemonset'] as const) {
  workloadsContract(`a real Kubernetes, ${kind}s`, async () => {
    const seen: string[] = []
    const way = connectAs('admin')
    const backend = kubernetesOver(
      { ...way, transport: counting(way.transport, seen) },
      { name: 'prod', namespaces: [cluster.namespace], pace },
    )
    const { url, ca, namespace, tokens } = cluster
    const prefix = `${kind.slice(0, 2)}${Date.now().toString(36)}-`
    return kubernetesFixture(
      { url, ca, namespace, token: tokens.admin },
      { workloads: backend.workloads!, kind, seen, prefix, settleMs: 60_000 },
    )
  })
}
