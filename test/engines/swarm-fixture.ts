/** What the backend contract needs of a real swarm, each of its engines behind a relay that can be cut. */

import type { SwarmOptions } from '../../src/backends/swarm/backend.ts'
import { until } from '../agent/link.ts'
import type { BackendFixture } from '../contract/backend.ts'
import type { Connected } from './docker-fixture.ts'
import { startRelay } from './docker-relay.ts'
import {
  bareOn,
  manager,
  managerHost,
  pathOf,
  processesIn,
  soon,
  swarmWorld,
  taskOf,
  temporaryService,
  worker,
  workerHost,
} from './swarm-world.ts'

/** Of a swarm whose tasks are reached in this way. `connect` makes the backend, and is told where the engines are. */
export async function swarmFixture(
  by: 'manager' | 'map' | 'service',
  connect: (settings: Omit<SwarmOptions, 'name'>) => Promise<Connected>,
): Promise<BackendFixture> {
  const world = swarmWorld()
  const managers = await startRelay(pathOf(managerHost))
  const workers = await startRelay(pathOf(workerHost))
  const at = (port: number) => ({ host: `tcp://127.0.0.1:${port}`, plaintext: true as const })
  const { backend, close } = await connect({
    ...at(managers.port),
    ...(by === 'map' ? { nodes: { 'drover-worker': at(workers.port) } } : {}),
    ...(by === 'service' ? { temporaryService } : {}),
  })
  const where = by === 'manager' ? 'manager' : 'worker'
  const docker = by === 'manager' ? manager : worker
  const target = await taskOf(backend, await world.serve('web', where, ['--label', 'tier=front', '--container-label', 'app=web']))
  const bare = await taskOf(backend, await world.serve('bare', where, [], bareOn(by === 'manager' ? undefined : workerHost)))
  const stopped = await taskOf(backend, await world.serve('stopped', where, ['--restart-condition', 'none']))
  docker('stop', '-t', '0', stopped.engineId ?? '')
  await until(async () => (await backend.list({ id: stopped.native }, soon())).length === 0)
  return {
    backend,
    target,
    bare,
    stopped,
    processesInside: async (one, needle) => processesIn(one, needle),
    openConnections: () => managers.openConnections() + workers.openConnections(),
    breakAfter: (bytes) => {
      managers.breakAfter(bytes)
      workers.breakAfter(bytes)
    },
    tearDown: async () => {
      await close()
      await managers.close()
      await workers.close()
      world.tearDown()
    },
  }
}
