/** Where Slack takes no answer at the place of the question, somebody is told all the same. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Outcome, RunId } from '../../../src/core/model.ts'
import { threadOf } from '../../../src/frontends/slack/spots.ts'
import { type Bench, deliver, history, ok, requestOf, seen, startBench } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  await bench.close()
})

const done: Outcome = { status: 'done' }
const told = (stdout = 'up 3 days\n') => [{ name: 'web-1', ending: ok, stdout }]
const said = (channel: string) =>
  bench.peer.messages(channel).flatMap(({ ts }) => bench.peer.thread(channel, ts).map((one) => `${seen(one)}${one.text}`))
const direct = () => said(bench.peer.direct('U0ALEX')).join('\n')

/** A run whose parent message was posted while it went on. */
async function underWay(part = {}): Promise<RunId> {
  const run = history(bench.memory, requestOf(part), told())
  for (const one of await bench.reporter.progress(bench.memory.state(run)!)) bench.memory.append(run, { type: 'posted', ...one })
  bench.memory.append(run, { type: 'finished', outcome: done })
  return run
}

test.each([
  ['is_archived', 'archived'],
  ['is_inactive', 'archived'],
  ['channel_not_found', 'deleted'],
  ['not_in_channel', 'left by the bot'],
])('[nothing-lost] %s: a channel that is %s while the run goes on has its asker told directly', async (error) => {
  const run = await underWay()
  for (const method of ['chat.update', 'chat.postMessage']) bench.peer.faults.fail(method, { error, times: 1 })
  await deliver(bench, run)
  expect(direct()).toContain('I cannot write in <#C0OPS>')
  expect(direct()).toContain('✅ 1 of 1 ok')
  expect(direct()).toContain('up 3 days')
  const calls = bench.peer.calls.length
  await deliver(bench, run)
  expect(bench.peer.calls.slice(calls).map(({ method }) => method)).toEqual(['chat.update'])
})

test('[nothing-lost] a channel that takes edits and no answers any more has its asker told directly', async () => {
  const run = await underWay()
  bench.peer.faults.fail('chat.postMessage', { error: 'is_archived', times: 2 })
  await deliver(bench, run)
  expect(direct()).toContain('✅ 1 of 1 ok')
  expect(direct()).toContain('up 3 days')
})

test.each(['restricted_action_read_only_channel', 'ekm_access_denied', 'channel_type_not_supported', 'no_permission'])(
  '[nothing-lost] %s: where Slack lets nobody, or no bot, write, the asker is told directly',
  async (error) => {
    const run = history(bench.memory, requestOf(), told(), done)
    bench.peer.faults.fail('chat.postMessage', { error, times: 1 })
    await deliver(bench, run)
    expect(direct()).toContain('up 3 days')
  },
)

test('[nothing-lost] where the message that asked is deleted the answer stands in the channel, and says why', async () => {
  const place = { kind: 'slack' as const, team: 'T0PLAY', channel: 'C0OPS', threadTs: '1111111111.000001' }
  const run = history(bench.memory, requestOf({ place }), told(), done)
  await deliver(bench, run)
  const [parent] = bench.peer.messages('C0OPS')
  expect(seen(parent)).toContain('The thread in which this was asked is gone or takes no answer.')
  expect(said('C0OPS').join('\n')).toContain('up 3 days')
  // What is asked for later goes where the answer is.
  expect(threadOf(bench.memory.state(run)!)).toEqual({ channel: 'C0OPS', ts: parent!.ts })
  const calls = bench.peer.calls.length
  await deliver(bench, run)
  expect(bench.peer.calls.slice(calls).map(({ method }) => method)).toEqual(['chat.update'])
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('The thread in which this was asked is gone')
})

test('[nothing-lost] a thread that is closed while the run goes on: the answer stands beside it', async () => {
  const mention = await bench.peer.mention('U0ALEX', 'C0OPS', '@drover help')
  expect(mention.status).toBe(200)
  const root = bench.peer.messages('C0OPS')[0]!.ts
  const run = await underWay({ place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS', threadTs: root } })
  bench.peer.faults.fail('chat.postMessage', { error: 'restricted_action_thread_locked', times: 1 })
  await deliver(bench, run)
  const answers = bench.peer.messages('C0OPS').filter(({ ts }) => ts !== root)
  expect(answers.map(seen).join()).toContain('✅ 1 of 1 ok')
  expect(bench.peer.thread('C0OPS', answers[0]!.ts).map(seen).join()).toContain('up 3 days')
})

test.each(['invalid_blocks', 'msg_blocks_too_long', 'msg_too_long'])(
  '[nothing-lost] %s: a layout that Slack does not take is said in words, not tried for ever',
  async (error) => {
    const run = history(bench.memory, requestOf(), told(), done)
    bench.peer.faults.fail('chat.postMessage', { error, times: 1 })
    await deliver(bench, run)
    expect(said('C0OPS').join('\n')).toContain(`uptime on 1 target: ✅ 1 of 1 ok`)
    expect(said('C0OPS').join('\n')).toContain(`Slack did not take the rest of this message (${error})`)
    expect(bench.logs).toContainEqual({ event: 'slack.layout-refused', method: 'chat.postMessage', reason: error })
  },
)

test.each(['not_in_channel', 'channel_not_found', 'ekm_access_denied'])(
  '[nothing-lost] %s: a file that needs a membership which messages do not need comes as messages',
  async (error) => {
    const run = history(bench.memory, requestOf(), told('x'.repeat(20_000)), done)
    bench.peer.faults.fail('files.completeUploadExternal', { error, times: 1 })
    await deliver(bench, run)
    expect(said('C0OPS').join('\n')).toContain(`The whole output as messages. Slack took no file (${error}).`)
  },
)
