import { execFileSync } from 'node:child_process'
import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { execRights, roleYaml, rolloutRights } from '../../src/backends/kubernetes/rights.ts'
import type { Pace } from '../../src/backends/wire/rollout.ts'
import { workloadsContract } from '../contract/workloads.ts'
import { counting, crashing, kubernetesFixture } from '../peers/kubernetes-workloads.ts'
import { cluster, connectAs } from './kubernetes-cluster.ts'

/** A kubelet takes its time: a crash shows after seconds. */
const pace: Pace = {
  pollMs: 300,
  maxPollMs: 1_000,
  holdMs: 300,
  settleMs: 1_000,
  brokenMs: 15_000,
  stillMs: 60_000,
  silentMs: 20_000,
}

/** Has the rights that drover's documentation asks for, and no more. */
const user = 'rollouts-of-drover'

function grant(): void {
  const rights = [...execRights, ...rolloutRights]
  const input = roleYaml(rights, [cluster.namespace], { kind: 'User', name: user }, user)
  execFileSync(process.env.KUBECTL ?? 'kubectl', ['apply', '-f', '-'], { input, stdio: ['pipe', 'ignore', 'inherit'] })
}

for (const kind of ['deployment', 'statefulset', 'daemonset'] as const) {
  workloadsContract(`a real Kubernetes, ${kind}s`, async () => {
    grant()
    const seen: string[] = []
    const way = connectAs('admin')
    const headers = async (signal: AbortSignal) => ({ ...(await way.headers(signal)), 'Impersonate-User': user })
    const workloadsAt = (pace: Pace) =>
      kubernetesOver(
        { ...way, headers, transport: counting(way.transport, seen) },
        { name: 'prod', namespaces: [cluster.namespace], pace },
      ).workloads!
    const { url, ca, namespace, tokens } = cluster
    const prefix = `${kind.slice(0, 2)}${Date.now().toString(36)}-`
    return kubernetesFixture(
      { url, ca, namespace, token: tokens.admin },
      {
        workloads: workloadsAt(pace),
        kind,
        seen,
        prefix,
        settleMs: 60_000,
        lastWords: { ...crashing, watchedBy: workloadsAt({ ...pace, holdMs: 5_000 }) },
      },
    )
  })
}
