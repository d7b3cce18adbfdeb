/** Commands on a swarm as a program for Deno: settings, a service and commands as JSON in its arguments, endings as JSON on stdout. */

import { type SwarmOptions, swarm } from '../../src/backends/swarm/backend.ts'
import type { Command } from '../../src/core/model.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'

const [options, service, commands] = JSON.parse(process.argv[2] ?? '') as [SwarmOptions, string, readonly Command[]]
const backend = swarm(options, { transport: nodeTransport, machine: nodeMachine() })
const signal = AbortSignal.timeout(60_000)
const [target] = await backend.list({ facets: { service } }, signal)
if (!target) throw new Error(`no task of ${service}`)
for (const command of commands) {
  const said = { stdout: '', stderr: '' }
  let code: number | undefined
  let way: string | undefined
  for await (const event of backend.exec(target, command, crypto.randomUUID().replaceAll('-', ''), signal)) {
    if (event.type === 'output') said[event.stream] += new TextDecoder().decode(event.data)
    if (event.type === 'started') way = event.handle.way
    if (event.type === 'exit') code = event.code
  }
  console.log(JSON.stringify({ ...said, code, way }))
}
