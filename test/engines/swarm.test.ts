/** The backend `swarm` on a real swarm of two: the whole contract, by each of its ways. */

import { expect, test } from 'vitest'
import { type SwarmOptions, swarm } from '../../src/backends/swarm/backend.ts'
import { type BackendFixture, backendContract } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import {
  bareOn,
  manager,
  managerHost,
  outside,
  pathOf,
  processesIn,
  services,
  swarmWorld,
  taskOf,
  temporaryService,
  worker,
  workerHost,
} from './swarm-world.ts'

async function fixture(by: 'manager' | 'map' | 'service'): Promise<BackendFixture> {
  const world = swarmWorld()
  const managers = await startRelay(pathOf(managerHost))
  const workers = await startRelay(pathOf(workerHost))
  const at = (port: number) => ({ host: `tcp://127.0.0.1:${port}`, plaintext: true as const })
  const settings: Omit<SwarmOptions, 'name'> = {
    ...at(managers.port),
    ...(by === 'map' ? { nodes: { 'drover-worker': at(workers.port) } } : {}),
    ...(by === 'service' ? { temporaryService } : {}),
  }
  const backend = swarm({ name: 'fleet', ...settings }, outside)
  const where = by === 'manager' ? 'manager' : 'worker'
  const docker = by === 'manager' ? manager : worker
  const target = await taskOf(backend, await world.serve('web', where, ['--label', 'tier=front', '--container-label', 'app=web']))
  const bare = await taskOf(backend, await world.serve('bare', where, [], bareOn(by === 'manager' ? undefined : workerHost)))
  const once = ['--restart-condition', 'none']
  const stopped = await taskOf(backend, await world.serve('stopped', where, once))
  docker('stop', '-t', '0', stopped.engineId ?? '')
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
      await managers.close()
      await workers.close()
      world.tearDown()
    },
  }
}

backendContract('Docker Swarm, the manager’s own node', () => fixture('manager'))
backendContract('Docker Swarm, the nodes map', () => fixture('map'))
backendContract('Docker Swarm, a temporary service', () => fixture('service'), 180_000)

test('nothing that was made for a command is left', async () => {
  await expect.poll(services).toEqual([])
})
