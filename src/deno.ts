/** The Deno door: the same process as on Node, served by Deno. Run with `deno run -A src/deno.ts`. */

import process from 'node:process'
import { entranceOf } from './agent/hub.ts'
import { drainMs, exitWith, jsonLog, readConfig, stopOnSignal } from './local.ts'
import { takeAgent } from './runtime/agent-deno.ts'
import { startServing } from './serving.ts'

declare const Deno: {
  serve(
    options: { hostname: string; port: number; onListen(address: { port: number }): void },
    handler: (request: Request) => Response | Promise<Response>,
  ): { shutdown(): Promise<void> }
  upgradeWebSocket: Parameters<typeof takeAgent>[2]
}

export async function main(path = process.env.DROVER_CONFIG ?? 'drover.yaml'): Promise<void> {
  const config = readConfig(path, process.env)
  const serving = await startServing(config)
  const { host: hostname, port } = config.listen
  const onListen = (address: { port: number }) =>
    jsonLog({ level: 'info', event: 'listening', url: `http://${hostname}:${address.port}` })
  const entrance = entranceOf(serving.agents)
  const server = Deno.serve(
    { hostname, port, onListen },
    (request) => takeAgent(request, entrance, Deno.upgradeWebSocket) ?? serving.app.fetch(request),
  )
  stopOnSignal(async () => {
    const drained = await serving.stop(drainMs)
    await server.shutdown()
    return drained
  })
  await serving.connect()
}

if (import.meta.main) main().catch(exitWith)
