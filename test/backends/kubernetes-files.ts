/** Kubeconfigs, plugins and listeners for the tests of the ways to a cluster: made in a folder of their own, gone with the test. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { createServer as createHttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import type { KubernetesSettings } from '../../src/backends/kubernetes/settings.ts'
import type { Machine } from '../../src/backends/machine.ts'
import type { ExecEvent } from '../../src/core/model.ts'
import { tokenFor } from '../../src/playground/kubernetes/access.ts'
import type { KubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { soon } from './kubernetes-cluster.ts'

export const machine = nodeMachine()

export const POD = [{ namespace: 'shop', name: 'web-1' }]

export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'drover-kube-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export function backendWith(settings: Partial<KubernetesSettings>, of: Machine = machine) {
  return kubernetes('kube', { impersonate: 'none', ...settings }, { transport: nodeTransport, files: filesOf(of) })
}

export type Parts = { user?: object; cluster?: object; context?: object; more?: object }

/** A kubeconfig for a pretend cluster. */
export function kubeconfig(
  peer: Pick<KubernetesPeer, 'url'>,
  { user = {}, cluster = {}, context = {}, more = {} }: Parts,
  dir = folder(),
): string {
  const file = join(dir, 'config')
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'here',
    contexts: [
      { name: 'other', context: { cluster: 'nowhere', user: 'me' } },
      { name: 'here', context: { cluster: 'c', user: 'me', namespace: 'shop', ...context } },
    ],
    clusters: [{ name: 'c', cluster: { server: peer.url, ...cluster } }],
    users: [{ name: 'me', user }],
    ...more,
  })
  writeFileSync(file, text)
  return file
}

export const tokenOf = (name: string) => tokenFor(name)

export const namesOf = async (backend: ReturnType<typeof backendWith>) => (await backend.list({}, soon())).map(({ name }) => name)

export async function eventsOf(events: AsyncIterable<ExecEvent>): Promise<readonly ExecEvent[]> {
  const found: ExecEvent[] = []
  for await (const event of events) found.push(event)
  return found
}

export async function listening(server: Server | ReturnType<typeof createHttpServer>): Promise<AddressInfo> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close()
  })
  return server.address() as AddressInfo
}
