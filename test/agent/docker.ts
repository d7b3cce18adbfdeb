/** An agent's engine: the real Docker Engine of the tests. */

import { type Beside, engineOf } from '../../src/agent/engine.ts'
import { agentSettings } from '../../src/agent/settings.ts'
import { labels, parseYaml, secretOf } from '../../src/config.ts'
import { readCgroups } from '../../src/runtime/host-processes.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { makePipes } from '../../src/runtime/named-pipes.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'

/** `allow` as it stands in the agent's file. */
export function dockerBeside(allow: Readonly<Record<string, unknown>>): Beside {
  const engine = { kind: 'docker', host: process.env.DOCKER_HOST ?? '' }
  const text = JSON.stringify({ name: 'lab', gateway: 'https://gateway.example.com', key: 'none', engine, allow })
  const settings = parseYaml(text, 'agent.yaml', agentSettings({ secret: secretOf({}, 6), labels }))
  return engineOf(settings, { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups })
}
