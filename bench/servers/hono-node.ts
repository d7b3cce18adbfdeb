/** Bare Hono on Node. */

import { serve } from '@hono/node-server'
import { bareHono } from './hono-app.ts'

serve({ fetch: bareHono(process.env.SLACK_SIGNING_SECRET ?? '').fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) =>
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` })),
)
