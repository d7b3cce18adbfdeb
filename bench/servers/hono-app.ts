/** The least that can answer a signed slash command: Hono, and drover's own check of the signature. Nothing is kept. */

import { Hono } from 'hono'
import { createVerifier } from '../../src/frontends/slack/signature.ts'

export function bareHono(signingSecret: string): Hono {
  const verify = createVerifier(signingSecret)
  const app = new Hono()
  app.get('/healthz', (context) => context.text('ok\n'))
  app.post('/slack/events', async (context) => {
    const body = new Uint8Array(await context.req.arrayBuffer())
    const verdict = await verify({ headers: context.req.raw.headers, body }, Date.now())
    return new Response(null, { status: verdict === 'genuine' ? 200 : 401 })
  })
  return app
}
