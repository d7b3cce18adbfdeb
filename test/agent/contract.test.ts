/** Rancher 1.x, Rancher 2 and Kubernetes through an agent, which alone knows where they are and has their keys. */

import { expect, vi } from 'vitest'
import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import { parseConfig } from '../../src/config.ts'
import { Secret } from '../../src/core/secret.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { createBackends } from '../../src/rooms.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerKinds } from '../../src/worker-kinds.ts'
import { backendContract } from '../contract/backend.ts'
import { contractCluster } from '../peers/contract-cluster.ts'
import { processEngine } from '../peers/engine-process.ts'
import { localProcesses } from '../peers/local-processes.ts'
import { startLink } from './link.ts'

const kept = 'kept-by:the-agent'

backendContract('Rancher 1.x through an agent', async () => {
  const engine = processEngine()
  const peer = await startRancherPeer({
    generation: 'B',
    engine,
    world: [
      { name: 'shop-web-1', stack: 'shop', service: 'web', labels: { app: 'web' } },
      { name: 'bare-1', shell: false },
      { name: 'stopped-1' },
    ],
  })
  const { accessKey, secretKey } = peer.environmentKey
  const link = await startLink({
    file: `engine: { kind: rancher1, url: ${peer.url}, project: 1a5, accessKey: { env: A }, secretKey: { env: S } }`,
    env: { A: accessKey, S: secretKey },
  })
  const options = { name: 'prod', url: 'https://lab.agent', accessKey: kept, secretKey: kept, project: '1a5' }
  const backend = rancher1(options, link.transport)
  const all = await backend.list({}, AbortSignal.timeout(10_000))
  const named = (name: string) => all.find((one) => one.name === name)!
  peer.containers.stop('stopped-1')
  return {
    backend,
    target: named('shop-web-1'),
    bare: named('bare-1'),
    stopped: named('stopped-1'),
    processesInside: async (_, needle) => localProcesses(needle),
    openConnections: () => peer.seen.openSockets(),
    breakAfter: (bytes) => {
      peer.faults.closeAfterBytes = bytes === 0 ? undefined : bytes
    },
    tearDown: async () => {
      await vi.waitFor(() => expect(engine.pids()).toEqual([]), { timeout: 10_000 })
      await link.close()
      await peer.close()
    },
  }
})

backendContract('Kubernetes through an agent', async () => {
  const engine = processEngine()
  const peer = await startKubernetesPeer({
    minor: 35,
    engine,
    pods: [
      { namespace: 'shop', name: 'web-1', labels: { app: 'web' }, owner: { kind: 'StatefulSet', name: 'web' } },
      { namespace: 'shop', name: 'bare-1', containers: [{ name: 'app', shell: false }] },
      { namespace: 'shop', name: 'stopped-1' },
    ],
  })
  const link = await startLink({
    file: `engine: { kind: kubernetes, server: ${peer.url}, token: { env: TOKEN }, namespaces: [shop] }`,
    env: { TOKEN: peer.token('exec-user') },
  })
  const settings = { server: 'https://lab.agent', token: new Secret(kept), namespaces: ['shop'], impersonate: 'none' } as const
  const backend = kubernetes('kube', settings, { transport: () => link.transport })
  const all = await backend.list({}, AbortSignal.timeout(10_000))
  const named = (name: string) => all.find((one) => one.name === name)!
  await peer.world.stop('shop', 'stopped-1')
  return {
    backend,
    target: named('web-1'),
    bare: named('bare-1'),
    stopped: named('stopped-1'),
    processesInside: async (_, needle) => localProcesses(needle),
    openConnections: peer.seen.openSockets,
    breakAfter: (bytes) => {
      peer.faults.dropAfterBytes = bytes === 0 ? undefined : bytes
    },
    tearDown: async () => {
      await vi.waitFor(() => expect(engine.pids()).toEqual([]), { timeout: 10_000 })
      await link.close()
      await peer.close()
    },
  }
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
