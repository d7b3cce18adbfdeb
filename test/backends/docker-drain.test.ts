/** Output that is taken while nobody asks for it: what comes of it, in which order, and how much is kept. */

import { describe, expect, test } from 'vitest'
import { drainable } from '../../src/backends/docker/drain.ts'
import type { Output } from '../../src/backends/docker/exec.ts'

const piece = (text: string, stream: Output['stream'] = 'stdout'): Output => ({
  type: 'output',
  stream,
  data: new TextEncoder().encode(text),
})
const megabyte = 'x'.repeat(1024 * 1024)
const all = async (events: AsyncIterable<Output>) => {
  const found: Output[] = []
  for await (const event of events) found.push(event)
  return found
}
const textOf = (found: readonly Output[]) => found.map(({ data }) => new TextDecoder().decode(data)).join('')
const soon = () => new Promise((resolve) => setTimeout(resolve, 10))

describe('a drain', () => {
  test('before it is asked for, nothing is taken that nobody wants', async () => {
    let taken = 0
    async function* source() {
      for (;;) {
        taken += 1
        yield piece('a')
      }
    }
    const { events } = drainable(source())
    await events.next()
    await soon()
    expect(taken).toBe(1)
    await events.return(undefined)
  })

  test('takes all that comes, and the reader finds it in its order', async () => {
    const isTaken = Promise.withResolvers<void>()
    async function* source() {
      for (const text of ['a', 'b', 'c', 'd']) yield piece(text)
      isTaken.resolve()
    }
    const { events, drain } = drainable(source())
    expect(textOf([(await events.next()).value as Output])).toBe('a')
    drain()
    drain()
    await isTaken.promise
    expect(textOf(await all(events))).toBe('bcd')
  })

  test('a reader that waits already gets what comes first', async () => {
    const ready = Promise.withResolvers<void>()
    async function* source() {
      await ready.promise
      yield piece('a')
      yield piece('b')
    }
    const { events, drain } = drainable(source())
    const waiting = all(events)
    await soon()
    drain()
    ready.resolve()
    expect(textOf(await waiting)).toBe('ab')
  })

  test('[bounded] more than a megabyte is dropped from there on, and counted for each stream', async () => {
    const isTaken = Promise.withResolvers<void>()
    async function* source() {
      for (const event of [piece('head'), piece(megabyte), piece('small'), piece('err', 'stderr'), piece('tail')]) yield event
      isTaken.resolve()
    }
    const { events, drain } = drainable(source())
    drain()
    await isTaken.promise
    const found = await all(events)
    expect(textOf(found)).toBe('head')
    expect(found.slice(1)).toEqual([
      { type: 'output', stream: 'stdout', data: new Uint8Array(), dropped: megabyte.length + 9 },
      { type: 'output', stream: 'stderr', data: new Uint8Array(), dropped: 3 },
    ])
  })

  test('[true-ending] a stream that breaks meanwhile breaks for the reader, after what came', async () => {
    async function* source() {
      yield piece('a')
      throw new Error('broken')
    }
    const { events, drain } = drainable(source())
    drain()
    await soon()
    expect(textOf([(await events.next()).value as Output])).toBe('a')
    await expect(events.next()).rejects.toThrow('broken')
  })

  test('a reader that leaves is not held by a source that says nothing more', async () => {
    async function* source(): AsyncGenerator<Output> {
      yield piece('a')
      await new Promise(() => undefined)
    }
    const { events, drain } = drainable(source())
    await events.next()
    drain()
    await soon()
    await events.return(undefined)
  })
})
