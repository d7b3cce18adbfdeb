/** A pretend Rancher over real processes, and the blocks of recordings that it is compared with. */

import { afterEach } from 'vitest'
import {
  type Generation,
  type RancherPeer,
  type RancherPeerOptions,
  startRancherPeer,
} from '../../src/playground/rancher/peer.ts'
import { processEngine } from '../peers/engine-process.ts'
import { recording } from './rancher-client.ts'

export const open: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

type ProcessPeer = RancherPeer & { readonly engine: ReturnType<typeof processEngine> }

export async function start(generation: Generation, options: RancherPeerOptions = {}): Promise<ProcessPeer> {
  const engine = processEngine()
  const peer = await startRancherPeer({ generation, engine, ...options })
  open.push(() => peer.close())
  // Not a spread: the settable properties must stay settable.
  return Object.assign(peer, { engine })
}

export const generationOf = (title: string): Generation => (title.startsWith('gen1') ? 'A' : 'B')

export async function eventually(test: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000
  while (!test()) {
    if (Date.now() > deadline) throw new Error(`did not happen within 15 s: ${test}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export const block = (number: number, title: string) => {
  const found = recording(number).find((one) => one.title === title)
  if (!found) throw new Error(`no block ${title}`)
  return found
}
