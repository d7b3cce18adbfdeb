/** Answers of many parts stay one layout that Slack takes. */

import { expect, test } from 'vitest'
import type { Failure } from '../../../src/core/errors.ts'
import type { Ending, Execution, RunState, TargetId } from '../../../src/core/model.ts'
import { createRedactor } from '../../../src/core/redact.ts'
import type { Message } from '../../../src/frontends/slack/blocks.ts'
import { parentMessage } from '../../../src/frontends/slack/run-views.ts'
import { blockProblems } from '../../../src/playground/slack/block-rules.ts'
import { requestOf, seen, target } from './bench.ts'

const views = { redactor: createRedactor([]), shareTo: ['C0RANDOM'] }
const long = '<!channel> & more '.repeat(300)
const failure: Failure = { code: 'denied', message: long, next: long }
const problems = ({ blocks }: Message) => blockProblems(blocks)

function stateOf(part: Partial<RunState>, executions: readonly Partial<Execution>[]): RunState {
  return {
    request: requestOf(),
    status: 'finished',
    notes: Array.from({ length: 9 }, () => long),
    outcome: { status: 'done' },
    posted: {},
    delivered: false,
    startedAt: 1_000_000,
    finishedAt: 1_060_000,
    executions: executions.map((one, i) => ({ target: target(`web-${i}`), status: 'started', ...one })),
    ...part,
  }
}

test('[bounded] a rollout of many workloads that all say at length what is wrong is still one layout that Slack takes', () => {
  const by = { kind: 'webhook' as const, name: long }
  const ending: Ending = { status: 'exited', code: 1 }
  const settled = { type: 'settled' as const, verb: 'undo' as const, by, run: requestOf().id, target: 'x' as TargetId }
  const request = requestOf({ rollout: { verb: 'restart' }, command: { argv: ['rollout', 'restart'] } })
  const state = stateOf(
    { request },
    Array.from({ length: 12 }, () => ({ progress: `2 of 3 updated; ${long}`.slice(0, 300), ending, settled })),
  )
  const message = parentMessage(state, 1_060_000, views)
  expect(problems(message)).toEqual([])
  expect(seen(message)).toContain('12 of 12 stuck; the change stays')
})

test('[bounded] an interrupted run with survivors on many targets is still one layout that Slack takes', () => {
  const ending: Ending = { status: 'unknown', error: failure, left: { pid: 7 } }
  const outcome = { status: 'interrupted' as const, failure }
  const state = stateOf(
    { outcome, cancelAskedBy: requestOf().actor },
    Array.from({ length: 300 }, (_, i) => ({ target: { ...target(`${i}`), name: `${long}${i}` }, ending, progress: long })),
  )
  const message = parentMessage(state, 1_060_000, { ...views, preface: [{ type: 'text', text: long }] })
  expect(problems(message)).toEqual([])
  expect(seen(message)).toContain('300 outcome unknown')
})
