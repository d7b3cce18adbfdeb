/** The story on Deno, its backend behind an agent. */

import { fileURLToPath } from 'node:url'
import { throughAgent } from './agent.ts'
import { startProcess } from './process.ts'
import { scenario } from './scenario.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const deno = [root('node_modules/.bin/deno'), 'run', '--no-prompt', '--cached-only', '-A', '--config', root('deno.json')] as const
scenario('Deno, through an agent', throughAgent(startProcess([...deno, root('src/deno.ts')])), { rollouts: false })
