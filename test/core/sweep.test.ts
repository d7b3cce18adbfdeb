/** What an ended drover left is removed by the next one, from every engine that can be asked. */

import { describe, expect, test } from 'vitest'
import { startSweeping, sweepAll } from '../../src/core/sweep.ts'

const until = async (isSo: () => boolean) => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('the sweep', () => {
  test('[bounded] every backend is swept, also when one before it cannot be', async () => {
    const swept: string[] = []
    const told: unknown[] = []
    const one = (name: string, fails = false) => ({
      name,
      sweep: async () => {
        if (fails) throw new Error(`${name} is away`)
        swept.push(name)
      },
    })
    await sweepAll([one('a', true), { name: 'without' }, one('b'), one('c')], (name, error) => told.push([name, String(error)]))
    expect(swept).toEqual(['b', 'c'])
    expect(told).toEqual(expect.arrayContaining([['a', 'Error: a is away']]))
    expect(told).toHaveLength(3)
  })

  test('it is done at once and again and again, and a failure is told once until it has passed', async () => {
    let times = 0
    const told: string[] = []
    const away = () => times === 1 || times === 2 || times === 4
    const sweep = async () => {
      times += 1
      if (away()) throw new Error('away')
    }
    const sweeping = startSweeping([{ name: 'a', sweep }], (name) => told.push(`${name} at ${times}`), 1)
    expect(times).toBe(1)
    await until(() => times >= 6)
    await sweeping.close()
    expect(told).toEqual(['a at 1', 'a at 4'])
    const then = times
    await new Promise((resolve) => setTimeout(resolve, 30))
    expect(times).toBe(then)
  })

  test('[bounded] a stop ends a sweep that is under way, and tells nothing of it', async () => {
    const told: string[] = []
    let given: AbortSignal | undefined
    const sweep = (signal: AbortSignal) => {
      given = signal
      return new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(new Error('given up'))))
    }
    const sweeping = startSweeping([{ name: 'slow', sweep }], (name) => told.push(name))
    await until(() => given !== undefined)
    await sweeping.close()
    expect([given?.aborted, told]).toEqual([true, []])
  })
})
