/** To whom a next step is said: who reads in a channel has neither drover.yaml nor its log. */

import { expect, test } from 'vitest'
import { describeEnding, fold } from '../../../src/core/fold.ts'
import { leaveOut } from '../../../src/core/judge.ts'
import type { Execution } from '../../../src/core/model.ts'
import { noOutput } from '../../../src/core/output.ts'
import { createRedactor } from '../../../src/core/redact.ts'
import { describeRollout } from '../../../src/core/rollout-words.ts'
import { SlackCallError } from '../../../src/frontends/slack/client.ts'
import { createSlackDirectory } from '../../../src/frontends/slack/directory.ts'
import { threadAnswer } from '../../../src/frontends/slack/output-views.ts'
import { formatDuration, formatWhere } from '../../../src/frontends/slack/request-text.ts'
import { nextSteps } from '../../../src/frontends/slack/run-views.ts'
import { requestOf, seen, startBench, target, textOf } from './bench.ts'

const failure = (
  code: 'facts_unavailable' | 'config' | 'backend_unauthorized' | 'internal' | 'usage' | 'not_running',
  next?: string,
) => ({
  code,
  message: 'It went wrong.',
  ...(next === undefined ? {} : { next }),
})

test('what only whoever runs drover can do is addressed to them', () => {
  for (const code of ['config', 'backend_unauthorized', 'internal'] as const)
    expect(nextSteps(failure(code, 'Make a new key.'))).toEqual(['For whoever runs drover: Make a new key.'])
})

test('what the reader can do is not', () => {
  expect(nextSteps(failure('usage', 'Close the quote.'))).toEqual(['Close the quote.'])
  expect(nextSteps(failure('internal', 'Try again; if it stays so, look at the server.'))).toEqual([
    'Try again; if it stays so, look at the server.',
  ])
  expect(nextSteps(failure('config'))).toEqual([])
  expect(nextSteps(failure('facts_unavailable', 'Invite the bot to the channel.'))).toEqual(['Invite the bot to the channel.'])
  expect(nextSteps(failure('facts_unavailable', 'Set a valid bot token.'))).toEqual([
    'For whoever runs drover: Set a valid bot token.',
  ])
})

test('the way around a backend that cannot be asked comes first, and belongs to the reader', () => {
  expect(nextSteps(failure('backend_unauthorized', `Make a new key. ${leaveOut}`))).toEqual([
    leaveOut,
    'For whoever runs drover: Make a new key.',
  ])
  expect(nextSteps(failure('backend_unauthorized', leaveOut))).toEqual([leaveOut])
})

test('what went wrong in a container brings its next step into the thread', () => {
  const ending = { status: 'failed', error: failure('not_running', 'Start it, or choose one that runs.') } as const
  const execution: Execution = { target: target('web-1'), status: 'failed', ending, count: noOutput }
  const state = {
    request: requestOf(),
    status: 'finished',
    executions: [execution],
    notes: [],
    posted: {},
    delivered: false,
  } as const
  const { messages } = threadAnswer(state, fold([{ execution, chunks: [] }]), createRedactor([]))
  const text = messages.map(({ blocks }) => textOf(blocks)).join('\n')
  expect(text).toContain('did not run: It went wrong.')
  expect(text).toContain('Start it, or choose one that runs.')
  expect(text).not.toContain('no output')
})

test('[true-ending] that it may still run is said once, with its pid', () => {
  const error = {
    code: 'stream_broken',
    message: 'The connection ended before the command said how it ended; it may still run.',
  } as const
  expect(describeEnding({ status: 'unknown', error, left: { pid: 45 } })).toBe(
    'outcome unknown: The connection ended before the command said how it ended; it may still run, pid 45.',
  )
  expect(describeEnding({ status: 'unknown', error, left: {} })).toMatch(/it may still run \(pid not known\)\.$/)
})

test('a look that finds it stuck does not speak of a change', () => {
  const execution: Execution = { target: target('api'), status: 'exited', ending: { status: 'exited', code: 1 } }
  expect(describeRollout(execution, { verb: 'status' })).toBe('stuck')
  expect(describeRollout(execution, { verb: 'restart' })).toBe('stuck; the change stays')
})

test('a question that Slack did not answer is not said to be tried again by itself', async () => {
  const bench = await startBench()
  try {
    bench.peer.faults.fail('users.info', { status: 200, error: 'fatal_error', times: 9 })
    const directory = createSlackDirectory(bench.client, { teamId: 'T0PLAY' })
    const { actor, place } = requestOf()
    const thrown = await directory.facts(actor, place, [], AbortSignal.timeout(5000)).catch((error: unknown) => error)
    expect(thrown).toMatchObject({ code: 'facts_unavailable', next: 'Ask again in a moment.' })
    bench.memory.answers.submit = async () => {
      throw new SlackCallError('views.open', 'refused', 'fatal_error')
    }
    await bench.peer.slash('U0ALEX', 'C0OPS', 'label=web cmd=uptime')
    const shown = seen(bench.peer.ephemerals('U0ALEX')[0])
    expect(shown).toContain('Try again;')
    expect(shown).not.toContain('by itself')
  } finally {
    await bench.close()
  }
})

test('the memory of a new container is said as it would be typed', () => {
  const where = (memoryBytes: number) => formatWhere({ selector: {}, newContainer: { image: 'alpine:3', memoryBytes } })
  expect(where(256 * 1024 ** 2)).toBe('image=alpine:3 memory=256m')
  expect(where(6500 * 1024)).toBe('image=alpine:3 memory=6500k')
})

test('a time says no seconds where there are none', () => {
  expect([300_000, 301_000, 179_900, 90_000].map(formatDuration)).toEqual(['5 min', '5 min 1 s', '3 min', '90 s'])
})
