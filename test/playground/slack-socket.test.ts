/** Socket Mode of the pretend Slack, as Slack documents it. */

import { once } from 'node:events'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type SlackPeer, type SlackPeerOptions, startSlackPeer } from '../../src/playground/slack/peer.ts'

type Message = Readonly<Record<string, unknown>>

let peer: SlackPeer
const clients = new Set<WebSocket>()
beforeEach(async () => {
  peer = await start()
})
afterEach(async () => {
  for (const client of clients) client.terminate()
  clients.clear()
  await peer.close()
})

async function start(options: SlackPeerOptions = {}): Promise<SlackPeer> {
  const started = await startSlackPeer({ rateLimits: false, timings: { ackMs: 200, retryAfterMs: [0, 20, 40] }, ...options })
  started.connectSocket()
  return started
}

async function open(token = peer.appToken): Promise<Record<string, unknown>> {
  const response = await fetch(`${peer.apiUrl}apps.connections.open`, {
    method: 'POST',
    headers: token === '' ? {} : { authorization: `Bearer ${token}` },
  })
  return (await response.json()) as Record<string, unknown>
}

/** A client that answers each envelope with what `answer` says. */
async function connect(answer: (envelope: Message) => object | undefined = ({ envelope_id }) => ({ envelope_id }), url?: string) {
  const ws = new WebSocket(url ?? String((await open()).url))
  clients.add(ws)
  const received: Message[] = []
  ws.on('message', (data) => {
    const message = JSON.parse(String(data)) as Message
    received.push(message)
    const reply = message.envelope_id === undefined ? undefined : answer(message)
    if (reply) ws.send(JSON.stringify(reply))
  })
  ws.on('error', () => {})
  await once(ws, 'open')
  await expect.poll(() => received.length).toBeGreaterThan(0)
  return { ws, received }
}

test('an app-level token with connections:write gets a URL; no other token does', async () => {
  expect(await open()).toMatchObject({ ok: true, url: expect.stringMatching(/^ws:\/\/127\.0\.0\.1:\d+\/link\/\?ticket=/) })
  expect(await open('')).toMatchObject({ ok: false, error: 'not_authed' })
  expect(await open('xapp-1-A0DROVER-wrong')).toMatchObject({ ok: false, error: 'invalid_auth' })
  expect(await open(peer.botToken)).toMatchObject({ ok: false, error: 'not_allowed_token_type' })
  await peer.close()
  peer = await start({ appScopes: ['authorizations:read'] })
  expect(await open()).toMatchObject({ ok: false, error: 'missing_scope', needed: 'connections:write' })
})

test('an app-level token may do nothing else', async () => {
  const response = await fetch(`${peer.apiUrl}auth.test`, {
    method: 'POST',
    headers: { authorization: `Bearer ${peer.appToken}` },
  })
  expect(await response.json()).toEqual({ ok: false, error: 'not_allowed_token_type' })
})

test('a URL opens one connection, which begins with hello; a second use is refused', async () => {
  const url = String((await open()).url)
  const { received } = await connect(undefined, url)
  expect(received[0]).toMatchObject({ type: 'hello', num_connections: 1, connection_info: { app_id: peer.appId } })
  const second = new WebSocket(url)
  const [, response] = (await once(second, 'unexpected-response')) as [unknown, { statusCode: number; resume(): void }]
  response.resume()
  expect(response.statusCode).toBe(403)
  expect(peer.sockets.open).toHaveLength(1)
})

test('the eleventh connection is told that it is one too many', async () => {
  for (let n = 1; n <= 10; n++) await connect()
  const { ws, received } = await connect()
  expect(received[0]).toMatchObject({ type: 'disconnect', reason: 'too_many_websockets' })
  if (ws.readyState !== WebSocket.CLOSED) await once(ws, 'close')
  expect(peer.sockets.open).toHaveLength(10)
})

test('commands, clicks and events come as envelopes of their kind, and the payload of an acknowledgement is the answer', async () => {
  const { received } = await connect(({ envelope_id, accepts_response_payload }) => ({
    envelope_id,
    ...(accepts_response_payload ? { payload: { text: 'queued' } } : {}),
  }))
  const slash = await peer.slash('U0ALEX', 'C0OPS', 'label=web')
  expect(slash).toMatchObject({ status: 200, body: { text: 'queued' } })
  expect(peer.ephemerals('U0ALEX').map(({ text }) => text)).toEqual(['queued'])
  expect(await peer.mention('U0ALEX', 'C0OPS', 'help')).toMatchObject({ status: 200, body: '' })
  const posted = await fetch(`${peer.apiUrl}chat.postMessage`, {
    method: 'POST',
    headers: { authorization: `Bearer ${peer.botToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      channel: 'C0OPS',
      text: 'x',
      blocks: [
        {
          type: 'actions',
          elements: [{ type: 'button', action_id: 'go', text: { type: 'plain_text', text: 'Go' }, value: 'r' }],
        },
      ],
    }),
  })
  const { ts } = (await posted.json()) as { ts: string }
  await peer.click('U0ALEX', 'C0OPS', ts, 'go')
  expect(received.slice(1)).toMatchObject([
    {
      type: 'slash_commands',
      accepts_response_payload: true,
      payload: { command: '/exec', text: 'label=web', user_id: 'U0ALEX', trigger_id: slash.triggerId },
    },
    {
      type: 'events_api',
      accepts_response_payload: false,
      retry_attempt: 0,
      payload: { type: 'event_callback', event: { type: 'app_mention' } },
    },
    { type: 'interactive', accepts_response_payload: true, payload: { type: 'block_actions', actions: [{ action_id: 'go' }] } },
  ])
})

test('an event that takes no answer and gets one is not acknowledged', async () => {
  await connect(({ envelope_id }) => ({ envelope_id, payload: { text: 'no' } }))
  expect(await peer.mention('U0ALEX', 'C0OPS', 'x')).toMatchObject({ failure: 'http_error' })
})

test('each delivery goes to one connection, and in time to all of them', async () => {
  const all = [await connect(), await connect(), await connect()]
  for (let n = 0; n < 60; n++) await peer.slash('U0ALEX', 'C0OPS', `n${n}`)
  const counts = all.map(({ received }) => received.length - 1)
  expect(counts.reduce((sum, count) => sum + count)).toBe(60)
  expect(Math.min(...counts)).toBeGreaterThan(0)
})

test('an event that is not acknowledged in time comes again with its attempt; a command does not', async () => {
  let silent = 2
  const { received } = await connect(({ envelope_id }) => (silent-- > 0 ? undefined : { envelope_id }))
  expect(await peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ status: 0, failure: 'http_timeout' })
  expect(peer.ephemerals('U0ALEX')[0]?.text).toContain('did not respond')
  expect(await peer.mention('U0ALEX', 'C0OPS', 'x')).toMatchObject({ failure: 'http_timeout' })
  await expect.poll(() => received.length).toBe(4)
  const [, , first, second] = received as (Message & { payload: { event_id: string } })[]
  expect(second).toMatchObject({ type: 'events_api', retry_attempt: 1, retry_reason: 'timeout' })
  expect(second?.payload.event_id).toBe(first?.payload.event_id)
  expect(second?.envelope_id).not.toBe(first?.envelope_id)
})

test('without a connection nothing is kept for later but the retries of an event', async () => {
  expect(await peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ failure: 'connection_failed' })
  expect(await peer.mention('U0ALEX', 'C0OPS', 'x')).toMatchObject({ failure: 'connection_failed' })
  const { received } = await connect()
  await expect.poll(() => received.at(-1)?.type).toBe('events_api')
  expect(received.filter(({ type }) => type === 'slash_commands')).toEqual([])
})

test('disconnect says why and closes; drop closes without a word; frozen connections stay open and mute', async () => {
  const [first, second, third] = [await connect(), await connect(), await connect()]
  const [one, two, three] = peer.sockets.open
  one?.disconnect('refresh_requested')
  const [code] = (await once(first.ws, 'close')) as [number]
  expect([code, first.received.at(-1)]).toMatchObject([1000, { type: 'disconnect', reason: 'refresh_requested' }])
  two?.drop()
  expect((await once(second.ws, 'close'))[0]).toBe(1006)
  await expect.poll(() => peer.sockets.open).toEqual([three])
  let pongs = 0
  third.ws.on('pong', () => {
    pongs += 1
  })
  third.ws.ping()
  await expect.poll(() => pongs).toBe(1)
  three?.freeze()
  third.ws.ping()
  expect(await peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ failure: 'http_timeout' })
  expect([pongs, third.ws.readyState]).toEqual([1, WebSocket.OPEN])
})

test('faults: a delivery whose connection dies, an acknowledgement that is lost, a late one that counts for nothing', async () => {
  await connect()
  peer.sockets.dropOnDelivery(1)
  expect(await peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ status: 0, failure: 'connection_failed' })
  const { ws, received } = await connect()
  peer.sockets.loseAcks(1)
  expect(await peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ status: 0, failure: 'http_timeout' })
  const { envelope_id } = received.at(-1) as Message
  ws.send(JSON.stringify({ envelope_id }))
  await expect.poll(() => peer.sockets.strayAcks).toEqual([{ envelope_id }])
})
