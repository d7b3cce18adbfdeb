/** What the backend contract needs of a real Docker Engine, behind a relay that can be cut. */

import type { Backend } from '../../src/core/ports.ts'
import type { BackendFixture } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import { bareImage, docker, dockerWorld, named, processesIn, socketPath } from './docker-world.ts'

export type Connected = { readonly backend: Backend; close(): Promise<void> }

/** `connect` makes the backend, and is told on which port of this machine the engine is. */
export async function dockerFixture(connect: (port: number) => Promise<Connected>): Promise<BackendFixture> {
  const world = dockerWorld()
  const relay = await startRelay(socketPath)
  const { backend, close } = await connect(relay.port)
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
      await close()
      await relay.close()
      world.tearDown()
    },
  }
}
