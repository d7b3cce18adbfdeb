/** The last bytes of two streams as they came: what falls out is forgotten, but for its number and for a private key that it may have opened. */

import type { Stream } from './model.ts'
import { createKeyWatch, longestMark } from './private-keys.ts'

export type RawTail = {
  write(stream: Stream, data: Uint8Array): void
  /** What of this stream came before the tail: undefined when nothing did. Ask once, before `read`. */
  gap(stream: Stream): Gap | undefined
  /** The tail itself, in the order in which it came; once. */
  read(): Iterable<readonly [Stream, Uint8Array]>
}

export type Gap = {
  /** Bytes that are gone, and the first of them. */
  readonly forgotten: number
  readonly begin: Uint8Array
  /** Whether a private key begins in them and does not end there; undefined when they tell nothing of one. */
  readonly isInKey: boolean | undefined
  /** The bytes between those and the tail. */
  readonly before: readonly Uint8Array[]
}

const blockBytes = 65_536

/** `tailBytes`: kept at least, of both; `beforeBytes`: kept besides, of each. */
export function createRawTail(tailBytes: number, beforeBytes: () => number): RawTail {
  const lane = () => ({ bytes: createFifo(), inTail: 0, forgotten: 0, begin: new Uint8Array(), keys: createKeyWatch() })
  const lanes = { stdout: lane(), stderr: lane() }
  /** Lengths of what came, one stream after the other: above zero of stdout, below of stderr. */
  let runs: number[] = []
  let firstRun = 0
  let size = 0

  function fallOut(): void {
    const run = runs[firstRun++]!
    if (firstRun > 1024 && firstRun * 2 > runs.length) {
      runs = runs.slice(firstRun)
      firstRun = 0
    }
    const it = lanes[run > 0 ? 'stdout' : 'stderr']
    size -= Math.abs(run)
    it.inTail -= Math.abs(run)
    it.bytes.forget(it.inTail + beforeBytes(), (data) => {
      if (it.forgotten === 0) it.begin = data.slice(0, longestMark)
      it.forgotten += data.byteLength
      it.keys.write(data)
    })
  }

  function add(stream: Stream, data: Uint8Array): void {
    const sign = stream === 'stdout' ? 1 : -1
    const last = runs.length - 1
    // Alternating letters must not be a million objects, and one long run must not fall out as a whole.
    if (last >= firstRun && runs[last]! * sign > 0 && runs[last]! * sign < blockBytes) runs[last]! += data.byteLength * sign
    else runs.push(data.byteLength * sign)
    lanes[stream].bytes.write(data)
    lanes[stream].inTail += data.byteLength
    size += data.byteLength
    while (size - Math.abs(runs[firstRun]!) >= tailBytes) fallOut()
  }

  return {
    write(stream, data) {
      for (let at = 0; at < data.byteLength; at += blockBytes) add(stream, data.subarray(at, at + blockBytes))
    },
    gap(stream) {
      const { bytes, inTail, forgotten, begin, keys } = lanes[stream]
      const before = [...bytes.read(bytes.size - inTail)]
      if (forgotten === 0 && before.length === 0) return undefined
      // A begin or an end that lies on the border.
      if (before[0]) keys.write(before[0].subarray(0, longestMark))
      return { forgotten, begin, isInKey: keys.isOpen, before }
    },
    *read() {
      for (const run of runs.slice(firstRun)) {
        const stream = run > 0 ? 'stdout' : 'stderr'
        for (const data of lanes[stream].bytes.read(Math.abs(run))) yield [stream, data]
      }
    },
  }
}

type Fifo = {
  readonly size: number
  write(data: Uint8Array): void
  /** Takes blocks out for as long as `keep` bytes are left. */
  forget(keep: number, tell: (data: Uint8Array) => void): void
  /** Takes the next `bytes` out; what is told can be read until the next call of anything. */
  read(bytes: number): Iterable<Uint8Array>
}

function createFifo(): Fifo {
  type Block = { data: Uint8Array; used: number }
  const blocks: Block[] = []
  let first = 0
  let size = 0
  let spare: Uint8Array | undefined

  function roomier(block: Block, wanted: number): void {
    const data = new Uint8Array(Math.min(blockBytes, Math.max(wanted, 2 * block.data.byteLength)))
    data.set(block.data.subarray(0, block.used))
    block.data = data
  }

  return {
    get size() {
      return size
    },
    write(data) {
      size += data.byteLength
      while (data.byteLength > 0) {
        let block = blocks.at(-1)
        if (block === undefined || block.used === blockBytes) {
          block = { data: spare ?? new Uint8Array(), used: 0 }
          spare = undefined
          blocks.push(block)
        }
        const part = data.subarray(0, blockBytes - block.used)
        if (block.used + part.byteLength > block.data.byteLength) roomier(block, block.used + part.byteLength)
        block.data.set(part, block.used)
        block.used += part.byteLength
        data = data.subarray(part.byteLength)
      }
    },
    forget(keep, tell) {
      for (let block = blocks[0]; block && size - (block.used - first) >= keep && blocks.length > 1; block = blocks[0]) {
        tell(block.data.subarray(first, block.used))
        size -= block.used - first
        first = 0
        spare = block.data
        blocks.shift()
      }
    },
    *read(bytes) {
      while (bytes > 0) {
        const block = blocks[0]!
        const data = block.data.subarray(first, Math.min(block.used, first + bytes))
        first += data.byteLength
        bytes -= data.byteLength
        size -= data.byteLength
        if (first === block.used) {
          blocks.shift()
          first = 0
        }
        yield data
      }
    },
  }
}
