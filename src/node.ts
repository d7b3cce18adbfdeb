/** The Node door: drover.yaml and the environment become a listening gateway. */

import type { Server } from 'node:http'
import { flushCompileCache } from 'node:module'
import process from 'node:process'
import { serve } from '@hono/node-server'
import { entranceOf } from './agent/hub.ts'
import type { Config } from './config.ts'
import { DroverError } from './core/errors.ts'
import { drainMs, exitWith, jsonLog, readConfig, stopOnSignal } from './local.ts'
import type { Log } from './rooms.ts'
import { takeAgents } from './runtime/agent-node.ts'
import { startServing } from './serving.ts'

export type Served = {
  readonly url: string
  /** Connects to Slack where that is configured. */
  connect(): Promise<void>
  stop(ms?: number): Promise<boolean>
}

export async function serveNode(config: Config, log: Log = jsonLog): Promise<Served> {
  const serving = await startServing(config, log)
  const { host, port } = config.listen
  const { server, listening } = await new Promise<{ server: Server; listening: number }>((resolve, reject) => {
    const made = serve({ fetch: serving.app.fetch, hostname: host, port }, (info) =>
      resolve({ server: made as Server, listening: info.port }),
    )
    made.once('error', (cause) =>
      reject(
        new DroverError(
          {
            code: 'config',
            message: `Cannot listen on ${host}:${port}: ${cause.message}.`,
            next: 'Set listen.port to a free one.',
          },
          { cause },
        ),
      ),
    )
  })
  takeAgents(server, entranceOf(serving.agents))
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${listening}`
  log({ level: 'info', event: 'listening', url })
  return {
    url,
    connect: () => serving.connect(),
    async stop(ms = drainMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      const drained = await serving.stop(ms)
      server.closeAllConnections()
      await closed
      return drained
    },
  }
}

/** Serves until SIGTERM or SIGINT. */
export async function main(path = process.env.DROVER_CONFIG ?? 'drover.yaml'): Promise<void> {
  const served = await serveNode(readConfig(path, process.env))
  stopOnSignal(() => served.stop())
  await served.connect()
  // Kept now: a server that is killed has no end at which it could be.
  flushCompileCache()
}

if (import.meta.main) main().catch(exitWith)
