/** The gateway as one process that owns its runs: SQLite, timers, `ws`. Shared by the Node and Deno doors and the CLI. */

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { createHub, type Hub } from './agent/hub.ts'
import { type AppServices, createApp, createSlackSocket } from './app.ts'
import { containerd } from './backends/containerd/backend.ts'
import { filesOf } from './backends/kubernetes/files.ts'
import { swarm } from './backends/swarm/backend.ts'
import type { Transport } from './backends/transport.ts'
import { type Config, type Environment, parseConfig } from './config.ts'
import { BackendError, DroverError } from './core/errors.ts'
import type { CheckLine, Reporter } from './core/ports.ts'
import type { Learn } from './core/redact.ts'
import { startSweeping } from './core/sweep.ts'
import type { SlackSocket } from './frontends/slack/socket.ts'
import { createGateway, type LocalGateway } from './gateway.ts'
import { openSqlite } from './ledger/db-sqlite.ts'
import { createLedger } from './ledger/ledger.ts'
import { createHouse, type Log, type Outside, redactorOf } from './rooms.ts'
import { telling } from './runtime/credentials.ts'
import { readCgroups } from './runtime/host-processes.ts'
import { nodeMachine } from './runtime/machine-node.ts'
import { makePipes } from './runtime/named-pipes.ts'
import { nodeTransport } from './runtime/transport-node.ts'
import { createTimerWake, startSweep } from './runtime/wake-timer.ts'

/** One JSON object a line, on stderr. */
export const jsonLog: Log = (event) => console.error(JSON.stringify({ at: new Date().toISOString(), ...event }))

export function readConfig(path: string, env: Environment): Config {
  try {
    return parseConfig(readFileSync(path, 'utf8'), path, env)
  } catch (error) {
    if (error instanceof DroverError) throw error
    throw new DroverError(
      {
        code: 'config',
        message: `${path} cannot be read.`,
        next: 'Copy drover.example.yaml to drover.yaml, or name a file with --config.',
      },
      { cause: error },
    )
  }
}

/** How long a stop waits for runs; what is still going on then is reported as interrupted at the next start. */
export const drainMs = 30_000

/** Calls `stop` once on SIGTERM or SIGINT, and exits with 0 when all that ran has ended. */
export function stopOnSignal(stop: () => Promise<boolean>): void {
  const end = async (signal: string) => {
    jsonLog({ level: 'info', event: 'stopping', signal })
    const drained = await stop()
    process.exit(drained ? 0 : 1)
  }
  process.once('SIGTERM', () => void end('SIGTERM'))
  process.once('SIGINT', () => void end('SIGINT'))
}

/** For a door's `main`: a start that fails says why, and exits with 1. */
export function exitWith(error: unknown): never {
  console.error(error instanceof DroverError ? `${error.message}\n${error.next ?? ''}` : error)
  process.exit(1)
}

/** The ways out of Node and Deno. `learn`: what is read or given out there must not be shown. */
const machine = nodeMachine()
const outsideOf = (learn: Learn): Outside => ({
  transport: telling(nodeTransport, learn),
  machine,
  kubernetesFiles: filesOf(machine, learn),
  containerd: (name, settings) =>
    containerd({ ...settings, name }, { transport: nodeTransport, machine, makePipes, readCgroups }),
  swarm: (name, settings, ways) => swarm({ ...settings, name }, ways),
})
export const outside = outsideOf(() => {})

/** How long a start waits for Slack's first hello. */
const connectMs = 15_000
/** What may wait unread on one Socket Mode connection. */
const socketBytes = 4 * 1024 * 1024

export type Local = {
  readonly gateway: LocalGateway
  readonly house: Awaited<ReturnType<typeof createHouse>>
  readonly app: ReturnType<typeof createApp>
  /** Where agents come in, at a door that listens. */
  readonly agents: Hub
  /**
   * Begins what a gateway does by itself, sweeping its engines, and opens what it calls out for, Slack's Socket Mode when drover.yaml has an app token, and waits a while for it.
   * Throws `config` when Slack refuses the token; an absent network is tried again in the background.
   */
  connect(): Promise<void>
  /** Takes nothing new, waits at most `ms` for what runs, then lets go of everything. True when all of it ended. */
  stop(ms: number): Promise<boolean>
}

/** For a command of its own: agents are connected to the gateway that serves, not to it. */
export const agentsElsewhere = (agent: string): Transport => {
  const elsewhere = async (): Promise<never> => {
    throw new BackendError(
      {
        code: 'backend_unavailable',
        message: `The agent ${agent} is connected to the gateway that serves, and this command is another program.`,
        next: 'Ask in chat, or by a hook; `drover check` shows how the agent stands.',
      },
      { ran: 'no' },
    )
  }
  return { http: elsewhere, stream: elsewhere, socket: elsewhere, upgrade: elsewhere }
}

export async function startLocal(
  config: Config,
  options: { readonly log?: Log; readonly terminal?: Reporter; readonly listens?: boolean } = {},
): Promise<Local> {
  const log = options.log ?? jsonLog
  const warn = (message: string, error: unknown, level: 'error' | 'info' = 'error') =>
    log({ level, event: message, error: error instanceof Error ? error.message : String(error) })
  const ledger = await createLedger(openSqlite(config.ledger.path))
  const wake = createTimerWake((run) => gateway.work(run), { log: warn })
  const agents = createHub(config.agents, { log })
  const house = await createHouse(config, {
    ...outsideOf(redactorOf(config).learn),
    agents: options.listens ? agents.transport : agentsElsewhere,
    ledger,
    wake,
    log,
    ...(options.terminal ? { terminal: options.terminal } : {}),
  })
  const gateway = createGateway(config, house, wake)
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
      (await ledger.list({ limit: 1 }).then(
        () => true,
        () => false,
      )),
  })
  const sweep = startSweep(ledger, wake, { log: warn })
  return {
    gateway,
    house,
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
      await sweep.close()
      await wake.close()
      await ledger.close()
      return drained
    },
  }
}
