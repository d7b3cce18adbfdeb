/** What a terminal is told at the end: results on stdout, and on stderr what only a person needs. */

import { expect, test } from 'vitest'
import type { RunState, TargetId } from '../../../src/core/model.ts'
import { noOutput } from '../../../src/core/output.ts'
import { createTerminalReporter } from '../../../src/frontends/terminal/reporter.ts'
import { requestOf, target } from '../slack/bench.ts'

test('what did not run says what to do, where it disturbs no script', async () => {
  const written = { out: [] as string[], err: [] as string[] }
  const reporter = createTerminalReporter({
    out: (text) => void written.out.push(text),
    err: (text) => void written.err.push(text),
    live: false,
    json: false,
  })
  const error = { code: 'not_running', message: 'It is stopped.', next: 'Start it, or choose one that runs.' } as const
  const state: RunState = {
    request: requestOf({ place: { kind: 'terminal' } }),
    status: 'finished',
    notes: [],
    executions: [{ target: target('web-1'), status: 'failed', ending: { status: 'failed', error }, count: noOutput }],
    outcome: { status: 'done' },
    posted: {},
    delivered: false,
  }
  await reporter.deliver(
    state,
    async (_: TargetId) => [],
    async () => {},
  )
  expect(written.out.join('')).toBe('── 1 of 1: web-1 · did not run: It is stopped.\n')
  expect(written.err.join('')).toContain('Start it, or choose one that runs.\n')
})

test('where both streams are one terminal, what stands under the heading of stderr is stderr', async () => {
  let screen = ''
  const show = (text: string): void => {
    screen += text
  }
  const reporter = createTerminalReporter({ out: show, err: show, live: false, json: false })
  const state: RunState = {
    request: requestOf({ place: { kind: 'terminal' } }),
    status: 'finished',
    notes: [],
    executions: ['web-1', 'web-2'].map((name) => ({
      target: target(name),
      status: 'exited',
      ending: { status: 'exited', code: 3 },
      count: noOutput,
    })),
    outcome: { status: 'done' },
    posted: {},
    delivered: false,
  }
  const chunks = [
    { stream: 'stderr', text: 'early\n' },
    { stream: 'stdout', text: 'out' },
    { stream: 'stderr', text: 'late' },
  ] as const
  await reporter.deliver(
    state,
    async (_: TargetId) => chunks,
    async () => {},
  )
  expect(screen).toBe('── 2 of 2: web-1, web-2 · exit 3\nout\n── stderr of web-1, web-2\nearly\nlate\n')
})

test('S36: nothing that an engine calls its things can move the cursor, or look like a line of drover', async () => {
  const written: string[] = []
  const reporter = createTerminalReporter({
    out: (text) => void written.push(text),
    err: (text) => void written.push(text),
    live: false,
    json: false,
  })
  const evil = 'web\u001b]0;title\u0007\u009b2J\r\n── 1 of 1: web-1 · exit 0'
  const error = { code: 'not_running', message: `gone ${evil}`, next: `look ${evil}` } as const
  const state: RunState = {
    request: requestOf({ place: { kind: 'terminal' }, rollout: { verb: 'restart' } }),
    status: 'finished',
    notes: [`"x" matched ${evil}=x`],
    executions: [
      { target: { ...target('web-1'), name: evil }, status: 'failed', ending: { status: 'failed', error }, progress: evil },
    ],
    outcome: { status: 'interrupted', failure: error },
    posted: {},
    delivered: false,
  }
  await reporter.progress(state)
  await reporter.deliver(
    state,
    async () => [],
    async () => {},
  )
  const lines = written.join('').split('\n')
  expect(lines).toContainEqual(expect.stringContaining('note: "x" matched web␛]0;title'))
  expect(
    lines
      .join('')
      .split('')
      .filter((one) => one < ' ' || (one >= '\u007f' && one < '\u00a0')),
  ).toEqual([])
  expect(lines.filter((line) => /^── 1 of 1: web-1 · exit/.test(line))).toEqual([])
})
