/** A pretend Rancher 2 with two clusters, and the backend that looks at it with one of its keys. */

import { afterEach } from 'vitest'
import { type Rancher2Options, rancher2 } from '../../src/backends/rancher2/backend.ts'
import { type KubernetesPeer, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import {
  bearerOf,
  type PeerKey,
  type Rancher2Peer,
  type Rancher2PeerOptions,
  startRancher2Peer,
} from '../../src/playground/rancher2/peer.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { processEngine } from '../peers/engine-process.ts'

export const open: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function clusterWith(...pods: readonly (readonly [namespace: string, name: string])[]): Promise<KubernetesPeer> {
  const peer = await startKubernetesPeer({
    engine: processEngine(),
    pods: pods.map(([namespace, name]) => ({ namespace, name, labels: { app: name.split('-')[0]! } })),
  })
  open.push(() => peer.close())
  return peer
}

export type World = { readonly rancher: Rancher2Peer; readonly shop: KubernetesPeer; readonly edge: KubernetesPeer }

/** Two clusters; one project in each, and in the first a namespace that is in no project. */
export async function world(options: Partial<Rancher2PeerOptions> = {}): Promise<World> {
  const shop = await clusterWith(['shop', 'web-1'], ['shop', 'db-1'], ['tools', 'cron-1'], ['loose', 'stray-1'])
  const edge = await clusterWith(['shop', 'web-1'])
  const at = ({ url, token }: KubernetesPeer) => ({ url, token: token('admin') })
  const rancher = await startRancher2Peer({
    upstream: { 'c-shop1': at(shop), 'c-edge1': at(edge) },
    clusters: [
      { id: 'c-shop1', name: 'shop', state: 'active' },
      { id: 'c-edge1', name: 'edge', state: 'active' },
      { id: 'c-old01', name: 'old', state: 'unavailable', transitioningMessage: 'Cluster agent is not connected' },
    ],
    projects: [
      { id: 'c-shop1:p-shop1', name: 'Shop', namespaces: ['shop'] },
      { id: 'c-shop1:p-tool1', name: 'Tools', namespaces: ['tools'] },
      { id: 'c-edge1:p-edge1', name: 'Edge', namespaces: ['shop'] },
    ],
    users: {
      admin: { user: 'admin', displayName: 'Ada Admin' },
      member: { user: 'exec-user', displayName: 'Max Member', projects: ['c-shop1:p-shop1'] },
      scoped: { user: 'exec-user', displayName: 'Sue Scoped', projects: ['c-shop1:p-shop1', 'c-shop1:p-tool1'] },
    },
    ...options,
  })
  open.push(() => rancher.close())
  return { rancher, shop, edge }
}

export const ways = { transport: nodeTransport, machine: nodeMachine() }

export function backendOf({ rancher }: World, key: PeerKey = rancher.keys.admin, options: Partial<Rancher2Options> = {}) {
  return rancher2({ name: 'r2', url: rancher.url, token: bearerOf(key), ...options }, ways)
}

export const soon = () => AbortSignal.timeout(20_000)

export const natives = async (work: Promise<readonly { native: string }[]>) => (await work).map((one) => one.native).sort()
