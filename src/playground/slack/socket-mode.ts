/** Socket Mode as Slack keeps it: one-time URLs, few connections, each delivery to one of them at random, and what can go wrong. */

import { randomInt, randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Json } from './block-rules.ts'
import type { Delivery, Raw } from './deliver.ts'
import { appId } from './workplace.ts'

/** docs.slack.dev, "Using Socket Mode"; `too_many_websockets` as operators' logs show it. */
export type DisconnectReason = 'warning' | 'refresh_requested' | 'link_disabled' | 'too_many_websockets'

/** One connection of the app, seen from Slack's side. */
export type PeerSocket = {
  readonly id: number
  /** Announces the end and closes after `closeAfterMs`: for a warning 10 s, otherwise at once unless given. */
  disconnect(reason: DisconnectReason, options?: { readonly closeAfterMs?: number }): void
  /** Sends this text as it is. */
  say(text: string): void
  /** The TCP connection dies without a close frame. */
  drop(): void
  /** Half open: neither reads nor answers any more, not even a ping. */
  freeze(): void
}

export type PeerSockets = {
  readonly open: readonly PeerSocket[]
  /** Every envelope sent, in order. */
  readonly envelopes: readonly Json[]
  /** Acknowledgements that came late, twice, or for what was never sent. */
  readonly strayAcks: readonly Json[]
  /** The fewest connections there were at any time since the last call of `watch`. */
  readonly fewest: number
  watch(): void
  /** The next `times` deliveries lose their connection as soon as they have left, unacknowledged. */
  dropOnDelivery(times: number): void
  /** The next `times` acknowledgements never arrive. */
  loseAcks(times: number): void
  /** The next `times` connections get no hello. */
  withholdHello(times: number): void
}

type Open = PeerSocket & { readonly ws: WebSocket }
type Waiting = { readonly on: Open; readonly takesPayload: boolean; readonly settle: (end: End) => void }
type End = Pick<Delivery, 'status' | 'body' | 'failure'>

/** Slack's limit for one app. */
const mostConnections = 10
const mostTickets = 1000
const closeAfterMs: Readonly<Record<DisconnectReason, number>> = {
  warning: 10_000,
  refresh_requested: 0,
  link_disabled: 0,
  too_many_websockets: 0,
}

export function createSockets(options: { readonly baseUrl: () => string; readonly ackMs: number }) {
  const server = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024 })
  const tickets = new Set<string>()
  const waiting = new Map<string, Waiting>()
  const envelopes: Json[] = []
  const strayAcks: Json[] = []
  const faults = { dropOnDelivery: 0, loseAcks: 0, withholdHello: 0 }
  let open: readonly Open[] = []
  let fewest = 0
  let lastId = 0

  function welcome(ws: WebSocket): void {
    const one: Open = {
      id: ++lastId,
      ws,
      disconnect(reason, { closeAfterMs: afterMs = closeAfterMs[reason] } = {}) {
        ws.send(JSON.stringify({ type: 'disconnect', reason, debug_info: { host: 'applink-play' } }))
        if (afterMs === 0) ws.close(1000)
        else setTimeout(() => ws.close(1000), afterMs).unref()
      },
      say: (text) => ws.send(text),
      drop: () => ws.terminate(),
      freeze: () => ws.pause(),
    }
    ws.on('error', () => {})
    if (open.length >= mostConnections) {
      one.disconnect('too_many_websockets')
      return
    }
    open = [...open, one]
    ws.on('close', () => {
      open = open.filter((other) => other !== one)
      fewest = Math.min(fewest, open.length)
      for (const { on, settle } of waiting.values()) if (on === one) settle(unsent)
    })
    ws.on('message', (data) => acknowledged(String(data)))
    if (faults.withholdHello > 0) faults.withholdHello -= 1
    else {
      const debug_info = { host: 'applink-play', build_number: 1, approximate_connection_time: 18_060 }
      ws.send(JSON.stringify({ type: 'hello', num_connections: open.length, connection_info: { app_id: appId }, debug_info }))
    }
  }

  function acknowledged(text: string): void {
    const ack = asJson(text)
    const pending = waiting.get(String(ack.envelope_id))
    if (faults.loseAcks > 0) faults.loseAcks -= 1
    else if (pending === undefined) strayAcks.push(ack)
    else if (ack.payload !== undefined && !pending.takesPayload) pending.settle({ status: 400, body: '', failure: 'http_error' })
    else pending.settle({ status: 200, body: ack.payload ?? '' })
  }

  const sockets: PeerSockets = {
    get open() {
      return open
    },
    envelopes,
    strayAcks,
    get fewest() {
      return fewest
    },
    watch() {
      fewest = open.length
    },
    dropOnDelivery(times) {
      faults.dropOnDelivery = times
    },
    loseAcks(times) {
      faults.loseAcks = times
    },
    withholdHello(times) {
      faults.withholdHello = times
    },
  }

  return {
    sockets,

    /** A URL for one connection. */
    issueUrl(): string {
      const ticket = randomUUID()
      tickets.add(ticket)
      if (tickets.size > mostTickets) tickets.delete([...tickets][0]!)
      return `${options.baseUrl().replace(/^http/, 'ws')}/link/?ticket=${ticket}&app_id=${appId}`
    },

    upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
      const url = new URL(request.url ?? '/', options.baseUrl())
      if (url.pathname !== '/link/' || !tickets.delete(url.searchParams.get('ticket') ?? '')) {
        socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
        return
      }
      server.handleUpgrade(request, socket, head, welcome)
    },

    /** To one connection; answered with what was acknowledged within Slack's 3 s. No connection: nobody gets it. */
    async deliver(raw: Raw): Promise<Delivery> {
      const request = { headers: raw.headers ?? {}, rawBody: raw.body, triggerId: raw.triggerId ?? '' }
      const on = open[open.length > 0 ? randomInt(open.length) : 0]
      if (on === undefined) return { ...request, ...unsent }
      const envelope = envelopeOf(raw)
      const { promise, resolve: settle } = Promise.withResolvers<End>()
      const timer = setTimeout(() => settle({ status: 0, body: '', failure: 'http_timeout' }), options.ackMs)
      waiting.set(envelope.envelope_id, { on, takesPayload: envelope.accepts_response_payload, settle })
      envelopes.push(envelope)
      on.ws.send(JSON.stringify(envelope), () => {
        if (faults.dropOnDelivery === 0) return
        faults.dropOnDelivery -= 1
        on.drop()
      })
      const end = await promise
      clearTimeout(timer)
      waiting.delete(envelope.envelope_id)
      return { ...request, ...end }
    },

    close(): void {
      for (const { ws } of open) ws.terminate()
      server.close()
    },
  }
}

const unsent: End = { status: 0, body: '', failure: 'connection_failed' }

/** Over a socket the same bodies travel as JSON; events say how often they were tried. */
function envelopeOf({ body, headers = {} }: Raw) {
  const envelope_id = randomUUID()
  if (body.startsWith('{')) {
    const retry_attempt = Number(headers['x-slack-retry-num'] ?? 0)
    const retry_reason = retry_attempt === 0 ? '' : 'timeout'
    return {
      envelope_id,
      type: 'events_api',
      payload: asJson(body),
      accepts_response_payload: false,
      retry_attempt,
      retry_reason,
    }
  }
  const form = Object.fromEntries(new URLSearchParams(body))
  const isClick = form.payload !== undefined
  const payload = isClick ? asJson(form.payload ?? '') : form
  return { envelope_id, type: isClick ? 'interactive' : 'slash_commands', payload, accepts_response_payload: true }
}

function asJson(text: string): Json {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Json) : {}
  } catch {
    return {}
  }
}
