/** The story on Node, its backend behind an agent. */

import { fileURLToPath } from 'node:url'
import { throughAgent } from './agent.ts'
import { startProcess } from './process.ts'
import { scenario } from './scenario.ts'

scenario(
  'Node, through an agent',
  throughAgent(startProcess([process.execPath, fileURLToPath(new URL('../../src/node.ts', import.meta.url))])),
  { rollouts: false },
)
