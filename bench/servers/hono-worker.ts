/** Bare Hono on workerd. */

import type { Hono } from 'hono'
import { bareHono } from './hono-app.ts'

let app: Hono | undefined

export default {
  fetch(request: Request, env: { readonly SLACK_SIGNING_SECRET: string }): Response | Promise<Response> {
    app ??= bareHono(env.SLACK_SIGNING_SECRET)
    return app.fetch(request)
  },
}
