/** Requests from Slack: proved, fresh and seen once, or refused. */

import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { slackRoutes } from '../../../src/frontends/slack/app.ts'
import { createVerifier } from '../../../src/frontends/slack/signature.ts'
import { type Bench, memoryGateway, startBench } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  await bench.close()
})

const line = (over: Record<string, string> = {}) =>
  new URLSearchParams({
    command: '/exec',
    text: 'label=web cmd=uptime',
    team_id: 'T0PLAY',
    channel_id: 'C0OPS',
    user_id: 'U0ALEX',
    trigger_id: `t.${Math.random()}`,
    ...over,
  }).toString()

const seconds = () => Math.floor(Date.now() / 1000)

async function post(body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) {
  const response = await fetch(bench.url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
  return response.status
}

function signed(body: string | Uint8Array, at: number, secret = bench.peer.signingSecret): Record<string, string> {
  const hex = createHmac('sha256', secret).update(`v0:${at}:`).update(body).digest('hex')
  return { 'x-slack-request-timestamp': String(at), 'x-slack-signature': `v0=${hex}` }
}

test('a genuine request runs; the same body with one byte changed, another secret or no signature is 401 and runs nothing', async () => {
  const body = line()
  const headers = signed(body, seconds())
  expect(await post(body.replace('uptime', 'reboot'), headers)).toBe(401)
  expect(await post(body, signed(body, seconds(), 'another secret'))).toBe(401)
  expect(await post(body, {})).toBe(401)
  expect(bench.memory.submits()).toBe(0)
  expect(await post(body, headers)).toBe(200)
  expect(bench.memory.submits()).toBe(1)
})

test.each([
  ['six minutes old', -360],
  ['six minutes in the future', 360],
])('a signed request that is %s is refused', async (_, skew) => {
  const body = line()
  expect(await post(body, signed(body, seconds() + skew))).toBe(401)
  expect(bench.memory.submits()).toBe(0)
})

test.each([-280, 280])('a signed request %i seconds off is taken', async (skew) => {
  const body = line()
  expect(await post(body, signed(body, seconds() + skew))).toBe(200)
})

test.each(['v0=', 'v0=00', `v1=${'0'.repeat(64)}`, `v0=${'z'.repeat(64)}`, '0'.repeat(64)])(
  'a signature that is not v0 and 64 hex digits is refused: %s',
  async (signature) => {
    const body = line()
    expect(await post(body, { 'x-slack-request-timestamp': String(seconds()), 'x-slack-signature': signature })).toBe(401)
  },
)

test.each(['', 'now', '1e9', '-5', 'NaN'])(
  'a timestamp that is not a number is refused, even when it is signed: %j',
  async (timestamp) => {
    const body = line()
    const hex = createHmac('sha256', bench.peer.signingSecret).update(`v0:${timestamp}:${body}`).digest('hex')
    expect(await post(body, { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${hex}` })).toBe(401)
  },
)

test('an empty signing secret is refused when the routes are built', () => {
  expect(() => createVerifier('')).toThrow(/signing secret is empty/)
  const { gateway } = memoryGateway()
  const services = { now: Date.now, log() {}, keepAlive() {}, siteTimeoutMs: 1 }
  const options = { signingSecret: ' ', botToken: 'xoxb-1', teamId: 'T1', shareTo: [] }
  expect(() => slackRoutes(options, gateway, services)).toThrow(/signing secret is empty/)
})

test('[once] S27: the very same signed request is taken once', async () => {
  const first = await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  expect((await bench.peer.resend(first)).status).toBe(401)
  expect(bench.memory.requests()).toHaveLength(1)
})

test('S27 a question that is sent again by somebody else is not answered again', async () => {
  const first = await bench.peer.slash('U0ALEX', 'C0OPS', 'targets label=web')
  const asked = () => bench.memory.asked.filter(({ call }) => call === 'targets').map(({ args }) => JSON.stringify(args[0]))
  await expect.poll(asked).toHaveLength(1)
  await bench.peer.resend(first)
  await bench.peer.slash('U0ALEX', 'C0OPS', 'targets label=db')
  await expect.poll(() => asked().join()).toContain('db')
  expect(asked()).toHaveLength(2)
})

test('S27 a click that is sent again by somebody else is refused before it is looked at', async () => {
  const body = new URLSearchParams({
    payload: JSON.stringify({ type: 'block_actions', trigger_id: '1.2', actions: [] }),
  }).toString()
  const headers = signed(body, seconds())
  await post(body, headers)
  expect(await post(body, headers)).toBe(401)
})

test('the signature covers the raw bytes: a body that is not UTF-8 is verified first, then refused as unreadable', async () => {
  const body = new Uint8Array([...new TextEncoder().encode('command=/exec&text='), 0xff, 0xfe])
  expect(await post(body, signed(body, seconds(), 'wrong'))).toBe(401)
  expect(await post(body, signed(body, seconds()))).toBe(400)
})

test('ssl_check is answered only after verification, and only for the value 1', async () => {
  expect(await post('ssl_check=1', {})).toBe(401)
  expect(await post('ssl_check=1', signed('ssl_check=1', seconds()))).toBe(200)
  expect(await post('ssl_check=0', signed('ssl_check=0', seconds()))).toBe(404)
  const sneaky = line({ ssl_check: 'true' })
  expect(await post(sneaky, signed(sneaky, seconds()))).toBe(200)
  expect(bench.memory.submits()).toBe(1)
})

test('url_verification gets its challenge back', async () => {
  const delivery = await bench.peer.send({
    body: JSON.stringify({ type: 'url_verification', challenge: 'c-1' }),
    headers: { 'content-type': 'application/json' },
  })
  expect([delivery.status, delivery.body]).toEqual([200, { challenge: 'c-1' }])
})

test.each([
  ['a body of no known kind', JSON.stringify({ type: 'something_else' }), 404],
  ['a command of another app', line({ command: '/other' }), 404],
  ['a body that is not JSON', '{', 400],
  ['a JSON body that is no object', '[1]', 400],
])('%s is answered without running anything', async (_, body, status) => {
  const type = body.startsWith('command') ? 'application/x-www-form-urlencoded' : 'application/json'
  expect(await post(body, { ...signed(body, seconds()), 'content-type': type })).toBe(status)
  expect(bench.memory.submits()).toBe(0)
})

test('[bounded] a body over 1 MiB is refused before it is read whole', async () => {
  const body = 'x'.repeat(1024 * 1024 + 1)
  expect(await post(body, signed(body, seconds()))).toBe(413)
  const stream = new Blob([body]).stream()
  const chunked = await fetch(bench.url, { method: 'POST', body: stream, duplex: 'half' } as RequestInit)
  expect(chunked.status).toBe(413)
})

test('a request without the ids that name who and where runs nothing', async () => {
  for (const missing of ['user_id', 'team_id', 'channel_id', 'trigger_id']) {
    const body = line({ [missing]: '' })
    await post(body, signed(body, seconds()))
  }
  expect(bench.memory.submits()).toBe(0)
})

test('five commands at once are all acknowledged and recorded', async () => {
  const deliveries = await Promise.all(
    ['a', 'b', 'c', 'd', 'e'].map((word) => bench.peer.slash('U0ALEX', 'C0OPS', `label=${word} cmd=date`)),
  )
  expect(deliveries.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
  expect(bench.memory.requests()).toHaveLength(5)
})
