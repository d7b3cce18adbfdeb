/** Bare Hono on Deno. */

import process from 'node:process'
import { bareHono } from './hono-app.ts'

declare const Deno: {
  serve(
    options: { hostname: string; port: number; onListen(address: { port: number }): void },
    handler: (request: Request) => Response | Promise<Response>,
  ): unknown
}

const app = bareHono(process.env.SLACK_SIGNING_SECRET ?? '')
const onListen = ({ port }: { port: number }) => console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }))
Deno.serve({ hostname: '127.0.0.1', port: 0, onListen }, (request) => app.fetch(request))
