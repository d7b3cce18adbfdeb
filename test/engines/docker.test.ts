/** The backend contract on a real Docker Engine. */

import { docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import { bareImage, docker, dockerWorld, named, processesIn, socketPath } from './docker-world.ts'

const outside = { transport: nodeTransport, machine: nodeMachine() }

backendContract('Docker Engine', async () => {
  const world = dockerWorld()
  const relay = await startRelay(socketPath)
  const backend = dockerBackend({ name: 'engine', host: `tcp://127.0.0.1:${relay.port}`, plaintext: true }, outside)
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
      await relay.close()
      world.tearDown()
    },
  }
})
