/** What waited for its turn is looked at again before it runs. */

import { expect, it } from 'vitest'
import { everyTrait } from '../../src/backends/wire/traits.ts'
import { BackendError } from '../../src/core/errors.ts'
import type { Target } from '../../src/core/model.ts'
import { backendOf, exits, play, targetOf } from './house.ts'

/** Two targets, one at a time; the first takes its time. */
async function waited(ms: number, isStill: (target: Target) => Promise<boolean>) {
  const clock = { now: Date.now() }
  const looked: string[] = []
  const { backend, ran } = backendOf(
    'prod',
    [targetOf('a'), targetOf('b')],
    async function* (target, ...rest) {
      if (target.name === 'a') clock.now += ms
      yield* exits(target, ...rest)
    },
    {
      traits: everyTrait,
      async isStill(target) {
        looked.push(target.name)
        return await isStill(target)
      },
    },
  )
  const { state } = await play({ backends: [backend], parallel: 1, now: () => clock.now, secrets: ['hunter2222'] })
  return { state, looked, ran: ran.map(({ target }) => target) }
}

it('S21 a target that another has replaced by name since it was judged is not run on, and that is said', async () => {
  const { state, looked, ran } = await waited(60_000, async ({ name }) => name !== 'b')
  expect([ran, looked]).toEqual([['prod/a'], ['b']])
  expect(state.executions.map(({ status }) => status)).toEqual(['exited', 'failed'])
  expect(state.executions[1]?.ending).toMatchObject({
    error: { code: 'changed', message: 'b was replaced by another of the same name before its turn; nothing ran there.' },
  })
  expect(state.outcome).toEqual({ status: 'done' })
})

it('[default-deny] S21 where nobody can tell whether it is still the same, nothing runs on it', async () => {
  const error = new BackendError({ code: 'backend_unavailable', message: 'No answer to hunter2222.' }, { ran: 'no' })
  const { state, ran } = await waited(60_000, () => Promise.reject(error))
  expect(ran).toEqual(['prod/a'])
  expect(state.executions[1]?.ending).toEqual({
    status: 'failed',
    error: { code: 'backend_unavailable', message: 'No answer to [masked: known secret].' },
  })
})

it('what is still the same runs, and what was judged a moment ago is not looked at again', async () => {
  expect(await waited(60_000, async () => true)).toMatchObject({ looked: ['b'], ran: ['prod/a', 'prod/b'] })
  expect(await waited(1_000, async () => false)).toMatchObject({ looked: [], ran: ['prod/a', 'prod/b'] })
})
