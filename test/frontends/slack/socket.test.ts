/** Socket Mode against a pretend Slack that sends away, drops and freezes: nothing is lost, and nothing runs twice. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { DroverError } from '../../../src/core/errors.ts'
import type { SlackPeer } from '../../../src/playground/slack/peer.ts'
import { frontendContract } from '../../contract/frontend.ts'
import { history, ok, requestOf, seen } from './bench.ts'
import { type SocketBench, startSocketBench } from './socket-bench.ts'

let bench: SocketBench
const again = async (options: Parameters<typeof startSocketBench>[0]) => {
  await bench.close()
  bench = await startSocketBench(options)
}
beforeEach(async () => {
  bench = await startSocketBench()
})
afterEach(async () => {
  await bench.close()
})

const poll = <T>(probe: () => T) => expect.poll(probe, { timeout: 10_000 })

/** Holds every submit until it is let go. */
function hold(): () => void {
  const { promise, resolve } = Promise.withResolvers<void>()
  bench.memory.answers.submit = () => promise
  return resolve
}
const opened = (peer: SlackPeer) => peer.calls.filter(({ method }) => method === 'apps.connections.open')
const line = 'label=web cmd="uptime -p"'

// ---- deliveries ------------------------------------------------------------------------------

test.each(['slash', 'mention'] as const)(
  '[recorded-first] a %s is acknowledged when it is recorded, and not before',
  async (kind) => {
    const release = hold()
    let acknowledged = false
    const delivery = bench.peer[kind]('U0ALEX', 'C0OPS', line).finally(() => {
      acknowledged = true
    })
    await poll(() => bench.memory.submits()).toBe(1)
    expect([acknowledged, bench.memory.requests()]).toEqual([false, []])
    release()
    expect(await delivery).toMatchObject({ status: 200, body: '' })
    expect(bench.memory.requests()).toMatchObject([
      { actor: { kind: 'slack-user', team: 'T0PLAY', user: 'U0ALEX' }, command: { argv: ['uptime', '-p'] } },
    ])
  },
)

test('the acknowledgement of a command carries the answer for its typist', async () => {
  await bench.peer.slash('U0ALEX', 'C0OPS', 'lable=web cmd=uptime')
  expect(seen(bench.peer.ephemerals('U0ALEX')[0])).toContain('lable=web cmd=uptime\n^')
  expect(bench.memory.submits()).toBe(0)
})

test('the acknowledgement of a dialog carries its errors', async () => {
  const run = history(bench.memory, requestOf(), [{ name: 'web-1', ending: ok, stdout: 'up\n' }], { status: 'done' })
  const state = bench.memory.state(run)
  if (state === undefined) throw new Error('no such run')
  const posted: string[] = []
  await bench.reporter.deliver(state, bench.memory.outputOf(run), async ({ part, ref }) => {
    posted.push(part)
    bench.memory.append(run, { type: 'posted', part, ref })
  })
  const [parent] = bench.peer.messages('C0OPS')
  await bench.peer.click('U0ALEX', 'C0OPS', String(parent?.ts), 'drover:share')
  await poll(() => bench.peer.views('U0ALEX')).toHaveLength(1)
  const { id } = bench.peer.views('U0ALEX')[0]!
  await bench.peer.submitView('U0ALEX', id, {})
  expect(Object.values(bench.peer.views('U0ALEX')[0]?.errors ?? {})).toEqual(['Choose one of the channels in the list.'])
  await bench.peer.submitView('U0ALEX', id, { to: 'C0RANDOM' })
  await poll(() => bench.memory.asked.map(({ call }) => call)).toContain('share')
})

test('[once] S25: an event whose acknowledgements are lost comes four times and is one run', async () => {
  await again({ peer: { timings: { ackMs: 100, retryAfterMs: [0, 10, 20] } } })
  bench.peer.sockets.loseAcks(3)
  expect(await bench.peer.mention('U0ALEX', 'C0OPS', line)).toMatchObject({ failure: 'http_timeout' })
  await poll(() => bench.peer.deliveries.map(({ status }) => status)).toEqual([0, 0, 0, 200])
  expect(bench.memory.requests()).toHaveLength(1)
})

test('[once] S25: a command delivered again, to this drover or to the next one, is the same run', async () => {
  const first = await bench.peer.slash('U0ALEX', 'C0OPS', line)
  expect(await bench.peer.resend(first)).toMatchObject({ status: 200 })
  await bench.socket.stop()
  const next = bench.connect()
  await next.ready
  expect(await bench.peer.resend(first)).toMatchObject({ status: 200 })
  expect(bench.memory.requests()).toHaveLength(1)
})

test('[once] S25: a click delivered again, to this drover or to the next one, is acknowledged and not done again', async () => {
  const run = history(bench.memory, requestOf(), [{ name: 'web-1' }])
  const state = bench.memory.state(run)
  if (state === undefined) throw new Error('no such run')
  await bench.reporter.progress(state)
  const [parent] = bench.peer.messages('C0OPS')
  const first = await bench.peer.click('U0ALEX', 'C0OPS', String(parent?.ts), 'drover:cancel')
  await bench.settled()
  expect(await bench.peer.resend(first)).toMatchObject({ status: 200 })
  await bench.socket.stop()
  await bench.connect().ready
  expect(await bench.peer.resend(first)).toMatchObject({ status: 200 })
  await bench.settled()
  expect(bench.memory.asked.filter(({ call }) => call === 'cancel')).toHaveLength(1)
})

test('[nothing-lost] S25: an event that could not be recorded is not acknowledged, and its retry runs', async () => {
  await again({ peer: { timings: { ackMs: 200, retryAfterMs: [0, 60_000, 300_000] } } })
  let failures = 1
  bench.memory.answers.submit = async () => {
    if (failures-- > 0) throw new DroverError({ code: 'ledger_unavailable', message: 'The disk is full.' })
  }
  expect(await bench.peer.mention('U0ALEX', 'C0OPS', line)).toMatchObject({ status: 0, failure: 'http_timeout' })
  await poll(() => bench.memory.requests()).toHaveLength(1)
})

test('what nobody listens to is not acknowledged', async () => {
  await again({ peer: { timings: { ackMs: 200 } } })
  expect(await bench.peer.slash('U0ALEX', 'C0OPS', line, { command: '/other' })).toMatchObject({ failure: 'http_timeout' })
  expect(bench.memory.submits()).toBe(0)
})

test('a message that is no envelope, and one of an unknown type, change nothing', async () => {
  const envelope = { envelope_id: 'e1', type: 'telepathy', payload: {}, accepts_response_payload: true }
  for (const one of bench.peer.sockets.open) {
    for (const text of ['{', '[]', '7', '{"type":"party"}', '{"payload":{}}', JSON.stringify(envelope)]) one.say(text)
  }
  for (let n = 0; n < 8; n++) expect((await bench.peer.slash('U0ALEX', 'C0OPS', `label=w${n} cmd=date`)).status).toBe(200)
  expect([bench.memory.requests().length, bench.socket.open()]).toEqual([8, 2])
})

// ---- connections -----------------------------------------------------------------------------

test('[nothing-lost] when Slack sends both connections away at once, both are replaced before they go', async () => {
  const { peer } = bench
  peer.sockets.watch()
  const before = peer.sockets.open
  for (const one of before) one.disconnect('warning', { closeAfterMs: 60_000 })
  await poll(() => peer.sockets.open.filter((one) => !before.includes(one))).toHaveLength(2)
  expect((await peer.slash('U0ALEX', 'C0OPS', line)).status).toBe(200)
  await poll(() => peer.sockets.open.filter((one) => before.includes(one))).toEqual([])
  expect(peer.sockets.fewest).toBeGreaterThanOrEqual(2)
  expect(bench.socket.open()).toBe(2)
})

test('[nothing-lost] what is under way on a connection that is sent away is acknowledged there before it closes', async () => {
  const { peer } = bench
  const release = hold()
  const deliveries = [1, 2, 3, 4].map((n) => peer.slash('U0ALEX', 'C0OPS', `label=w${n} cmd=date`))
  await poll(() => bench.memory.submits()).toBe(4)
  const before = peer.sockets.open
  for (const one of before) one.disconnect('warning', { closeAfterMs: 60_000 })
  await poll(() => peer.sockets.open.filter((one) => !before.includes(one))).toHaveLength(2)
  release()
  expect((await Promise.all(deliveries)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
  await poll(() => peer.sockets.open).toHaveLength(2)
  expect(bench.memory.requests()).toHaveLength(4)
})

test('[once] S25: a connection that dies with a delivery under way is reopened, and the retry is the same run', async () => {
  await again({ peer: { timings: { retryAfterMs: [0, 60_000, 300_000] } } })
  const { peer } = bench
  const release = hold()
  peer.sockets.dropOnDelivery(1)
  const first = peer.mention('U0ALEX', 'C0OPS', line)
  await poll(() => bench.memory.submits()).toBe(1)
  expect(await first).toMatchObject({ failure: 'connection_failed' })
  await poll(() => peer.sockets.envelopes.length).toBe(2)
  release()
  await poll(() => peer.deliveries.map(({ status }) => status)).toEqual([0, 200])
  await poll(() => bench.socket.open()).toBe(2)
  expect(bench.memory.requests()).toHaveLength(1)
})

test('connections that Slack closes without notice are opened again', async () => {
  const { peer } = bench
  for (const one of peer.sockets.open) one.disconnect('refresh_requested')
  await poll(() => opened(peer)).toHaveLength(4)
  await poll(() => bench.socket.open()).toBe(2)
  for (const one of peer.sockets.open) one.drop()
  await poll(() => opened(peer)).toHaveLength(6)
  await poll(() => bench.socket.open()).toBe(2)
  expect((await peer.slash('U0ALEX', 'C0OPS', line)).status).toBe(200)
})

test('[bounded] a half-open connection is noticed by its pings and replaced', async () => {
  await again({ timings: { pingMs: 50 } })
  const [frozen] = bench.peer.sockets.open
  frozen?.freeze()
  await poll(() => bench.peer.sockets.open.length).toBe(3)
  await poll(() => JSON.stringify(bench.logs)).toContain('no longer answers')
  await poll(() => bench.socket.open()).toBe(2)
})

test('[bounded] a connection without a hello is given up and another is opened', async () => {
  await again({ timings: { helloMs: 50 }, before: (peer) => peer.sockets.withholdHello(2) })
  expect(opened(bench.peer)).toHaveLength(4)
  await poll(() => bench.peer.sockets.open).toHaveLength(2)
})

test('a refused or failing apps.connections.open is asked again until it works', async () => {
  await again({
    before: (peer) => {
      peer.faults.fail('apps.connections.open', { status: 503, times: 3 })
      peer.faults.drop('apps.connections.open', { times: 1, afterAccept: true })
      peer.faults.fail('apps.connections.open', { error: 'internal_error', times: 2 })
    },
  })
  expect(opened(bench.peer)).toHaveLength(8)
  await bench.socket.ready
})

test('a Retry-After holds for both connections', async () => {
  await again({ before: (peer) => peer.faults.rateLimit('apps.connections.open', { retryAfterS: 1, times: 2 }) })
  const [first, second, third] = opened(bench.peer).map(({ at }) => at)
  expect(Number(third) - Math.max(Number(first), Number(second))).toBeGreaterThanOrEqual(990)
})

test.each([
  ['link_disabled', 'Switch Socket Mode on again'],
  ['too_many_websockets', 'ten connections'],
] as const)('when Slack says %s the log says what to do, and drover keeps trying', async (reason, words) => {
  for (const one of bench.peer.sockets.open) one.disconnect(reason)
  await poll(() => JSON.stringify(bench.logs)).toContain(words)
  await poll(() => bench.socket.open()).toBe(2)
})

test.each([
  ['an unknown token', { slack: { appToken: 'xapp-1-A0DROVER-wrong' } }, 'invalid_auth'],
  ['a token without connections:write', { peer: { appScopes: [] } }, 'missing_scope'],
] as const)('%s is refused at the start, with the way out', async (_, options, word) => {
  await again({ ...options, together: false })
  const error: unknown = await bench.socket.ready.catch((cause: unknown) => cause)
  expect(error).toMatchObject({ code: 'config', message: expect.stringContaining(word) })
  expect((error as DroverError).next).toContain('connections:write')
  expect(bench.peer.sockets.open).toEqual([])
})

test('stopping acknowledges what is under way, takes nothing new, and leaves no connection', async () => {
  const { peer } = bench
  const release = hold()
  const first = peer.slash('U0ALEX', 'C0OPS', line)
  await poll(() => bench.memory.submits()).toBe(1)
  const stopped = bench.socket.stop()
  const second = peer.slash('U0ALEX', 'C0OPS', 'label=other cmd=date')
  await poll(() => JSON.stringify(bench.logs)).toContain('slack.delivery-refused')
  release()
  expect((await first).status).toBe(200)
  await stopped
  expect((await second).status).toBe(0)
  await poll(() => peer.sockets.open).toEqual([])
  expect([bench.socket.open(), bench.memory.submits(), opened(peer).length]).toEqual([0, 1, 2])
})

test('[no-secret-shown] no log line holds the app token or the address of a connection', async () => {
  for (const one of bench.peer.sockets.open) one.drop()
  bench.peer.faults.drop('apps.connections.open', { times: 1, afterAccept: true })
  await poll(() => opened(bench.peer).length).toBe(5)
  await bench.peer.slash('U0ALEX', 'C0OPS', line)
  const text = JSON.stringify(bench.logs)
  expect(text).toContain('slack.socket-open')
  expect(text).not.toContain(bench.peer.appToken)
  expect(text).not.toContain('ticket')
})

// ---- the contract ----------------------------------------------------------------------------

async function startFrontend(trigger: 'slash' | 'mention') {
  const one = await startSocketBench()
  const asker = () => one.peer.ephemerals('U0ALEX').map(seen).join('\n')
  const all = () =>
    one.peer.messages('C0OPS').flatMap(({ ts }) => one.peer.thread('C0OPS', ts).filter(({ botId }) => botId !== undefined))
  return {
    reporter: one.reporter,
    async ask() {
      const first = await one.peer[trigger]('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
      return {
        again: async () => {
          await one.peer.resend(first, 1)
        },
      }
    },
    submitted: one.memory.requests,
    shown: async () => ({ everybody: all().map(seen).join('\n'), asker: asker() }),
    count: async () => all().length + one.peer.files.length,
    losePost: () => one.peer.faults.drop('chat.postMessage', { times: 1, afterAccept: false }),
    close: one.close,
  }
}

frontendContract('slack slash command over Socket Mode', () => startFrontend('slash'), { refusalsArePrivate: true })
frontendContract('slack mention over Socket Mode', () => startFrontend('mention'), { refusalsArePrivate: true })
