/** The backend contract on a pretend Rancher 2 before Kubernetes of several ages, over real processes. */

import { rancher2 } from '../../src/backends/rancher2/backend.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { contractCluster } from '../peers/contract-cluster.ts'

/** One cluster that speaks only v4, and one that speaks v5. */
for (const minor of [20, 35]) {
  backendContract(`Rancher 2 before Kubernetes 1.${minor}, real processes`, async () => {
    const { peer: cluster, fixture } = await contractCluster(minor)
    const peer = await startRancher2Peer({
      upstream: { url: cluster.url, token: cluster.token('admin') },
      users: { member: { user: 'exec-user' } },
    })
    const token = bearerOf(peer.keys.member)
    return await fixture(rancher2({ name: 'rancher', url: peer.url, token }, { transport: nodeTransport }), {
      openConnections: peer.seen.openSockets,
      breakAfter(bytes) {
        peer.faults.breakAfterBytes = bytes
      },
      close: peer.close,
    })
  })
}
