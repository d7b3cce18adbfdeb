/** The gateway that listens, under the Node and Deno doors: the HTTP app, Slack's connections, agents, sweeping. */

import { createHub, type Hub } from './agent/hub.ts'
import { type AppServices, createApp, createSlackSocket } from './app.ts'
import type { Config } from './config.ts'
import type { CheckLine } from './core/ports.ts'
import { startSweeping } from './core/sweep.ts'
import type { SlackSocket } from './frontends/slack/socket.ts'
import { jsonLog, type Local, startLocal } from './local.ts'
import type { Log } from './rooms.ts'
import { nodeTransport } from './runtime/transport-node.ts'

/** How long a start waits for Slack's first hello. */
const connectMs = 15_000
/** What may wait unread on one Socket Mode connection. */
const socketBytes = 4 * 1024 * 1024

export type Serving = Local & {
  readonly app: ReturnType<typeof createApp>
  /** Where agents come in. */
  readonly agents: Hub
  /**
   * Begins what a gateway does by itself, sweeping its engines, and opens what it calls out for, Slack's Socket Mode when drover.yaml has an app token, and waits a while for it.
   * Throws `config` when Slack refuses the token; an absent network is tried again in the background.
   */
  connect(): Promise<void>
}

export async function startServing(config: Config, log: Log = jsonLog): Promise<Serving> {
  const warn = (message: string, error: unknown, level: 'error' | 'info' = 'error') =>
    log({ level, event: message, error: error instanceof Error ? error.message : String(error) })
  const agents = createHub(config.agents, { log })
  const local = await startLocal(config, { log, agents: agents.transport })
  const { gateway, house } = local
  const pending = new Set<Promise<unknown>>()
  const services: AppServices = {
    log: house.log,
    keepAlive(promise) {
      const kept = promise.catch((error: unknown) => warn('a listener failed', error)).finally(() => pending.delete(kept))
      pending.add(kept)
    },
  }
  /** Of the backends behind an agent that is there: what they say goes through its list as everything does. */
  const checksThrough = async (agent: string): Promise<readonly CheckLine[]> => {
    if (!agents.state(agent).connected) return []
    const behind = house.backends.filter(({ name }) => config.backends[name]?.through === agent)
    const found = await Promise.all(behind.map((backend) => backend.check(AbortSignal.timeout(30_000))))
    return found.flat()
  }
  let socket: SlackSocket | undefined
  let sweeping: ReturnType<typeof startSweeping> | undefined
  const app = createApp(config, gateway, {
    ...services,
    agent: async (name) => ({ ...agents.state(name), checks: await checksThrough(name) }),
    ready: async () =>
      !gateway.draining &&
      (socket === undefined || socket.open() > 0) &&
      (await house.ledger.list({ limit: 1 }).then(
        () => true,
        () => false,
      )),
  })
  return {
    ...local,
    app,
    agents,
    async connect() {
      // A command of its own sweeps only where it makes something.
      sweeping ??= startSweeping(house.backends, (backend, error) => {
        // The first sweep comes before any agent can have connected.
        const level = config.backends[backend]?.through === undefined ? 'error' : 'info'
        warn(`what was left on ${backend} cannot be removed`, error, level)
      })
      const open = (url: string, signal: AbortSignal) => nodeTransport().socket(url, { signal, maxBufferedBytes: socketBytes })
      socket ??= createSlackSocket(config, gateway, services, open)
      if (socket === undefined) return
      let timer: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, connectMs)
      })
      await Promise.race([socket.ready, late]).finally(() => clearTimeout(timer))
    },
    async stop(ms) {
      await Promise.all([socket?.stop(), sweeping?.close()])
      const drained = await gateway.drain(ms)
      await Promise.allSettled(pending)
      agents.close()
      await local.stop(0)
      return drained
    },
  }
}
