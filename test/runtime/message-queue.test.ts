/** Messages that wait for their reader: in order, once, bounded. */

import { expect, it } from 'vitest'
import type { SocketMessage } from '../../src/backends/transport.ts'
import { messageQueue } from '../../src/runtime/socket.ts'

const text = (data: string): SocketMessage => ({ type: 'text', data })
const end = { code: 1000, reason: '', clean: true }

it('what waits can be taken together, and is not told again', async () => {
  const queue = messageQueue(1_000_000)
  for (const data of ['a', 'b', 'c']) queue.push(text(data))
  const messages = queue.messages[Symbol.asyncIterator]()
  expect((await messages.next()).value).toEqual(text('a'))
  queue.push(text('d'))
  expect(queue.take()).toEqual([text('b'), text('c'), text('d')])
  expect(queue.take()).toEqual([])
  queue.push(text('e'))
  queue.end(end)
  expect((await messages.next()).value).toEqual(text('e'))
  expect((await messages.next()).done).toBe(true)
})

it('[bounded] no more is taken together than a piece', async () => {
  const queue = messageQueue(10_000_000)
  for (let i = 0; i < 100; i++) queue.push(text('x'.repeat(10_000)))
  const sizes: number[] = []
  for (let some = queue.take(); some.length > 0; some = queue.take()) sizes.push(some.length)
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(100)
  expect(Math.max(...sizes)).toBeLessThan(20)
})

it('text that came as bytes is text when it is read', async () => {
  const queue = messageQueue(1_000_000)
  queue.push({ type: 'late-text', data: Buffer.from('héllo') })
  queue.push({ type: 'late-text', data: Buffer.from('☃') })
  queue.end(end)
  const read: SocketMessage[] = []
  for await (const message of queue.messages) read.push(message, ...queue.take())
  expect(read).toEqual([text('héllo'), text('☃')])
})

it('[bounded] the connection is paused while much waits, goes on when little does, and the cap holds', async () => {
  const calls: string[] = []
  const queue = messageQueue(1_000_000, { pause: () => calls.push('pause'), resume: () => calls.push('resume') })
  while (calls.length === 0) expect(queue.push(text('x'.repeat(50_000)))).toBe(true)
  expect(queue.push(text('x'.repeat(50_000)))).toBe(true)
  expect(calls).toEqual(['pause'])
  for (let some = queue.take(); some.length > 0; some = queue.take());
  expect(calls).toEqual(['pause', 'resume'])
  expect(queue.push(text('x'.repeat(1_000_001)))).toBe(false)
})

it('a reader that leaves lets the connection go on, and what comes then is nobody’s', async () => {
  const calls: string[] = []
  const queue = messageQueue(10_000_000, { pause: () => calls.push('pause'), resume: () => calls.push('resume') })
  while (calls.length === 0) queue.push(text('x'.repeat(50_000)))
  for await (const message of queue.messages) if (message) break
  expect(calls).toEqual(['pause', 'resume'])
  queue.push(text('late'))
  expect(queue.take()).toEqual([])
})
