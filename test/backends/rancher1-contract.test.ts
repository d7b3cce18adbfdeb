/** The backend contract on a pretend Rancher 1.x of each generation, over real processes. */

import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { contractRancher1 } from '../peers/contract-rancher1.ts'

for (const generation of ['A', 'B0', 'B'] as const) {
  backendContract(`Rancher 1.x, generation ${generation}, real processes`, async () => {
    const { peer, fixture } = await contractRancher1(generation)
    const { accessKey, secretKey } = peer.environmentKey
    return await fixture(rancher1({ name: 'prod', url: peer.url, accessKey, secretKey }, nodeTransport()))
  })
}
