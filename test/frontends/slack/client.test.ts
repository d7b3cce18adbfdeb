/** The Web API client over real sockets: what is repeated, what is held back, and what is never sent twice. */

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createEmulator } from 'emulate'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSlackClient, SlackCallError } from '../../../src/frontends/slack/client.ts'
import { EVENT_SCOPES, SLACK_METHODS } from '../../../src/frontends/slack/methods.ts'
import { createSlackReporter } from '../../../src/frontends/slack/reporter.ts'
import { type SlackPeer, startSlackPeer } from '../../../src/playground/slack/peer.ts'
import { history, memoryGateway, ok, requestOf } from './bench.ts'

let peer: SlackPeer
beforeEach(async () => {
  peer = await startSlackPeer({ rateLimits: false })
})
afterEach(async () => {
  await peer.close()
})

const clientOf = (part = {}) => createSlackClient({ token: peer.botToken, apiUrl: peer.apiUrl, ...part })
const hello = { channel: 'C0OPS', text: 'hello' }

async function failure(promise: Promise<unknown>): Promise<SlackCallError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof SlackCallError) return error
    throw error
  }
  throw new Error('it did not fail')
}

test('every method drover calls is one that a Slack knows, with the scopes of the table', async () => {
  for (const method of Object.keys(SLACK_METHODS)) {
    const none = await startSlackPeer({ scopes: [], rateLimits: false })
    const error = await failure(
      createSlackClient({ token: none.botToken, apiUrl: none.apiUrl }).call(method as never, { channel: 'C0OPS' }),
    )
    const { scopes } = SLACK_METHODS[method as keyof typeof SLACK_METHODS]
    expect([method, error.slack === 'missing_scope']).toEqual([method, scopes.length > 0])
    expect(error.slack).not.toBe('unknown_method')
    await none.close()
  }
  expect(EVENT_SCOPES).toEqual(['commands', 'app_mentions:read'])
})

test('Slack’s no is a refusal with its reason and the next step, and is not repeated', async () => {
  const error = await failure(clientOf().call('chat.postMessage', { ...hello, channel: 'C0PUBLIC' }))
  expect(error).toMatchObject({
    code: 'reply_failed',
    outcome: 'refused',
    slack: 'not_in_channel',
    next: 'Invite the bot to the channel.',
  })
  expect(peer.calls).toHaveLength(1)
})

test('a 429 was not carried out: it is sent again after Retry-After, and arrives once', async () => {
  peer.faults.rateLimit('chat.postMessage', { retryAfterS: 1, times: 1 })
  await clientOf().call('chat.postMessage', hello)
  expect(peer.messages('C0OPS')).toHaveLength(1)
  expect(peer.calls.map(({ answered }) => answered.ok)).toEqual([false, true])
})

test('[bounded] a Retry-After beyond the deadline of the call is not waited for', async () => {
  peer.faults.rateLimit('chat.postMessage', { retryAfterS: 3600, times: 1 })
  const error = await failure(clientOf({ callTimeoutMs: 5000 }).call('chat.postMessage', hello))
  expect([error.outcome, error.slack]).toEqual(['not-sent', 'ratelimited'])
})

test('what Slack holds back it is not asked again before that time, and other channels are not held back with it', async () => {
  const clock = { offsetMs: 0 }
  const client = clientOf({ callTimeoutMs: 5000, now: () => Date.now() + clock.offsetMs })
  peer.faults.rateLimit('chat.postMessage', { retryAfterS: 120, times: 1 })
  for (let tries = 0; tries < 3; tries++)
    expect((await failure(client.call('chat.postMessage', hello))).slack).toBe('ratelimited')
  expect(peer.calls).toHaveLength(1)
  await client.call('chat.postMessage', { ...hello, channel: 'C0RANDOM' })
  clock.offsetMs = 121_000
  await client.call('chat.postMessage', hello)
  expect(peer.calls.map(({ answered }) => answered.ok)).toEqual([false, true, true])
})

test.each([true, false])('a post that lost its answer is not sent again, whether or not it arrived (%s)', async (afterAccept) => {
  peer.faults.drop('chat.postMessage', { times: 1, afterAccept })
  const error = await failure(clientOf().call('chat.postMessage', hello))
  expect([error.outcome, error.slack]).toEqual(['unknown', 'no_answer'])
  expect(peer.calls).toHaveLength(1)
})

test('a server error after a post leaves its outcome unknown; after an update it is repeated', async () => {
  const client = clientOf()
  const posted = await client.call('chat.postMessage', hello)
  peer.faults.fail('chat.postMessage', { status: 503, error: 'x', times: 1 })
  expect((await failure(client.call('chat.postMessage', hello))).outcome).toBe('unknown')
  peer.faults.fail('chat.update', { status: 503, error: 'x', times: 1 })
  peer.faults.drop('chat.update', { times: 1, afterAccept: true })
  await client.call('chat.update', { ...hello, ts: posted.ts, text: 'changed' })
  expect(peer.messages('C0OPS').map(({ text }) => text)).toEqual(['changed'])
})

test('what is written to one channel arrives in the order it was written; a slow channel holds up no other', async () => {
  const client = clientOf()
  peer.faults.rateLimit('chat.postMessage', { retryAfterS: 1, times: 1 })
  const slow = ['1', '2', '3'].map((text) => client.call('chat.postMessage', { channel: 'C0OPS', text }))
  await client.call('chat.postMessage', { channel: 'C0RANDOM', text: 'other' })
  await Promise.all(slow)
  expect(peer.messages('C0OPS').map(({ text }) => text)).toEqual(['1', '2', '3'])
  const order = peer.calls.filter(({ answered }) => answered.ok).map(({ args }) => args.channel)
  expect(order[0]).toBe('C0RANDOM')
})

test('posts are paced so that Slack’s own limit is not met', async () => {
  const strict = await startSlackPeer()
  const client = createSlackClient({ token: strict.botToken, apiUrl: strict.apiUrl })
  for (let index = 0; index < 6; index++) await client.call('chat.postMessage', { channel: 'C0OPS', text: String(index) })
  expect(strict.calls.filter(({ answered }) => answered.ok !== true)).toEqual([])
  await strict.close()
})

test('an upload is three calls with the length in bytes; an empty one is never sent', async () => {
  const client = clientOf()
  await client.upload({ name: 'a.txt', title: 'A', text: 'Grüße 🙂' }, 'C0OPS')
  expect(new TextDecoder().decode(peer.files[0]?.content)).toBe('Grüße 🙂')
  expect(peer.files[0]).toMatchObject({ name: 'a.txt', title: 'A', size: 12, shared: { channel: 'C0OPS' } })
  const calls = peer.calls.length
  expect((await failure(client.upload({ name: 'a.txt', title: 'A', text: '' }, 'C0OPS'))).slack).toBe('empty_file')
  expect(peer.calls).toHaveLength(calls)
})

test('an upload that broke off before it was completed was not sent', async () => {
  peer.faults.drop('upload', { times: 1, afterAccept: false })
  expect((await failure(clientOf().upload({ name: 'a.txt', title: 'A', text: 'x' }, 'C0OPS'))).outcome).toBe('not-sent')
  expect(peer.files).toHaveLength(0)
})

// ---- servers that are not Slack --------------------------------------------------------------

async function serverAnswering(handler: Parameters<typeof createServer>[1]): Promise<{ url: string; server: Server }> {
  const server = createServer(handler as never)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/` }
}

async function stop(server: Server): Promise<void> {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
}

test('[no-secret-shown] a redirect is not followed: the token goes nowhere else', async () => {
  const { server, url } = await serverAnswering((_, response) => response.writeHead(302, { location: peer.apiUrl }).end())
  expect((await failure(createSlackClient({ token: peer.botToken, apiUrl: url }).call('chat.postMessage', hello))).slack).toBe(
    'http_302',
  )
  expect(peer.calls).toEqual([])
  await stop(server)
})

test('[bounded] an answer that never comes, never ends or is no JSON is a failure, and names no token', async () => {
  const silent = await serverAnswering(() => {})
  const endless = await serverAnswering((_, response) => {
    response.writeHead(200)
    const write = () => {
      if (!response.destroyed && response.write('x'.repeat(65_536))) setImmediate(write)
      else response.once('drain', write)
    }
    write()
  })
  const garbled = await serverAnswering((_, response) => response.end('<html>'))
  for (const { server, url } of [silent, endless, garbled]) {
    const client = createSlackClient({ token: 'xoxb-secret-token', apiUrl: url, requestTimeoutMs: 500 })
    const error = await failure(client.call('chat.postMessage', hello))
    expect(error.outcome).toBe('unknown')
    expect(JSON.stringify(error.toFailure())).not.toContain('xoxb-secret-token')
    await stop(server)
  }
})

test('[nothing-lost] a large file has the time that a slow way takes', async () => {
  const { server, url } = await serverAnswering((request, response) => {
    if (request.url?.endsWith('/upload') === true) {
      setTimeout(() => request.resume().on('end', () => response.end('OK')), 700)
      return
    }
    request.resume()
    response.setHeader('content-type', 'application/json')
    const ticket = { ok: true, upload_url: url.replace('/api/', '/upload'), file_id: 'F1' }
    response.end(JSON.stringify(request.url?.endsWith('getUploadURLExternal') === true ? ticket : { ok: true }))
  })
  const client = createSlackClient({ token: 't', apiUrl: url, requestTimeoutMs: 300 })
  expect(await client.upload({ name: 'a.txt', title: 'A', text: 'x'.repeat(1024 * 1024) }, 'C0OPS')).toBe('F1')
  await stop(server)
})

test('an aborted call ends at once', async () => {
  const { server, url } = await serverAnswering(() => {})
  const controller = new AbortController()
  const call = createSlackClient({ token: 't', apiUrl: url }).call('users.info', { user: 'U1' }, controller.signal)
  setTimeout(() => controller.abort(new Error('enough')), 50)
  await expect(call).rejects.toThrow()
  await stop(server)
})

// ---- a second opinion ------------------------------------------------------------------------

test('an independent emulator of Slack takes our posts, threads, updates, files and look-ups, with our scopes only', async () => {
  const scopes = [...new Set(Object.values(SLACK_METHODS).flatMap((facts): readonly string[] => facts.scopes))]
  const emulator = await createEmulator({
    service: 'slack',
    port: 0,
    seed: {
      slack: {
        strict_scopes: true,
        channels: [{ name: 'ops', topic: 'Running the shop' }],
        users: [{ name: 'alex', real_name: 'Alex', email: 'alex@shop.example' }],
        tokens: [{ token: 'xoxb-second-opinion', user: 'alex', scopes }],
      },
    },
  })
  try {
    const apiUrl = `${emulator.url}/api/`
    const listed = await fetch(`${apiUrl}conversations.list`, {
      method: 'POST',
      headers: { authorization: 'Bearer xoxb-second-opinion' },
    })
    const { channels } = (await listed.json()) as { channels: { id: string; name: string }[] }
    const channel = channels.find(({ name }) => name === 'ops')?.id ?? ''
    const client = createSlackClient({ token: 'xoxb-second-opinion', apiUrl })
    const reporter = createSlackReporter(client, { shareTo: [] })
    const memory = memoryGateway()
    const place = { kind: 'slack', team: 'T1', channel } as const
    const long = 'line\n'.repeat(5000)
    const run = history(memory, requestOf({ place }), [
      { name: 'web-1', ending: ok, stdout: long },
      { name: 'web-2', ending: ok, stdout: 'up' },
    ])
    for (const { part, ref } of await reporter.progress(memory.state(run)!)) memory.append(run, { type: 'posted', part, ref })
    memory.append(run, { type: 'finished', outcome: { status: 'done' } })
    await reporter.deliver(memory.state(run)!, memory.outputOf(run), async ({ part, ref }) =>
      memory.append(run, { type: 'posted', part, ref }),
    )
    expect(Object.keys(memory.state(run)?.posted ?? {})).toEqual(['parent', 'output:0', 'file'])

    const page = await (await fetch(`${emulator.url}/?tab=messages&channel=${channel}`)).text()
    expect(page.includes('2 of 2 ok')).toBe(true)
    expect(page.includes(`drover-${run}.txt`) || page.includes(`Output of run ${run}`)).toBe(true)
    expect((await client.call('conversations.info', { channel })).channel).toMatchObject({ id: channel })
  } finally {
    await emulator.close()
  }
})
