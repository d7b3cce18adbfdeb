/** Lines typed in Slack: one durable request each, or an answer that says what is wrong with them. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { DroverError } from '../../../src/core/errors.ts'
import { type Bench, seen, startBench, target } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await startBench()
})
afterEach(async () => {
  await bench.close()
})

test('a slash command becomes one durable request before it is acknowledged, with an empty answer', async () => {
  const delivery = await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd="uptime -p" timeout=20s')
  expect([delivery.status, delivery.body]).toEqual([200, ''])
  const [request] = bench.memory.requests()
  expect(request).toMatchObject({
    actor: { kind: 'slack-user', team: 'T0PLAY', user: 'U0ALEX' },
    trigger: { kind: 'slash', delivery: `slack:${delivery.triggerId}` },
    place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' },
    command: { argv: ['uptime', '-p'] },
    timeoutMs: 20_000,
  })
  expect(request?.id).toMatch(/^r[a-z2-7]{15}$/)
})

test('S10: who asks is the person’s own workspace and id, in a shared channel too; the name they send changes nothing', async () => {
  await bench.peer.slash('U0KIM', 'C0SHARED', 'label=web cmd=uptime')
  await bench.peer.mention('U0KIM', 'C0SHARED', 'label=web cmd=uptime')
  expect(bench.memory.requests().map(({ actor }) => actor)).toEqual([
    { kind: 'slack-user', team: 'T0ACME', user: 'U0KIM' },
    { kind: 'slack-user', team: 'T0ACME', user: 'U0KIM' },
  ])
})

test('S01 S20: when Slack changed the text, the acknowledgement shows the argv that runs and what was changed', async () => {
  const delivery = await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=“echo ‘a b’”')
  const [request] = bench.memory.requests()
  expect(request?.command.argv).toEqual(['echo', 'a b'])
  expect(request?.restored).toEqual(['“ became "', "‘ became '", "’ became '", '” became "'])
  const shown = bench.peer.ephemerals('U0ALEX')[0]
  expect(delivery.status).toBe(200)
  expect(seen(shown)).toContain("echo 'a b'")
  expect(seen(shown)).toContain('“ became "')
})

test('S02: escaped operators arrive as they were typed, once', async () => {
  await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd="true && echo &lt; > /tmp/x"')
  expect(bench.memory.requests()[0]?.command.argv).toEqual(['/bin/sh', '-c', 'true && echo &lt; > /tmp/x'])
})

test('a line that does not parse runs nothing and is answered with a caret under the place and the right form', async () => {
  const delivery = await bench.peer.slash('U0ALEX', 'C0OPS', 'lable=web cmd="uptime"')
  expect(delivery.status).toBe(200)
  expect(bench.memory.submits()).toBe(0)
  const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
  expect(shown).toContain('lable=web cmd="uptime"\n^')
  expect(shown).toContain('label=')
})

test('[no-empty-selector] S44: a blank selector is refused at the door, typed or mentioned', async () => {
  await bench.peer.slash('U0ALEX', 'C0OPS', 'cmd="uptime"')
  await bench.peer.mention('U0ALEX', 'C0OPS', 'label= cmd="uptime"')
  await bench.settled()
  expect(bench.memory.submits()).toBe(0)
  expect(bench.peer.ephemerals('U0ALEX')).toHaveLength(2)
})

test('S05: a mention inside a command is refused with the reason', async () => {
  await bench.peer.mention('U0ALEX', 'C0OPS', 'label=web cmd="mail @sam"')
  await bench.settled()
  expect(bench.memory.submits()).toBe(0)
  expect(seen(bench.peer.ephemerals('U0ALEX')[0])).toContain('a mention of a person')
})

test('no secret of a bad line is shown back to its typist', async () => {
  await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=uptime password=hunter2hunter2')
  const shown = JSON.stringify(bench.peer.ephemerals('U0ALEX'))
  expect(shown).toContain('There is no key password=')
  expect(shown).not.toContain('hunter2hunter2')
})

test('a mention in a channel is answered in a thread on that message; one in a thread in that same thread', async () => {
  const first = await bench.peer.mention('U0ALEX', 'C0INC123', 'label=web cmd=uptime')
  await bench.peer.mention('U0ALEX', 'C0INC123', 'label=web cmd=date', { threadTs: first.ts })
  expect(bench.memory.requests().map(({ place, trigger }) => [place, trigger.kind])).toEqual([
    [{ kind: 'slack', team: 'T0PLAY', channel: 'C0INC123', threadTs: first.ts }, 'mention'],
    [{ kind: 'slack', team: 'T0PLAY', channel: 'C0INC123', threadTs: first.ts }, 'mention'],
  ])
})

test('S03: names that Slack turned into links run as they were typed', async () => {
  await bench.peer.mention('U0ALEX', 'C0OPS', 'label=web -- curl https://Example.com:8080/a?b=1&c=%20 deploy.sh ops@example.com')
  expect(bench.memory.requests()[0]?.command.argv).toEqual([
    'curl',
    'https://Example.com:8080/a?b=1&c=%20',
    'deploy.sh',
    'ops@example.com',
  ])
})

test('a command in a code span is the command', async () => {
  await bench.peer.mention('U0ALEX', 'C0OPS', '@drover `label=web cmd="deploy.sh && date"`')
  expect(bench.memory.requests()[0]?.command.argv).toEqual(['/bin/sh', '-c', 'deploy.sh && date'])
})

test('S23: an edited message runs nothing, whether it was a command before or became one', async () => {
  const first = await bench.peer.mention('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  await bench.peer.edit('U0ALEX', 'C0OPS', first.ts, '@drover label=web cmd=reboot')
  await bench.peer.mention('U0ALEX', 'C0OPS', 'label=web cmd=halt', { edited: true })
  expect(bench.memory.requests().map(({ command }) => command.argv)).toEqual([['uptime']])
})

test('S23: a bot’s message and a system message run nothing', async () => {
  const mention = await bench.peer.mention('U0ALEX', 'C0OPS', 'help')
  const body = JSON.parse(mention.rawBody)
  const text = '<@U0DROVER> label=web cmd=uptime'
  for (const part of [{ bot_id: 'B0OTHER' }, { subtype: 'bot_message' }, { user: undefined }]) {
    const event = { ...body.event, text, ...part }
    await bench.peer.send({ body: JSON.stringify({ ...body, event_id: `Ev${JSON.stringify(part)}`, event }) })
  }
  expect(bench.memory.submits()).toBe(0)
})

test('[once] S25: the same event four times is one run', async () => {
  const first = await bench.peer.mention('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  for (const retry of [1, 2, 3]) expect((await bench.peer.resend(first, retry)).status).toBe(200)
  expect(bench.memory.submits()).toBe(4)
  expect(bench.memory.requests()).toHaveLength(1)
  expect(new Set(bench.memory.asked.map(({ args }) => (args[0] as { id: string }).id)).size).toBe(1)
})

test('[nothing-lost] S25: an event that could not be recorded is answered with an error, and its retry runs', async () => {
  await bench.close()
  bench = await startBench({ peer: { timings: { retryAfterMs: [0, 60_000, 300_000] } } })
  let failures = 1
  bench.memory.answers.submit = async () => {
    if (failures-- > 0) throw new DroverError({ code: 'ledger_unavailable', message: 'The disk is full.' })
  }
  const first = await bench.peer.mention('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  expect(first.status).toBe(500)
  await expect.poll(() => bench.memory.requests()).toHaveLength(1)
})

test('[recorded-first] a slash command that could not be recorded says that nothing was run', async () => {
  bench.memory.answers.submit = async () => {
    throw new DroverError({ code: 'ledger_unavailable', message: 'The record cannot be written.', next: 'Free some disk.' })
  }
  await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  expect(seen(bench.peer.ephemerals('U0ALEX')[0])).toBe(
    'Nothing was run.\nThe record cannot be written.\nFor whoever runs drover: Free some disk.\n',
  )
})

test('a bug is shown as a reference number and logged whole', async () => {
  bench.memory.answers.submit = async () => {
    throw new TypeError('secret detail')
  }
  await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
  expect(shown).toMatch(/reference [0-9a-f]{8}/)
  expect(shown).not.toContain('secret detail')
  expect(JSON.stringify(bench.logs)).toContain('secret detail')
})

test('help shows commands that parse', async () => {
  await bench.peer.slash('U0ALEX', 'C0OPS', 'help')
  const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
  const examples = shown.split('\n').filter((line) => line.startsWith('/exec '))
  expect(examples.length).toBeGreaterThan(3)
  for (const example of examples) await bench.peer.slash('U0ALEX', 'C0OPS', example.slice('/exec '.length))
  expect(bench.memory.requests()).toHaveLength(4)
})

test('targets shows what a selector means to the asker alone and runs nothing', async () => {
  bench.memory.answers.targets = { ok: true, targets: [target('web-1'), target('web-2')], notes: ['"web" matched app=web'] }
  await bench.peer.slash('U0ALEX', 'C0OPS', 'targets label=web')
  await bench.settled()
  const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
  expect(shown).toContain('2 targets. Nothing was run.')
  expect(shown).toContain('prod/web-1  web-1')
  expect(shown).toContain('"web" matched app=web')
  expect(bench.memory.asked.map(({ call }) => call)).toEqual(['targets'])
})

test('runs lists this channel’s runs, and nobody else’s refused commands', async () => {
  await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
  await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=halt')
  const refused = bench.memory.requests()[1]!.id
  bench.memory.append(refused, { type: 'finished', outcome: { status: 'refused', failure: { code: 'denied', message: 'No.' } } })
  await bench.peer.slash('U0SAM', 'C0OPS', 'runs')
  await bench.settled()
  const shown = seen(bench.peer.ephemerals('U0SAM')[0])
  expect(shown).toContain('<@U0ALEX> · accepted · uptime')
  expect(shown).not.toContain('halt')
  expect(bench.memory.asked.at(-1)?.args).toEqual([{ place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' }, limit: 50 }])
})

test('a mention that is repeated is told its mistake once', async () => {
  const first = await bench.peer.mention('U0ALEX', 'C0OPS', 'nonsense')
  await bench.settled()
  await bench.peer.resend(first, 1)
  await bench.settled()
  expect(bench.peer.ephemerals('U0ALEX')).toHaveLength(1)
})
