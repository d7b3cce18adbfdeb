/** Buttons in Slack: whose rights count, what a second click does, and who sees the answer. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RunId } from '../../../src/core/model.ts'
import { ACTIONS, SHARE_BLOCK } from '../../../src/frontends/slack/run-views.ts'
import { type Bench, deliver, history, ok, requestOf, seen, startBench } from './bench.ts'

let bench: Bench
let run: RunId
/** Timestamp of the parent message. */
let parent: string

beforeEach(async () => {
  bench = await startBench()
  run = history(bench.memory, requestOf({ timeoutMs: 5000 }), [{ name: 'web-1', ending: ok, stdout: 'up\n' }], { status: 'done' })
  await deliver(bench, run)
  parent = bench.peer.messages('C0OPS')[0]!.ts
})
afterEach(async () => {
  await bench.close()
})

const press = async (user: string, action: string) => {
  const delivery = await bench.peer.click(user, 'C0OPS', parent, action)
  await bench.settled()
  return delivery
}
const told = (user: string) => bench.peer.ephemerals(user).map(seen)

test('Run again is a new request by the presser, in the thread, with the stored selector, command and time limit', async () => {
  const delivery = await press('U0SAM', ACTIONS.again)
  expect(delivery.status).toBe(200)
  const [, again] = bench.memory.requests()
  expect(again).toMatchObject({
    actor: { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' },
    trigger: { kind: 'button', delivery: `slack:${delivery.triggerId}` },
    selector: requestOf().selector,
    command: requestOf().command,
    timeoutMs: 5000,
    place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS', threadTs: parent },
    again: run,
  })
  expect(again?.id).not.toBe(run)
})

test('Run again asks before it runs, and shows what and with whose rights', () => {
  const button = JSON.stringify(bench.peer.messages('C0OPS')[0]?.blocks)
  expect(button).toContain('"confirm":{"title":{"type":"plain_text","text":"Run it again?"}')
  expect(button).toContain('You run, with your own rights: label=web timeout=5s -- uptime')
})

test('a double click on Run again is one run; another person’s is theirs', async () => {
  await Promise.all([press('U0SAM', ACTIONS.again), press('U0SAM', ACTIONS.again)])
  await press('U0ALEX', ACTIONS.again)
  expect(bench.memory.requests().slice(1)).toHaveLength(2)
  expect(told('U0SAM').join()).toContain('it was not run twice')
})

test('Cancel goes to the gateway with the presser and the place, and its refusal is theirs alone', async () => {
  bench.memory.append(run, { type: 'posted', part: 'x', ref: 'y' })
  const running = history(bench.memory, requestOf({ id: 'rccccccccccccccc' as RunId }), [{ name: 'web-1' }])
  await bench.reporter.progress(bench.memory.state(running)!)
  parent = bench.peer.messages('C0OPS')[1]!.ts
  await press('U0SAM', ACTIONS.cancel)
  const place = { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS', threadTs: parent }
  const sam = { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' }
  expect(bench.memory.asked.find(({ call }) => call === 'cancel')?.args).toEqual([running, sam, place])
  bench.memory.answers.cancel = { code: 'denied', message: 'Only its owner may.' }
  await press('U0SAM', ACTIONS.cancel)
  expect(told('U0SAM')).toEqual([expect.stringContaining('says what is proved gone'), 'Not cancelled.\nOnly its owner may.\n'])
})

test('[stored-once] S26: Full output posts the stored text as a file in the thread, once; later clicks say it is there', async () => {
  bench.memory.asked.length = 0
  await press('U0SAM', ACTIONS.output)
  await press('U0ALEX', ACTIONS.output)
  expect(bench.memory.asked.map(({ call }) => call)).toEqual(['mayRead', 'output', 'mayRead'])
  expect(bench.peer.files).toHaveLength(1)
  expect(bench.peer.files[0]?.shared).toMatchObject({ channel: 'C0OPS', threadTs: parent })
  expect(new TextDecoder().decode(bench.peer.files[0]?.content)).toContain('==== web-1\n==== exit 0 · 1.0 s\nup\n')
  expect(told('U0SAM')).toEqual(['The whole output is in the thread.\n'])
  expect(told('U0ALEX')).toEqual(['The whole output is in this thread already.\n'])
})

test('a Full output that could not be posted can be tried again', async () => {
  bench.peer.faults.fail('files.completeUploadExternal', { error: 'internal_error', times: 1 })
  await press('U0SAM', ACTIONS.output)
  expect(bench.peer.files).toHaveLength(0)
  const failure = bench.peer.ephemerals('U0SAM')[0]!
  expect(seen(failure)).toContain('could not be posted')
  await bench.peer.click('U0SAM', 'C0OPS', failure.ts, ACTIONS.outputRetry)
  await bench.settled()
  expect(bench.peer.files[0]?.shared).toMatchObject({ channel: 'C0OPS', threadTs: parent })
})

test('Full output where the file is in the thread already posts nothing', async () => {
  bench.memory.append(run, { type: 'posted', part: 'file', ref: 'F1' })
  await press('U0SAM', ACTIONS.output)
  expect(bench.peer.files).toHaveLength(0)
  expect(told('U0SAM')).toEqual(['The whole output is in this thread already.\n'])
})

test('S29 S34: Share to… offers the listed channels, carries only the run’s id, and asks for the presser’s rights on submit', async () => {
  await press('U0SAM', ACTIONS.share)
  const [view] = bench.peer.views('U0SAM')
  expect(view?.view.private_metadata).toBe(run)
  expect(JSON.stringify(view?.view.blocks)).toContain('"value":"C0RANDOM"')
  bench.memory.asked.length = 0
  const delivery = await bench.peer.submitView('U0SAM', view!.id, { [SHARE_BLOCK]: 'C0RANDOM' })
  await bench.settled()
  expect(delivery.status).toBe(200)
  expect(bench.peer.views('U0SAM')).toEqual([])
  expect(bench.memory.asked.map(({ call, args }) => [call, ...args])).toEqual([
    [
      'share',
      run,
      { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' },
      { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' },
      { kind: 'slack', team: 'T0PLAY', channel: 'C0RANDOM' },
    ],
  ])
  expect(told('U0SAM')).toEqual([`The result of run ${run} is now in <#C0RANDOM>.\n`])
})

test('a share that the gateway refuses is told to the presser', async () => {
  bench.memory.answers.share = { code: 'denied', message: 'You may not see this run.' }
  await press('U0SAM', ACTIONS.share)
  await bench.peer.submitView('U0SAM', bench.peer.views('U0SAM')[0]!.id, { [SHARE_BLOCK]: 'C0RANDOM' })
  await bench.settled()
  expect(told('U0SAM')).toEqual(['Not shared.\nYou may not see this run.\n'])
})

test('a submitted channel that is not listed is refused in the dialog and shares nothing', async () => {
  await press('U0SAM', ACTIONS.share)
  const [view] = bench.peer.views('U0SAM')
  const empty = await bench.peer.submitView('U0SAM', view!.id, {})
  expect(empty.body).toMatchObject({ response_action: 'errors' })
  const forged = empty.rawBody
  const payload = JSON.parse(new URLSearchParams(forged).get('payload')!)
  payload.view.state.values[SHARE_BLOCK].channel.selected_option = { value: 'C0INC123' }
  const delivery = await bench.peer.send({
    body: new URLSearchParams({ payload: JSON.stringify(payload) }).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  expect(delivery.body).toMatchObject({ response_action: 'errors' })
  expect(bench.memory.asked.filter(({ call }) => call === 'share')).toEqual([])
})

test('a button whose value is no run id, or no known run, does nothing and says so', async () => {
  const click = await bench.peer.click('U0SAM', 'C0OPS', parent, ACTIONS.again)
  const before = bench.memory.submits()
  for (const value of ['../../x', 'rzzzzzzzzzzzzzzz']) {
    const payload = JSON.parse(new URLSearchParams(click.rawBody).get('payload')!)
    payload.actions[0].value = value
    const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString()
    const delivery = await bench.peer.send({ body, headers: { 'content-type': 'application/x-www-form-urlencoded' } })
    expect(delivery.status).toBe(200)
  }
  await bench.settled()
  expect(bench.memory.submits()).toBe(before)
  expect(told('U0SAM')).toEqual([
    expect.stringContaining('does not belong to a run that drover knows'),
    expect.stringContaining('not recorded any more'),
  ])
})

test('the whole output of a run that still runs is not posted yet', async () => {
  const running = history(bench.memory, requestOf({ id: 'rddddddddddddddd' as RunId }), [{ name: 'web-1' }])
  bench.memory.append(running, { type: 'posted', part: 'parent', ref: `C0OPS:${parent}` })
  const click = await bench.peer.click('U0ALEX', 'C0OPS', parent, ACTIONS.output)
  const payload = JSON.parse(new URLSearchParams(click.rawBody).get('payload')!)
  payload.actions[0].value = running
  await bench.settled()
  const body = new URLSearchParams({ payload: JSON.stringify(payload) }).toString()
  await bench.peer.send({ body, headers: { 'content-type': 'application/x-www-form-urlencoded' } })
  await bench.settled()
  expect(told('U0ALEX').at(-1)).toContain('It still runs.')
})
