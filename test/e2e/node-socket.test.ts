/** The story on Node, with Slack reached over Socket Mode. */

import { fileURLToPath } from 'node:url'
import { startProcess } from './process.ts'
import { scenario } from './scenario.ts'

const node = [process.execPath, fileURLToPath(new URL('../../src/node.ts', import.meta.url))] as const
scenario('Node', startProcess(node), { via: 'socket' })
