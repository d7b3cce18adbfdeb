/** A pretend Slack: it sends what Slack sends, signed and retried, and refuses what Slack refuses. */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type HttpBindings, serve } from '@hono/node-server'
import type { Json } from './block-rules.ts'
import { type Delivery, type Raw, type Sender, sendEvent, sendRaw, slackTimings, type Timings } from './deliver.ts'
import * as write from './interactions.ts'
import { createFaults, createLimiter, type Faults } from './pace.ts'
import { Refusal } from './refusal.ts'
import { answerWith } from './response-url.ts'
import { type PeerCall, peerServer } from './server.ts'
import { createSockets, type PeerSockets } from './socket-mode.ts'
import { type Change, createStore, type PeerFile, type PeerMessage, type PeerView } from './store.ts'
import { escapeText } from './typed-text.ts'
import { checkedView, pushed, replaced } from './view-api.ts'
import { appId, botId, botUserId, type Channel, type Person, playWorkplace, type Workplace } from './workplace.ts'

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

export type SlackPeer = {
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
  /** `text` as typed. */
  slash(user: string, channel: string, text: string, options?: { readonly command?: string }): Promise<Delivery>
  /** Posts the message and sends `app_mention`; `text` as typed, with `@drover` put in front when it is missing. */
  mention(
    user: string,
    channel: string,
    text: string,
    options?: { readonly threadTs?: string; readonly edited?: boolean },
  ): Promise<Delivery & { readonly ts: string }>
  /** A message that mentions nobody: the app is not told. */
  say(user: string, channel: string, text: string, options?: { readonly threadTs?: string }): PeerMessage
  /** The person edits a message: `message_changed` is sent, and the mention again as edited when there is one. */
  edit(user: string, channel: string, ts: string, text: string): Promise<Delivery>
  /** `value` chooses an option of a menu. */
  click(
    user: string,
    channel: string,
    messageTs: string,
    actionId: string,
    options?: { readonly value?: string },
  ): Promise<Delivery>
  clickInView(user: string, viewId: string, actionId: string, options?: { readonly value?: string }): Promise<Delivery>
  /** `values` by block id or action id. */
  submitView(user: string, viewId: string, values?: write.Values): Promise<Delivery>
  /** Sends `view_closed` only where the view asked for it; undefined otherwise. */
  closeView(user: string, viewId: string): Promise<Delivery | undefined>
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

  const personOf = (id: string): Person => workplace.people.find((one) => one.id === id) ?? absent(`person ${id}`)
  const channelOf = (id: string): Channel => {
    const imWith = store.imUser(id)
    if (imWith !== undefined) return { id, name: imWith, topic: '', imWith, members: [imWith, botUserId] }
    return workplace.channels.find((one) => one.id === id) ?? absent(`channel ${id}`)
  }
  const scene = (user: string, viewId?: string): write.Scene => {
    const triggerId = `${Date.now()}.${store.newId('')}`
    store.triggers.set(triggerId, { user, issuedAt: Date.now(), used: false, ...(viewId === undefined ? {} : { viewId }) })
    return { store, baseUrl, person: personOf(user), triggerId }
  }
  const responseUrl = (user: string, channel: string, message?: PeerMessage): string => {
    const secret = store.secret()
    store.responseUrls.set(secret, { channel, user, issuedAt: Date.now(), uses: 0, ...(message ? { message } : {}) })
    return `${baseUrl}/response/${secret}`
  }
  const slackbot = (user: string, channel: string, text: string): void => {
    store.post({ channel, user: 'USLACKBOT', text, onlyFor: user })
  }
  const viewOf = (user: string, id: string): PeerView => store.views(user).find((one) => one.id === id) ?? absent(`view ${id}`)
  const send = (at: write.Scene, body: string) => sendRaw(sender, { body, triggerId: at.triggerId })

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

    async slash(user, channel, text, { command = '/exec' } = {}) {
      const at = scene(user)
      const sent = options.escapeSlashText === false ? text : escapeText(text)
      const delivery = await send(at, write.slashBody(at, channelOf(channel), command, sent, responseUrl(user, channel)))
      if (delivery.failure === 'http_timeout' || delivery.failure === 'connection_failed') {
        slackbot(user, channel, `\`${command}\` failed because the app did not respond.`)
      } else if (delivery.failure === 'http_error') {
        slackbot(user, channel, `\`${command}\` failed with the error "dispatch_failed".`)
      } else showAnswer(delivery.body, user, channel)
      return delivery
    },

    async mention(user, channel, text, { threadTs, edited } = {}) {
      const person = personOf(user)
      const typed = /@drover\b/i.test(text) ? text : `@drover ${text}`
      const { message, blocks } = write.postTyped(store, person, channelOf(channel), typed, threadTs)
      const event = mentionEvent(message, blocks, edited === true)
      return { ...(await sendEvent(sender, write.eventBody(store, person, event))), ts: message.ts }
    },

    say(user, channel, text, { threadTs } = {}) {
      return write.postTyped(store, personOf(user), channelOf(channel), text, threadTs).message
    },

    async edit(user, channel, ts, text) {
      const person = personOf(user)
      const old = store.find(channel, ts) ?? absent(`message ${ts}`)
      if (old.user !== user) throw new Error('only its author can edit a message')
      const typed = write.postTyped(store, person, channelOf(channel), text, old.threadTs)
      store.remove(typed.message)
      const changed = store.replace(old, { ...old, text: typed.message.text, edited: true })
      const delivery = await sendEvent(
        sender,
        write.eventBody(store, person, {
          type: 'message',
          subtype: 'message_changed',
          hidden: true,
          channel,
          ts: store.nextTs(),
          message: messageOf(changed),
          previous_message: messageOf(old),
        }),
      )
      if (changed.text.includes(`<@${botUserId}>`)) {
        await sendEvent(sender, write.eventBody(store, person, mentionEvent(changed, typed.blocks, true)))
      }
      return delivery
    },

    click(user, channel, messageTs, actionId, { value } = {}) {
      const message = store.find(channel, messageTs)
      if (!message || (message.onlyFor !== undefined && message.onlyFor !== user)) return absent(`message ${messageTs}`)
      const placed = write.elementsOf(message.blocks ?? []).find(({ element }) => element.action_id === actionId)
      if (!placed) return absent(`button ${actionId} in message ${messageTs}`)
      const at = scene(user)
      const action = write.actionOf(placed, store.nextTs(), value)
      return send(at, write.clickBody(at, channelOf(channel), message, action, responseUrl(user, channel, message)))
    },

    clickInView(user, viewId, actionId, { value } = {}) {
      const view = viewOf(user, viewId)
      const blocks = (view.view.blocks ?? []) as readonly Json[]
      const placed = write.elementsOf(blocks).find(({ element }) => element.action_id === actionId)
      if (!placed) return absent(`element ${actionId} in view ${viewId}`)
      const at = scene(user, viewId)
      return send(at, write.viewClickBody(at, view, write.actionOf(placed, store.nextTs(), value)))
    },

    async submitView(user, viewId, values = {}) {
      const view = viewOf(user, viewId)
      const at = scene(user, viewId)
      const delivery = await send(at, write.submitBody(at, view, values))
      if (delivery.failure === undefined) applySubmit(view, delivery.body)
      return delivery
    },

    async closeView(user, viewId) {
      const view = viewOf(user, viewId)
      store.setViews(
        user,
        store.views(user).filter((one) => one !== view),
      )
      if (view.view.notify_on_close !== true) return undefined
      const at = scene(user)
      return send(at, write.viewClosedBody(at, view))
    },

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

  function mentionEvent(message: PeerMessage, blocks: readonly unknown[], edited: boolean): Json {
    return {
      type: 'app_mention',
      ...messageOf(message),
      channel: message.channel,
      event_ts: message.ts,
      blocks,
      ...(edited ? { edited: { user: message.user, ts: store.nextTs() } } : {}),
    }
  }

  function messageOf({ user, ts, text, threadTs, channel }: PeerMessage): Json {
    const parent = threadTs === undefined ? undefined : store.find(channel, threadTs)
    return { user, ts, text, ...(threadTs === undefined ? {} : { thread_ts: threadTs, parent_user_id: parent?.user }) }
  }

  /** The answer to a slash command: empty, plain text, or a message. */
  function showAnswer(body: unknown, user: string, channel: string) {
    if (body === '' || body === undefined || body === null) return
    try {
      answerWith(typeof body === 'object' ? (body as Json) : { text: String(body) }, { channel, user }, { store })
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      slackbot(user, channel, `The app's answer could not be shown: ${error.message} ${JSON.stringify(error.extra)}`)
    }
  }

  function applySubmit(view: PeerView, body: unknown) {
    const answer = typeof body === 'object' && body !== null ? (body as Json) : {}
    const stack = store.views(view.user)
    switch (answer.response_action) {
      case 'errors':
        return store.setViews(
          view.user,
          stack.map((one) => (one === view ? { ...one, errors: answer.errors as Record<string, string> } : one)),
        )
      case 'update':
        replaced(view, checkedView(answer.view), { store })
        return
      case 'push':
        pushed(view.user, checkedView(answer.view), { store })
        return
      case 'clear':
        return store.setViews(view.user, [])
      default:
        return store.setViews(
          view.user,
          stack.filter((one) => one.id !== view.id),
        )
    }
  }
}

function absent(what: string): never {
  throw new Error(`the playground has no ${what}`)
}
