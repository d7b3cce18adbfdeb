/** The last bytes of two streams, against all of them. */

import { describe, expect, it } from 'vitest'
import type { Stream } from '../../src/core/model.ts'
import { createRawTail } from '../../src/core/raw-tail.ts'

/** The same in every run. */
function dice(seed: number): (most: number) => number {
  let state = seed
  return (most) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * most)
  }
}

/** A byte and its stream in one number. */
const letters = (stream: Stream, data: Uint8Array): number[] =>
  Array.from(data, (byte) => (stream === 'stdout' ? byte : byte + 256))

describe('[bounded] the tail', () => {
  it.each([
    [1, 300],
    [2, 5_000],
    [3, 70_000],
    [4, 200_000],
  ])('round %i: pieces of up to %i bytes come out as they went in, and every byte is in one place', (seed, most) => {
    const roll = dice(seed)
    const tailBytes = 100_000
    const beforeBytes = 20_000
    const tail = createRawTail(tailBytes, () => beforeBytes)
    const all: number[] = []
    while (all.length < 400_000) {
      const stream = roll(5) === 0 ? 'stderr' : 'stdout'
      const piece = Uint8Array.from({ length: roll(roll(3) === 0 ? most : 40) }, () => roll(256))
      for (const letter of letters(stream, piece)) all.push(letter)
      tail.write(stream, piece)
      // Whoever wrote it may do with it what he likes.
      piece.fill(0)
    }
    const gaps = { stdout: tail.gap('stdout'), stderr: tail.gap('stderr') }
    const read = [...tail.read()].flatMap(([stream, data]) => letters(stream, data))
    expect(read.length).toBeGreaterThanOrEqual(tailBytes)
    expect(read.length).toBeLessThan(tailBytes + 2 * 65_536)
    expect(read).toEqual(all.slice(-read.length))
    for (const stream of ['stdout', 'stderr'] as const) {
      const earlier = all.slice(0, -read.length).filter((letter) => letter > 255 === (stream === 'stderr'))
      const before = (gaps[stream]?.before ?? []).flatMap((data) => letters(stream, data))
      expect(before).toEqual(before.length === 0 ? [] : earlier.slice(-before.length))
      expect((gaps[stream]?.forgotten ?? 0) + before.length).toBe(earlier.length)
      if (gaps[stream]?.forgotten) expect(before.length).toBeGreaterThanOrEqual(beforeBytes)
    }
  })

  it('S33 a key is known that begins where what is forgotten ends', () => {
    const begin = '-----BEGIN PRIVATE KEY-----'
    for (let cut = 0; cut <= begin.length; cut++) {
      const tail = createRawTail(1_000, () => 100)
      tail.write('stdout', new TextEncoder().encode(`${'x'.repeat(65_536 - cut)}${begin}${'y'.repeat(100_000)}`))
      expect(tail.gap('stdout'), `cut at ${cut}`).toMatchObject({ forgotten: 65_536, isInKey: true })
    }
  })

  it('what fits has no gap', () => {
    const tail = createRawTail(10, () => 10)
    tail.write('stdout', Uint8Array.of(1, 2, 3))
    tail.write('stderr', Uint8Array.of(4))
    expect([tail.gap('stdout'), tail.gap('stderr')]).toEqual([undefined, undefined])
    expect([...tail.read()].flatMap(([stream, data]) => letters(stream, data))).toEqual([1, 2, 3, 256 + 4])
  })

  it('letters of both streams in turn are not an object each', () => {
    const tail = createRawTail(1_000_000, () => 0)
    const before = process.memoryUsage()
    for (let i = 0; i < 400_000; i++) tail.write(i % 2 ? 'stdout' : 'stderr', Uint8Array.of(i))
    const after = process.memoryUsage()
    expect([...tail.read()].length).toBe(400_000)
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(64 * 1024 * 1024)
  })
})
