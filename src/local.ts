/** The gateway as one process that owns its runs: SQLite, timers, `ws`. Shared by the Node and Deno doors and the CLI. */

import { readFileSync } from 'node:fs'
import { type Config, type Environment, parseConfig } from './config.ts'
import { DroverError } from './core/errors.ts'
import type { Reporter } from './core/ports.ts'
import { createApp, createGateway, createHouse, type LocalGateway, type Log } from './gateway.ts'
import { openSqlite } from './ledger/db-sqlite.ts'
import { createLedger } from './ledger/ledger.ts'
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

export type Local = {
  readonly gateway: LocalGateway
  readonly house: Awaited<ReturnType<typeof createHouse>>
  readonly app: ReturnType<typeof createApp>
  /** Takes nothing new, waits at most `ms` for what runs, then lets go of everything. True when all of it ended. */
  stop(ms: number): Promise<boolean>
}

export async function startLocal(
  config: Config,
  options: { readonly log?: Log; readonly terminal?: Reporter } = {},
): Promise<Local> {
  const log = options.log ?? jsonLog
  const warn = (message: string, error: unknown) =>
    log({ level: 'error', event: message, error: error instanceof Error ? error.message : String(error) })
  const ledger = await createLedger(openSqlite(config.ledger.path))
  const wake = createTimerWake((run) => gateway.work(run), { log: warn })
  const house = await createHouse(config, {
    transport: nodeTransport(),
    ledger,
    wake,
    log,
    ...(options.terminal ? { terminal: options.terminal } : {}),
  })
  const gateway = createGateway(config, house, wake)
  const pending = new Set<Promise<unknown>>()
  const app = createApp(config, gateway, {
    log: house.log,
    keepAlive(promise) {
      const kept = promise.catch((error: unknown) => warn('a listener failed', error)).finally(() => pending.delete(kept))
      pending.add(kept)
    },
    ready: async () =>
      !gateway.draining &&
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
    async stop(ms) {
      const drained = await gateway.drain(ms)
      await Promise.allSettled(pending)
      await sweep.close()
      await wake.close()
      await ledger.close()
      return drained
    },
  }
}
