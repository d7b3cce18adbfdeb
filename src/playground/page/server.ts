/** The playground's page: a small chat in the browser, in front of the pretend Slack. */

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { streamSSE } from 'hono/streaming'
import type { Change, Channel, Delivery, PeerFile, PeerMessage, SlackPeer, Values } from '../slack/peer.ts'
import { type Bench, benchRoutes } from './bench.ts'
import { type Example, pageDocument, refusedDocument } from './document.ts'
import { guard } from './guard.ts'

export type { Bench, Offered } from './bench.ts'
export type { Example } from './document.ts'
export { createFaultMenu } from './faults.ts'
export { createProtocol, type Protocol, type RunBook } from './protocol.ts'

export type PlaygroundPageOptions = {
  readonly peer: SlackPeer
  /** Random for each start; the printed address carries it once, as `?token=`. */
  readonly token: string
  readonly title?: string
  readonly examples: readonly Example[]
  /** What commands run in here. */
  readonly containers?: string
  /** What lies behind the chat; without it the page is the chat alone. */
  readonly bench?: Bench
}

type Env = { Bindings: Partial<HttpBindings> }
type Body = Readonly<Record<string, unknown>>

const scripts = [
  'start',
  'client',
  'arrivals',
  'where',
  'dom',
  'emoji',
  'mrkdwn',
  'rich-text',
  'elements',
  'blocks',
  'state',
  'messages',
  'side',
  'dialogs',
  'compose',
  'complete',
  'suggest',
  'protocol-view',
  'fault-menu',
  'tour',
] as const
/** In the order of the cascade. */
const styles = ['look', 'side', 'chat', 'block-kit', 'compose', 'welcome', 'dialogs', 'panels', 'protocol'] as const
const maxPreviewBytes = 64 * 1024
const heartbeatMs = 15_000

/** Bind it to loopback: whoever reaches it with the token can be everyone in the workplace. */
export function playgroundPage({
  peer,
  token,
  title = 'drover playground',
  examples,
  containers = 'pretend containers',
  bench = {},
}: PlaygroundPageOptions): Hono<Env> {
  const app = new Hono<Env>()

  app.use(async (c, next) => {
    await next()
    c.header('x-content-type-options', 'nosniff')
    c.header('referrer-policy', 'no-referrer')
    c.header('cache-control', 'no-store')
    c.header('cross-origin-resource-policy', 'same-origin')
    if (!c.res.headers.has('content-security-policy'))
      c.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'")
  })
  app.use(guard(token, refusedDocument))

  app.get('/', (c) => {
    const nonce = randomBytes(16).toString('base64')
    c.header(
      'content-security-policy',
      `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; connect-src 'self'; img-src data:; ` +
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    )
    return c.html(pageDocument(title, styles, nonce))
  })

  const asset = (name: string, type: string) => {
    const text = readFileSync(new URL(name, import.meta.url), 'utf8')
    app.get(`/${name}`, (c) => c.body(text, 200, { 'content-type': `${type}; charset=utf-8` }))
  }
  for (const name of scripts) asset(`${name}.js`, 'text/javascript')
  for (const name of styles) asset(`${name}.css`, 'text/css')

  app.get('/api/state', (c) => {
    const user = personId(c.req.query('user') ?? peer.people[0]?.id)
    const channels = channelsOf(user)
    return c.json({
      people: peer.people.filter((one) => !one.deleted),
      switchable: peer.people.filter((one) => !one.isBot && !one.deleted && !one.isUltraRestricted).map((one) => one.id),
      bot: peer.botUserId,
      me: user,
      channels,
      // A channel is named wherever it is mentioned, unless it is private and this person is not in it.
      channelNames: Object.fromEntries(
        peer.channels.filter((one) => !one.isPrivate || one.members.includes(user)).map(({ id, name }) => [id, name]),
      ),
      groups: peer.groups.map(({ id, handle }) => ({ id, handle })),
      bench: { protocol: bench.protocol !== undefined, faults: bench.faults?.list() },
      examples,
      containers,
      archives: peer.apiUrl.replace('/api/', '/archives/'),
      messages: channels.flatMap((one) => visible(user, one.id)).map(shown),
      views: peer.views(user),
    })
  })

  app.get('/api/events', (c) => {
    const user = personId(c.req.query('user'))
    return streamSSE(c, async (stream) => {
      const { promise: ended, resolve: end } = Promise.withResolvers<void>()
      const stop = peer.on('change', (change) => {
        const data = changeFor(user, change)
        if (data !== undefined) void stream.writeSSE({ data: JSON.stringify(data) }).catch(end)
      })
      const unfollow = benchSide.follow((event, data) => void stream.writeSSE({ event, data: JSON.stringify(data) }).catch(end))
      const heartbeat = setInterval(() => void stream.writeSSE({ event: 'beat', data: '' }).catch(end), heartbeatMs)
      stream.onAbort(end)
      await stream.writeSSE({ event: 'ready', data: '' })
      await ended
      clearInterval(heartbeat)
      stop()
      unfollow()
    })
  })

  const post = (path: string, handle: (body: Body) => Promise<unknown>) =>
    app.post(path, bodyLimit({ maxSize: 256 * 1024 }), async (c) => {
      if (!c.req.header('content-type')?.startsWith('application/json')) return c.json({ error: 'JSON only' }, 415)
      try {
        const body: unknown = await c.req.json()
        return c.json({ ok: true, result: await handle(typeof body === 'object' && body !== null ? (body as Body) : {}) })
      } catch (error) {
        return c.json({ ok: false, error: error instanceof Error ? error.message : String(error) }, 400)
      }
    })

  const benchSide = benchRoutes(app, post, bench, (query) => {
    const channel = memberChannel(query)
    const person = peer.people.find((one) => one.id === query.user)
    if (!person) throw new Error('unknown person')
    return { person, channel }
  })

  post('/api/send', async (body) => {
    const [user, channel, text] = [personId(body.user), memberChannel(body), textOf(body.text, 'text')]
    const place = body.threadTs === undefined ? {} : { threadTs: textOf(body.threadTs, 'threadTs') }
    const slash = /^(\/[a-z][\w-]*)(?:\s+([\s\S]*))?$/.exec(text)
    if (slash?.[1] !== undefined) {
      // Slack knows no slash commands of apps inside threads; it says so in the same words.
      if (body.threadTs !== undefined) return { inThread: true, message: `${slash[1]} is not supported in threads. Sorry!` }
      if (slash[1] !== '/exec' && slash[1] !== '/rollout') return { message: `${slash[1]} is not a valid command.` }
      return brief(await peer.slash(user, channel, slash[2] ?? '', { command: slash[1] }))
    }
    if (/@drover\b/i.test(text)) return brief(await peer.mention(user, channel, text, place))
    return { ts: peer.say(user, channel, text, place).ts }
  })
  post('/api/click', async (body) => {
    const value = typeof body.value === 'string' ? { value: body.value } : {}
    const [user, action] = [personId(body.user), textOf(body.actionId, 'actionId')]
    if (typeof body.viewId === 'string') return brief(await peer.clickInView(user, body.viewId, action, value))
    return brief(await peer.click(user, memberChannel(body), textOf(body.ts, 'ts'), action, value))
  })
  post('/api/view/submit', async (body) => {
    const values = typeof body.values === 'object' && body.values !== null ? (body.values as Values) : {}
    return brief(await peer.submitView(personId(body.user), textOf(body.viewId, 'viewId'), values))
  })
  post('/api/view/close', async (body) => {
    const delivery = await peer.closeView(personId(body.user), textOf(body.viewId, 'viewId'))
    return delivery === undefined ? {} : brief(delivery)
  })

  app.get('/api/files/:id', (c) => {
    const user = personId(c.req.query('user'))
    const file = peer.files.find((one) => one.id === c.req.param('id'))
    if (!file || !channelsOf(user).some((one) => one.id === file.shared?.channel)) {
      return c.json({ error: 'no such file' }, 404)
    }
    if (c.req.query('preview') !== undefined) return c.json(preview(file))
    return c.body(Buffer.from(file.content), 200, {
      'content-type': 'application/octet-stream',
      'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(file.name)}`,
    })
  })

  app.onError((error, c) => c.json({ error: error.message }, 400))

  function personId(value: unknown): string {
    const person = peer.people.find((one) => one.id === value && !one.isBot)
    if (!person) throw new Error('unknown person')
    return person.id
  }

  /** The channels this person is in, and what drover writes to them alone. */
  function channelsOf(user: string): readonly Channel[] {
    const members = [user, peer.botUserId]
    const direct: Channel = {
      id: peer.direct(user),
      name: 'drover',
      topic: 'Direct messages: where drover is not invited, it answers here',
      imWith: user,
      members,
    }
    return [...peer.channels.filter((one) => one.members.includes(user)), direct]
  }

  function memberChannel(body: Body): string {
    const user = personId(body.user)
    const channel = channelsOf(user).find((one) => one.id === body.channel)
    if (!channel) throw new Error('this person is not in that channel')
    return channel.id
  }

  function visible(user: string, channel: string): readonly PeerMessage[] {
    const mine = peer.ephemerals(user).filter((one) => one.channel === channel)
    const parents = peer.messages(channel)
    const all = new Set(parents.flatMap((one) => (one.threadTs ? [one] : peer.thread(channel, one.ts))))
    return [...all, ...mine].sort((a, b) => Number(a.ts) - Number(b.ts))
  }

  function changeFor(user: string, change: Change): unknown {
    if (change.type === 'views') return change.user === user ? change : undefined
    const { message } = change
    const isMember = channelsOf(user).some((one) => one.id === message.channel)
    if (!isMember || (message.onlyFor !== undefined && message.onlyFor !== user)) return undefined
    return { type: change.type, message: shown(message) }
  }

  return app
}

function textOf(value: unknown, name: string): string {
  if (typeof value !== 'string' || value.trim() === '') throw new Error(`missing: ${name}`)
  return value
}

/** What the browser needs to know of a delivery: nothing signed, nothing secret. */
function brief({ status, failure }: Delivery) {
  return { status, ...(failure === undefined ? {} : { failure }) }
}

/** A message without the bytes of its files. */
function shown(message: PeerMessage) {
  return { ...message, files: message.files?.map(({ id, name, title, size }) => ({ id, name, title, size })) }
}

function preview(file: PeerFile) {
  const head = file.content.subarray(0, maxPreviewBytes)
  const isBinary = head.includes(0)
  return { binary: isBinary, text: isBinary ? '' : new TextDecoder().decode(head), cut: file.content.length > head.length }
}
