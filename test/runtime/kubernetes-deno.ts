/** The story in Deno: JSON as an argument, JSON on stdout. */

import process from 'node:process'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { story } from './kubernetes-story.ts'

const told = await story(JSON.parse(process.argv[2] ?? '{}'), { transport: nodeTransport, files: filesOf(nodeMachine()) })
process.stdout.write(JSON.stringify(told))
process.exit(0)
