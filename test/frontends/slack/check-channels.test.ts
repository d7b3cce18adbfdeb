/** What `drover check` says of the channels that answers go to. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkSlack } from '../../../src/frontends/slack/check.ts'
import type { NamedChannels } from '../../../src/frontends/slack/check-channels.ts'
import { playWorkplace, type SlackPeer, startSlackPeer } from '../../../src/playground/slack/peer.ts'

const archived = { id: 'C0OLD', name: 'old', topic: '', isArchived: true, members: ['U0ALEX', 'U0DROVER'] }
const many = Array.from({ length: 60 }, (_, i) => ({ id: `C0N${i}`, name: `n${i}`, topic: '', members: ['U0DROVER'] }))
const workspace = { ...playWorkplace, channels: [...playWorkplace.channels, archived, ...many] }

let peer: SlackPeer
beforeEach(async () => {
  peer = await startSlackPeer({ workspace, rateLimits: false })
})
afterEach(async () => {
  await peer.close()
})

/** The lines about channels alone. */
async function look({ hooks = {}, shareTo = [], allowTeams = [] }: Partial<NamedChannels>, token = peer.botToken) {
  const lines = await checkSlack({
    apiUrl: peer.apiUrl,
    token,
    team: peer.teamId,
    needed: [],
    channels: { hooks, shareTo, allowTeams },
  })
  return lines.filter(({ what }) => what.startsWith('slack channel'))
}

test('a channel that the bot is in is good, and one line says for what it is named', async () => {
  const hooks = { alerts: 'T0PLAY/C0OPS', disk: 'T0PLAY/C0OPS' }
  expect(await look({ hooks, shareTo: ['C0OPS', 'C0INC123', 'C0OPS'] })).toEqual([
    { ok: true, what: 'slack channel C0OPS', detail: '#ops for hooks.alerts, hooks.disk, slack.shareTo' },
    { ok: true, what: 'slack channel C0INC123', detail: '#inc-123 for slack.shareTo' },
  ])
})

test.each([
  ['that is not there', 'C0NONE', 'for hooks.alerts: Slack does not show it to the bot', /^Copy the id .* invite the bot/],
  ['that is private and without the bot', 'C0SECRET', 'for hooks.alerts: Slack does not show it to the bot', /private, invite/],
  ['that the bot is not in', 'C0PUBLIC', '#lobby for hooks.alerts: the bot is not in it, and cannot answer there', /^Invite it/],
  ['that is archived', 'C0OLD', '#old for hooks.alerts: archived', /^Unarchive it/],
  ['that another company reads', 'C0SHARED', '#shared-acme for hooks.alerts: shared with another company', /slack\.allowTeams/],
])('a channel %s fails, with the way out', async (_, id, detail, next) => {
  const [line, ...rest] = await look({ hooks: { alerts: `T0PLAY/${id}` } })
  expect(line).toMatchObject({ ok: false, what: `slack channel ${id}`, detail, next: expect.stringMatching(next) })
  expect(rest).toEqual([])
  // What check says of it is what happens when the answer is posted.
  const posted = await fetch(`${peer.apiUrl}chat.postMessage`, {
    method: 'POST',
    headers: { authorization: `Bearer ${peer.botToken}`, 'content-type': 'application/json; charset=utf-8' },
    body: JSON.stringify({ channel: id, text: 'x' }),
  })
  const { ok } = (await posted.json()) as { ok: boolean }
  // A shared channel is drover's own no.
  expect(ok).toBe(id === 'C0SHARED')
})

test('a public channel without the bot is good where the token may post into any', async () => {
  const open = await startSlackPeer({
    workspace,
    rateLimits: false,
    scopes: ['channels:read', 'chat:write', 'chat:write.public'],
  })
  const options = { apiUrl: open.apiUrl, token: open.botToken, team: open.teamId, needed: [] }
  const lines = await checkSlack({ ...options, channels: { hooks: {}, shareTo: ['C0PUBLIC'], allowTeams: [] } })
  await open.close()
  expect(lines.at(-1)).toEqual({ ok: true, what: 'slack channel C0PUBLIC', detail: '#lobby for slack.shareTo' })
})

test('[ids-not-names] a hook whose channel is written with another workspace fails, and Slack is not asked', async () => {
  const [line] = await look({ hooks: { alerts: 'T0ACME/C0OPS' } })
  expect(line).toMatchObject({
    ok: false,
    detail: 'for hooks.alerts: drover.yaml says that it is of the workspace T0ACME, and the bot is in T0PLAY',
  })
  expect(peer.calls.map(({ method }) => method)).toEqual(['auth.test'])
})

test('scopes that lack are named, and a Slack that asks to wait or breaks off is no verdict', async () => {
  const poor = await startSlackPeer({ workspace, rateLimits: false, scopes: ['chat:write'] })
  const options = { apiUrl: poor.apiUrl, token: poor.botToken, team: poor.teamId, needed: [] }
  const lines = await checkSlack({ ...options, channels: { hooks: {}, shareTo: ['C0OPS'], allowTeams: [] } })
  await poor.close()
  expect(lines.at(-1)).toMatchObject({ ok: false, detail: 'for slack.shareTo: Slack says missing_scope' })
  peer.faults.rateLimit('conversations.info', { times: 1, retryAfterS: 600 })
  expect(await look({ shareTo: ['C0OPS'] })).toMatchObject([
    { ok: 'warn', detail: expect.stringContaining('Slack says ratelimited') },
  ])
})

test('a token that Slack does not take says that alone', async () => {
  expect(await look({ shareTo: ['C0OPS'] }, 'xoxb-wrong')).toEqual([])
  expect(peer.calls.map(({ method }) => method)).toEqual(['auth.test'])
})

test('[bounded] of very many channels fifty are looked at, and the rest is counted', async () => {
  const lines = await look({ shareTo: many.map(({ id }) => id) })
  expect(lines).toHaveLength(51)
  expect(lines.at(-1)).toMatchObject({ ok: 'warn', detail: '10 more are named and were not looked at' })
})
