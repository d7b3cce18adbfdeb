/** An app for the pretend Slack to talk to: a real HTTP server that remembers what it was sent. */

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type SlackPeer, type SlackPeerOptions, startSlackPeer } from '../../src/playground/slack/peer.ts'

export type Received = {
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Form fields; `payload` and JSON bodies parsed. */
  readonly fields: Readonly<Record<string, unknown>>
}
export type Answer = { readonly status?: number; readonly body?: string | object; readonly headers?: Record<string, string> }

export type StubApp = {
  readonly peer: SlackPeer
  readonly received: readonly Received[]
  /** Resolves when `count` requests have arrived. */
  arrived(count: number): Promise<readonly Received[]>
  call(method: string, args: object, options?: { readonly token?: string; readonly form?: boolean }): Promise<CallResult>
  [Symbol.asyncDispose](): Promise<void>
}
export type CallResult = { readonly status: number; readonly retryAfter: string | null; readonly body: Record<string, unknown> }

export async function startStubApp(
  handle: (received: Received, app: StubApp) => Answer | undefined | 'never' | Promise<Answer | undefined | 'never'> = () =>
    undefined,
  options: SlackPeerOptions = {},
): Promise<StubApp> {
  const peer = await startSlackPeer({ rateLimits: false, ...options })
  const received: Received[] = []
  const waiting = new Set<() => void>()
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString('utf8')
    const one = { headers: request.headers, body, fields: fieldsOf(body) }
    received.push(one)
    for (const wake of waiting) wake()
    const answer = await handle(one, app)
    if (answer === 'never') return
    const isJson = typeof answer?.body === 'object'
    response.writeHead(answer?.status ?? 200, { ...(isJson ? { 'content-type': 'application/json' } : {}), ...answer?.headers })
    response.end(isJson ? JSON.stringify(answer?.body) : answer?.body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  peer.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}/slack`)

  const app: StubApp = {
    peer,
    received,
    async arrived(count) {
      while (received.length < count) {
        const { promise, resolve } = Promise.withResolvers<void>()
        waiting.add(resolve)
        await promise
        waiting.delete(resolve)
      }
      return received
    },
    async call(method, args, { token = peer.botToken, form = false } = {}) {
      const response = await fetch(peer.apiUrl + method, {
        method: 'POST',
        headers: {
          'content-type': form ? 'application/x-www-form-urlencoded' : 'application/json; charset=utf-8',
          ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
        },
        body: form ? formOf(args) : JSON.stringify(args),
      })
      const body = (await response.json()) as Record<string, unknown>
      return { status: response.status, retryAfter: response.headers.get('retry-after'), body }
    },
    async [Symbol.asyncDispose]() {
      await peer.close()
      server.closeAllConnections()
      server.close()
    },
  }
  return app
}

function formOf(args: object): URLSearchParams {
  return new URLSearchParams(
    Object.entries(args).map(([key, value]): [string, string] => [
      key,
      typeof value === 'object' ? JSON.stringify(value) : String(value),
    ]),
  )
}

function fieldsOf(body: string): Record<string, unknown> {
  if (body.startsWith('{')) return JSON.parse(body) as Record<string, unknown>
  const form = Object.fromEntries(new URLSearchParams(body))
  return form.payload === undefined ? form : (JSON.parse(form.payload) as Record<string, unknown>)
}
