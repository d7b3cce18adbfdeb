/** Places for commands in one container, and the two streams of a process as they arrive. */

import { expect, test } from 'vitest'
import { EngineError } from '../../src/backends/containerd/engine.ts'
import { type Arriving, together } from '../../src/backends/containerd/output.ts'
import { createSlots } from '../../src/backends/containerd/slots.ts'
import type { ExecEvent } from '../../src/core/model.ts'

const soon = () => AbortSignal.timeout(10_000)

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield new TextEncoder().encode(text)
}

async function collect(sources: readonly Arriving[], exit: Promise<number>, restMs = 10_000, signal = soon()) {
  const text = { stdout: '', stderr: '' }
  const events = together(sources, { exit, signal, restMs })
  for (;;) {
    const { value, done } = await events.next()
    if (done) return { ...text, ...value }
    const event: ExecEvent = value
    if (event.type === 'output') text[event.stream] += new TextDecoder().decode(event.data)
  }
}

test('[bounded] so many at a time in one container; another’s places are its own', async () => {
  const slots = createSlots(2, 10_000)
  const leave = [await slots.enter('a', soon()), await slots.enter('a', soon())]
  await slots.enter('b', soon())
  const inside: string[] = []
  const enter = (name: string) => slots.enter('a', soon()).finally(() => inside.push(name))
  const third = enter('third')
  const fourth = enter('fourth')
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(inside).toEqual([])
  // Who leaves twice makes one place.
  leave[0]?.()
  leave[0]?.()
  const out = await third
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(inside).toEqual(['third'])
  out()
  await fourth
})

test('[bounded] who waits too long for a place, or is given up, is told that nothing ran, and takes none', async () => {
  const slots = createSlots(1, 20)
  const leave = await slots.enter('a', soon())
  await expect(slots.enter('a', soon())).rejects.toMatchObject({ code: 'backend_unavailable', ran: 'no' })
  await expect(slots.enter('a', AbortSignal.timeout(1))).rejects.toMatchObject({ code: 'stream_broken', ran: 'no' })
  leave()
  await slots.enter('a', soon())
})

test('both streams arrive whole before the exit code does, in whatever order they end', async () => {
  const sources: Arriving[] = [
    { stream: 'stdout', data: pieces('a', 'b', 'c') },
    { stream: 'stderr', data: pieces('x') },
  ]
  expect(await collect(sources, Promise.resolve(3))).toEqual({ stdout: 'abc', stderr: 'x', code: 3, isWhole: true })
})

test('a stream that a child holds open is waited for so long, and not longer', async () => {
  async function* held(): AsyncGenerator<Uint8Array> {
    yield* pieces('begin')
    await new Promise(() => {})
  }
  expect(await collect([{ stream: 'stdout', data: held() }], Promise.resolve(0), 20)).toEqual({
    stdout: 'begin',
    stderr: '',
    code: 0,
    isWhole: false,
  })
})

test('[bounded] a child that writes for ever after the end is not followed for ever', async () => {
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield new Uint8Array(65_536).fill(120)
  }
  const { stdout, isWhole } = await collect([{ stream: 'stdout', data: endless() }], Promise.resolve(0))
  expect(isWhole).toBe(false)
  expect(stdout.length).toBeLessThan(2 * 1024 * 1024)
})

test('[bounded] a stream is read no further than it is taken', async () => {
  let read = 0
  async function* counted(): AsyncGenerator<Uint8Array> {
    for (; read < 100; read += 1) yield new Uint8Array([120])
  }
  const events = together([{ stream: 'stdout', data: counted() }], { exit: new Promise(() => {}), signal: soon(), restMs: 1 })
  await events.next()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(read).toBeLessThan(3)
  await events.return({ code: 0, isWhole: false })
})

test('[true-ending] S41 what came before the loss is told, then the loss, and no exit', async () => {
  const failed = Promise.reject(new EngineError('UNAVAILABLE', 'Connection dropped'))
  failed.catch(() => {})
  const seen: string[] = []
  const events = together([{ stream: 'stdout', data: pieces('a', 'b') }], { exit: failed, signal: soon(), restMs: 1 })
  await expect(
    (async () => {
      for await (const event of events) if (event.type === 'output') seen.push(new TextDecoder().decode(event.data))
    })(),
  ).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(seen[0]).toBe('a')
})

test('an abort ends it with an error that says it may have run', async () => {
  const idle: Arriving = { stream: 'stdout', data: { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) } }
  await expect(collect([idle], new Promise(() => {}), 1, AbortSignal.timeout(10))).rejects.toMatchObject({
    code: 'stream_broken',
    ran: 'maybe',
  })
})
