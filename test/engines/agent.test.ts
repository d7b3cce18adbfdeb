/** The backend contract on a real Docker Engine that is reached through an agent. */

import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { dockerBeside } from '../agent/docker.ts'
import { startLink } from '../agent/link.ts'
import { backendContract } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import { bareImage, docker, dockerWorld, named, processesIn, socketPath } from './docker-world.ts'

backendContract('Docker Engine through an agent', async () => {
  const world = dockerWorld()
  const relay = await startRelay(socketPath)
  const link = await startLink({ beside: breakable(relay.port) })
  const backend = dockerBackend({ name: 'engine', host: 'https://lab.agent' }, { transport: () => link.transport })
  const target = await named(backend, world.run('web', ['--label', 'app=web']))
  const bare = await named(backend, world.run('bare', [], bareImage()))
  const stopped = await named(backend, world.run('stopped'))
  docker('stop', '-t', '0', stopped.name)
  return {
    backend,
    target,
    bare,
    stopped,
    processesInside: async ({ name }, needle) => processesIn(name, needle),
    openConnections: () => relay.openConnections(),
    breakAfter: (bytes) => relay.breakAfter(bytes),
    tearDown: async () => {
      await link.close()
      await relay.close()
      world.tearDown()
    },
  }
})

/** What lasts goes through the relay, which can break it; the questions of the agent's own list do not. */
function breakable(port: number): NonNullable<Parameters<typeof startLink>[0]['beside']> {
  const { engine, fence } = dockerBeside({})
  const relayed = nodeTransport()
  return {
    fence,
    engine: async (signal) => {
      const { transport, headers } = await engine(signal)
      return { headers, base: `http://127.0.0.1:${port}`, transport: { ...relayed, http: transport.http } }
    },
  }
}
