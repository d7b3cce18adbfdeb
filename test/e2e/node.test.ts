/** The story on Node. */

import { fileURLToPath } from 'node:url'
import { startProcess } from './process.ts'
import { scenario } from './scenario.ts'

scenario('Node', startProcess([process.execPath, fileURLToPath(new URL('../../src/node.ts', import.meta.url))]))
