/** Answers in Slack: one parent that is kept true, and the outputs in its thread. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Outcome, RunId } from '../../../src/core/model.ts'
import { type Bench, deliver, history, ok, requestOf, seen, startBench, type Told, target } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  await bench.close()
})

const done: Outcome = { status: 'done' }
const web = (count: number, told: Partial<Told> = {}): Told[] =>
  Array.from({ length: count }, (_, index) => ({ name: `web-${index + 1}`, ending: ok, stdout: 'up 3 days\n', ...told }))

async function ran(told: readonly Told[], outcome: Outcome = done, part = {}) {
  const run = history(bench.memory, requestOf(part), told, outcome)
  await deliver(bench, run)
  const [parent] = bench.peer.messages('C0OPS')
  const replies = parent === undefined ? [] : bench.peer.thread('C0OPS', parent.ts).filter(({ ts }) => ts !== parent.ts)
  return { run, parent, replies, thread: replies.map(seen).join('\n') }
}

test('a finished run is one parent that says who, what, where, how many and how it went, and its folded output in the thread', async () => {
  const told = [...web(3), { name: 'web-4', ending: { status: 'exited', code: 3 }, stderr: 'broken\n' } as Told]
  const { parent, replies, thread } = await ran(told)
  expect(seen(parent)).toContain('<@U0ALEX> ran\nuptime\nlabel=web · 4 targets · run raaaaaaaaaaaaaaa')
  expect(seen(parent)).toMatch(/❌ 3 of 4 ok · 1 exited 3 · [\d.]+ s/)
  expect(replies).toHaveLength(1)
  expect(thread).toContain('1 of 4: web-4\nexit 3')
  expect(thread).toContain('all of it is stderr\nbroken')
  expect(thread).toContain('3 of 4: web-1, web-2, web-3\nexit 0\nup 3 days')
})

test('the whole success has a verdict of its own; text beside the blocks holds no output', async () => {
  const { parent, replies } = await ran(web(2, { stdout: 'SECRET-LOOKING-OUTPUT' }))
  expect(seen(parent)).toContain('✅ 2 of 2 ok')
  expect([parent?.text, ...replies.map(({ text }) => text)].join()).not.toContain('SECRET-LOOKING-OUTPUT')
  expect(parent?.text).toContain('uptime on 2 targets: ✅ 2 of 2 ok')
})

test('[true-ending] every ending has its own word, and only exit 0 counts as ok', async () => {
  const error = { code: 'stream_broken', message: 'The stream broke.' } as const
  const { parent, thread } = await ran([
    { name: 'a', ending: ok },
    { name: 'b', ending: { status: 'exited', code: 137 } },
    { name: 'c', ending: { status: 'timed_out' } },
    { name: 'd', ending: { status: 'cancelled' } },
    { name: 'e', ending: { status: 'failed', error } },
    { name: 'f', ending: { status: 'unknown', error } },
    { name: 'g' },
  ])
  const verdict =
    '❌ 1 of 7 ok · 1 exited 137 · 1 timed out, proved gone · 1 cancelled, proved gone · 1 did not run · 2 outcome unknown'
  expect(seen(parent)).toContain(verdict)
  expect(thread).toContain('outcome unknown: The stream broke.')
  expect(thread).toContain('outcome unknown: it was started, and nothing was recorded about its end')
  expect(thread).not.toContain('running')
})

test('[gone-is-gone] S42: what could not be proved gone is named with its pid in parent and thread, beside a button to kill it', async () => {
  const { parent, thread } = await ran([{ name: 'web-1', ending: { status: 'timed_out', left: { pid: 4242 } }, stdout: 'x' }])
  expect(seen(parent)).toContain('1 timed out and still running')
  expect(seen(parent)).toContain('Still running on web-1: pid 4242')
  expect(seen(parent)).toContain('Kill what still runs')
  expect(thread).toContain('timed out, still running, pid 4242')
})

test('[gone-is-gone] what a kill after the run has proved gone is said in the parent, whose button is gone', async () => {
  const error = { code: 'stream_broken', message: 'The stream broke.' } as const
  const left = { name: 'web-1', ending: { status: 'unknown', error, left: { pid: 4242 } } } as Told
  const run = history(bench.memory, requestOf(), [left], done)
  bench.memory.append(run, { type: 'killed', target: target('web-1').id, by: requestOf().actor })
  await deliver(bench, run)
  const parent = seen(bench.peer.messages('C0OPS')[0])
  expect(parent).toContain('1 outcome unknown')
  expect(parent).toContain('Proved gone since, on web-1')
  expect(parent).not.toMatch(/still run/)
})

test('where a backend has several ways, the parent says which was used', async () => {
  const told = web(3, { way: 'the nodes map' })
  expect(seen((await ran(told)).parent)).toContain('label=web · 3 targets through the nodes map · run r')
  const mixed = [...told.slice(0, 2), { ...told[2]!, way: 'a temporary service' }]
  const run = history(bench.memory, requestOf({ id: 'rbbbbbbbbbbbbbbb' as RunId }), mixed, done)
  await deliver(bench, run)
  expect(bench.peer.messages('C0OPS').map(seen).join()).toContain(
    '3 targets 2 through the nodes map, 1 through a temporary service · run rb',
  )
})

test('[bounded] what was dropped and what was masked is counted in the thread', async () => {
  const { thread } = await ran([{ name: 'web-1', ending: ok, stdout: 'x\n', dropped: 1234, masked: 2 }])
  expect(thread).toContain('1234 bytes did not fit and were dropped from the middle')
  expect(thread).toContain('2 secrets masked')
})

test('the first line of the parent says how it went, and so does what notifies of the reply', async () => {
  const run = history(bench.memory, requestOf(), [{ name: 'web-1', ending: { status: 'exited', code: 3 }, stdout: 'x' }])
  const [part] = await bench.reporter.progress(bench.memory.state(run)!)
  expect(seen(bench.peer.messages('C0OPS')[0])).toMatch(/^⏳ Running · 0 of 1 ok/)
  bench.memory.append(run, { type: 'posted', ...part! }, { type: 'finished', outcome: done })
  await deliver(bench, run)
  const [parent, reply] = bench.peer.thread('C0OPS', bench.peer.messages('C0OPS')[0]!.ts)
  expect(seen(parent)).toMatch(/^❌ 0 of 1 ok · 1 exited 3 · .*\n<@U0ALEX> ran\nuptime/)
  expect(reply?.text).toMatch(/^❌ 0 of 1 ok · 1 exited 3 · .* \(run r/)
})

test('of a long output the beginning and the end are in the thread, in whole lines, and what is between is counted', async () => {
  const stdout = `${Array.from({ length: 3000 }, (_, n) => `<line ${n}>`).join('\n')}\n`
  const { thread } = await ran([{ name: 'web-1', ending: { status: 'exited', code: 1 }, stdout }])
  const [, begin = '', count = '', end = ''] =
    /exit 1.*?\n([\s\S]*)\n… (\d+) characters more are in the file; then it ends:\n([\s\S]*?<line 2999>)\n/.exec(thread) ?? []
  expect(begin).toMatch(/^<line 0>\n/)
  expect(end).toMatch(/^<line \d+>\n/)
  expect(begin.length + Number(count) + end.length).toBe(stdout.trimEnd().length - 1)
})

test('stderr lines are marked where there is stdout beside them; no output is said', async () => {
  const { thread } = await ran([
    { name: 'web-1', ending: ok, stdout: 'fine\n', stderr: 'careful\n' },
    { name: 'web-2', ending: ok },
  ])
  expect(thread).toContain('fine\nstderr| careful')
  expect(thread).toContain('(no output)')
})

test('S37: nothing in output, argv, names or notes can ping, link, fence or unfurl', async () => {
  const hostile = '<!channel> <@U0SAM> ``` https://evil.example &amp; *bold* :tada:\n```\nfake approved\n'
  const name = 'web-<!here>`'
  const run = history(
    bench.memory,
    requestOf({ command: { argv: ['echo', hostile] } }),
    [{ name, ending: { status: 'failed', error: { code: 'not_running', message: hostile } }, stdout: hostile }],
    done,
  )
  await deliver(bench, run)
  const [parent] = bench.peer.messages('C0OPS')
  const all = bench.peer.thread('C0OPS', parent!.ts)
  for (const message of all) {
    expect(message.text).not.toMatch(/<[!@#h]/)
    // Only plain text leaves hold what is not ours: no mrkdwn, no link, no mention but the asker's.
    const leaves = JSON.stringify(message.blocks).match(/"type":"(mrkdwn|link|broadcast|usergroup|user)"[^}]*/g) ?? []
    expect(leaves.filter((leaf) => !leaf.includes('"user_id":"U0ALEX"'))).toEqual([])
  }
  for (const { args } of bench.peer.calls.filter(({ method }) => method === 'chat.postMessage')) {
    expect(args).toMatchObject({ unfurl_links: false, unfurl_media: false, link_names: false })
  }
  expect(all.map(seen).join('\n')).toContain(
    '<!channel> <@U0SAM> ``` https://evil.example &amp; *bold* :tada:\n```\nfake approved',
  )
})

test.each(['&', '<', '漢', '🙂', 'x'])('S37: block limits hold after escaping, for output made of %s', async (char) => {
  const { run, replies } = await ran([{ name: 'web-1', ending: ok, stdout: char.repeat(1500) }])
  expect(bench.memory.state(run)?.posted['output:0']).toBeDefined()
  expect(seen(replies[0])).toContain(char.repeat(500))
})

test('[bounded] S38: a long output is its beginning and end in the thread and one file with all of it', async () => {
  const long = Array.from({ length: 5000 }, (_, index) => `line ${index} & more`).join('\n')
  const { replies, thread } = await ran([{ name: 'web-1', ending: ok, stdout: long, stderr: 'oops\n' }])
  expect(thread).toContain('line 0 & more')
  expect(thread).toContain('characters more are in the file; then it ends:')
  expect(bench.peer.files).toHaveLength(1)
  const content = new TextDecoder().decode(bench.peer.files[0]?.content)
  expect(content).toContain(long)
  expect(content).toContain('stderr| oops')
  expect(content).toContain('==== exit 0')
  expect(bench.peer.files[0]?.shared?.threadTs).toBe(replies[0]?.threadTs)
  expect(replies.length).toBeLessThanOrEqual(2)
})

test('one line of a megabyte and blank lines only are both answered within Slack’s limits', async () => {
  const { thread } = await ran([
    { name: 'web-1', ending: ok, stdout: 'y'.repeat(1024 * 1024) },
    { name: 'web-2', ending: ok, stdout: '\n\n\n' },
  ])
  expect(thread).toContain('(only blank lines)')
  expect(bench.peer.files).toHaveLength(1)
})

test('a hundred targets are never a hundred messages: equal outputs fold, different ones share a file', async () => {
  const same = await ran(web(100))
  expect(same.replies).toHaveLength(1)
  expect(same.thread).toContain('100 of 100: web-1, web-2')
  expect(same.thread).toContain('and 80 more')
})

test('a hundred different outputs are one message and one file that names them all', async () => {
  const { replies } = await ran(
    Array.from({ length: 100 }, (_, index) => ({ name: `w${index}`, ending: ok, stdout: `host ${index}\n` })),
  )
  expect(replies.length).toBeLessThanOrEqual(3)
  const content = new TextDecoder().decode(bench.peer.files[0]?.content)
  for (let index = 0; index < 100; index++) expect(content).toContain(`==== w${index}\n==== exit 0 · 1.0 s\nhost ${index}\n`)
})

test.each(['file_uploads_disabled', 'file_upload_size_restricted', 'missing_scope'])(
  'where Slack takes no file (%s) the output comes as messages, and what is left out is said',
  async (error) => {
    bench.peer.faults.fail('files.getUploadURLExternal', { error, times: 1 })
    const long = Array.from({ length: 5000 }, (_, index) => `line ${index}`).join('\n')
    const { replies, thread, run } = await ran([{ name: 'web-1', ending: ok, stdout: long }])
    expect(bench.peer.files).toHaveLength(0)
    expect(thread).toContain(`Slack took no file (${error})`)
    expect(thread).toMatch(/The last \d+ characters are left out here; they are stored with the run/)
    expect(thread).toContain('line 1000')
    expect(replies.length).toBeLessThanOrEqual(4)
    expect(Object.keys(bench.memory.state(run)?.posted ?? {})).toEqual(['parent', 'output:0', 'chunk:0', 'chunk:1', 'chunk:2'])
  },
)

// ---- progress --------------------------------------------------------------------------------

test('while it runs the parent is posted once, then edited, text and blocks both, at most once a second', async () => {
  const run = history(bench.memory, requestOf(), [{ name: 'web-1' }, { name: 'web-2' }])
  const parts = await bench.reporter.progress(bench.memory.state(run)!)
  expect(parts).toEqual([{ part: 'parent', ref: expect.stringMatching(/^C0OPS:\d/) }])
  bench.memory.append(run, { type: 'posted', ...parts[0]! })
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('⏳ Running · 0 of 2 ok · 2 running')
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('Cancel')

  const count = { stdout: 0, stderr: 0, dropped: 0, masked: 0 }
  bench.memory.append(run, { type: 'ended', target: target('web-1').id, ending: ok, count })
  await bench.reporter.progress(bench.memory.state(run)!)
  expect(bench.peer.calls.map(({ method }) => method)).toEqual(['chat.postMessage'])
  bench.clock.offsetMs = 1001
  await bench.reporter.progress(bench.memory.state(run)!)
  expect(bench.peer.calls.map(({ method }) => method)).toEqual(['chat.postMessage', 'chat.update'])
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('⏳ Running · 1 of 2 ok · 1 running')
  expect(bench.peer.messages('C0OPS')).toHaveLength(1)
  expect(bench.peer.messages('C0OPS')[0]?.edited).not.toBe(true)

  bench.memory.append(run, { type: 'ended', target: target('web-2').id, ending: ok, count }, { type: 'finished', outcome: done })
  await deliver(bench, run)
  expect(bench.peer.messages('C0OPS')).toHaveLength(1)
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('✅ 2 of 2 ok')
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('Run again')
})

test('[bounded] progress stays under Slack’s fifty updates a minute, however many runs there are; the final one always comes', async () => {
  const runs = ['a', 'b', 'c'].map((letter) =>
    history(
      bench.memory,
      requestOf({ id: `r${letter.repeat(15)}` as RunId }),
      Array.from({ length: 60 }, (_, n) => ({ name: `web-${n}` })),
    ),
  )
  for (const run of runs) {
    for (const part of await bench.reporter.progress(bench.memory.state(run)!))
      bench.memory.append(run, { type: 'posted', ...part })
  }
  for (let second = 1; second <= 60; second++) {
    bench.clock.offsetMs = second * 1001
    for (const run of runs) {
      const { target } = bench.memory.state(run)!.executions[second - 1]!
      bench.memory.append(run, {
        type: 'ended',
        target: target.id,
        ending: ok,
        count: { stdout: 0, stderr: 0, dropped: 0, masked: 0 },
      })
      await bench.reporter.progress(bench.memory.state(run)!)
    }
  }
  const updates = () => bench.peer.calls.filter(({ method }) => method === 'chat.update').length
  expect(updates()).toBeGreaterThan(20)
  expect(updates()).toBeLessThan(45)
  const before = updates()
  for (const run of runs) {
    bench.memory.append(run, { type: 'finished', outcome: done })
    await deliver(bench, run)
  }
  expect(updates()).toBe(before + 3)
})

test('nothing is shown before the decision', async () => {
  bench.memory.append(requestOf().id, { type: 'accepted', request: requestOf() })
  expect(await bench.reporter.progress(bench.memory.state(requestOf().id)!)).toEqual([])
  expect(bench.peer.calls).toEqual([])
})

test('a first post that may have arrived is not repeated while the run goes on', async () => {
  bench.peer.faults.drop('chat.postMessage', { times: 1, afterAccept: true })
  const run = history(bench.memory, requestOf(), [{ name: 'web-1' }])
  expect(await bench.reporter.progress(bench.memory.state(run)!)).toEqual([])
  bench.clock.offsetMs = 5000
  expect(await bench.reporter.progress(bench.memory.state(run)!)).toEqual([])
  expect(bench.peer.messages('C0OPS')).toHaveLength(1)
})

test('a request made in a thread is answered in that thread, parent and outputs', async () => {
  const asked = bench.peer.say('U0ALEX', 'C0OPS', 'an incident')
  const place = { kind: 'slack' as const, team: 'T0PLAY', channel: 'C0OPS', threadTs: asked.ts }
  const run = history(bench.memory, requestOf({ place }), web(2), done)
  await deliver(bench, run)
  expect(bench.peer.messages('C0OPS')).toHaveLength(1)
  const [, parent, output] = bench.peer.thread('C0OPS', asked.ts)
  expect(seen(parent)).toContain('✅ 2 of 2 ok')
  expect(seen(output)).toContain('up 3 days')
})

// ---- refusals and interruptions --------------------------------------------------------------

function refuse(place = {}, part = {}): RunId {
  const request = requestOf({ command: { argv: ['cat', '--token=hunter2hunter2'] }, ...part })
  const placed = { ...request, place: { ...request.place, ...place } as typeof request.place }
  const failure = { code: 'denied', message: 'No rule allows this.', next: 'Ask the owner of the rules.' } as const
  bench.memory.append(
    request.id,
    { type: 'accepted', request: placed },
    { type: 'decided', decision: { effect: 'deny', rule: 'prod', failure, allowedFor: ['T0PLAY/S0ONCALL'] }, policy: 'p' },
    { type: 'finished', outcome: { status: 'refused', failure } },
  )
  return request.id
}

test('S35: a refusal is told to the asker alone: what, why, by which rule, who may; with its secrets masked', async () => {
  await deliver(bench, refuse())
  expect(bench.peer.messages('C0OPS')).toEqual([])
  const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
  expect(shown).toContain('🚫 Nothing was run (rule prod)')
  expect(shown).toContain('label=web\ncat')
  expect(shown).toContain('No rule allows this.\nAsk the owner of the rules.\nWho may: <!subteam^S0ONCALL>')
  expect(JSON.stringify(bench.peer.ephemerals('U0ALEX'))).not.toContain('hunter2hunter2')
})

test('why says as much as the refusal would: the reason, the next step, the rule and who may', async () => {
  const failure = { code: 'denied', message: 'No rule allows this.', next: 'Ask the owner of the rules.' } as const
  const decision = { effect: 'deny', rule: 'prod', failure, allowedFor: ['T0PLAY/S0ONCALL', 'T0PLAY/U0SAM'] } as const
  bench.memory.answers.why = { ok: false, failure, decision }
  await bench.peer.slash('U0ALEX', 'C0OPS', 'why label=web cmd=uptime')
  await bench.settled()
  const [answer] = bench.peer.ephemerals('U0ALEX')
  expect(seen(answer)).toContain(
    'It would not run.\nNo rule allows this.\nAsk the owner of the rules.\nWho may: <!subteam^S0ONCALL> <@U0SAM>',
  )
  expect(seen(answer)).toContain('Rule: prod')
  expect(answer?.text).toBe('It would not run. No rule allows this.')
})

test.each(['C0SECRET', 'C0PUBLIC'])(
  'where the bot is not invited (%s) a refusal comes as a direct message that says so',
  async (channel) => {
    await deliver(bench, refuse({ channel }))
    const opened = bench.peer.calls.find(({ method }) => method === 'conversations.open')
    const direct = (opened!.answered.channel as { id: string }).id
    expect(seen(bench.peer.messages(direct)[0])).toContain(`I cannot write in <#${channel}>: invite me there`)
  },
)

test('a refusal that nobody can be told is given up, not tried for ever', async () => {
  bench.peer.faults.fail('conversations.open', { error: 'cannot_dm_bot', times: 1 })
  await deliver(bench, refuse({ channel: 'C0SECRET' }))
  expect(bench.logs).toContainEqual(expect.objectContaining({ event: 'slack.refusal-unsaid' }))
})

test('[nothing-lost] a run whose channel the bot cannot write in is delivered to the asker directly', async () => {
  const place = { kind: 'slack' as const, team: 'T0PLAY', channel: 'C0SECRET' }
  const run = history(bench.memory, requestOf({ place }), web(1), done)
  await deliver(bench, run)
  const [channel, ts] = (bench.memory.state(run)?.posted.parent ?? '').split(':')
  const all = bench.peer.thread(channel!, ts!)
  expect(all.map(seen).join('\n')).toContain('I cannot write in <#C0SECRET>: invite me there')
  expect(all.map(seen).join('\n')).toContain('up 3 days')
  await deliver(bench, run)
  expect(seen(bench.peer.thread(channel!, ts!)[0])).toContain('I cannot write in <#C0SECRET>: invite me there')
})

test('[nothing-lost] an interrupted run is said in its parent and in its thread, and never looks like success', async () => {
  const failure = { code: 'interrupted', message: 'drover was stopped while this ran.', next: 'Look at the containers.' } as const
  const run = history(bench.memory, requestOf(), [
    { name: 'web-1', ending: ok, stdout: 'a' },
    { name: 'web-2', stdout: 'b' },
  ])
  const [part] = await bench.reporter.progress(bench.memory.state(run)!)
  bench.memory.append(run, { type: 'posted', ...part! }, { type: 'finished', outcome: { status: 'interrupted', failure } })
  await deliver(bench, run)
  const [parent] = bench.peer.messages('C0OPS')
  expect(bench.peer.messages('C0OPS')).toHaveLength(1)
  expect(seen(parent)).toContain('⚠️ Interrupted · 1 of 2 ok · 1 outcome unknown')
  const thread = bench.peer.thread('C0OPS', parent!.ts).slice(1).map(seen).join('\n')
  expect(thread).toContain('⚠️ This run was interrupted.')
  expect(thread).toContain('drover was stopped while this ran.')
  expect(thread).not.toContain('2 of 2')
})

test('[nothing-lost] a run interrupted before it had targets is still reported', async () => {
  const failure = { code: 'interrupted', message: 'drover was stopped before this began.' } as const
  const { parent } = await ran([], { status: 'interrupted', failure })
  expect(seen(parent)).toMatch(/^⚠️ Interrupted\n/)
  expect(seen(parent)).toContain('drover was stopped before this began.')
})

// ---- delivery again --------------------------------------------------------------------------

test('[once] parts that are there are edited or skipped when delivery is repeated', async () => {
  const { run } = await ran(web(2))
  const before = bench.peer.calls.length
  await deliver(bench, run)
  expect(bench.peer.calls.slice(before).map(({ method }) => method)).toEqual(['chat.update'])
})

test('a post whose outcome is unknown is a failed reply, not a blind repeat; the next delivery goes on from there', async () => {
  const run = history(bench.memory, requestOf(), web(1), done)
  bench.peer.faults.drop('chat.postMessage', { times: 1, afterAccept: false })
  await expect(deliver(bench, run)).rejects.toMatchObject({ code: 'reply_failed' })
  expect(bench.peer.calls.filter(({ method }) => method === 'chat.postMessage')).toHaveLength(1)
  await deliver(bench, run)
  expect(Object.keys(bench.memory.state(run)?.posted ?? {})).toEqual(['parent', 'output:0'])
})

test('a parent that somebody deleted is posted again', async () => {
  const run = history(bench.memory, requestOf(), web(1), done)
  bench.memory.append(run, { type: 'posted', part: 'parent', ref: 'C0OPS:1111111111.000001' })
  await deliver(bench, run)
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('✅ 1 of 1 ok')
  expect(bench.peer.thread('C0OPS', bench.peer.messages('C0OPS')[0]!.ts)).toHaveLength(2)
})

test('an answer that Slack holds back with 429 arrives, once', async () => {
  bench.peer.faults.rateLimit('chat.postMessage', { retryAfterS: 1, times: 1 })
  const { replies } = await ran(web(1))
  expect(replies).toHaveLength(1)
  const posts = bench.peer.calls.filter(({ method }) => method === 'chat.postMessage')
  expect(posts.map(({ answered }) => answered.ok)).toEqual([false, true, true])
})

// ---- what else a channel may not see ---------------------------------------------------------

test('[no-secret-shown] S35: secrets in the argv, values of variables and stdin stay out of the parent', async () => {
  const command = {
    argv: ['curl', '-H', 'Authorization: Bearer abcdefghijklmnop1234'] as const,
    env: { PGPASSWORD: 'opensesame' },
    stdin: 'hushhush',
    user: 'postgres',
  }
  await ran(web(1), done, { command })
  const posted = JSON.stringify(bench.peer.calls)
  for (const secret of ['abcdefghijklmnop1234', 'opensesame', 'hushhush']) expect(posted).not.toContain(secret)
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('user=postgres env=PGPASSWORD=… stdin=(8 characters)')
})

test('[exact-argv] S20: the parent shows each argument as one argument, and control codes visibly', async () => {
  await ran(web(1), done, { command: { argv: ['sh', '-c', 'a b', '\u001b[8m', "it's", ''] } })
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain("\nsh -c 'a b' '␛[8m' 'it'\\''s' ''\n")
})

test('S34: button values hold the run’s id and nothing else', async () => {
  await ran(web(1))
  const values = JSON.stringify(bench.peer.messages('C0OPS')[0]?.blocks).match(/"value":"[^"]*"/g)
  expect(new Set(values)).toEqual(new Set(['"value":"raaaaaaaaaaaaaaa"']))
})

test('a command far longer than a message is cut, and the reader is told', async () => {
  await ran(web(1), done, { command: { argv: ['echo', '&'.repeat(9000)] } })
  expect(seen(bench.peer.messages('C0OPS')[0])).toMatch(/The command is \d+ characters long; Full output shows all of it/)
})

test('[stored-once] a shared result is a copy without buttons, only where the operator listed it', async () => {
  const { run } = await ran(web(2))
  const state = bench.memory.state(run)!
  const by = { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' } as const
  const to = { kind: 'slack', team: 'T0PLAY', channel: 'C0RANDOM' } as const
  await bench.reporter.share(state, bench.memory.outputOf(run), to, by)
  const [copy] = bench.peer.messages('C0RANDOM')
  expect(seen(copy)).toContain('<@U0SAM> shared this result from <#C0OPS>. Nothing was run again.')
  expect(JSON.stringify(copy?.blocks)).not.toContain('"button"')
  expect(seen(bench.peer.thread('C0RANDOM', copy!.ts)[1])).toContain('up 3 days')
  const elsewhere = { ...to, channel: 'C0INC123' }
  await expect(bench.reporter.share(state, bench.memory.outputOf(run), elsewhere, by)).rejects.toMatchObject({ code: 'denied' })
})

test('a hook that answers in Slack is named as what it is, refusals too', async () => {
  const actor = { kind: 'webhook', name: 'pager' } as const
  await ran(web(1), done, { actor })
  expect(seen(bench.peer.messages('C0OPS')[0])).toContain('webhook pager ran')
  await deliver(bench, refuse({}, { actor, id: 'rbbbbbbbbbbbbbbb' as RunId }))
  expect(seen(bench.peer.messages('C0OPS')[1])).toContain('🚫 Refused: No rule allows this.')
})
