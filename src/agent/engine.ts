/** The one engine that an agent stands beside: how it is reached, with credentials that never leave it, and the list for its kind. */

import { endpointOf } from '../backends/docker/endpoint.ts'
import { kubernetesConnect } from '../backends/kubernetes/connect.ts'
import { filesOf } from '../backends/kubernetes/files.ts'
import type { Machine } from '../backends/machine.ts'
import { base64 } from '../backends/rancher1/api.ts'
import { wayTo } from '../backends/rancher2/reach.ts'
import type { Transports } from '../backends/transport.ts'
import type { Fence } from './fence.ts'
import { dockerFence } from './fence-docker.ts'
import { kubernetesFence } from './fence-kubernetes.ts'
import { rancher1Fence } from './fence-rancher1.ts'
import { rancher2Fence } from './fence-rancher2.ts'
import type { Engine } from './serve.ts'
import type { AgentSettings } from './settings.ts'

export type Beside = {
  readonly engine: (signal: AbortSignal) => Promise<Engine>
  readonly fence: Fence
  /** For the reader. */
  readonly address: string
}

export function engineOf({ engine, allow }: AgentSettings, transport: Transports, machine: Machine): Beside {
  switch (engine.kind) {
    case 'docker': {
      const find = once(async (): Promise<Engine> => {
        const { base, reach } = await endpointOf(engine, machine)
        return { base, transport: transport(reach), headers: {} }
      })
      const fence = dockerFence(allow ?? {}, async (path, signal) => {
        const { base, transport: way } = await find()
        return await way.http({ method: 'GET', url: `${base}${path}`, signal, isRepeatable: true })
      })
      return { engine: find, fence, address: engine.host ?? engine.context ?? 'the environment' }
    }
    case 'kubernetes': {
      const connect = kubernetesConnect(engine, { transport, files: filesOf(machine) })
      const find = async (signal: AbortSignal): Promise<Engine> => {
        const way = await connect(signal)
        return { base: way.server, transport: way.transport, headers: await way.headers(signal) }
      }
      return {
        engine: find,
        fence: kubernetesFence(engine.namespaces),
        address: engine.server ?? engine.kubeconfig ?? 'its own cluster',
      }
    }
    case 'rancher1': {
      const { project = '', url } = engine
      const { origin, pathname } = new URL(url)
      const prefix = pathname.replace(/\/+$/, '').replace(/\/(v1|v2-beta)(\/projects\/[^/]+)?$/, '')
      const authorization = `Basic ${base64(`${engine.accessKey.reveal()}:${engine.secretKey.reveal()}`)}`
      const way = { base: `${origin}${prefix}`, transport: transport({}), headers: { authorization } }
      return { engine: async () => way, fence: rancher1Fence(project), address: origin }
    }
    case 'rancher2': {
      const { cluster = '', namespaces = [], url } = engine
      const base = new URL(url).origin
      const headers = { authorization: `Bearer ${engine.token.reveal()}` }
      const way = { base, transport: wayTo(base, engine, { transport, machine }), headers }
      return { engine: async () => way, fence: rancher2Fence(cluster, namespaces), address: base }
    }
    default:
      return engine satisfies never
  }
}

/** Found once; what fails is tried again. */
function once(find: () => Promise<Engine>): () => Promise<Engine> {
  let found: Promise<Engine> | undefined
  return () => {
    found ??= find().catch((error: unknown) => {
      found = undefined
      throw error
    })
    return found
  }
}
