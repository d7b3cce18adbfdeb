/** Rancher 1.x, Rancher 2 and Kubernetes through an agent, which alone knows where they are and has their keys. */

import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import { parseConfig } from '../../src/config.ts'
import { Secret } from '../../src/core/secret.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { createBackends } from '../../src/rooms.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerKinds } from '../../src/worker-kinds.ts'
import { backendContract } from '../contract/backend.ts'
import { contractCluster } from '../peers/contract-cluster.ts'
import { contractRancher1 } from '../peers/contract-rancher1.ts'
import { startLink } from './link.ts'

const kept = 'kept-by:the-agent'

backendContract('Rancher 1.x through an agent', async () => {
  const { peer, fixture } = await contractRancher1('B')
  const { accessKey, secretKey } = peer.environmentKey
  const link = await startLink({
    file: `engine: { kind: rancher1, url: ${peer.url}, project: 1a5, accessKey: { env: A }, secretKey: { env: S } }`,
    env: { A: accessKey, S: secretKey },
  })
  const options = { name: 'prod', url: 'https://lab.agent', accessKey: kept, secretKey: kept, project: '1a5' }
  return await fixture(rancher1(options, link.transport), () => link.close())
})

backendContract('Kubernetes through an agent', async () => {
  const { peer, fixture } = await contractCluster(35)
  const link = await startLink({
    file: `engine: { kind: kubernetes, server: ${peer.url}, token: { env: TOKEN }, namespaces: [shop] }`,
    env: { TOKEN: peer.token('exec-user') },
  })
  const settings = { server: 'https://lab.agent', token: new Secret(kept), namespaces: ['shop'], impersonate: 'none' } as const
  return await fixture(kubernetes('kube', settings, { transport: () => link.transport }), {
    openConnections: peer.seen.openSockets,
    breakAfter(bytes) {
      peer.faults.dropAfterBytes = bytes
    },
    close: () => link.close(),
  })
})

backendContract('Rancher 2 through an agent', async () => {
  const { peer: cluster, fixture } = await contractCluster(35)
  const peer = await startRancher2Peer({
    upstream: { url: cluster.url, token: cluster.token('admin') },
    users: { member: { user: 'exec-user' } },
  })
  const link = await startLink({
    file: `engine: { kind: rancher2, url: ${peer.url}, token: { env: TOKEN }, cluster: c-abc12, namespaces: [shop] }`,
    env: { TOKEN: bearerOf(peer.keys.member) },
  })
  const text = `agents: { lab: { key: '${link.publicKey}' } }
backends: { rancher: { kind: rancher2, through: lab, cluster: c-abc12, namespaces: [shop] } }`
  const outside = { transport: nodeTransport, kinds: workerKinds, agents: () => link.transport }
  const [backend] = createBackends(parseConfig(text, 'drover.yaml', {}), outside)
  return await fixture(backend!, {
    openConnections: peer.seen.openSockets,
    breakAfter(bytes) {
      peer.faults.breakAfterBytes = bytes
    },
    close: async () => {
      await link.close()
      await peer.close()
    },
  })
})
