/** The backend contract on a pretend Rancher 1.x of each generation, over real containers. */

import { execFileSync } from 'node:child_process'
import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import { dockerEngine } from '../../src/playground/rancher/engine-docker.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'

const docker = (...args: string[]) => execFileSync('docker', args, { encoding: 'utf8' })

for (const generation of ['A', 'B0', 'B'] as const) {
  backendContract(`Rancher 1.x, generation ${generation}, real containers`, async () => {
    const peer = await startRancherPeer({
      generation,
      engine: await dockerEngine(),
      world: [{ name: 'shop-web-1', stack: 'shop', service: 'web', labels: { app: 'web' } }, { name: 'stopped-1' }],
    })
    const { accessKey, secretKey } = peer.environmentKey
    const backend = rancher1({ name: 'prod', url: peer.url, accessKey, secretKey }, nodeTransport())
    const all = await backend.list({}, AbortSignal.timeout(10_000))
    const named = (name: string) => all.find((one) => one.name === name)!
    peer.containers.stop('stopped-1')
    const container = docker('ps', '--format', '{{.Names}}')
      .split('\n')
      .find((name) => name.endsWith('-shop-web-1'))!
    return {
      backend,
      target: named('shop-web-1'),
      stopped: named('stopped-1'),
      processesInside: async (_, needle) =>
        docker('top', container, '-eo', 'pid,stat,args')
          .split('\n')
          .filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line)),
      openConnections: () => peer.seen.openSockets(),
      breakAfter: (bytes) => {
        peer.faults.closeAfterBytes = bytes === 0 ? undefined : bytes
      },
      tearDown: () => peer.close(),
    }
  })
}
