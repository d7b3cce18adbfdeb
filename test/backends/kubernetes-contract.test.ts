/** The backend contract on a pretend Kubernetes of several ages, over real processes. */

import { kubernetesOver } from '../../src/backends/kubernetes/backend.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { contractCluster } from '../peers/contract-cluster.ts'

/** One API server that speaks only v4, and one that speaks v5 and wants both verbs. */
for (const minor of [20, 35]) {
  backendContract(`Kubernetes 1.${minor}, real processes`, async () => {
    const { peer, fixture } = await contractCluster(minor)
    const headers = async () => ({ authorization: `Bearer ${peer.token('exec-user')}` })
    const backend = kubernetesOver({ server: peer.url, headers, transport: nodeTransport(), namespace: 'shop' }, { name: 'kube' })
    return await fixture(backend, {
      openConnections: peer.seen.openSockets,
      breakAfter(bytes) {
        peer.faults.dropAfterBytes = bytes
      },
      close: async () => {},
    })
  })
}
