/** What the pretend Slack refuses, in Slack’s own words. */

import { expect, test } from 'vitest'
import { startStubApp } from './slack-stub-app.ts'

const section = (text: string) => ({ type: 'section', text: { type: 'mrkdwn', text } })

const refusals: readonly (readonly [claim: string, method: string, args: object, error: string])[] = [
  ['an unknown method', 'chat.shout', { channel: 'C0OPS' }, 'unknown_method'],
  ['an inherited property as a method', 'constructor', {}, 'unknown_method'],
  ['a channel that is not there', 'chat.postMessage', { channel: 'C0NONE', text: 'x' }, 'channel_not_found'],
  ['a channel by name', 'chat.postMessage', { channel: '#ops', text: 'x' }, 'channel_not_found'],
  ['a bare channel name', 'chat.postMessage', { channel: 'ops', text: 'x' }, 'channel_not_found'],
  ['no channel', 'chat.postMessage', { text: 'x' }, 'channel_not_found'],
  ['a private channel without the bot', 'chat.postMessage', { channel: 'C0SECRET', text: 'x' }, 'channel_not_found'],
  ['a public channel without the bot', 'chat.postMessage', { channel: 'C0PUBLIC', text: 'x' }, 'not_in_channel'],
  ['a message without text and blocks', 'chat.postMessage', { channel: 'C0OPS' }, 'no_text'],
  ['a message with empty text and no blocks', 'chat.postMessage', { channel: 'C0OPS', text: '', blocks: [] }, 'no_text'],
  ['a thread_ts that is no ts', 'chat.postMessage', { channel: 'C0OPS', text: 'x', thread_ts: '17' }, 'invalid_thread_ts'],
  [
    'a thread that is not there',
    'chat.postMessage',
    { channel: 'C0OPS', text: 'x', thread_ts: '1700000000.000001' },
    'thread_not_found',
  ],
  ['blocks that are no list', 'chat.postMessage', { channel: 'C0OPS', text: 'x', blocks: {} }, 'invalid_blocks_format'],
  ['an unknown block', 'chat.postMessage', { channel: 'C0OPS', text: 'x', blocks: [{ type: 'blink' }] }, 'invalid_blocks'],
  [
    'markdown_text of more than 12,000 characters',
    'chat.postMessage',
    { channel: 'C0OPS', markdown_text: 'x'.repeat(12_001) },
    'msg_too_long',
  ],
  [
    'markdown_text beside text',
    'chat.postMessage',
    { channel: 'C0OPS', markdown_text: 'x', text: 'y' },
    'markdown_text_conflict',
  ],
  ['an edit of nothing', 'chat.update', { channel: 'C0OPS', ts: '1700000000.000001', text: 'x' }, 'message_not_found'],
  ['a deletion of nothing', 'chat.delete', { channel: 'C0OPS', ts: '1700000000.000001' }, 'message_not_found'],
  ['a link to nothing', 'chat.getPermalink', { channel: 'C0OPS', message_ts: '1.2' }, 'message_not_found'],
  ['an ephemeral for an outsider', 'chat.postEphemeral', { channel: 'C0OPS', user: 'U0KIM', text: 'x' }, 'user_not_in_channel'],
  ['a person that is not there', 'users.info', { user: 'U0NOBODY' }, 'user_not_found'],
  ['a person by name', 'users.info', { user: 'alex' }, 'user_not_found'],
  ['a group that is not there', 'usergroups.users.list', { usergroup: 'S0NONE' }, 'no_such_subteam'],
  ['a group by handle', 'usergroups.users.list', { usergroup: 'oncall' }, 'no_such_subteam'],
  ['facts of a private channel without the bot', 'conversations.info', { channel: 'C0SECRET' }, 'channel_not_found'],
  ['a direct message with nobody', 'conversations.open', { users: 'U0NOBODY' }, 'user_not_found'],
  ['an empty file', 'files.getUploadURLExternal', { filename: 'a.txt', length: 0 }, 'missing_argument'],
  ['a file without a name', 'files.getUploadURLExternal', { length: 3 }, 'missing_argument'],
  [
    'a snippet of more than 1 MiB',
    'files.getUploadURLExternal',
    { filename: 'a', length: 2_000_000, snippet_type: 'text' },
    'snippet_too_large',
  ],
  ['completing nothing', 'files.completeUploadExternal', { files: [] }, 'invalid_arguments'],
  [
    'completing an unknown file',
    'files.completeUploadExternal',
    { files: [{ id: 'F0' }], channel_id: 'C0OPS' },
    'file_not_found',
  ],
  [
    'a modal for an invented trigger id',
    'views.open',
    { trigger_id: '1.2', view: { type: 'modal', title: { type: 'plain_text', text: 'T' }, blocks: [section('x')] } },
    'invalid_trigger_id',
  ],
  [
    'an update of a modal that is not there',
    'views.update',
    { view_id: 'V0', view: { type: 'modal', title: { type: 'plain_text', text: 'T' }, blocks: [section('x')] } },
    'not_found',
  ],
]

for (const form of [false, true]) {
  test.for(refusals)(`%s is refused (${form ? 'form' : 'JSON'})`, async ([, method, args, error]) => {
    await using app = await startStubApp()
    const { body } = await app.call(method, args, { form })
    expect(body).toMatchObject({ ok: false, error })
    expect(app.peer.channels.flatMap((one) => app.peer.messages(one.id))).toEqual([])
  })
}

test('an unknown token is invalid_auth, none is not_authed', async () => {
  await using app = await startStubApp()
  expect((await app.call('auth.test', {}, { token: 'xoxb-other' })).body).toEqual({ ok: false, error: 'invalid_auth' })
  expect((await app.call('auth.test', {}, { token: '' })).body).toEqual({ ok: false, error: 'not_authed' })
  expect((await app.call('auth.test', {})).body).toMatchObject({ ok: true, team_id: 'T0PLAY', user_id: app.peer.botUserId })
})

test('a missing scope is named, with the scopes that are there', async () => {
  await using app = await startStubApp(undefined, { scopes: ['commands', 'users:read'] })
  expect((await app.call('chat.postMessage', { channel: 'C0OPS', text: 'x' })).body).toEqual({
    ok: false,
    error: 'missing_scope',
    needed: 'chat:write',
    provided: 'commands,users:read',
  })
  expect((await app.call('users.info', { user: 'U0ALEX' })).body.ok).toBe(true)
})

test('reading about a channel takes the scope of its kind', async () => {
  await using app = await startStubApp(undefined, { scopes: ['channels:read', 'im:write'] })
  const im = (await app.call('conversations.open', { users: 'U0SAM' })).body.channel as { id: string }
  const info = async (channel: string) => (await app.call('conversations.info', { channel })).body
  expect(await info(im.id)).toMatchObject({ error: 'missing_scope', needed: 'im:read' })
  expect((await info('C0OPS')).ok).toBe(true)
})

test('chat:write.public opens public channels, never private ones', async () => {
  await using app = await startStubApp(undefined, { scopes: ['chat:write', 'chat:write.public'] })
  expect((await app.call('chat.postMessage', { channel: 'C0PUBLIC', text: 'x' })).body.ok).toBe(true)
  expect((await app.call('chat.postMessage', { channel: 'C0SECRET', text: 'x' })).body.error).toBe('channel_not_found')
})

test('a message of someone else is neither edited nor deleted', async () => {
  await using app = await startStubApp()
  const { ts } = app.peer.say('U0ALEX', 'C0OPS', 'mine')
  expect((await app.call('chat.update', { channel: 'C0OPS', ts, text: 'yours' })).body.error).toBe('cant_update_message')
  expect((await app.call('chat.delete', { channel: 'C0OPS', ts })).body.error).toBe('cant_delete_message')
  expect(app.peer.messages('C0OPS').map((one) => one.text)).toEqual(['mine'])
})

test('a reply is refused as the parent of a thread', async () => {
  await using app = await startStubApp()
  const parent = (await app.call('chat.postMessage', { channel: 'C0OPS', text: 'parent' })).body
  const reply = (await app.call('chat.postMessage', { channel: 'C0OPS', text: 'reply', thread_ts: parent.ts })).body
  const third = await app.call('chat.postMessage', { channel: 'C0OPS', text: 'x', thread_ts: reply.ts })
  expect(third.body.error).toBe('cannot_reply_to_message')
  expect(app.peer.thread('C0OPS', String(parent.ts)).map((one) => one.text)).toEqual(['parent', 'reply'])
  expect(app.peer.messages('C0OPS').map((one) => one.text)).toEqual(['parent'])
})

test('text is cut at 40,000 characters with a warning', async () => {
  await using app = await startStubApp()
  const { body } = await app.call('chat.postMessage', { channel: 'C0OPS', text: 'é'.repeat(40_001) })
  expect(body).toMatchObject({ ok: true, warning: 'message_truncated' })
  expect(app.peer.messages('C0OPS')[0]?.text).toBe('é'.repeat(40_000))
})

test('an edit with text alone removes the blocks and is marked as edited; with blocks it is not', async () => {
  await using app = await startStubApp()
  const { ts } = (await app.call('chat.postMessage', { channel: 'C0OPS', text: 'a', blocks: [section('a')] })).body
  await app.call('chat.update', { channel: 'C0OPS', ts, text: 'b', blocks: [section('b')] })
  expect(app.peer.messages('C0OPS')[0]).toMatchObject({ text: 'b', blocks: [section('b')] })
  expect(app.peer.messages('C0OPS')[0]?.edited).toBeUndefined()
  await app.call('chat.update', { channel: 'C0OPS', ts, text: 'c' })
  expect(app.peer.messages('C0OPS')[0]).toMatchObject({ text: 'c', edited: true })
  expect(app.peer.messages('C0OPS')[0]?.blocks).toBeUndefined()
  expect((await app.call('chat.update', { channel: 'C0OPS', ts, text: 'x'.repeat(4001) })).body.error).toBe('msg_too_long')
})

test('a file arrives in the thread only when the bytes are the announced ones', async () => {
  await using app = await startStubApp()
  const { ts } = (await app.call('chat.postMessage', { channel: 'C0OPS', text: 'parent' })).body
  const content = Buffer.from('héllo')
  const url = (await app.call('files.getUploadURLExternal', { filename: 'out.txt', length: content.length }, { form: true })).body
  const files = [{ id: url.file_id, title: 'Output' }]
  const early = await app.call('files.completeUploadExternal', { files, channel_id: 'C0OPS', thread_ts: ts })
  expect(early.body.error).toBe('file_not_found')
  expect((await fetch(String(url.upload_url), { method: 'POST', body: 'hello' })).status).toBe(400)
  expect((await fetch(String(url.upload_url), { method: 'POST', body: content })).status).toBe(200)
  const done = await app.call('files.completeUploadExternal', { files, channel_id: 'C0OPS', thread_ts: ts })
  expect(done.body).toEqual({ ok: true, files })
  const shared = app.peer.thread('C0OPS', String(ts))[1]?.files?.[0]
  expect(Buffer.from(shared?.content ?? []).toString()).toBe('héllo')
  expect(app.peer.files.map((one) => [one.title, one.shared?.threadTs])).toEqual([['Output', ts]])
  const again = await app.call('files.completeUploadExternal', { files, channel_id: 'C0OPS' })
  expect(again.body.error).toBe('file_not_found')
})

test('a burst of messages in one channel passes, then comes 429 with Retry-After; another channel is free', async () => {
  await using app = await startStubApp(undefined, { rateLimits: true })
  const post = (channel: string) => app.call('chat.postMessage', { channel, text: 'x' })
  const answers = []
  for (let sent = 0; sent < 12; sent += 1) answers.push(await post('C0OPS'))
  expect(answers.slice(0, 5).map((one) => one.status)).toEqual([200, 200, 200, 200, 200])
  const refused = answers.find((one) => one.status === 429)
  expect(refused).toMatchObject({ retryAfter: '1', body: { ok: false, error: 'ratelimited' } })
  expect((await post('C0INC123')).status).toBe(200)
})

test('fifty edits a minute pass, not more', async () => {
  await using app = await startStubApp(undefined, { rateLimits: true })
  const { ts } = (await app.call('chat.postMessage', { channel: 'C0OPS', text: 'x' })).body
  const statuses = []
  for (let sent = 0; sent < 60; sent += 1) {
    statuses.push((await app.call('chat.update', { channel: 'C0OPS', ts, text: `${sent}` })).status)
  }
  expect(statuses.slice(0, 50).every((status) => status === 200)).toBe(true)
  expect(statuses).toContain(429)
})

test('faults happen as often as they were ordered, and a lost answer may follow a done deed', async () => {
  await using app = await startStubApp()
  const post = (text: string) => app.call('chat.postMessage', { channel: 'C0OPS', text })
  app.peer.faults.rateLimit('chat.postMessage', { retryAfterS: 7, times: 2 })
  expect(await post('a')).toMatchObject({ status: 429, retryAfter: '7' })
  expect((await post('a')).status).toBe(429)
  expect((await post('a')).body.ok).toBe(true)
  app.peer.faults.fail('chat.postMessage', { status: 503, error: 'service_unavailable', times: 1 })
  expect(await post('b')).toMatchObject({ status: 503, body: { error: 'service_unavailable' } })
  app.peer.faults.drop('chat.postMessage', { times: 1, afterAccept: false })
  await expect(post('c')).rejects.toThrow()
  app.peer.faults.drop('chat.postMessage', { times: 1, afterAccept: true })
  await expect(post('d')).rejects.toThrow()
  expect(app.peer.messages('C0OPS').map((one) => one.text)).toEqual(['a', 'd'])
})

test('the log of calls holds no token', async () => {
  await using app = await startStubApp()
  await app.call('chat.postMessage', { channel: 'C0OPS', text: 'x' })
  await app.call('chat.postMessage', { channel: 'C0OPS', text: 'x', token: app.peer.botToken }, { token: '', form: true })
  expect(app.peer.calls.map((one) => one.answered.ok)).toEqual([true, true])
  expect(JSON.stringify(app.peer.calls)).not.toContain(app.peer.botToken)
})

test('people and channels say what an app must know of them', async () => {
  await using app = await startStubApp()
  const user = async (id: string) => (await app.call('users.info', { user: id })).body.user
  expect(await user('U0KIM')).toMatchObject({ team_id: 'T0ACME', is_stranger: true })
  expect(await user('U0GUEST')).toMatchObject({ is_restricted: true, is_ultra_restricted: true })
  expect(await user('U0GONE')).toMatchObject({ deleted: true })
  expect(await user('U0ALEX')).toMatchObject({ team_id: 'T0PLAY', deleted: false, is_bot: false })
  const { body } = await app.call('conversations.info', { channel: 'C0SHARED' })
  expect(body.channel).toMatchObject({ is_ext_shared: true, is_member: true, is_private: false })
  expect((await app.call('usergroups.users.list', { usergroup: 'S0ONCALL' })).body.users).toEqual(['U0ALEX'])
  const im = (await app.call('conversations.open', { users: 'U0SAM' })).body.channel as { id: string }
  expect((await app.call('conversations.info', { channel: im.id })).body.channel).toMatchObject({ is_im: true, user: 'U0SAM' })
})
