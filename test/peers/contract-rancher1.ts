/** The pretend Rancher 1.x that the backend contract is played on, with real processes, and what a way to it has to add. */

import { expect, vi } from 'vitest'
import type { Backend } from '../../src/core/ports.ts'
import { type Generation, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import type { BackendFixture } from '../contract/backend.ts'
import { processEngine } from './engine-process.ts'
import { localProcesses } from './local-processes.ts'

export async function contractRancher1(generation: Generation) {
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
  /** `close`: of what stands between the backend and Rancher. */
  const fixture = async (backend: Backend, close?: () => Promise<void>): Promise<BackendFixture> => {
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
      async tearDown() {
        // What the last test left behind sleeps for a few seconds more.
        await vi.waitFor(() => expect(engine.pids()).toEqual([]), { timeout: 10_000 })
        await close?.()
        await peer.close()
      },
    }
  }
  return { peer, fixture }
}
