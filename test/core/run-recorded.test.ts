/** A run whose ledger fails, at any of the moments when it has to write: what is not on record does not happen. */

import { describe, expect, it } from 'vitest'
import { DroverError } from '../../src/core/errors.ts'
import type { RunEvent } from '../../src/core/model.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { work } from '../../src/core/run.ts'
import { asked, backendOf, house, noSignal, play, stateOf, targetOf } from './house.ts'

describe('[recorded-first] S39 a ledger that fails', () => {
  const failing =
    (type: RunEvent['type']) =>
    (real: Ledger): Partial<Ledger> => ({
      append: async (run, ...events) =>
        events.some((event) => event.type === type)
          ? Promise.reject(new DroverError({ code: 'ledger_unavailable', message: 'The disk is full.' }))
          : real.append(run, ...events),
    })

  it.each(['resolved', 'decided'] as const)(
    'before anything leaves (%s): nothing runs, and the run is still owed',
    async (type) => {
      const { backend, ran } = backendOf('prod', [targetOf('web-1')])
      const { house: made, real } = await house({ backends: [backend], ledger: failing(type) })
      const request = await asked()
      await real.accept(request)
      await expect(work(request.id, made, noSignal)).rejects.toThrow('disk is full')
      expect(ran).toEqual([])
      expect(await real.due(Date.now() + 1, 10)).toEqual([request.id])
    },
  )

  it('a handle that cannot be written ends the run where it stands, however short its command was', async () => {
    const { backend, ran } = backendOf(
      'prod',
      Array.from({ length: 4 }, (_, i) => targetOf(`w${i}`)),
    )
    const { house: made, real } = await house({ backends: [backend], parallel: 1, ledger: failing('handle') })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk is full')
    expect(ran).toHaveLength(1)
    await work(request.id, { ...made, ledger: real }, noSignal)
    expect((await stateOf(real, request.id)).outcome).toMatchObject({ status: 'interrupted' })
  })

  it('a run with one target waits for the record four times: the last words, the ending and the end are one', async () => {
    const writes: string[] = []
    const ledger = (real: Ledger): Partial<Ledger> => ({
      append(run, ...events) {
        writes.push(events.map(({ type }) => type).join(' '))
        return real.append(run, ...events)
      },
    })
    const { backend } = backendOf('prod', [targetOf('web-1')])
    const { state } = await play({ backends: [backend], ledger })
    expect(writes).toEqual(['resolved decided', 'handle', 'output ended finished', 'delivered'])
    expect(state).toMatchObject({ outcome: { status: 'done' }, executions: [{ status: 'exited' }], delivered: true })
    writes.length = 0
    const both = await play({ backends: [backendOf('prod', [targetOf('a'), targetOf('b')]).backend], ledger, parallel: 1 })
    expect(writes.slice(-3)).toEqual(['handle', 'output ended finished', 'delivered'])
    expect(writes).toContain('output ended')
    expect(both.state.outcome).toEqual({ status: 'done' })
  })

  it('a handle that turns out not to be written when its command has ended is no less of a failure', async () => {
    const ledger = (real: Ledger): Partial<Ledger> => ({
      append: async (run, ...events) => {
        if (events[0].type !== 'handle') return real.append(run, ...events)
        await new Promise((resolve) => setTimeout(resolve, 50))
        throw new Error('disk full')
      },
    })
    const { house: made, real } = await house({ backends: [backendOf('prod', [targetOf('web-1')]).backend], ledger })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk full')
  })

  it('[true-ending] while the record of another ending is on its way, a run is not finished', async () => {
    const writes: string[] = []
    const waiting: (() => void)[] = []
    const ledger = (real: Ledger): Partial<Ledger> => ({
      async append(run, ...events) {
        writes.push(events.map(({ type }) => type).join(' '))
        // The first that ends is held until the second has ended, too.
        if (events.some(({ type }) => type === 'ended')) {
          if (waiting.length === 0) await new Promise<void>((resolve) => waiting.push(resolve))
          else for (const go of waiting.splice(0)) go()
        }
        return real.append(run, ...events)
      },
    })
    const { state } = await play({ backends: [backendOf('prod', [targetOf('a'), targetOf('b')]).backend], ledger })
    expect(writes.slice(-4)).toEqual(['output ended', 'output ended', 'finished', 'delivered'])
    expect(state.executions.map(({ status }) => status)).toEqual(['exited', 'exited'])
  })

  it('when the claim cannot be written, that command does not leave', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1')])
    const { house: made, real } = await house({
      backends: [backend],
      ledger: () => ({ claim: async () => Promise.reject(new Error('disk full')) }),
    })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk full')
    expect(ran).toEqual([])
  })

  it('[nothing-lost] in the middle of a run: the rest does not start, and the next life reports what is unknown', async () => {
    const { backend, ran } = backendOf(
      'prod',
      Array.from({ length: 8 }, (_, i) => targetOf(`w${i}`)),
    )
    const { house: made, real, delivered } = await house({ backends: [backend], parallel: 1, ledger: failing('ended') })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk is full')
    expect(ran).toHaveLength(1)
    await work(request.id, { ...made, ledger: real }, noSignal)
    const state = await stateOf(real, request.id)
    expect(state.outcome).toMatchObject({ status: 'interrupted' })
    expect(state.executions.map((execution) => execution.status)).toEqual(['unknown', ...Array(7).fill('failed')])
    expect([ran.length, delivered.length]).toEqual([1, 1])
  })
})
