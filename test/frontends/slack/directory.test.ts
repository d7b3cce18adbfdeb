/** Facts about people and channels out of Slack, by id; what Slack cannot tell is a no. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Actor, Place } from '../../../src/core/model.ts'
import { createSlackClient } from '../../../src/frontends/slack/client.ts'
import { createSlackDirectory, type SlackDirectoryOptions } from '../../../src/frontends/slack/directory.ts'
import { playWorkplace, type SlackPeer, startSlackPeer } from '../../../src/playground/slack/peer.ts'

let peer: SlackPeer
beforeEach(async () => {
  const archived = { id: 'C0OLD', name: 'old', topic: '', isArchived: true, members: ['U0ALEX', 'U0DROVER'] }
  // Two people with one name: only ids may tell them apart.
  const twin = { ...playWorkplace.people[0]!, id: 'U0TWIN' }
  const workspace = {
    ...playWorkplace,
    people: [...playWorkplace.people, twin],
    channels: [...playWorkplace.channels, archived],
    groups: playWorkplace.groups.map((group) => ({ ...group, users: [...group.users, 'U0KIM'] })),
  }
  peer = await startSlackPeer({ workspace, rateLimits: false })
})
afterEach(async () => {
  await peer.close()
})

const person = (user: string, team = 'T0PLAY'): Actor => ({ kind: 'slack-user', team, user })
const channel = (id: string): Place => ({ kind: 'slack', team: 'T0PLAY', channel: id })
const signal = () => AbortSignal.timeout(5000)
const oncall = ['T0PLAY/S0ONCALL']

function directoryOf(part: Partial<SlackDirectoryOptions> = {}) {
  const client = createSlackClient({ token: peer.botToken, apiUrl: peer.apiUrl, requestTimeoutMs: 2000 })
  return createSlackDirectory(client, { teamId: 'T0PLAY', ...part })
}

test('[ids-not-names] S10: of two people with one name, only the one whose id is in the group is in it', async () => {
  const directory = directoryOf()
  expect(await directory.facts(person('U0ALEX'), channel('C0OPS'), oncall, signal())).toEqual({ groups: oncall })
  expect(await directory.facts(person('U0TWIN'), channel('C0OPS'), oncall, signal())).toEqual({ groups: [] })
})

test.each([
  ['a deactivated account', person('U0GONE'), 'C0OPS', /deactivated/],
  ['a bot', person('U0DROVER'), 'C0OPS', /bot/],
  ['a guest', person('U0GUEST'), 'C0INC123', /guest/],
  ['a stranger of a shared channel', person('U0KIM', 'T0ACME'), 'C0SHARED', /another workspace/],
  ['a stranger who claims our team', person('U0KIM'), 'C0SHARED', /another workspace/],
  ['somebody without a team', person('U0ALEX', ''), 'C0OPS', /another workspace/],
  ['a member in a channel shared with another company', person('U0ALEX'), 'C0SHARED', /shared with another company/],
  ['a member in an archived channel', person('U0ALEX'), 'C0OLD', /archived/],
])('S13: %s is refused', async (_, actor, where, why) => {
  const { groups, refuse } = await directoryOf().facts(actor, channel(where), oncall, signal())
  expect(groups).toEqual([])
  expect(refuse?.code).toBe('identity')
  expect(refuse?.message).toMatch(why)
})

test('guests may be let in, and stay what they are for the rules', async () => {
  const facts = await directoryOf({ allowGuests: true }).facts(person('U0GUEST'), channel('C0INC123'), oncall, signal())
  expect(facts).toEqual({ groups: [] })
})

test('members of a listed workspace are judged by the rules, and are in no group of ours', async () => {
  const directory = directoryOf({ allowTeams: ['T0ACME'] })
  expect(await directory.facts(person('U0KIM', 'T0ACME'), channel('C0OPS'), oncall, signal())).toEqual({ groups: [] })
})

test.each([
  ['users.info', 'C0OPS'],
  ['conversations.info', 'C0OPS'],
  ['usergroups.users.list', 'C0OPS'],
])('[default-deny] S14: when %s fails nobody can tell, so it is no', async (method, where) => {
  peer.faults.fail(method, { error: 'plan_upgrade_required', times: 1 })
  const directory = directoryOf()
  await expect(directory.facts(person('U0ALEX'), channel(where), oncall, signal())).rejects.toMatchObject({
    code: 'facts_unavailable',
  })
  expect(await directory.facts(person('U0ALEX'), channel(where), oncall, signal())).toEqual({ groups: oncall })
})

test('S12: a private channel the bot is not in is refused, with the way out', async () => {
  const promise = directoryOf().facts(person('U0ALEX'), channel('C0SECRET'), [], signal())
  await expect(promise).rejects.toMatchObject({ code: 'facts_unavailable', next: 'Invite the bot to the channel.' })
})

test('a hook, which is nobody in Slack, hears of its channel only', async () => {
  const hook: Actor = { kind: 'webhook', name: 'disk-alert' }
  await expect(directoryOf().facts(hook, channel('C0NONE'), [], signal())).rejects.toMatchObject({
    code: 'facts_unavailable',
    message: expect.stringContaining('channel of this hook'),
  })
})

test('S12: a direct message with the bot is a place like any other, told apart by its id', async () => {
  const client = createSlackClient({ token: peer.botToken, apiUrl: peer.apiUrl })
  const { channel: direct } = await client.call('conversations.open', { users: 'U0ALEX' })
  const where = channel((direct as { id: string }).id)
  expect(await directoryOf().facts(person('U0ALEX'), where, oncall, signal())).toEqual({ groups: oncall })
})

test('a group of another workspace, or one that Slack does not know, makes nobody a member', async () => {
  const directory = directoryOf()
  expect(await directory.facts(person('U0ALEX'), channel('C0OPS'), ['T0ACME/S0ONCALL', 'S0ONCALL'], signal())).toEqual({
    groups: [],
  })
  await expect(directory.facts(person('U0ALEX'), channel('C0OPS'), ['T0PLAY/S0NONE'], signal())).rejects.toMatchObject({
    code: 'facts_unavailable',
  })
})

test('facts are remembered for two minutes and then asked for again', async () => {
  let now = 0
  const directory = directoryOf({ now: () => now })
  const ask = () => directory.facts(person('U0ALEX'), channel('C0OPS'), oncall, signal())
  await ask()
  const asked = peer.calls.length
  now = 119_000
  await ask()
  expect(peer.calls).toHaveLength(asked)
  now = 121_000
  await ask()
  expect(peer.calls).toHaveLength(asked * 2)
})

test('[bounded] an aborted question is a no', async () => {
  const promise = directoryOf().facts(person('U0ALEX'), channel('C0OPS'), oncall, AbortSignal.abort(new Error('late')))
  await expect(promise).rejects.toMatchObject({ code: 'facts_unavailable' })
})
