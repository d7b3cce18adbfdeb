/** The Deno door: the same process as on Node, served by Deno. Run with `deno run -A src/deno.ts`. */

import process from 'node:process'
import { DroverError } from './core/errors.ts'
import { jsonLog, readConfig, startLocal } from './local.ts'

declare const Deno: {
  serve(
    options: { hostname: string; port: number; onListen(address: { port: number }): void },
    handler: (request: Request) => Response | Promise<Response>,
  ): { shutdown(): Promise<void> }
}

const drainMs = 30_000

export async function main(path = process.env.DROVER_CONFIG ?? 'drover.yaml'): Promise<void> {
  const config = readConfig(path, process.env)
  const local = await startLocal(config)
  const { host: hostname, port } = config.listen
  const onListen = (address: { port: number }) =>
    jsonLog({ level: 'info', event: 'listening', url: `http://${hostname}:${address.port}` })
  const server = Deno.serve({ hostname, port, onListen }, (request) => local.app.fetch(request))
  const stop = async (signal: string) => {
    jsonLog({ level: 'info', event: 'stopping', signal })
    const drained = await local.stop(drainMs)
    await server.shutdown()
    process.exit(drained ? 0 : 1)
  }
  process.once('SIGTERM', () => void stop('SIGTERM'))
  process.once('SIGINT', () => void stop('SIGINT'))
  await local.connect()
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    console.error(error instanceof DroverError ? `${error.message}\n${error.next ?? ''}` : error)
    process.exit(1)
  })
}
