/** The one engine that an agent stands beside: how it is reached, with credentials that never leave it, and the list for its kind. */

import { containerd } from '../backends/containerd/backend.ts'
import { endpointOf } from '../backends/docker/endpoint.ts'
import { kubernetes, kubernetesConnect } from '../backends/kubernetes/connect.ts'
import { filesOf } from '../backends/kubernetes/files.ts'
import type { Machine, MakePipes, ReadCgroups } from '../backends/machine.ts'
import { base64 } from '../backends/rancher1/api.ts'
import { rancher1 } from '../backends/rancher1/backend.ts'
import { rancher2 } from '../backends/rancher2/backend.ts'
import { wayTo } from '../backends/rancher2/reach.ts'
import { swarm } from '../backends/swarm/backend.ts'
import type { Transports } from '../backends/transport.ts'
import type { Backend } from '../core/ports.ts'
import { type Fence, type Orders, unknownCall } from './fence.ts'
import { dockerFence } from './fence-docker.ts'
import { kubernetesFence } from './fence-kubernetes.ts'
import { ordersFence } from './fence-orders.ts'
import { rancher1Fence } from './fence-rancher1.ts'
import { rancher2Fence } from './fence-rancher2.ts'
import type { Engine } from './serve.ts'
import type { AgentSettings } from './settings.ts'

export type Beside = {
  readonly engine: (signal: AbortSignal) => Promise<Engine>
  readonly fence: Fence
  readonly orders?: Orders
  /** For the reader. */
  readonly address: string
}

/** What the machine offers that the agent runs on. */
export type Outside = {
  readonly transport: Transports
  readonly machine: Machine
  readonly makePipes: MakePipes
  readonly readCgroups: ReadCgroups
}

export function engineOf({ name, engine, allow = {} }: AgentSettings, outside: Outside): Beside {
  const { transport, machine } = outside
  const orders = ({ workloads, check }: Backend) => ({
    orders: ordersFence({ check, ...(allow.rollout && workloads ? { rollout: { workloads, allowed: allow.rollout } } : {}) }),
  })
  switch (engine.kind) {
    case 'containerd':
      return whole(containerd({ ...engine, name }, outside), allow, engine.address)
    case 'swarm':
      return whole(swarm({ ...engine, name }, outside), allow, engine.host ?? engine.context ?? 'the environment')
    case 'docker': {
      const find = once(async (): Promise<Engine> => {
        const { base, reach } = await endpointOf(engine, machine)
        return { base, transport: transport(reach), headers: {} }
      })
      const fence = dockerFence(allow, async (path, signal) => {
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
        ...orders(kubernetes(name, engine, { transport, files: filesOf(machine) })),
      }
    }
    case 'rancher1': {
      const { project = '', url } = engine
      const { origin, pathname } = new URL(url)
      const prefix = pathname.replace(/\/+$/, '').replace(/\/(v1|v2-beta)(\/projects\/[^/]+)?$/, '')
      const authorization = `Basic ${base64(`${engine.accessKey.reveal()}:${engine.secretKey.reveal()}`)}`
      const way = { base: `${origin}${prefix}`, transport: transport({}), headers: { authorization } }
      const keys = { accessKey: engine.accessKey.reveal(), secretKey: engine.secretKey.reveal() }
      const backend = rancher1({ name, url, ...keys, project }, transport({}))
      return { engine: async () => way, fence: rancher1Fence(project), address: origin, ...orders(backend) }
    }
    case 'rancher2': {
      const { cluster = '', namespaces = [], url } = engine
      const base = new URL(url).origin
      const headers = { authorization: `Bearer ${engine.token.reveal()}` }
      const way = { base, transport: wayTo(base, engine, { transport, machine }), headers }
      const backend = rancher2({ name, ...engine, token: engine.token.reveal() }, { transport, machine })
      return { engine: async () => way, fence: rancher2Fence(cluster, namespaces), address: base, ...orders(backend) }
    }
    default:
      return engine satisfies never
  }
}

/** An engine of which no call passes: what is asked for is done here. */
function whole(backend: Backend, allowed: NonNullable<AgentSettings['allow']>, address: string): Beside {
  const no = async (): Promise<never> => {
    throw new Error('no call passes to this engine')
  }
  const fence: Fence = async (call) => {
    throw unknownCall(call)
  }
  return { engine: no, fence, orders: ordersFence({ check: backend.check, exec: { backend, allowed } }), address }
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
