/** The gateway as one process that owns its runs: SQLite, timers, `ws`. Under the doors that listen, and the CLI. */

import { readFileSync } from 'node:fs'
import process from 'node:process'
import type { Transport } from './backends/transport.ts'
import { unreadable } from './config/unreadable.ts'
import { type Config, type Environment, parseConfig } from './config.ts'
import { BackendError, DroverError } from './core/errors.ts'
import type { Gateway, Ledger, Reporter } from './core/ports.ts'
import type { Learn } from './core/redact.ts'
import { createGateway, type LocalGateway } from './gateway.ts'
import { kindsOf } from './kinds.ts'
import { createHouse, type Log, type Outside, redactorOf } from './rooms.ts'
import { telling } from './runtime/credentials.ts'
import { nodeMachine } from './runtime/machine-node.ts'
import { nodeTransport } from './runtime/transport-node.ts'
import { createTimerWake, startSweep } from './runtime/wake-timer.ts'

/** One JSON object a line, on stderr. */
export const jsonLog: Log = (event) => console.error(JSON.stringify({ at: new Date().toISOString(), ...event }))

export function readConfig(path: string, env: Environment): Config {
  try {
    return parseConfig(readFileSync(path, 'utf8'), path, env)
  } catch (error) {
    if (error instanceof DroverError) throw error
    const next = 'Copy drover.example.yaml to drover.yaml, or name a file with --config.'
    throw new DroverError({ code: 'config', message: unreadable(path, error), next }, { cause: error })
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
export async function outsideOf(config: Config, learn: Learn = () => {}): Promise<Outside> {
  const machine = nodeMachine()
  return { transport: telling(nodeTransport, learn), machine, ...(await kindsOf(config, machine, learn)) }
}

/** What a configuration needs, and no more: this is what a command in a terminal waits for. */
async function roomsOf(config: Config) {
  const [outside, slack] = await Promise.all([
    outsideOf(config, redactorOf(config).learn),
    config.slack && import('./slack-side.ts'),
  ])
  return { ...outside, slackSide: slack?.createSlackSide }
}

export type Local = {
  readonly gateway: LocalGateway
  readonly house: Awaited<ReturnType<typeof createHouse>>
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

export type LocalOptions = {
  readonly log?: Log
  readonly terminal?: Reporter
  /** The ways through agents, where they come in. */
  readonly agents?: (agent: string) => Transport
}

export async function startLocal(config: Config, options: LocalOptions = {}): Promise<Local> {
  const log = options.log ?? jsonLog
  const warn = (message: string, error: unknown) =>
    log({ level: 'error', event: message, error: error instanceof Error ? error.message : String(error) })
  const [{ openSqlite }, { createLedger }] = await Promise.all([import('./ledger/db-sqlite.ts'), import('./ledger/ledger.ts')])
  const ledger = await createLedger(openSqlite(config.ledger.path))
  const wake = createTimerWake((run) => gateway.work(run), { log: warn })
  const house = await createHouse(config, {
    ...(await roomsOf(config)),
    agents: options.agents ?? agentsElsewhere,
    ledger,
    wake,
    log,
    ...(options.terminal ? { terminal: options.terminal } : {}),
  })
  const gateway = createGateway(config, house, wake)
  const sweep = startSweep(ledger, wake, { log: warn })
  return {
    gateway,
    house,
    async stop(ms) {
      const drained = await gateway.drain(ms)
      await sweep.close()
      await wake.close()
      await ledger.close()
      return drained
    },
  }
}

/** For questions: nothing runs, so nothing is kept, and neither a ledger nor its library is opened. */
export async function startLooking(config: Config, log: Log): Promise<Pick<Gateway, 'targets' | 'why'>> {
  const house = await createHouse(config, {
    ...(await roomsOf(config)),
    agents: agentsElsewhere,
    ledger: noLedger,
    wake: noWake,
    log,
  })
  return createGateway(config, house, noWake)
}

const noWake = { wake: async () => {} }
const noLedger = new Proxy({} as Ledger, {
  get(_, method) {
    throw new TypeError(`a question keeps nothing: ledger.${String(method)}`)
  },
})
