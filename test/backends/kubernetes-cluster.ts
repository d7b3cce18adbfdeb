/** A pretend cluster and a backend on it, as the tests of the kind `kubernetes` begin. */

import { onTestFinished } from 'vitest'
import type { Connect } from '../../src/backends/kubernetes/api.ts'
import { type KubernetesOptions, kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import type { PersonName } from '../../src/playground/kubernetes/access.ts'
import { type KubernetesPeer, type KubernetesPeerOptions, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'

export const soon = () => AbortSignal.timeout(15_000)

export async function peerWith(options: KubernetesPeerOptions): Promise<KubernetesPeer> {
  const peer = await startKubernetesPeer(options)
  onTestFinished(() => peer.close())
  return peer
}

export function connectTo(peer: Pick<KubernetesPeer, 'url' | 'token'>, who: PersonName = 'exec-user'): Connect {
  return {
    server: peer.url,
    namespace: 'shop',
    headers: async () => ({ authorization: `Bearer ${peer.token(who)}` }),
    transport: nodeTransport(),
  }
}

export function backendOn(
  peer: Pick<KubernetesPeer, 'url' | 'token'>,
  options: Partial<KubernetesOptions> & { who?: PersonName } = {},
) {
  return kubernetesOver(connectTo(peer, options.who), { name: 'kube', ...options })
}
