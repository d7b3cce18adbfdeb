/** A pretend Rancher 1.x: server, websocket proxy and host agents in one local HTTP server that differs from recordings in nothing. */

import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { SeenExecute } from './actions.ts'
import { createWorld, type PeerContainer, type PeerContainerSpec, type PeerHost } from './containers.ts'
import { DEFAULT_WORLD } from './default-world.ts'
import type { PeerEngine } from './engine.ts'
import { simulatedEngine } from './engine-simulated.ts'
import { createExecSocket, type PlainAnswer, plain, refuse } from './exec-socket.ts'
import { type Faults, noFaults } from './faults.ts'
import { createHostAgent, type Generation, type HostAgent } from './host-agent.ts'
import { createHttpApi } from './http-api.ts'
import { createKeys, type PeerKeys } from './keys.ts'
import { preparedAnswer, readBody, send, urlOf } from './requests.ts'
import { createServices } from './services.ts'
import { type Claims, createTokens } from './tokens.ts'
import { createTraffic, type TrafficListener } from './traffic.ts'

export type { PeerContainer, PeerContainerSpec } from './containers.ts'
export type { Faults } from './faults.ts'
export type { Generation } from './host-agent.ts'
export type { KeyPair, PeerKeys } from './keys.ts'
export type { Traffic } from './traffic.ts'

export type RancherPeerOptions = {
  readonly port?: number
  readonly host?: '127.0.0.1'
  readonly generation?: Generation
  readonly engine?: PeerEngine
  readonly world?: readonly PeerContainerSpec[]
  readonly keys?: Partial<PeerKeys>
  /** False: access control is switched off, and everyone is the admin. */
  readonly accessControl?: boolean
}

export type SeenRequest = { readonly method: string; readonly path: string; readonly status: number }
export type SeenStart = { readonly containerId: string; readonly container: string; readonly argv: readonly string[] }

export type Seen = {
  /** Accepted `execute` calls. */
  readonly executes: SeenExecute[]
  /** Commands that were really started, by a websocket. */
  readonly starts: SeenStart[]
  readonly requests: SeenRequest[]
  upgrades: number
  refusedUpgrades: number
  pings: number
  messages: number
  /** Websockets open now. */
  openSockets(): number
}

/** By name; a name that is not there is an error. */
export type Containers = {
  all(): readonly PeerContainer[]
  get(name: string): PeerContainer
  stop(name: string): void
  start(name: string): void
  pause(name: string): void
  remove(name: string): void
  setState(name: string, state: string): void
  add(specs: readonly PeerContainerSpec[]): readonly PeerContainer[]
}

/** By id, `1h1`. */
export type Hosts = {
  all(): readonly PeerHost[]
  /** The agent loses its tunnel: its streams end with close 1000, and new ones get 401. */
  disconnect(id: string): void
  connect(id: string): void
}

export type RancherPeer = PeerKeys & {
  readonly url: string
  readonly projectId: string
  readonly otherProjectId: string
  generation: Generation
  readonly faults: Faults
  readonly containers: Containers
  readonly hosts: Hosts
  readonly seen: Seen
  addContainers(specs: readonly PeerContainerSpec[]): Promise<readonly PeerContainer[]>
  /** A token as the server signs them, for claims that the API would not make. `atMs` is the time of signing. */
  sign(claims: Claims, atMs?: number): string
  /** Everything that goes over the wire, credentials of requests apart. Returns how to stop. */
  on(event: 'traffic', listener: TrafficListener): () => void
  close(): Promise<void>
}

/** Lists of what was seen keep this many of the newest entries. */
const SEEN_CAP = 10_000
/** The command rides in the URL of the websocket; the real proxy took 934 kB of it [REC 9]. */
const MAX_REQUEST_LINE = 2 * 1024 * 1024

export async function startRancherPeer(options: RancherPeerOptions = {}): Promise<RancherPeer> {
  const engine = options.engine ?? simulatedEngine()
  const world = createWorld(options.world ?? DEFAULT_WORLD)
  const keys = createKeys(options.keys)
  const tokens = createTokens()
  const faults = noFaults()
  const traffic = createTraffic()
  let generation: Generation = options.generation ?? 'B'
  const agents = new Map<string, HostAgent>()
  const timers = new Set<NodeJS.Timeout>()
  const unplugged = new Set<string>()
  const seen: Seen = {
    executes: [],
    starts: [],
    requests: [],
    upgrades: 0,
    refusedUpgrades: 0,
    pings: 0,
    messages: 0,
    openSockets: () => sockets.openSockets(),
  }

  const agentOf = (host: PeerHost): HostAgent => {
    const known = agents.get(host.id)
    if (known) return known
    const agent = createHostAgent({
      hostId: host.id,
      engine,
      faults,
      generation: () => generation,
      started: (container, argv) =>
        keep(seen.starts, { containerId: (container as PeerContainer).id, container: container.name, argv: [...argv] }),
      // The platform starts a crashed agent again; until then its host answers 401 [REC S, J2].
      lost: () => {
        host.connected = false
        later(1000, () => {
          host.connected = !unplugged.has(host.id)
        })
      },
    })
    agents.set(host.id, agent)
    return agent
  }

  const later = (ms: number, act: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, ms)
    timer.unref()
    timers.add(timer)
  }

  const find = (name: string): PeerContainer => {
    const found = world.containers.find((one) => one.name === name && !['removed', 'purged'].includes(one.state))
    if (!found) throw new Error(`no container named ${name} in this pretend Rancher`)
    return found
  }
  const end = (container: PeerContainer, state: string): void => {
    container.state = state
    for (const agent of agents.values()) agent.killContainer(container.engineId)
    void engine.stopped?.(container, state === 'removed')
  }
  const begin = (container: PeerContainer): void => {
    container.startCount++
    container.state = 'running'
    void engine.started?.(container)
  }

  const services = createServices({
    world,
    begin,
    end,
    later,
    paceMs: () => faults.servicePaceMs,
    add(specs) {
      const added = world.add(specs)
      for (const one of added) if (one.state === 'running') void engine.started?.(one)
      return added
    },
  })
  const api = createHttpApi({
    services,
    world,
    tokens,
    faults,
    keys,
    generation: () => generation,
    accessControl: options.accessControl ?? true,
    executed: (execute) => keep(seen.executes, execute),
    lifecycle(container, action) {
      if (action !== 'start') end(container, action === 'stop' ? 'stopping' : 'restarting')
      else container.state = 'starting'
      later(100, () => {
        if (action === 'stop') container.state = 'stopped'
        else begin(container)
      })
    },
  })
  const sockets = createExecSocket({ world, tokens, faults, generation: () => generation, agent: agentOf, seen, traffic })

  const bodies = new WeakMap<IncomingMessage, string>()
  const answer = async (request: IncomingMessage): Promise<PlainAnswer> => {
    const url = urlOf(request)
    if (sockets.owns(url)) return sockets.answer(url, request)
    const body = await readBody(request)
    bodies.set(request, body)
    if (faults.slowMs > 0) await new Promise<void>((resolve) => later(faults.slowMs, resolve))
    const prepared = preparedAnswer(faults, `${request.method} ${request.url}`)
    if (prepared) return prepared
    if (faults.cattleDown) return { status: 502, headers: {}, body: '' }
    const headers = request.headers as Record<string, string | undefined>
    const done = api.handle({ method: request.method ?? 'GET', url, headers, body })
    return {
      status: done.status,
      headers: done.headers,
      body: typeof done.body === 'string' ? done.body : JSON.stringify(done.body),
    }
  }

  const server = createServer({ maxHeaderSize: MAX_REQUEST_LINE }, (request, response) => {
    const at = Date.now()
    answer(request).then(
      (given) => {
        const { method = '', url: path = '' } = request
        traffic.tell({
          type: 'http',
          at,
          method,
          path,
          request: bodies.get(request) ?? '',
          status: given.status,
          response: given.body,
        })
        keep(seen.requests, { method: request.method ?? '', path: request.url ?? '', status: given.status })
        send(response, given)
      },
      (error: unknown) => send(response, plain(500, String(error))),
    )
  })
  server.on('upgrade', (request, socket, head) => {
    const url = urlOf(request)
    if (sockets.owns(url)) return sockets.upgrade(url, request, socket, head)
    // Whatever the proxy does not know falls through to the server, which has no websocket there.
    answer(request).then(
      (given) => refuse(socket, given),
      () => socket.destroy(),
    )
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve)
  })
  await Promise.all(world.containers.map((one) => engine.started?.(one)))

  const hostOf = (id: string): PeerHost => {
    const host = world.hosts.find((one) => one.id === id)
    if (!host) throw new Error(`no host ${id} in this pretend Rancher`)
    return host
  }

  return {
    ...keys,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    projectId: '1a5',
    otherProjectId: '1a7',
    get generation() {
      return generation
    },
    set generation(next) {
      generation = next
    },
    faults,
    containers: {
      all: () => world.containers,
      get: find,
      stop: (name) => end(find(name), 'stopped'),
      start: (name) => begin(find(name)),
      pause: (name) => {
        find(name).state = 'paused'
      },
      remove: (name) => end(find(name), 'removed'),
      setState: (name, state) => {
        find(name).state = state
      },
      add: (specs) => world.add(specs),
    },
    hosts: {
      all: () => world.hosts,
      disconnect(id) {
        unplugged.add(id)
        agentOf(hostOf(id)).loseTunnel()
      },
      connect(id) {
        unplugged.delete(id)
        hostOf(id).connected = true
      },
    },
    seen,
    async addContainers(specs) {
      const added = world.add(specs)
      await Promise.all(added.map((one) => engine.started?.(one)))
      return added
    },
    sign: (claims, atMs) => tokens.sign(claims, atMs),
    on: (_event, listener) => traffic.listen(listener),
    async close() {
      for (const timer of timers) clearTimeout(timer)
      for (const agent of agents.values()) agent.close()
      sockets.close()
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await engine.close()
    },
  }
}

function keep<T>(list: T[], entry: T): void {
  list.push(entry)
  if (list.length > SEEN_CAP) list.shift()
}
