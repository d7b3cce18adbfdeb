/** The story in Deno: one line of JSON in, one out. */

import process from 'node:process'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { story } from './rancher2-story.ts'

const told = await story(JSON.parse(process.argv[2] ?? '{}'), { transport: nodeTransport, machine: nodeMachine() })
process.stdout.write(JSON.stringify(told))
process.exit(0)
