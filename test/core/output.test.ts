/** What a command wrote: decoded, made visible, capped, and counted. */

import { describe, expect, it } from 'vitest'
import type { OutputChunk } from '../../src/core/model.ts'
import { createCollector, joinChunks, makeVisible } from '../../src/core/output.ts'
import { createRedactor } from '../../src/core/redact.ts'

const redactor = createRedactor([])
const utf8 = (text: string) => new TextEncoder().encode(text)

function collected(parts: readonly Uint8Array[], maxBytes = 1_000_000) {
  const collector = createCollector({ redactor, maxBytes })
  const chunks: OutputChunk[] = []
  for (const part of parts) {
    collector.write('stdout', part)
    chunks.push(...collector.take())
  }
  chunks.push(...collector.end())
  return { text: joinChunks(chunks), chunks, count: collector.count() }
}

describe('pieces', () => {
  const texts = [
    'héllo ☃ 😀 end\n',
    'a\r\nb\r\r\nc\rd\r\r\re\r',
    '\u001b[31mred\u001b[0m\r\u001b[0m\nx\u001b[2J\u001b',
    'a\u001b]0;title\u0007b\u001b]8;;http://x\u0007',
    '\u202eevil\u2066 \u{e0041}',
  ]
  it.each(texts)('S36 S38 %j shows the same however it is cut', (text) => {
    const bytes = utf8(text)
    const whole = collected([bytes]).text
    expect(whole).toBe(makeVisible(text))
    for (let a = 0; a <= bytes.length; a++) {
      for (let b = a; b <= bytes.length; b++)
        expect(collected([bytes.slice(0, a), bytes.slice(a, b), bytes.slice(b)]).text).toBe(whole)
    }
  })

  it('S38 invalid bytes become the replacement character, at every split, and none stays', () => {
    const bytes = Uint8Array.of(
      0x61,
      0xff,
      0xc3,
      0x28,
      0xe2,
      0x82,
      0xf0,
      0x9f,
      0x98,
      0x62,
      0xed,
      0xa0,
      0x80,
      0xc0,
      0x80,
      0x0a,
      0xf0,
      0x9f,
    )
    const whole = new TextDecoder().decode(bytes)
    for (let at = 0; at <= bytes.length; at++) expect(collected([bytes.slice(0, at), bytes.slice(at)]).text).toBe(whole)
  })
})

describe('S36 control codes', () => {
  it.each<[string, string, string]>([
    ['colour goes', '\u001b[1;31mx\u001b[0m\u001b[m', 'x'],
    ['what grep writes around a match goes', '\u001b[01;31m\u001b[Kx\u001b[m\u001b[K \u001b[0Ky', 'x y'],
    ['an erased line', 'x\u001b[2Ky\u001b[1K', 'x␛[2Ky␛[1K'],
    ['clear screen', '\u001b[2Jx', '␛[2Jx'],
    ['cursor up', '\u001b[1A', '␛[1A'],
    ['a set title', '\u001b]0;t\u0007', '␛]0;t␇'],
    ['a clipboard write', '\u001b]52;c;eA==\u001b\\', '␛]52;c;eA==␛\\'],
    ['a hidden link', '\u001b]8;;http://x\u0007y', '␛]8;;http://x␇y'],
    ['an overwrite', 'bad\rgood', 'bad␍\ngood'],
    ['a backspace', 'ab\bc', 'ab␈c'],
    ['NUL', 'a\0b', 'a␀b'],
    ['DEL', 'a\u007f', 'a␡'],
    ['C1 CSI', '\u009b2J', '\\u{9b}2J'],
    ['NEL', '\u0085', '\\u{85}'],
    ['right-to-left override', '\u202e', '\\u{202e}'],
    ['isolate', '\u2066', '\\u{2066}'],
    ['zero width space', 'a\u200bb', 'a\\u{200b}b'],
    ['line separator', '\u2028', '\\u{2028}'],
    ['BOM', 'a\ufeff', 'a\\u{feff}'],
    ['soft hyphen', 'a\u00adb', 'a\\u{ad}b'],
    ['Hangul filler', '\u3164', '\\u{3164}'],
    ['tag characters', '\u{e0041}', '\\u{e0041}'],
    ['variation supplement', 'a\u{e0100}', 'a\\u{e0100}'],
    ['form feed and vertical tab', '\f\v', '␌␋'],
    ['terminal line ends', 'a\r\nb\r\r\n', 'a\nb\n'],
    ['tab and newline stay', 'a\tb\n', 'a\tb\n'],
    ['plain text stays', 'Grüße, 你好 😀 ~', 'Grüße, 你好 😀 ~'],
  ])('%s', (_, raw, shown) => expect(makeVisible(raw)).toBe(shown))

  it('leaves no C0 but tab and newline, no C1 and no bidi control in any of 65 536 characters', () => {
    let all = ''
    for (let code = 0; code < 0x10000; code++) all += String.fromCharCode(code)
    expect(makeVisible(all)).not.toMatch(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/,
    )
  })

  it.each(['\r', '\u001b', '\u001b[', '\u001b[1;', '\u001b[0m', '\u202e', '\r\n'])(
    'S38 a megabyte of %j takes time in proportion to its length',
    (seed) => {
      const cost = (n: number) =>
        Math.min(
          ...[1, 2, 3].map(() => {
            const bytes = utf8(seed.repeat(n / seed.length))
            const from = performance.now()
            collected([bytes])
            return performance.now() - from
          }),
        )
      // Quadratic would be sixteen times.
      expect(cost(1_000_000)).toBeLessThan(10 * cost(250_000) + 200)
    },
  )
})

describe('[bounded] the cap', () => {
  const kept = (chunks: readonly OutputChunk[]) =>
    chunks.filter((chunk) => !chunk.text.startsWith('\n[drover:')).reduce((sum, chunk) => sum + chunk.text.length, 0)

  it('keeps head and tail, drops the middle, and says exactly how much', () => {
    const lines = Array.from({ length: 10_000 }, (_, i) => `line ${i}\n`).join('')
    const { text, chunks, count } = collected([utf8(lines)], 4_000)
    expect(kept(chunks)).toBeLessThanOrEqual(4_000)
    expect(count.stdout).toBe(lines.length)
    expect(count.dropped).toBe(lines.length - kept(chunks))
    expect(text.startsWith(lines.slice(0, 3_000))).toBe(true)
    expect(text).toMatch(new RegExp(`\\n\\[drover: ${count.dropped} bytes dropped here\\]\\nline \\d+\\n`))
    expect(text.endsWith('line 9999\n')).toBe(true)
  })

  it('S38 `yes` for 30 MB stays within the cap all the while, and every byte is counted', () => {
    const collector = createCollector({ redactor, maxBytes: 100_000 })
    const piece = utf8('y\n'.repeat(16_384))
    let taken = 0
    for (let i = 0; i < 960; i++) {
      collector.write(i % 2 ? 'stdout' : 'stderr', piece)
      expect(collector.waiting).toBeLessThanOrEqual(100_000)
      taken += kept(collector.take())
    }
    taken += kept(collector.end())
    expect(taken).toBeLessThanOrEqual(100_000)
    expect(collector.count()).toEqual({
      stdout: piece.length * 480,
      stderr: piece.length * 480,
      dropped: piece.length * 960 - taken,
      masked: 0,
    })
  })

  it('S38 a single line of 1 MB, in pieces of any size, is bounded and counted', () => {
    for (const size of [997, 65_536, 1_000_000]) {
      const bytes = utf8('x'.repeat(1_000_000))
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size))
      const { chunks, count } = collected(parts, 50_000)
      expect(kept(chunks)).toBe(50_000)
      expect(count).toEqual({ stdout: 1_000_000, stderr: 0, dropped: 950_000, masked: 0 })
    }
  })

  it('never cuts a character in two, whatever the cap', () => {
    for (let cap = 40; cap < 60; cap++) {
      const { text, chunks, count } = collected([utf8('😀'.repeat(500))], cap)
      expect(text.isWellFormed()).toBe(true)
      expect(kept(chunks)).toBeLessThanOrEqual(cap)
      expect(count.dropped + kept(chunks) * 2).toBe(2_000)
    }
  })

  it('what fits is whole, and nothing is said to be dropped', () => {
    expect(collected([utf8('x'.repeat(1_000))], 1_000)).toMatchObject({ text: 'x'.repeat(1_000), count: { dropped: 0 } })
  })

  it('a masked value counts, and is never in the parts', () => {
    const collector = createCollector({ redactor: createRedactor(['hunter-two']) })
    collector.write('stderr', utf8('a hunter-'))
    collector.write('stderr', utf8('two b'))
    expect(collector.end()).toEqual([{ stream: 'stderr', text: 'a [masked: known secret] b' }])
    expect(collector.count().masked).toBe(1)
  })

  it('[no-secret-shown] S33 colours inside a secret do not hide it from the mask', () => {
    const collector = createCollector({ redactor: createRedactor(['hunter-two']) })
    collector.write('stdout', utf8('hunter\u001b[1m-t\u001b[0'))
    collector.write('stdout', utf8('mwo\n'))
    expect(collector.end()).toEqual([{ stream: 'stdout', text: '[masked: known secret]\n' }])
  })

  it('[no-secret-shown] S33 what grep marks in a line hides no secret from the mask', () => {
    const collector = createCollector({ redactor: createRedactor(['hunter-two']) })
    collector.write('stdout', utf8('\u001b[01;31m\u001b[KDB_PASSWORD\u001b[m\u001b[K=correct-horse\nhunter\u001b['))
    collector.write('stdout', utf8('m\u001b[K-two\n'))
    expect(collector.end()).toEqual([{ stream: 'stdout', text: 'DB_PASSWORD=[masked: secret]\n[masked: known secret]\n' }])
  })

  it('[no-secret-shown] S33 a secret is caught that begins in plain bytes and ends in others, or the other way round', () => {
    for (const parts of [
      ['a hun', 'ter\u001b[1m-two é\n'],
      ['é hun\u001b[0m', 'ter-two b\n'],
      ['\u001b', '[1mhunter', '-two\n'],
      ['h', 'unter-t', 'wo', '\n'],
    ]) {
      const collector = createCollector({ redactor: createRedactor(['hunter-two']) })
      for (const part of parts) collector.write('stdout', utf8(part))
      expect(joinChunks(collector.end())).toContain('[masked: known secret]')
      expect(collector.count().masked).toBe(1)
    }
  })
})

describe('[no-secret-shown] S33 where what nobody looked at ends and the tail begins', () => {
  const secret = 'hunter-two-and-more-of-it'
  const values = [secret, 'first line of three\nsecond line of three\nthe third line']
  const cap = 40_000
  /** Everything in pieces of `size`, with nothing before the end taken. */
  function shown(text: string, size: number, stream: 'stdout' | 'stderr' = 'stdout') {
    const collector = createCollector({ redactor: createRedactor(values), maxBytes: cap })
    const bytes = utf8(text)
    for (let at = 0; at < bytes.length; at += size) collector.write(stream, bytes.subarray(at, at + size))
    return { text: joinChunks(collector.end()), count: collector.count() }
  }
  const sizes = [1_000, 4_096, 65_536, 1_000_000]
  const filler = (bytes: number) => 'a line of no interest\n'.repeat(Math.ceil(bytes / 22)).slice(0, bytes)

  it.each(sizes)('the tail is that of the whole text, in pieces of %i', (size) => {
    const text = Array.from({ length: 30_000 }, (_, i) => `line ${i} password=secret${i} of é ☃ 😀\n`).join('')
    const whole = createRedactor(values).text(text).text
    const { text: got } = shown(text, size)
    const at = got.indexOf(' bytes dropped here]\n')
    const tail = got.slice(at + ' bytes dropped here]\n'.length)
    expect(whole.startsWith(got.slice(0, got.indexOf('\n[drover:')))).toBe(true)
    expect(tail.length).toBeGreaterThan(5_000)
    expect(tail.length).toBeLessThanOrEqual(cap / 4)
    expect(whole.endsWith(tail)).toBe(true)
    expect(tail.startsWith('line ')).toBe(true)
  })

  it('no part of a value is shown, wherever the border falls', () => {
    for (const [i, value] of values.entries()) {
      for (const between of [`\n`, ', ']) {
        for (let shift = 0; shift < value.length; shift += 3) {
          const text = `${'x'.repeat(shift)}${(value + between).repeat(Math.ceil(300_000 / value.length))}`
          const { text: got } = shown(text, 4_096)
          expect(got.slice(shift), `value ${i}, ${shift}`).not.toMatch(/hunt|two|more|f-it|first|second|line|three/)
          expect(got).toContain('[masked: known secret]')
        }
      }
    }
  })

  it('nor where so little of the tail is left to show that it begins at the border', () => {
    const unit = `${secret}${'\u001b[38;5;200m'.repeat(20)}, `
    for (const size of [4_096, 65_536]) {
      for (let shift = 0; shift < unit.length; shift += 11) {
        const { text: got } = shown('x'.repeat(shift) + unit.repeat(5_000), size)
        expect(got.slice(shift), `${size}, ${shift}`).not.toMatch(/hunt|two|more|f-it/)
        expect(got.length).toBeLessThanOrEqual(cap + 100)
      }
    }
  })

  it('what is hidden stays hidden, in pieces of any size, and nothing else is', () => {
    const text = Array.from({ length: 40 }, (_, i) => `line ${i} password=secret${i}\n`).join('')
    for (let at = 0; at < text.length; at += 5) {
      for (const size of [1, 9, 300]) {
        const stream = createRedactor(values).stream()
        stream.write(text.slice(0, at))
        stream.hide()
        let got = ''
        for (let from = at; from < text.length; from += size) got += stream.write(text.slice(from, from + size))
        got += stream.end()
        // A value that was begun in what is hidden is masked whole.
        const lines = got.slice(got.indexOf('\n') + 1)
        const rest = text.slice(text.indexOf('\n', at) + 1)
        expect(lines, `${at}, ${size}`).toBe(createRedactor(values).text(rest).text)
      }
    }
  })

  it('a key that began in what was dropped is masked up to its end, or for good', () => {
    const key = `-----BEGIN PRIVATE KEY-----\n${'MIIEowIBAAKCAQEA0123456789\n'.repeat(16_000)}`
    for (const size of sizes) {
      const ended = shown(`${filler(60_000)}${key}-----END PRIVATE KEY-----\nafter it\n`, size)
      expect(ended.text).not.toContain('MIIE')
      expect(ended.text).toMatch(/bytes dropped here\]\n(\[masked: private-key\]\n)?after it\n$/)
      expect(ended.count.masked).toBeGreaterThanOrEqual(1)
      const open = shown(`${filler(60_000)}${key}`, size)
      expect(open.text).not.toContain('MIIE')
      expect(open.text).toMatch(/\[masked: private-key\]$/)
    }
  })

  it('a key is known whose begin, or end, lies on the border of what was looked at', () => {
    for (const [mark, between] of [
      ['-----BEGIN PRIVATE KEY-----', ''],
      ['-----END PRIVATE KEY-----', '-----BEGIN PRIVATE KEY-----\nMIIE\n'],
    ] as const) {
      for (let cut = 1; cut < mark.length; cut++) {
        const collector = createCollector({ redactor, maxBytes: cap })
        collector.write('stdout', utf8(`${filler(40_000)}${between}${mark.slice(0, cut)}`))
        collector.write('stdout', utf8(`${mark.slice(cut)}\n${filler(400_000)}`))
        const tail = collector.end().at(-1)?.text ?? ''
        if (mark.includes('BEGIN')) expect(tail, `cut at ${cut}`).toBe('[masked: private-key]')
        else expect(tail.slice(-9_000), `cut at ${cut}`).not.toContain('masked')
      }
    }
  })

  it('a key that began and ended in what was dropped masks nothing after it', () => {
    const key = `-----BEGIN PRIVATE KEY-----\n${'MIIEowIBAAKCAQEA0123456789\n'.repeat(50)}-----END PRIVATE KEY-----\n`
    const { text } = shown(`${filler(60_000)}${key}${filler(400_000)}the end\n`, 4_096)
    expect(text.endsWith('a line of no interest\nthe end\n') || text.endsWith('the end\n')).toBe(true)
    expect(text.slice(-9_000)).not.toContain('masked')
    expect(text.length).toBeGreaterThan(39_000)
  })

  it('a value on one stream is masked though much of the other came in the middle of it', () => {
    for (const flood of [0, 5_000, 50_000, 500_000]) {
      for (const at of [1, 6, 20]) {
        const collector = createCollector({ redactor: createRedactor(values), maxBytes: cap })
        collector.write('stdout', utf8(filler(35_000)))
        collector.write('stderr', utf8(`first ${filler(300)}${secret.slice(0, at)}`))
        collector.write('stdout', utf8(filler(flood)))
        collector.write('stderr', utf8(`${secret.slice(at)}\nlast words\n`))
        const err = joinChunks(collector.end().filter(({ stream }) => stream === 'stderr'))
        expect(err).toContain('[masked: known secret]\nlast words\n')
        expect(err).not.toContain('hun')
        expect(err).not.toContain('more')
      }
    }
  })

  it('[bounded] every byte of both streams is kept or counted, whatever the pieces', () => {
    for (const size of [700, 9_000, 70_000]) {
      const collector = createCollector({ redactor, maxBytes: cap })
      const text = filler(900_000)
      const kept: OutputChunk[] = []
      for (let at = 0, turn = 0; at < text.length; at += size, turn++) {
        collector.write(turn % 3 === 0 ? 'stderr' : 'stdout', utf8(text.slice(at, at + size)))
        if (turn % 2) kept.push(...collector.take())
      }
      kept.push(...collector.end())
      const shownBytes = kept.filter(({ text }) => !text.startsWith('\n[drover:')).reduce((sum, { text }) => sum + text.length, 0)
      const { stdout, stderr, dropped } = collector.count()
      expect(stdout + stderr).toBe(900_000)
      expect(shownBytes + dropped).toBe(900_000)
      expect(shownBytes).toBeLessThanOrEqual(cap)
      expect(shownBytes).toBeGreaterThan(cap - 1_100)
    }
  })
})

describe('both streams as one text', () => {
  const out = (text: string): OutputChunk => ({ stream: 'stdout', text })
  const err = (text: string): OutputChunk => ({ stream: 'stderr', text })
  it.each<[readonly OutputChunk[], string]>([
    [[out('a'), out('b\n')], 'ab\n'],
    [[err('a'), err('b\n')], 'ab\n'],
    [[out('a\n'), err('x\ny\n')], 'a\nstderr| x\nstderr| y\n'],
    [[out('a'), err('x\n')], 'a\nstderr| x\n'],
    [[err('x'), out('a\n')], 'stderr| x\na\n'],
    [[out('a\n'), err('x'), err('y\nz'), err('w\n')], 'a\nstderr| xy\nstderr| zw\n'],
    [[out('a\n'), err('x\n\ny\n')], 'a\nstderr| x\n\nstderr| y\n'],
    [[out(''), err('x\n')], 'stderr| x\n'],
    [[], ''],
  ])('%j', (chunks, text) => expect(joinChunks(chunks)).toBe(text))
})
