/** The story on Deno, with Slack reached over Socket Mode. */

import { fileURLToPath } from 'node:url'
import { startProcess } from './process.ts'
import { scenario } from './scenario.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const run = ['run', '--no-prompt', '--cached-only', '-A', '--config', root('deno.json'), root('src/deno.ts')]
scenario('Deno', startProcess([root('node_modules/.bin/deno'), ...run]), { via: 'socket' })
