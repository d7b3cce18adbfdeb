/** The frames of the wrapper on Rancher 1.x: any cut of the bytes gives the same events. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { headerStripper } from '../../src/backends/rancher1/docker-headers.ts'
import { engineSays } from '../../src/backends/rancher1/engine-text.ts'
import { type FrameEvent, frameParser } from '../../src/backends/rancher1/frames.ts'

const NONCE = 'AbCdEfGhIjKlMnOpQrStUv'
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))
const frame = (content: string) => bytes(`\x1e${NONCE} ${content}\x1f${NONCE}`)

/** Neighbouring pieces of one kind are one: how they were cut says nothing. */
function merged(events: readonly FrameEvent[]): unknown[] {
  const all: unknown[] = []
  let last: { type: string; text: string } | undefined
  for (const event of events) {
    if (!('data' in event)) {
      all.push(event)
      last = undefined
    } else if (last?.type === event.type) last.text += Buffer.from(event.data).toString('latin1')
    else {
      last = { type: event.type, text: Buffer.from(event.data).toString('latin1') }
      all.push(last)
    }
  }
  return all
}

function parse(pieces: readonly Uint8Array[]): unknown[] {
  const parser = frameParser(NONCE)
  return merged([...pieces.flatMap((piece) => parser.write(piece)), ...parser.end()])
}

function cut(data: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [...new Set(at.map((one) => one % (data.length + 1)))].sort((a, b) => a - b)
  return [0, ...places].map((from, i) => data.subarray(from, places[i] ?? data.length))
}

const nasty = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 30 }),
  fc.constantFrom(
    '\x1e',
    '\x1f',
    `\x1e${NONCE.slice(0, 9)}`,
    `\x1e${NONCE}`,
    `\x1f${NONCE.slice(0, -1)}`,
    '\x1e\x1e\x1f',
    '\n',
    '\r\n',
    '\xff\x80',
  ),
)
const frames = fc.oneof(
  nasty.map((text) => ({ raw: bytes(text), stdout: text, stderr: '' })),
  nasty.map((text) => ({ raw: frame(`E${text}`), stdout: '', stderr: text })),
  nasty.map((text) => ({ raw: frame(`e${text.replaceAll('\n', '')}`), stdout: '', stderr: `${text.replaceAll('\n', '')}\n` })),
)

describe('the frames of the wrapper', () => {
  test('any cut of the bytes gives the same events, and nothing is lost or taken for a frame', () => {
    fc.assert(
      fc.property(fc.array(frames, { maxLength: 20 }), fc.array(fc.nat(), { maxLength: 30 }), (parts, at) => {
        // Output that ends in the secret opening cannot be: it would need the nonce.
        fc.pre(!parts.some(({ stdout }) => stdout.endsWith(NONCE)))
        const data = Buffer.concat([frame('p12'), ...parts.map(({ raw }) => raw), frame('x3'), frame('z')])
        const pieces = cut(data, at)
        expect(parse(pieces)).toEqual(parse([data]))
        const of = (type: string) =>
          parse(pieces)
            .flatMap((e) => ((e as { type: string }).type === type ? [(e as { text: string }).text] : []))
            .join('')
        expect(of('stdout')).toBe(parts.map(({ stdout }) => stdout).join(''))
        expect(of('stderr')).toBe(parts.map(({ stderr }) => stderr).join(''))
      }),
      { numRuns: 500 },
    )
  })

  test('what comes before the begin is not the command’s: the echoed nonce, the engine’s words', () => {
    const data = Buffer.concat([bytes(`${NONCE}\r\n`), frame('p7'), bytes('out'), frame('x0'), frame('z')])
    expect(parse([data])).toEqual([
      { type: 'preamble', text: `${NONCE}\r\n` },
      { type: 'began', pid: 7 },
      { type: 'stdout', text: 'out' },
      { type: 'exited', code: 0 },
      { type: 'stderr-ended' },
    ])
  })

  test('S41 a frame of another nonce, or half a frame at the end, is no exit', () => {
    const data = Buffer.concat([frame('p7'), bytes('\x1eAbCdEfGhIjKlMnOpQrStUx x0\x1f'), frame('x0').subarray(0, -1)])
    expect(parse([data]).filter((e) => (e as { type: string }).type === 'exited')).toEqual([])
  })

  test('[bounded] a frame that never ends is given out, not collected', () => {
    const parser = frameParser(NONCE)
    parser.write(frame('p7'))
    parser.write(bytes(`\x1e${NONCE} E`))
    let out = 0
    for (let i = 0; i < 40; i += 1)
      for (const event of parser.write(new Uint8Array(65_536).fill(97))) if ('data' in event) out += event.data.byteLength
    expect(out).toBeGreaterThan(1_000_000)
  })
})

describe('Docker’s headers', () => {
  const headed = (stream: number, payload: Uint8Array) => {
    const header = new Uint8Array(8)
    header[0] = stream
    new DataView(header.buffer).setUint32(4, payload.length)
    return Buffer.concat([header, payload])
  }
  const strip = (pieces: readonly Uint8Array[]) => {
    const stripper = headerStripper()
    return Buffer.concat([...pieces.map((piece) => stripper.write(piece)), stripper.end()])
  }

  test('any cut of generation B’s bytes gives the payloads, in generation A’s the bytes themselves', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        (payloads, at) => {
          const plain = Buffer.concat([frame('p1'), ...payloads])
          const data = Buffer.concat([headed(1, frame('p1')), ...payloads.map((one, i) => headed(1 + (i % 2), one))])
          expect(strip(cut(data, at)).equals(plain)).toBe(true)
          expect(strip(cut(plain, at)).equals(plain)).toBe(true)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('one byte that could begin a header, and no more, is given out at the end', () => {
    expect(strip([new Uint8Array([1])])).toEqual(Buffer.from([1]))
  })
})

describe('the engine’s words', () => {
  const recorded =
    'OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown\r\n'

  test('a missing executable is recognised when the line is whole, and only for that executable', () => {
    expect(engineSays(bytes(recorded), '/bin/sh')).toBe('not-found')
    expect(engineSays(bytes(recorded.slice(0, -2)), '/bin/sh')).toBeUndefined()
    expect(engineSays(bytes(recorded), '/bin/other')).toMatchObject({ code: 'backend_unavailable', ran: 'no' })
    expect(
      engineSays(
        bytes('rpc error: code = 2 desc = oci runtime error: exec failed: exec: "sh": executable file not found in $PATH\r\n'),
        'sh',
      ),
    ).toBe('not-found')
  })

  test('ordinary output is not', () => {
    expect(engineSays(bytes('the OCI runtime exec failed: executable file not found "/bin/sh"\n'), '/bin/sh')).toBeUndefined()
  })

  test('an argument that is too long is told as such', () => {
    const error = engineSays(bytes('exec /bin/sh: argument list too long\r\n'), '/bin/sh')
    expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
  })
})
