/** The answer of a run: delivered or tried again, made of what is stored, and without what must not be shown. */

import { describe, expect, it } from 'vitest'
import { maskState } from '../../src/core/answer.ts'
import { DroverError } from '../../src/core/errors.ts'
import type { RunState, TargetId } from '../../src/core/model.ts'
import type { Backend, Ledger, Reporter } from '../../src/core/ports.ts'
import { createRedactor } from '../../src/core/redact.ts'
import { work } from '../../src/core/run.ts'
import { backendOf, noSignal, play, stateOf, targetOf } from './house.ts'

describe('the answer', () => {
  it('[nothing-lost] that cannot be delivered is put off and tried again, without running anything', async () => {
    let clock = Date.now()
    let attempts = 0
    const delivered: RunState[] = []
    const deliver: Reporter['deliver'] = async (state, _, posted) => {
      if (++attempts === 1) {
        await posted({ part: 'summary', ref: '1.2' })
        throw new DroverError({ code: 'reply_failed', message: 'Slack answered 503.' })
      }
      delivered.push(state)
    }
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { house: made, real, request } = await play({ backends: [backend], reporter: { deliver }, now: () => clock })
    expect(await real.due(clock + 1_000, 10)).toEqual([])
    expect(await real.due(clock + 3_000, 10)).toEqual([request.id])
    clock += 5_000
    await work(request.id, made, noSignal)
    expect([ran.length, attempts, delivered[0]?.posted]).toEqual([1, 2, { summary: '1.2' }])
    expect(await real.due(clock + 1e9, 10)).toEqual([])
  })

  it('a progress report that fails is logged, and stops nothing', async () => {
    const { backend } = backendOf('prod', [targetOf('a')])
    const { state, logged } = await play({
      backends: [backend],
      reporter: { progress: async () => Promise.reject(new Error('boom')) },
    })
    expect(state.delivered).toBe(true)
    expect(logged).toContainEqual(expect.objectContaining({ event: 'progress-failed' }))
  })

  it('[bounded] a run is read from the ledger once, for all its progress reports and its answer', {
    timeout: 30_000,
  }, async () => {
    let reads = 0
    let reports = 0
    const { backend } = backendOf('prod', [targetOf('a'), targetOf('b')], async function* (target) {
      yield { type: 'started', handle: { target: target.id, exec: 'e' } }
      await new Promise((resolve) => setTimeout(resolve, target.name === 'a' ? 1_500 : 3_500))
      yield { type: 'exit', code: 0 }
    })
    const counted = (real: Ledger): Partial<Ledger> => ({
      replay(run, listener) {
        reads++
        return real.replay(run, listener)
      },
      read(run) {
        reads++
        return real.read(run)
      },
    })
    const seen: string[] = []
    const progress = async (state: RunState) => {
      reports++
      seen.push(state.executions.map(({ status }) => status).join(' '))
      return []
    }
    const { state } = await play({ backends: [backend], ledger: counted, reporter: { progress } })
    expect(reports).toBeGreaterThanOrEqual(3)
    expect(seen.at(-1)).toBe('exited started')
    expect([state.delivered, reads]).toEqual([true, 1])
  })

  it('[nothing-lost] what another process wrote to the run meanwhile is in its answer, and nobody is told of it afterwards', async () => {
    let following = 0
    // Another's events are not told here: they show as a gap in the numbers.
    const ledger = (real: Ledger): Partial<Ledger> => ({
      follow(run, listener) {
        following++
        const stop = real.follow(run, (event) => (event.event.type === 'handle' ? undefined : listener(event)))
        return () => {
          following--
          stop()
        }
      },
    })
    const { delivered } = await play({ backends: [backendOf('prod', [targetOf('a')]).backend], ledger })
    expect(delivered[0]?.executions).toMatchObject([{ status: 'exited', handle: { pid: 7 } }])
    expect(following).toBe(0)
  })

  it('progress is reported by one call at a time, and the first is there before the answer although no command waits for it', {
    timeout: 30_000,
  }, async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a'), targetOf('b')], async function* (target) {
      yield { type: 'started', handle: { target: target.id, exec: 'e' } }
      await new Promise((resolve) => setTimeout(resolve, 2_500))
      yield { type: 'exit', code: 0 }
    })
    let open = 0
    let most = 0
    let ranBefore = 0
    const progress = async () => {
      most = Math.max(most, ++open)
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      ranBefore ||= ran.length
      open--
      return [{ part: 'parent', ref: '1' }]
    }
    const { state } = await play({ backends: [backend], reporter: { progress } })
    expect([most, ranBefore, state.posted.parent]).toEqual([1, 2, '1'])
  })

  it('[bounded] a progress report that never comes back does not hold the run', { timeout: 30_000 }, async () => {
    const { backend } = backendOf('prod', [targetOf('a')])
    const { state } = await play({ backends: [backend], reporter: { progress: () => new Promise(() => {}) } })
    expect([state.outcome, state.delivered]).toEqual([{ status: 'done' }, true])
  })

  it('[stored-once] S26 is made of what is stored: reading, masking and delivering again asks no backend', async () => {
    let lists = 0
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const counting: Backend = {
      ...backend,
      list: async () => {
        lists++
        return [targetOf('a')]
      },
    }
    const { real, request } = await play({ backends: [counting] })
    for (let i = 0; i < 3; i++) {
      maskState(await stateOf(real, request.id), createRedactor([]))
      expect(await real.output(request.id, 'prod/a' as TargetId)).toEqual([{ stream: 'stdout', text: 'up\n' }])
    }
    expect([lists, ran.length]).toEqual([1, 1])
  })

  it('[no-secret-shown] S33 shows no env, no stdin and no masked word of the request, and no secret of an error', async () => {
    const { backend } = backendOf('prod', [targetOf('a')], async function* () {
      yield { type: 'exit-unknown', error: { code: 'exit_code_unknown', message: 'could not start: hunter-two' } }
    })
    const command = {
      argv: ['mysql', '--password', 'hunter22', 'hunter-two'] as const,
      env: { TOKEN: 'env-value' },
      stdin: 'stdin-value',
    }
    const { delivered, state } = await play(
      { backends: [backend], secrets: ['hunter-two'] },
      { command, typed: 'x hunter-two', restored: ['was hunter-two'] },
    )
    expect(JSON.stringify(delivered)).not.toMatch(/hunter22|hunter-two|env-value|stdin-value/)
    expect(JSON.stringify(state.executions)).not.toContain('hunter-two')
    expect(delivered[0]?.request.command.env).toEqual({ TOKEN: '…' })
  })

  it('[no-secret-shown] a bug is shown as a reference, and logged masked', async () => {
    const { backend } = backendOf('prod', [targetOf('a')], async function* () {
      yield* []
      throw new TypeError('bad hunter-two')
    })
    const { state, logged } = await play({ backends: [backend], secrets: ['hunter-two'] })
    expect(state.executions[0]?.ending).toMatchObject({
      status: 'unknown',
      error: { code: 'internal', message: expect.stringMatching(/reference [0-9a-f]{8}/) },
    })
    expect(JSON.stringify([state, logged])).not.toContain('hunter-two')
    expect(logged).toContainEqual(expect.objectContaining({ event: 'bug' }))
  })
})
