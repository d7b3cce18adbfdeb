import { expect, vi } from 'vitest'
import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'
import { localProcesses } from '../peers/local-processes.ts'

for (const generation of ['A', 'B0', 'B'] as const) {
  backendContract(`Rancher 1.x, generation ${generation}, real processes`, async () => {
    const engine = processEngine()
    const peer = await startRancherPeer({
      generation,
      engine,
      world: [
        { name: 'shop-web-1', stack: 'shop', service: 'web', labels: { app: 'web' } },
        { name: 'bare-1', shell: false },
        { name: 'stopped-1' },
      ],
    })
    const { accessKey, secretKey } = peer.environmentKey
    const backend = rancher1({ name: 'prod', url: peer.url, accessKey, secretKey }, nodeTransport())
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
        // What the last test left behind sleeps for a few seconds more.
        await vi.waitFor(() => expect(engine.pids()).toEqual([]), { timeout: 10_000 })
        await peer.close()
      },
    }
  })
}
