/** The story on workerd, its backend behind an agent whose connection a Durable Object holds. */

import { throughAgent } from './agent.ts'
import { scenario } from './scenario.ts'
import { startWorker } from './wrangler.ts'

scenario('workerd, through an agent', throughAgent(startWorker), { rollouts: false })
