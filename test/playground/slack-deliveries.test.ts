/** What the pretend Slack sends to the app: fields, signatures, deadlines and retries. */

import { createHmac } from 'node:crypto'
import { expect, test } from 'vitest'
import type { SlackPeer } from '../../src/playground/slack/peer.ts'
import { type Received, type StubApp, startStubApp } from './slack-stub-app.ts'

const quick = { timings: { ackMs: 200, retryAfterMs: [0, 20, 40] } }
const signed = (peer: SlackPeer, { headers, body }: Received) =>
  `v0=${createHmac('sha256', peer.signingSecret).update(`v0:${headers['x-slack-request-timestamp']}:${body}`).digest('hex')}`

const button = { type: 'button', action_id: 'go', text: { type: 'plain_text', text: 'Go' }, value: 'r1' }
const menu = {
  type: 'static_select',
  action_id: 'menu',
  options: ['one', 'two'].map((value) => ({ text: { type: 'plain_text', text: value }, value })),
}
const modal = {
  type: 'modal',
  title: { type: 'plain_text', text: 'T' },
  submit: { type: 'plain_text', text: 'Go' },
  private_metadata: 'r1',
  blocks: [
    {
      type: 'input',
      block_id: 'why',
      label: { type: 'plain_text', text: 'Why' },
      element: { type: 'plain_text_input', action_id: 'reason' },
    },
    { type: 'section', text: { type: 'plain_text', text: 'Where' }, accessory: menu },
  ],
}

async function posted(app: StubApp, more: object = {}): Promise<string> {
  const blocks = [{ type: 'actions', elements: [button, menu] }]
  return String((await app.call('chat.postMessage', { channel: 'C0OPS', text: 'x', blocks, ...more })).body.ts)
}

test('a slash command carries every field, no thread, and the signature of its raw bytes', async () => {
  await using app = await startStubApp()
  const delivery = await app.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd="uptime"')
  const one = app.received[0]!
  expect(one.headers['x-slack-signature']).toBe(signed(app.peer, one))
  expect(one.headers['content-type']).toBe('application/x-www-form-urlencoded')
  expect(one.fields).toEqual({
    token: expect.any(String),
    team_id: 'T0PLAY',
    team_domain: 'playground',
    channel_id: 'C0OPS',
    channel_name: 'ops',
    user_id: 'U0ALEX',
    user_name: 'alex',
    command: '/exec',
    text: 'label=web cmd="uptime"',
    api_app_id: app.peer.appId,
    is_enterprise_install: 'false',
    response_url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:/),
    trigger_id: delivery.triggerId,
  })
})

test('slash text is escaped as message text is, unless switched off', async () => {
  await using app = await startStubApp()
  await using bare = await startStubApp(undefined, { escapeSlashText: false })
  await app.peer.slash('U0ALEX', 'C0OPS', 'cmd="a && b > c"')
  await bare.peer.slash('U0ALEX', 'C0OPS', 'cmd="a && b > c"')
  expect(app.received[0]?.fields.text).toBe('cmd="a &amp;&amp; b &gt; c"')
  expect(bare.received[0]?.fields.text).toBe('cmd="a && b > c"')
})

test('the answer to a slash command is seen by the caller alone', async () => {
  await using app = await startStubApp(() => ({ body: { text: 'queued' } }))
  expect(await app.peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ status: 200, body: { text: 'queued' } })
  expect(app.peer.ephemerals('U0ALEX').map((one) => one.text)).toEqual(['queued'])
  expect(app.peer.ephemerals('U0SAM')).toEqual([])
  expect(app.peer.messages('C0OPS')).toEqual([])
})

test('a slash command without an answer in time fails for the caller and is never retried', async () => {
  await using app = await startStubApp(() => 'never', quick)
  expect(await app.peer.slash('U0ALEX', 'C0OPS', 'x')).toMatchObject({ status: 0, failure: 'http_timeout' })
  expect(app.peer.ephemerals('U0ALEX')[0]?.text).toBe('`/exec` failed because the app did not respond.')
  await app.peer.mention('U0ALEX', 'C0OPS', 'x')
  expect(app.received.filter((one) => one.fields.command === '/exec')).toHaveLength(1)
})

test('an event without a 2xx is retried three times, with number and reason, and the same event id', async () => {
  await using app = await startStubApp(() => ({ status: 500 }), quick)
  const first = await app.peer.mention('U0ALEX', 'C0OPS', 'label=web')
  expect(first).toMatchObject({ status: 500, failure: 'http_error' })
  const all = await app.arrived(4)
  expect(all.map((one) => one.headers['x-slack-retry-num'])).toEqual([undefined, '1', '2', '3'])
  expect(all.map((one) => one.headers['x-slack-retry-reason'])).toEqual([undefined, 'http_error', 'http_error', 'http_error'])
  expect(new Set(all.map((one) => one.fields.event_id)).size).toBe(1)
  for (const one of all) expect(one.headers['x-slack-signature']).toBe(signed(app.peer, one))
})

test('an event that was late the first time is retried until it is taken', async () => {
  await using app = await startStubApp((one) => (one.headers['x-slack-retry-num'] === '1' ? undefined : 'never'), quick)
  await app.peer.mention('U0ALEX', 'C0OPS', 'label=web')
  const all = await app.arrived(2)
  expect(all[1]?.headers['x-slack-retry-reason']).toBe('http_timeout')
})

test('x-slack-no-retry stops the retries', async () => {
  await using app = await startStubApp(() => ({ status: 500, headers: { 'x-slack-no-retry': '1' } }), quick)
  await app.peer.mention('U0ALEX', 'C0OPS', 'one')
  expect(app.peer.deliveries.map((one) => one.failure)).toEqual([undefined])
})

test('a mention is posted and sent as Slack writes it, in its thread', async () => {
  await using app = await startStubApp()
  const parent = await posted(app)
  const { ts } = await app.peer.mention('U0SAM', 'C0OPS', 'cmd="curl http://a.example/?a&b"', { threadTs: parent })
  const text = '<@U0DROVER> cmd="curl <http://a.example/?a&amp;b>"'
  expect(app.received[0]?.fields).toMatchObject({
    type: 'event_callback',
    team_id: 'T0PLAY',
    event: { type: 'app_mention', user: 'U0SAM', channel: 'C0OPS', text, ts, thread_ts: parent, team: 'T0PLAY' },
  })
  expect(app.peer.thread('C0OPS', parent)[1]).toMatchObject({ user: 'U0SAM', text })
})

test('what a stranger sends shows the other team', async () => {
  await using app = await startStubApp()
  await app.peer.mention('U0KIM', 'C0SHARED', 'label=web')
  await app.peer.slash('U0KIM', 'C0SHARED', 'label=web')
  expect(app.received[0]?.fields).toMatchObject({
    team_id: 'T0PLAY',
    is_ext_shared_channel: true,
    event: { user_team: 'T0ACME' },
  })
  expect(app.received[1]?.fields).toMatchObject({ team_id: 'T0ACME', user_id: 'U0KIM' })
})

test('an edited message is sent as message_changed, and its mention as edited', async () => {
  await using app = await startStubApp()
  const { ts } = await app.peer.mention('U0ALEX', 'C0OPS', 'one')
  await app.peer.edit('U0ALEX', 'C0OPS', ts, '@drover two')
  expect(app.received.slice(1).map((one) => one.fields.event)).toMatchObject([
    { type: 'message', subtype: 'message_changed', message: { ts, text: '<@U0DROVER> two' } },
    { type: 'app_mention', ts, edited: { user: 'U0ALEX' } },
  ])
  expect(app.peer.messages('C0OPS').map((one) => one.text)).toEqual(['<@U0DROVER> two'])
})

test('forged, stale and replayed requests go out exactly as asked', async () => {
  await using app = await startStubApp()
  await app.peer.send({ body: 'a=1', timestamp: 1, signature: 'v0=00' })
  expect(app.received[0]?.headers).toMatchObject({ 'x-slack-request-timestamp': '1', 'x-slack-signature': 'v0=00' })
  const stale = await app.peer.send({ body: 'a=1', timestamp: 2 })
  await app.peer.resend(stale)
  expect(app.received[2]?.body).toBe('a=1')
  expect(app.received[2]?.headers['x-slack-request-timestamp']).toBe('2')
  expect(app.received[2]?.headers['x-slack-signature']).toBe(app.received[1]?.headers['x-slack-signature'])
  await app.peer.resend(stale, 2)
  expect(app.received[3]?.headers['x-slack-retry-num']).toBe('2')
  expect(Number(app.received[3]?.headers['x-slack-request-timestamp'])).toBeGreaterThan(2)
})

test('a click carries its action, message, container and state', async () => {
  await using app = await startStubApp()
  const parent = await posted(app)
  const ts = await posted(app, { thread_ts: parent })
  await app.peer.click('U0SAM', 'C0OPS', ts, 'go')
  expect(app.received[0]?.fields).toMatchObject({
    type: 'block_actions',
    user: { id: 'U0SAM', team_id: 'T0PLAY' },
    container: { type: 'message', message_ts: ts, channel_id: 'C0OPS', is_ephemeral: false, thread_ts: parent },
    channel: { id: 'C0OPS' },
    message: { ts, thread_ts: parent, bot_id: app.peer.botId },
    state: { values: { b1: { menu: { type: 'static_select', selected_option: null } } } },
    actions: [{ type: 'button', action_id: 'go', block_id: 'b1', value: 'r1' }],
  })
  await app.peer.click('U0SAM', 'C0OPS', ts, 'menu', { value: 'two' })
  expect(app.received[1]?.fields.actions).toMatchObject([{ action_id: 'menu', selected_option: { value: 'two' } }])
})

test('a button that is not there cannot be clicked, nor one that only another person sees', async () => {
  await using app = await startStubApp()
  const ts = await posted(app)
  const blocks = [{ type: 'actions', elements: [button] }]
  await app.call('chat.postEphemeral', { channel: 'C0OPS', user: 'U0ALEX', text: 'x', blocks })
  const only = app.peer.ephemerals('U0ALEX')[0]!
  expect(() => app.peer.click('U0SAM', 'C0OPS', ts, 'gone')).toThrow('no button gone')
  expect(() => app.peer.click('U0SAM', 'C0OPS', only.ts, 'go')).toThrow('no message')
  await app.peer.click('U0ALEX', 'C0OPS', only.ts, 'go')
  expect(app.received[0]?.fields).toMatchObject({ container: { is_ephemeral: true } })
  expect(app.received[0]?.fields.message).toBeUndefined()
})

test('a response URL serves five times, then no more', async () => {
  await using app = await startStubApp()
  await app.peer.slash('U0ALEX', 'C0OPS', 'x')
  const url = String(app.received[0]?.fields.response_url)
  const use = (body: object) =>
    fetch(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
  const statuses = []
  for (const text of ['1', '2', '3', '4', '5', '6']) statuses.push((await use({ text })).status)
  expect(statuses).toEqual([200, 200, 200, 200, 200, 404])
  expect(app.peer.ephemerals('U0ALEX').map((one) => one.text)).toEqual(['1', '2', '3', '4', '5'])
})

test('a response URL ends with its time, and refuses what a message would be refused for', async () => {
  await using app = await startStubApp()
  await using late = await startStubApp(undefined, { timings: { responseUrlMs: -1 } })
  const use = async (stub: StubApp, body: object) => {
    await stub.peer.slash('U0ALEX', 'C0SECRET', 'x')
    const url = String(stub.received.at(-1)?.fields.response_url)
    const response = await fetch(url, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
    return `${response.status} ${await response.text()}`
  }
  expect(await use(late, { text: 'x' })).toBe('404 {"ok":false,"error":"expired_url"}')
  expect(await use(app, {})).toBe('400 {"ok":false,"error":"no_text"}')
  expect(await use(app, { text: 'x' })).toBe('200 ok')
  expect(await use(app, { text: 'x', response_type: 'in_channel' })).toBe('200 ok')
  expect(app.peer.messages('C0SECRET').map((one) => one.text)).toEqual(['x'])
})

test('a click’s response URL replaces or deletes the message', async () => {
  await using app = await startStubApp()
  const ts = await posted(app)
  await app.peer.click('U0SAM', 'C0OPS', ts, 'go')
  const url = String(app.received[0]?.fields.response_url)
  const use = (body: object) =>
    fetch(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })
  await use({ text: 'done', replace_original: true })
  expect(app.peer.messages('C0OPS')).toMatchObject([{ ts, text: 'done' }])
  await use({ delete_original: true })
  expect(app.peer.messages('C0OPS')).toEqual([])
})

test('a trigger id opens one modal, once, within its time', async () => {
  await using app = await startStubApp()
  const { triggerId } = await app.peer.slash('U0ALEX', 'C0OPS', 'x')
  const open = (trigger_id: string, view: object = modal) => app.call('views.open', { trigger_id, view })
  expect((await open(triggerId)).body.ok).toBe(true)
  expect((await open(triggerId)).body.error).toBe('exchanged_trigger_id')
  await using slow = await startStubApp(undefined, { timings: { triggerMs: -1 } })
  const late = await slow.peer.slash('U0ALEX', 'C0OPS', 'x')
  expect((await slow.call('views.open', { trigger_id: late.triggerId, view: modal })).body.error).toBe('expired_trigger_id')
  expect(app.peer.views('U0ALEX')).toHaveLength(1)
})

const badViews: readonly (readonly [what: string, view: object])[] = [
  ['a title of 25', { ...modal, title: { type: 'plain_text', text: 'x'.repeat(25) } }],
  ['no title', { ...modal, title: undefined }],
  ['private_metadata of 3,001', { ...modal, private_metadata: 'x'.repeat(3001) }],
  ['a callback_id of 256', { ...modal, callback_id: 'x'.repeat(256) }],
  ['an input without a submit button', { ...modal, submit: undefined }],
  ['an unknown type', { ...modal, type: 'popup' }],
  ['an unknown block', { ...modal, blocks: [{ type: 'blink' }] }],
]

test.for(badViews)('a modal with %s is refused', async ([, view]) => {
  await using app = await startStubApp()
  const { triggerId } = await app.peer.slash('U0ALEX', 'C0OPS', 'x')
  const { body } = await app.call('views.open', { trigger_id: triggerId, view })
  expect(body).toMatchObject({ ok: false, error: 'invalid_arguments' })
})

test('a modal is updated under its hash, stacked three deep and no deeper', async () => {
  await using app = await startStubApp()
  const trigger = async () => (await app.peer.slash('U0ALEX', 'C0OPS', 'x')).triggerId
  const opened = (await app.call('views.open', { trigger_id: await trigger(), view: modal })).body.view as {
    id: string
    hash: string
  }
  const update = (hash: string) => app.call('views.update', { view_id: opened.id, hash, view: modal })
  expect((await update(opened.hash)).body.ok).toBe(true)
  expect((await update(opened.hash)).body.error).toBe('hash_conflict')
  const push = async () => (await app.call('views.push', { trigger_id: await trigger(), view: modal })).body
  expect([(await push()).ok, (await push()).ok, (await push()).error]).toEqual([true, true, 'push_limit_reached'])
})

test('a submitted modal carries its values; the answer closes it, or shows errors, or changes it', async () => {
  let answer: object | undefined = { response_action: 'errors', errors: { why: 'too short' } }
  await using app = await startStubApp(({ fields }) =>
    fields.type === 'view_submission' && answer ? { body: answer } : undefined,
  )
  const { triggerId } = await app.peer.slash('U0ALEX', 'C0OPS', 'x')
  await app.call('views.open', { trigger_id: triggerId, view: modal })
  const { id } = app.peer.views('U0ALEX')[0]!
  const submit = () => app.peer.submitView('U0ALEX', id, { reason: 'because', menu: 'two' })
  await submit()
  expect(app.received.at(-1)?.fields.view).toMatchObject({
    id,
    private_metadata: 'r1',
    state: {
      values: {
        why: { reason: { type: 'plain_text_input', value: 'because' } },
        b1: { menu: { type: 'static_select', selected_option: { value: 'two' } } },
      },
    },
  })
  expect(app.peer.views('U0ALEX')[0]?.errors).toEqual({ why: 'too short' })
  answer = { response_action: 'update', view: { ...modal, title: { type: 'plain_text', text: 'Second' } } }
  await submit()
  expect(app.peer.views('U0ALEX')[0]?.view.title).toMatchObject({ text: 'Second' })
  answer = undefined
  await submit()
  expect(app.peer.views('U0ALEX')).toEqual([])
  await expect(submit()).rejects.toThrow('no view')
})

test('changes are told as they happen, until the listener leaves', async () => {
  await using app = await startStubApp()
  const seen: string[] = []
  const leave = app.peer.on('change', (change) => seen.push(change.type))
  const ts = await posted(app)
  await app.call('chat.update', { channel: 'C0OPS', ts, text: 'y' })
  await app.call('chat.delete', { channel: 'C0OPS', ts })
  leave()
  await posted(app)
  expect(seen).toEqual(['message', 'message_changed', 'message_deleted'])
})
