/** The story on workerd, through `wrangler dev`. */

import { scenario } from './scenario.ts'
import { startWorker } from './wrangler.ts'

scenario('workerd', startWorker)
