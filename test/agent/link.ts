/** A gateway that takes agents and an agent beside an engine, both real, on sockets of 127.0.0.1. */

import { createServer as createHttpServer, type Server } from 'node:http'
import type { AddressInfo, Socket as NetSocket } from 'node:net'
import { type Pace, stayConnected } from '../../src/agent/dial.ts'
import { engineOf } from '../../src/agent/engine.ts'
import type { Fence } from '../../src/agent/fence.ts'
import { createHub, entranceOf, type Hub, type HubOptions } from '../../src/agent/hub.ts'
import { makeKeyPair, type PrivateKey, readPrivateKey } from '../../src/agent/keys.ts'
import { createServer, type Serving } from '../../src/agent/serve.ts'
import { agentSettings } from '../../src/agent/settings.ts'
import type { Transport } from '../../src/backends/transport.ts'
import { labels, parseYaml, secretOf } from '../../src/config.ts'
import { takeAgents } from '../../src/runtime/agent-node.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'

export type Event = Readonly<Record<string, unknown>>

export type LinkOptions = {
  /** `engine:` and `allow:` of the agent's file; or the engine itself. */
  readonly file?: string
  readonly beside?: Pick<Serving, 'engine' | 'fence' | 'orders'>
  readonly env?: Readonly<Record<string, string>>
  readonly hub?: Partial<HubOptions>
  readonly pace?: Partial<Pace>
  /** As the gateway is to be called. */
  readonly host?: string
  /** Until the agent is connected; else it may never be. */
  readonly waits?: boolean
}

export type Link = {
  readonly hub: Hub
  readonly transport: Transport
  readonly port: number
  readonly server: Server
  readonly publicKey: string
  readonly key: PrivateKey
  /** Why the agent has ended by itself. */
  readonly final: Promise<string | undefined>
  readonly gatewayLog: Event[]
  readonly agentLog: Event[]
  /** Cuts the connection as a network does. */
  cut(): void
  /** The gateway's ends of them. */
  connections(): readonly NetSocket[]
  stopAgent(): Promise<void>
  close(): Promise<void>
}

export const everything: Fence = async (call) => ({ method: call.method as 'GET', path: call.path, body: call.body })

export async function startLink(options: LinkOptions): Promise<Link> {
  const { privatePem, publicKey } = await makeKeyPair()
  const key = await readPrivateKey(privatePem, 'the test')
  const gatewayLog: Event[] = []
  const agentLog: Event[] = []
  const hub = createHub(
    { lab: { key: publicKey, ...(options.host === undefined ? {} : { host: options.host }) } },
    { log: (event) => gatewayLog.push(event), ...options.hub },
  )
  const server = createHttpServer((_, response) => response.end('a gateway\n'))
  const connections = new Set<NetSocket>()
  server.on('connection', (connection) => {
    connections.add(connection)
    connection.on('close', () => connections.delete(connection))
  })
  takeAgents(server, entranceOf(hub))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  const text = `name: lab\ngateway: http://127.0.0.1:${port}\nkey: none\n${options.file ?? 'engine: { kind: docker, host: unix:///none }\nallow: {}'}\n`
  const settings = parseYaml(text, 'agent.yaml', agentSettings({ secret: secretOf(options.env ?? {}, 6), labels }))
  const beside =
    options.beside ?? engineOf(settings, { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups })
  const log = (event: Event) => void agentLog.push(event)
  const stop = new AbortController()
  const running = stayConnected(
    {
      gateway: new URL(settings.gateway),
      name: 'lab',
      key,
      says: 'a test',
      transport: nodeTransport(),
      serve: createServer({ ...beside, log }),
      log,
      pace: { firstWaitMs: 50, mostWaitMs: 200, ...options.pace },
    },
    stop.signal,
  )
  if (options.waits ?? true) await until(() => hub.state('lab').connected)
  return {
    hub,
    transport: hub.transport('lab'),
    port,
    server,
    publicKey,
    key,
    final: running,
    gatewayLog,
    agentLog,
    connections: () => [...connections],
    cut: () => {
      for (const connection of connections) connection.destroy()
    },
    async stopAgent() {
      stop.abort()
      await running
    },
    async close() {
      stop.abort()
      await running
      hub.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  for (const end = Date.now() + ms; !(await holds()); ) {
    if (Date.now() > end) throw new Error('it did not come to be')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
