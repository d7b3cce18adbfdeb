/** The backend contract on a real Docker Engine. */

import { docker } from '../../src/backends/docker/backend.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract } from '../contract/backend.ts'
import { dockerFixture } from './docker-fixture.ts'

const outside = { transport: nodeTransport, machine: nodeMachine() }

backendContract('Docker Engine', () =>
  dockerFixture(async (port) => ({
    backend: docker({ name: 'engine', host: `tcp://127.0.0.1:${port}`, plaintext: true }, outside),
    close: async () => {},
  })),
)
