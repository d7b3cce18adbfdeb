import { expect, vi } from 'vitest'
import { rancher2 } from '../../src/backends/rancher2/backend.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { bearerOf, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'
import { localProcesses } from '../peers/local-processes.ts'

/** One cluster that speaks only v4, and one that speaks v5. */
for (const minor of [20, 35]) {
  backendContract(`Rancher 2 before Kubernetes 1.${minor}, real processes`, async () => {
    const engine = processEngine()
    const cluster = await startKubernetesPeer({
      minor,
      engine,
      pods: [
        { namespace: 'shop', name: 'web-1', labels: { app: 'web' }, owner: { kind: 'StatefulSet', name: 'web' } },
        { namespace: 'shop', name: 'bare-1', containers: [{ name: 'app', shell: false }] },
        { namespace: 'shop', name: 'stopped-1' },
      ],
    })
    const peer = await startRancher2Peer({
      upstream: { url: cluster.url, token: cluster.token('admin') },
      users: { member: { user: 'exec-user' } },
    })
    const token = bearerOf(peer.keys.member)
    const backend = rancher2({ name: 'rancher', url: peer.url, token }, { transport: nodeTransport })
    const all = await backend.list({}, AbortSignal.timeout(10_000))
    const named = (name: string) => all.find((one) => one.name === name)!
    await cluster.world.stop('shop', 'stopped-1')
    return {
      backend,
      target: named('web-1'),
      bare: named('bare-1'),
      stopped: named('stopped-1'),
      processesInside: async (_, needle) => localProcesses(needle),
      openConnections: peer.seen.openSockets,
      breakAfter: (bytes) => {
        peer.faults.breakAfterBytes = bytes === 0 ? undefined : bytes
      },
      tearDown: async () => {
        // What the last test left behind sleeps for a few seconds more.
        await vi.waitFor(() => expect(engine.pids()).toEqual([]), { timeout: 10_000 })
        await peer.close()
        await cluster.close()
      },
    }
  })
}
