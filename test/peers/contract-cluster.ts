/** The pretend cluster that the backend contract is played on, with real processes, and what a way to it has to add. */

import { expect, vi } from 'vitest'
import type { Backend } from '../../src/core/ports.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import type { BackendFixture } from '../contract/backend.ts'
import { processEngine } from './engine-process.ts'
import { localProcesses } from './local-processes.ts'

export async function contractCluster(minor: number) {
  const engine = processEngine()
  const peer = await startKubernetesPeer({
    minor,
    engine,
    pods: [
      { namespace: 'shop', name: 'web-1', labels: { app: 'web' }, owner: { kind: 'StatefulSet', name: 'web' } },
      { namespace: 'shop', name: 'bare-1', containers: [{ name: 'app', shell: false }] },
      { namespace: 'shop', name: 'stopped-1' },
    ],
  })
  /** `before`: what stands between the backend and the cluster. */
  const fixture = async (
    backend: Backend,
    before: {
      openConnections(): number
      /** Absent: never again. */
      breakAfter(bytes: number | undefined): void
      close(): Promise<void>
    },
  ): Promise<BackendFixture> => {
    const all = await backend.list({}, AbortSignal.timeout(10_000))
    const named = (name: string) => all.find((one) => one.name === name)!
    await peer.world.stop('shop', 'stopped-1')
    return {
      backend,
      target: named('web-1'),
      bare: named('bare-1'),
      stopped: named('stopped-1'),
      processesInside: async (_, needle) => localProcesses(needle),
      openConnections: before.openConnections,
      breakAfter: (bytes) => before.breakAfter(bytes === 0 ? undefined : bytes),
      async tearDown() {
        // What the last test left behind sleeps for a few seconds more.
        await vi.waitFor(() => expect(engine.pids()).toEqual([]), { timeout: 10_000 })
        await before.close()
        await peer.close()
      },
    }
  }
  return { peer, fixture }
}
