/** Equal outputs together, survivors never; one phrase for each ending; small things around a run. */

import { describe, expect, it } from 'vitest'
import { createGate, fanOut, within } from '../../src/core/fan-out.ts'
import { describeEnding, describeRun, describeWays, type Finished, fold, foldOutputs, succeeded } from '../../src/core/fold.ts'
import type { Ending, Execution, OutputChunk, RunState, Target, TargetId } from '../../src/core/model.ts'
import type { RunSummary } from '../../src/core/ports.ts'
import { isRunId, runIdFor } from '../../src/core/run-id.ts'
import { worstExitCode } from '../../src/core/run-state.ts'

function execution(native: string, ending?: Ending): Execution {
  const id = `prod/${native}` as TargetId
  const target: Target = { id, backend: 'prod', kind: 'docker', native, name: native, labels: {}, facets: {} }
  return { target, status: ending?.status ?? 'started', ...(ending ? { ending } : {}) }
}

const finished = (native: string, ending: Ending | undefined, ...chunks: readonly OutputChunk[]): Finished => ({
  execution: execution(native, ending),
  chunks,
})
const out = (text: string): OutputChunk => ({ stream: 'stdout', text })
const err = (text: string): OutputChunk => ({ stream: 'stderr', text })
const ok: Ending = { status: 'exited', code: 0 }
const groups = (all: readonly Finished[]) => fold(all).map((one) => one.executions.map(({ target }) => target.native))

describe('folding', () => {
  it('equal outputs with equal endings are one, however they were cut into pieces', () => {
    expect(groups([finished('a', ok, out('x'), err('e'), out('y')), finished('b', ok, out('xy'), err('e'))])).toEqual([
      ['a', 'b'],
    ])
  })

  it.each<[string, Finished, Finished]>([
    ['output', finished('a', ok, out('x')), finished('b', ok, out('y'))],
    ['stream', finished('a', ok, out('x')), finished('b', ok, err('x'))],
    ['code', finished('a', ok), finished('b', { status: 'exited', code: 1 })],
    ['status', finished('a', { status: 'timed_out' }), finished('b', { status: 'cancelled' })],
    ['running', finished('a', ok), finished('b', undefined)],
    [
      'failure',
      finished('a', { status: 'failed', error: { code: 'not_running', message: 'x' } }),
      finished('b', { status: 'failed', error: { code: 'backend_unavailable', message: 'x' } }),
    ],
    [
      'whether it ran',
      finished('a', { status: 'failed', error: { code: 'not_running', message: 'x' } }),
      finished('b', { status: 'unknown', error: { code: 'not_running', message: 'x' } }),
    ],
  ])('a different %s is never folded', (_, a, b) => expect(groups([a, b])).toHaveLength(2))

  it('two texts of one length and one FNV-1a are still two', () => {
    const [a, b] = ['declinate', 'macallums']
    expect(groups([finished('a', ok, out(a)), finished('b', ok, out(b)), finished('c', ok, out('decli'), out('nate'))])).toEqual([
      ['a', 'c'],
      ['b'],
    ])
  })

  it('pieces that are cut differently differ by one letter in the middle, at the end, or not at all', () => {
    const text = 'abcdefghijklmnopqrst'
    const cut = (all: string, ...at: number[]) => [0, ...at].map((from, i) => out(all.slice(from, at[i])))
    const changed = [text.replace('k', 'K'), text.replace('t', 'T')]
    expect(
      groups([
        finished('a', ok, ...cut(text, 7, 13)),
        finished('b', ok, ...cut(text, 1, 2, 13)),
        finished('c', ok, ...cut(changed[0]!, 7, 13)),
        finished('d', ok, out(''), ...cut(text, 19), out('')),
        finished('e', ok, ...cut(changed[1]!, 13)),
        finished('f', ok, ...cut(text, 8)),
      ]),
    ).toEqual([['a', 'b', 'd', 'f'], ['c'], ['e']])
  })

  it('[bounded] outputs are asked for a few at a time, what never began is not asked for, and the groups are those of a fold', async () => {
    const all = Array.from({ length: 30 }, (_, i) => finished(`t${i}`, i % 7 === 0 ? undefined : ok, out(`${i % 3}`)))
    const executions = all.map((one, i) => (i === 28 ? { ...one.execution, status: 'pending' as const } : one.execution))
    let asking = 0
    let most = 0
    const asked: string[] = []
    const folds = await foldOutputs(executions, async (id) => {
      asked.push(id)
      most = Math.max(most, ++asking)
      await new Promise((resolve) => setImmediate(resolve))
      asking--
      return all.find((one) => one.execution.target.id === id)?.chunks ?? []
    })
    const whole = all.map((one, i) => (i === 28 ? { execution: executions[28]!, chunks: [] } : one))
    expect(folds).toEqual(fold(whole))
    expect([most, asked.includes('prod/t28'), asked.length]).toEqual([4, false, 29])
  })

  it('S42 survivors never fold, not even with equal or unknown pids', () => {
    const endings: readonly Ending[] = [
      { status: 'timed_out', left: {} },
      { status: 'cancelled', left: { pid: 7 } },
    ]
    for (const ending of endings) expect(groups([finished('a', ending), finished('b', ending)])).toHaveLength(2)
    expect(groups([finished('a', { status: 'timed_out' }), finished('b', { status: 'timed_out' })])).toHaveLength(1)
  })

  it('S41 unknown outcomes of one cause fold, and no pid of one of them speaks for all', () => {
    const lost = (pid: number): Ending => ({ status: 'unknown', error: { code: 'stream_broken', message: 'x' }, left: { pid } })
    const folds = fold([finished('a', lost(7)), finished('b', lost(8))])
    expect(folds.map(({ executions, ending }) => [executions.length, ending])).toEqual([
      [2, { status: 'unknown', error: { code: 'stream_broken', message: 'x' } }],
    ])
  })

  it('what went wrong comes first, survivors before all, then the larger group', () => {
    const all = [
      finished('ok1', ok),
      finished('ok2', ok),
      finished('odd', ok, out('x')),
      finished('bad', { status: 'exited', code: 2 }),
      finished('left', { status: 'cancelled', left: { pid: 1 } }),
      finished('gone', { status: 'timed_out' }),
      finished('unknown', { status: 'unknown', error: { code: 'stream_broken', message: 'x' } }),
      finished('failed', { status: 'failed', error: { code: 'not_running', message: 'x' } }),
    ]
    expect(groups(all)).toEqual([['left'], ['gone'], ['unknown'], ['failed'], ['bad'], ['ok1', 'ok2'], ['odd']])
  })
})

describe('[true-ending] one phrase for each ending', () => {
  it.each<[Ending | undefined, string, boolean, number]>([
    [ok, 'exit 0', true, 0],
    [{ status: 'exited', code: 3 }, 'exit 3', false, 3],
    [{ status: 'timed_out' }, 'timed out, proved gone', false, 124],
    [{ status: 'timed_out', left: { pid: 7 } }, 'timed out, still running, pid 7', false, 124],
    [{ status: 'cancelled', left: {} }, 'cancelled, still running (pid not known)', false, 130],
    [{ status: 'failed', error: { code: 'not_running', message: 'It is stopped.' } }, 'did not run: It is stopped.', false, 125],
    [
      { status: 'unknown', error: { code: 'stream_broken', message: 'Gone.' }, left: { pid: 9 } },
      'outcome unknown: Gone. It may still run, pid 9.',
      false,
      125,
    ],
    [undefined, 'running', false, 125],
  ])('S41 %j is "%s"', (ending, phrase, success, code) => {
    expect([describeEnding(ending), succeeded(ending)]).toEqual([phrase, success])
    const state = { executions: [execution('a', ending), execution('b', ok)] } as unknown as RunState
    expect(worstExitCode(state)).toBe(code)
  })

  it('which ways were used is said once, with numbers where they differ, and not at all where there is only one', () => {
    const by = (way?: string) => ({ handle: { target: 'a/b' as TargetId, exec: 'x', ...(way ? { way } : {}) } })
    expect(describeWays([by(), {}])).toBe('')
    expect(describeWays([by('a'), by('a')])).toBe('through a')
    expect(describeWays([by('a'), by('b'), by('a')])).toBe('2 through a, 1 through b')
    expect(describeWays([by('a'), by()])).toBe('1 through a')
  })

  it('nothing that ran is no success', () => expect(worstExitCode({ executions: [] } as unknown as RunState)).toBe(125))
})

describe('[bounded] many at once', () => {
  it('never more than the limit, all of them, in order of arrival', async () => {
    let inside = 0
    let most = 0
    const seen: number[] = []
    await fanOut([...Array(50).keys()], 7, async (n) => {
      most = Math.max(most, ++inside)
      await new Promise((resolve) => setImmediate(resolve))
      seen.push(n)
      inside--
    })
    expect([most, seen]).toEqual([7, [...Array(50).keys()]])
  })

  it('a gate lets the next in once for each that leaves, however often it says so', async () => {
    const gate = createGate(1)
    const leave = await gate.enter()
    const order: string[] = []
    const enter = async (name: string) => {
      const out = await gate.enter()
      order.push(name)
      return out
    }
    const second = enter('second')
    const third = enter('third')
    leave()
    leave()
    const out2 = await second
    await new Promise((resolve) => setImmediate(resolve))
    expect(order).toEqual(['second'])
    out2()
    ;(await third)()
    expect(order).toEqual(['second', 'third'])
  })

  it('a wait that nothing ends is ended, and its signal says so', async () => {
    let signal: AbortSignal | undefined
    const late = within(20, 'The wait', (given) => {
      signal = given
      return new Promise(() => {})
    })
    await expect(late).rejects.toMatchObject({ code: 'timeout', next: expect.any(String) })
    expect(signal?.aborted).toBe(true)
  })
})

describe('[once] the name of a run', () => {
  it('S25 is the same for the same delivery, another for another, and safe as a key', async () => {
    const ids = await Promise.all(['a', 'a', 'b', ''].map(runIdFor))
    expect(ids[0]).toBe(ids[1])
    expect(new Set(ids).size).toBe(3)
    expect(ids.every(isRunId)).toBe(true)
    expect(['', 'r', 'rAAAAAAAAAAAAAAA', `${ids[0]}x`, `${ids[0]}\n`, '../etc/passwd', 'r111111111111111'].some(isRunId)).toBe(
      false,
    )
  })
})

describe('a run in a list', () => {
  const run = { status: 'finished', outcome: 'done', targets: 3, succeeded: 3 } as const
  it.each([
    [run, '3 of 3 ok'],
    [{ ...run, succeeded: 1, others: { 'outcome unknown': 1, 'exited 3': 1 } }, '1 of 3 ok · 1 outcome unknown · 1 exited 3'],
    [{ ...run, succeeded: 1 }, '1 of 3 ok'],
    [
      { ...run, outcome: 'interrupted', succeeded: 0, others: { 'outcome unknown': 3 } },
      'interrupted · 0 of 3 ok · 3 outcome unknown',
    ],
    [{ ...run, outcome: 'refused', targets: 0, succeeded: 0 }, 'refused'],
    [{ ...run, outcome: 'cancelled', targets: 0, succeeded: 0 }, 'cancelled'],
    [{ status: 'running', targets: 3, succeeded: 1 }, 'running · 1 of 3 ok'],
    [{ status: 'accepted', targets: 0, succeeded: 0 }, 'accepted'],
  ] as const)('[true-ending] %j is called %s: done is said of none', (summary, words) => {
    expect(describeRun(summary as unknown as RunSummary)).toBe(words)
  })
})
