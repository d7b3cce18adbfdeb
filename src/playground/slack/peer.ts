/** A pretend Slack: it sends what Slack sends, signed and retried, and refuses what Slack refuses. */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type HttpBindings, serve } from '@hono/node-server'
import { type Delivery, type Raw, type Sender, sendRaw, slackTimings, type Timings } from './deliver.ts'
import { createFaults, createLimiter, type Faults } from './pace.ts'
import { type People, peopleOf } from './people.ts'
import { type PeerCall, peerServer } from './server.ts'
import { createSockets, type PeerSockets } from './socket-mode.ts'
import { type Change, createStore, type PeerFile, type PeerMessage, type PeerView } from './store.ts'
import { appId, botId, botUserId, type Channel, type Person, playWorkplace, type UserGroup, type Workplace } from './workplace.ts'

export type { Delivery, Timings } from './deliver.ts'
export type { Values } from './interactions.ts'
export type { PeerCall } from './server.ts'
export type { DisconnectReason, PeerSocket, PeerSockets } from './socket-mode.ts'
export type { Change, PeerFile, PeerMessage, PeerView } from './store.ts'
export { type Channel, type Person, playWorkplace, type UserGroup, type Workplace } from './workplace.ts'

export type SlackPeerOptions = {
  readonly port?: number
  readonly workspace?: Workplace
  readonly signingSecret?: string
  readonly botToken?: string
  /** Bot scopes; the manifest's unless given. */
  readonly scopes?: readonly string[]
  readonly appToken?: string
  /** Scopes of the app-level token; `connections:write` unless given. */
  readonly appScopes?: readonly string[]
  /** Slack's own rate limits; on unless `false`. */
  readonly rateLimits?: boolean
  readonly timings?: Partial<Timings>
  /** Slash text arrives with `& < >` escaped, as message text does; on unless `false` (Slack does not say which). */
  readonly escapeSlashText?: boolean
}

export type Traffic =
  | { readonly type: 'delivery'; readonly delivery: Delivery }
  | { readonly type: 'call'; readonly call: PeerCall }

export type SlackPeer = People & {
  /** `http://127.0.0.1:PORT/api/` */
  readonly apiUrl: string
  readonly botToken: string
  /** The app-level token. */
  readonly appToken: string
  readonly signingSecret: string
  readonly teamId: 'T0PLAY'
  readonly botUserId: string
  readonly botId: string
  readonly appId: string
  /** Where signed requests go. */
  connect(requestUrl: string): void
  /** From now on everything goes over Socket Mode, as when it is switched on in the app's settings; also without any `connect`. */
  connectSocket(): void
  readonly sockets: PeerSockets
  readonly people: readonly Person[]
  readonly channels: readonly Channel[]
  readonly groups: readonly UserGroup[]
  /** Anything: forged, stale, future. */
  send(raw: Omit<Raw, 'triggerId'>): Promise<Delivery>
  /** Without `retryNum` the very same bytes and headers (a replay); with it, signed anew as Slack's retry. */
  resend(delivery: Delivery, retryNum?: number): Promise<Delivery>
  /** The id of this person's direct messages with the bot; opens them. */
  direct(user: string): string
  /** Top level and broadcast replies, oldest first. */
  messages(channel: string): readonly PeerMessage[]
  /** The parent and its replies. */
  thread(channel: string, ts: string): readonly PeerMessage[]
  ephemerals(user: string): readonly PeerMessage[]
  readonly files: readonly PeerFile[]
  /** The person's open modals, the top one last. */
  views(user: string): readonly PeerView[]
  readonly faults: Faults
  /** Every Web API call and every use of a response URL, without the token. */
  readonly calls: readonly PeerCall[]
  /** Every request sent, retries included. */
  readonly deliveries: readonly Delivery[]
  on(event: 'change', listener: (change: Change) => void): () => void
  /** What was sent to the app, and what the app called. Returns how to stop. */
  watch(listener: (traffic: Traffic) => void): () => void
  close(): Promise<void>
}

/** What `slack-manifest.yml` asks for. */
export const manifestScopes: readonly string[] = [
  'commands',
  'chat:write',
  'app_mentions:read',
  'files:write',
  'usergroups:read',
  'users:read',
  'channels:read',
  'groups:read',
  'im:read',
  'im:write',
]

export async function startSlackPeer(options: SlackPeerOptions = {}): Promise<SlackPeer> {
  const workplace = options.workspace ?? playWorkplace
  const timings = { ...slackTimings, ...options.timings }
  const store = createStore(workplace)
  const botToken = options.botToken ?? `xoxb-play-${store.secret()}`
  const signingSecret = options.signingSecret ?? store.secret()
  const appToken = options.appToken ?? `xapp-1-${appId}-${store.secret()}`
  const scopes = new Set(options.scopes ?? manifestScopes)
  const { faults, next } = createFaults()
  const calls: PeerCall[] = []
  const deliveries: Delivery[] = []
  const watchers = new Set<(traffic: Traffic) => void>()
  const closing = new AbortController()
  const limiter = options.rateLimits === false ? () => undefined : createLimiter()
  let requestUrl: string | undefined
  let isSocketMode = false
  let baseUrl = ''
  const socketMode = createSockets({ baseUrl: () => baseUrl, ackMs: timings.ackMs })

  const app = peerServer({
    store,
    botToken,
    app: { token: appToken, scopes: new Set(options.appScopes ?? ['connections:write']) },
    called(call) {
      calls.push(call)
      for (const watcher of watchers) watcher({ type: 'call', call })
    },
    limit: limiter,
    fault: next,
    responseUrlMs: timings.responseUrlMs,
    context: () => ({ store, baseUrl, scopes, triggerMs: timings.triggerMs, socketUrl: socketMode.issueUrl }),
  })
  const server = serve({
    port: options.port ?? 0,
    hostname: '127.0.0.1',
    fetch: (request, env) => app.fetch(request, env as HttpBindings),
  })
  server.on('upgrade', socketMode.upgrade)
  if (!server.listening) await once(server, 'listening')
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const sender: Sender = {
    signingSecret,
    timings,
    closing: closing.signal,
    sent(delivery) {
      deliveries.push(delivery)
      for (const watcher of watchers) watcher({ type: 'delivery', delivery })
    },
    socket: () =>
      requestUrl === undefined && (isSocketMode || socketMode.sockets.open.length > 0) ? socketMode.deliver : undefined,
    url: () => {
      if (requestUrl === undefined) throw new Error('no app is connected: call connect(requestUrl) first')
      return requestUrl
    },
  }

  const escapesSlashText = options.escapeSlashText !== false
  const acts = peopleOf({ workplace, store, sender, baseUrl, escapesSlashText })

  return {
    apiUrl: `${baseUrl}/api/`,
    botToken,
    appToken,
    signingSecret,
    teamId: workplace.teamId,
    botUserId,
    botId,
    appId,
    people: workplace.people,
    channels: workplace.channels,
    groups: workplace.groups,
    faults,
    calls,
    deliveries,
    files: store.files,
    sockets: socketMode.sockets,
    connect(url) {
      requestUrl = url
    },
    connectSocket() {
      requestUrl = undefined
      isSocketMode = true
    },

    ...acts,

    send: (raw) => sendRaw(sender, raw),
    resend(delivery, retryNum) {
      if (retryNum === undefined) {
        return sendRaw(sender, { body: delivery.rawBody, headers: delivery.headers, triggerId: delivery.triggerId })
      }
      const headers = { 'x-slack-retry-num': String(retryNum), 'x-slack-retry-reason': 'http_timeout' }
      return sendRaw(sender, { body: delivery.rawBody, headers, triggerId: delivery.triggerId })
    },

    direct: (user) => store.imOf(user),
    messages: (channel) =>
      store
        .messages()
        .filter((one) => one.channel === channel && one.onlyFor === undefined && (!one.threadTs || one.broadcast === true)),
    thread: (channel, ts) =>
      store
        .messages()
        .filter((one) => one.channel === channel && one.onlyFor === undefined && (one.ts === ts || one.threadTs === ts)),
    ephemerals: (user) => store.messages().filter((one) => one.onlyFor === user),
    views: store.views,
    on: (_event, listener) => store.listen(listener),
    watch(listener) {
      watchers.add(listener)
      return () => void watchers.delete(listener)
    },

    async close() {
      closing.abort()
      socketMode.close()
      const closed = once(server, 'close')
      server.close()
      if ('closeAllConnections' in server) server.closeAllConnections()
      await closed
    },
  }
}
