/** The backend `swarm` on a real swarm of two: the whole contract, by each of its ways. */

import { expect, test } from 'vitest'
import { type SwarmOptions, swarm } from '../../src/backends/swarm/backend.ts'
import { backendContract } from '../contract/backend.ts'
import { swarmFixture } from './swarm-fixture.ts'
import { outside, services } from './swarm-world.ts'

const connect = async (settings: Omit<SwarmOptions, 'name'>) => ({
  backend: swarm({ name: 'fleet', ...settings }, outside),
  close: async () => {},
})

backendContract('Docker Swarm, the manager’s own node', () => swarmFixture('manager', connect))
backendContract('Docker Swarm, the nodes map', () => swarmFixture('map', connect))
backendContract('Docker Swarm, a temporary service', () => swarmFixture('service', connect), 180_000)

test('nothing that was made for a command is left', async () => {
  await expect.poll(services).toEqual([])
})
