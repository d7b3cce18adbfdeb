/** The state of a run: the same whether its events are read at once or one after the other, and kept up while they are written. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { follow, type House } from '../../src/core/house.ts'
import type { Execution, RunEvent, RunId, RunRequest, RunState, StoredEvent, Target, TargetId } from '../../src/core/model.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { createFold, preparations, reduce } from '../../src/core/run-state.ts'
import { createTerminalReporter } from '../../src/frontends/terminal/reporter.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'

const run = 'r1' as RunId
const by = { kind: 'cli', user: 'ada' } as const
const idOf = (native: string) => `prod/${native}` as TargetId
const targetOf = (native: string): Target => ({
  ...{ id: idOf(native), backend: 'prod', kind: 'rancher1', native, name: native, labels: {}, facets: {} },
})
const request: RunRequest = {
  ...{ id: run, actor: by, trigger: { kind: 'cli', delivery: 'd' }, selector: { name: '*' } },
  ...{ command: { argv: ['uptime'] }, place: { kind: 'terminal' }, receivedAt: 1 },
}
const count = { stdout: 1, stderr: 0, dropped: 0, masked: 0 }
const failure = { code: 'denied', message: 'no' } as const

const target = fc.constantFrom('a', 'b', 'c', 'd').map(idOf)
const event: fc.Arbitrary<RunEvent> = fc.oneof(
  fc.subarray(['a', 'b', 'c', 'd']).map((some): RunEvent => ({ type: 'resolved', targets: some.map(targetOf), notes: some })),
  fc.constantFrom<RunEvent>(
    { type: 'accepted', request },
    { type: 'decided', decision: { effect: 'allow', rule: 'all', limits: {} }, policy: 'v1', timeoutMs: 5 },
    { type: 'decided', decision: { effect: 'deny', failure }, policy: 'v1' },
    { type: 'cancel-asked', by },
    { type: 'finished', outcome: { status: 'done' } },
    { type: 'delivered' },
    { type: 'shared', by, to: { kind: 'terminal' } },
  ),
  target.map((id): RunEvent => ({ type: 'started', target: id, owner: 'o' as never })),
  target.map((id): RunEvent => ({ type: 'handle', target: id, handle: { target: id, exec: 'e', pid: 7 } })),
  target.map((id): RunEvent => ({ type: 'output', target: id, index: 0, chunks: [] })),
  target.map((id): RunEvent => ({ type: 'ended', target: id, ending: { status: 'timed_out', left: { pid: 7 } }, count })),
  target.map((id): RunEvent => ({ type: 'ended', target: id, ending: { status: 'exited', code: 0 }, count })),
  target.map((id): RunEvent => ({ type: 'killed', target: id, by })),
  fc.constantFrom('parent', 'output-1').map((part): RunEvent => ({ type: 'posted', part, ref: 'x' })),
)
const stored = (events: readonly RunEvent[]): readonly StoredEvent[] =>
  events.map((one, n) => ({ seq: n + 1, at: 1_000 + n, hash: '', event: one }))

it('folding one event after the other gives the same state at every step as reading all of them, and changes none given before', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (some) => {
      const events = stored([{ type: 'accepted', request }, ...some])
      const fold = createFold()
      const states = events.map((one) => {
        fold.apply(one)
        return fold.state()
      })
      expect(states).toEqual(events.map((_, n) => reduce(events.slice(0, n + 1))))
    }),
  )
})

it('a run that does not begin with its request is none', () => {
  expect(reduce(stored([{ type: 'delivered' }]))).toBeUndefined()
  expect(reduce([])).toBeUndefined()
})

it('a run in hand is read once, and again only when somebody else has written to it', async () => {
  const db = openSqlite(':memory:')
  const [mine, another] = await Promise.all([createLedger(db), createLedger(db)])
  let reads = 0
  let afterReading = async (): Promise<unknown> => undefined
  const replay: Ledger['replay'] = async (id, listener) => {
    reads++
    await mine.replay(id, listener)
    await afterReading()
  }
  const live = follow(run, { ledger: { ...mine, replay } } as unknown as House)
  expect(await live.state()).toBeUndefined()
  await mine.accept(request)
  // Written while what was read is on its way.
  afterReading = () => mine.append(run, { type: 'resolved', targets: [targetOf('a'), targetOf('b')] })
  expect((await live.state())?.executions).toHaveLength(2)
  afterReading = async () => undefined
  expect((await live.state())?.executions).toHaveLength(2)
  expect(reads).toBe(2)
  await mine.claim(run, idOf('a'), 'o' as never)
  await mine.append(run, { type: 'ended', target: idOf('a'), ending: { status: 'exited', code: 0 }, count })
  expect(await live.state()).toEqual(reduce(await mine.read(run)))
  expect(reads).toBe(2)
  await another.append(run, { type: 'cancel-asked', by })
  await mine.append(run, { type: 'posted', part: 'parent', ref: '1' })
  expect(await live.state()).toEqual(reduce(await mine.read(run)))
  expect(reads).toBe(3)
  live.close()
  await mine.append(run, { type: 'posted', part: 'parent', ref: '2' })
  expect((await live.state())?.posted).toEqual({ parent: '1' })
  await db.close()
})

describe('what is done before a command can begin', () => {
  const made = {
    id: 'd/new/x' as TargetId,
    backend: 'd',
    kind: 'docker',
    native: 'new',
    name: 'new container of x',
    labels: {},
    facets: {},
  } as const
  const pulling = { target: made, status: 'started', progress: 'pulling x' } as const
  const request = { command: { argv: ['true'] } } as unknown as RunRequest

  it('is told until the command has begun or ended', () => {
    const handle = { target: made.id, exec: 'e' }
    const ending = { status: 'exited', code: 0 } as const
    const of = (...executions: readonly Execution[]) => preparations({ request, executions })
    expect(of(pulling, { target: made, status: 'pending' })).toEqual(['new container of x: pulling x'])
    expect(of({ ...pulling, handle }, { ...pulling, status: 'exited', ending })).toEqual([])
  })

  it('is not what a rollout tells of itself', () => {
    const rollout = { ...request, rollout: { verb: 'restart' } } as RunRequest
    expect(preparations({ request: rollout, executions: [pulling] })).toEqual([])
  })

  it('stands in the line of a terminal, without anything that a terminal obeys', async () => {
    const said: string[] = []
    const reporter = createTerminalReporter({ out() {}, err: (text) => void said.push(text), live: true, json: false })
    const state = { request, executions: [{ ...pulling, progress: 'pulling \u001b]0;x' }] } as unknown as RunState
    await reporter.progress(state)
    expect(said.join('')).toBe('\r\u001b[K0 of 1 ended · new container of x: pulling ␛]0;x')
  })
})
