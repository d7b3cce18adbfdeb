/** The life of a run over a real ledger: decided, recorded, executed once, finished and delivered. */

import { describe, expect, it } from 'vitest'
import { BackendError } from '../../src/core/errors.ts'
import type { Owner, RunEvent, RunId } from '../../src/core/model.ts'
import type { Backend, Ledger } from '../../src/core/ports.ts'
import type { Rule } from '../../src/core/rule.ts'
import { work } from '../../src/core/run.ts'
import { asked, backendOf, everything, exits, house, noSignal, play, stateOf, targetOf, typesOf } from './house.ts'

describe('a run that is allowed', () => {
  it('[recorded-first] S39 is recorded in this order, and its decision stands before the first byte leaves', async () => {
    let before: readonly string[] = []
    const made = await house()
    const request = await asked()
    const { backend, ran } = backendOf('prod', [targetOf('web-1')], async function* (...given) {
      before = await typesOf(made.real, request.id)
      yield* exits(...given)
    })
    await made.real.accept(request)
    await work(request.id, { ...made.house, backends: [backend] }, noSignal)
    expect(before).toEqual(['accepted', 'resolved', 'decided', 'started'])
    expect(await typesOf(made.real, request.id)).toEqual([
      'accepted',
      'resolved',
      'decided',
      'started',
      'handle',
      'output',
      'ended',
      'finished',
      'delivered',
    ])
    expect(ran).toHaveLength(1)
    expect(await made.real.verify()).toMatchObject({ ok: true })
    expect(made.delivered[0]).toMatchObject({
      outcome: { status: 'done' },
      executions: [{ ending: { status: 'exited', code: 0 } }],
    })
  })

  it('[exact-argv] S06 the array asked for, judged, stored and received is one and the same', async () => {
    const argv = ['printf', '%s', '; $(id) `id` "q" \'q\' \\ ', '', 'é😀'] as const
    const { backend, ran } = backendOf('prod', [targetOf('web-1')])
    const exact: Rule = { ...everything, commands: [argv.map((arg) => arg.replaceAll(/[*?]/g, '?'))] }
    const { state } = await play({ backends: [backend], rules: [exact] }, { command: { argv } })
    expect([ran[0]?.argv, state.request.command.argv]).toEqual([argv, argv])
  })

  it('S46 gives the command the environment that was asked for and nothing of its own', async () => {
    process.env.DROVER_CANARY = 'canary-value'
    const seen: unknown[] = []
    const { backend } = backendOf('prod', [targetOf('web-1')])
    const spying: Backend = {
      ...backend,
      exec: (target, command, exec, signal) =>
        (seen.push(command) && backend.exec(target, command, exec, signal)) as ReturnType<Backend['exec']>,
    }
    await play(
      { backends: [spying], rules: [{ ...everything, rights: ['env'] }] },
      { command: { argv: ['env'], env: { A: '1' } } },
    )
    delete process.env.DROVER_CANARY
    expect(seen).toEqual([{ argv: ['env'], env: { A: '1' } }])
  })

  it('[bounded] runs no more at a time than the limit', async () => {
    let inside = 0
    let most = 0
    const { backend, ran } = backendOf(
      'prod',
      Array.from({ length: 12 }, (_, i) => targetOf(`w${i}`)),
      async function* (...given) {
        most = Math.max(most, ++inside)
        await new Promise((resolve) => setTimeout(resolve, 5))
        inside--
        yield* exits(...given)
      },
    )
    await play({ backends: [backend], parallel: 3 })
    expect([ran.length, most]).toEqual([12, 3])
  })

  it('a container that is listed twice runs once', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1'), targetOf('web-1')])
    const { state } = await play({ backends: [backend] })
    expect([ran.length, state.outcome]).toEqual([1, { status: 'done' }])
  })

  it('S41 what one container could not tell is its own ending, apart from the others', async () => {
    const { backend } = backendOf('prod', [targetOf('a'), targetOf('b'), targetOf('c')], async function* (target, ...rest) {
      if (target.name === 'b') throw new BackendError({ code: 'stream_broken', message: 'Cut off.' }, { ran: 'maybe' })
      if (target.name === 'c') throw new BackendError({ code: 'not_running', message: 'Stopped.' }, { ran: 'no' })
      yield* exits(target, ...rest)
    })
    const { state } = await play({ backends: [backend] })
    expect(state.executions.map((execution) => execution.status)).toEqual(['exited', 'unknown', 'failed'])
  })

  it('a time limit longer than allowed is lowered, and that is said', async () => {
    const { backend } = backendOf('prod', [targetOf('a')])
    const { state } = await play(
      { backends: [backend], rules: [{ ...everything, limits: { timeoutMs: 5_000 } }] },
      { timeoutMs: 9_000 },
    )
    expect([state.timeoutMs, state.notes]).toEqual([5_000, ['timeout lowered to 5s']])
  })
})

describe('[once] a run is run once', () => {
  it('S25 work again, at any time after, runs and delivers nothing more', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1')])
    const played = await play({ backends: [backend] })
    await work(played.request.id, played.house, noSignal)
    await work('rnosuchrunatall2' as RunId, played.house, noSignal)
    expect([ran.length, played.delivered.length]).toEqual([1, 1])
  })

  it('a claim that someone else has is left to them, and so is the end of the run', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a'), targetOf('b')])
    const ledger = (real: Ledger): Partial<Ledger> => ({
      async claim(run, target, owner) {
        if (target === 'prod/a') await real.claim(run, target, 'other' as Owner)
        return real.claim(run, target, owner)
      },
    })
    const { state, delivered } = await play({ backends: [backend], ledger, parallel: 1 })
    expect(ran.map(({ target }) => target)).not.toContain('prod/a')
    expect([state.status, delivered]).toEqual(['running', []])
    expect(state.executions[0]).toMatchObject({ status: 'started', owner: 'other' })
  })

  it.each<[string, readonly RunEvent['type'][], object]>([
    [
      'decided and nothing else',
      ['resolved', 'decided'],
      { status: 'interrupted', failure: { next: expect.stringContaining('Run it again') } },
    ],
    [
      'one command out',
      ['resolved', 'decided', 'started'],
      { status: 'interrupted', failure: { next: expect.stringContaining('Look in the containers') } },
    ],
    ['all ended, the last word missing', ['resolved', 'decided', 'started', 'ended'], { status: 'done' }],
    ['refused, the last word missing', ['decided'], { status: 'refused', failure: { code: 'denied' } }],
  ])(
    '[nothing-lost] an earlier life that stopped with %s is never run again, and its end is delivered',
    async (_, events, outcome) => {
      const { backend, ran } = backendOf('prod', [targetOf('a')])
      const { house: made, real, delivered } = await house({ backends: [backend] })
      const request = await asked()
      const a = targetOf('a')
      await real.accept(request)
      for (const type of events) {
        if (type === 'resolved') await real.append(request.id, { type, targets: [a] })
        else if (type === 'started') await real.claim(request.id, a.id, 'earlier' as Owner)
        else if (type === 'ended')
          await real.append(request.id, {
            type,
            target: a.id,
            ending: { status: 'exited', code: 0 },
            count: { stdout: 0, stderr: 0, dropped: 0, masked: 0 },
          })
        else if (type === 'decided') {
          const allowed = events.includes('resolved')
          await real.append(request.id, {
            type,
            policy: 'v1',
            decision: allowed
              ? { effect: 'allow', rule: 'ops', limits: {} }
              : { effect: 'deny', failure: { code: 'denied', message: 'No.' } },
          })
        }
      }
      await work(request.id, made, noSignal)
      expect(ran).toEqual([])
      expect(delivered[0]?.outcome).toMatchObject(outcome)
    },
  )

  it('a run that was found but not decided is found anew, and only what is found now is meant', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('new')])
    const { house: made, real } = await house({ backends: [backend] })
    const request = await asked()
    await real.accept(request)
    await real.append(request.id, { type: 'resolved', targets: [targetOf('old')] })
    await work(request.id, made, noSignal)
    const state = await stateOf(real, request.id)
    expect([ran.map(({ target }) => target), state.executions.map(({ target }) => target.name), state.outcome]).toEqual([
      ['prod/new'],
      ['new'],
      { status: 'done' },
    ])
  })

  it('a run that waited too long for its turn is refused, and told that drover was busy', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { state } = await play({ backends: [backend] }, { receivedAt: Date.now() - 120_000 })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { status: 'refused', failure: { code: 'timeout', message: expect.stringContaining('too busy') } },
    ])
  })

  it('a run that an earlier life accepted long ago is reported as interrupted instead of begun', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { state } = await play({ backends: [backend], since: Date.now() }, { receivedAt: Date.now() - 120_000 })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { status: 'interrupted', failure: { message: expect.stringContaining('nothing ran') } },
    ])
  })

  it('[once] a clock that was set back since makes no old run a new one', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const now = Date.now() - 86_400_000
    const { state } = await play({ backends: [backend], now: () => now, since: now }, { receivedAt: Date.now() - 3_600_000 })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { status: 'interrupted', failure: { message: expect.stringContaining('nothing ran') } },
    ])
  })
})

describe('cancelling', () => {
  it('before it was decided: nothing runs', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { house: made, real } = await house({ backends: [backend] })
    const request = await asked()
    await real.accept(request)
    await real.append(request.id, { type: 'cancel-asked', by: request.actor })
    await work(request.id, made, noSignal)
    expect([ran, (await stateOf(real, request.id)).outcome]).toEqual([[], { status: 'cancelled' }])
  })

  it('S42 in the middle: what runs is killed, what waits never starts, and each has its ending', async () => {
    const cancel = new AbortController()
    const { backend, ran } = backendOf(
      'prod',
      ['a', 'b', 'c'].map((name) => targetOf(name)),
      async function* (target, signal) {
        yield { type: 'started', handle: { target: target.id, exec: 'x', pid: 7 } }
        cancel.abort()
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      },
    )
    const { state } = await play(
      { backends: [{ ...backend, kill: async () => ({ result: 'left', pid: 7 }) }], parallel: 1 },
      {},
      cancel.signal,
    )
    expect(ran).toHaveLength(1)
    expect(state.executions.map((execution) => execution.ending)).toMatchObject([
      { status: 'cancelled', left: { pid: 7 } },
      { error: { code: 'not_started' } },
      { error: { code: 'not_started' } },
    ])
    expect(state.outcome).toEqual({ status: 'cancelled' })
  })
})
