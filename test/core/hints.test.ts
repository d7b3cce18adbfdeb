/** Fixed texts in a stream of text: found wherever it is cut, and never missed. */

import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { createHints } from '../../src/core/hints.ts'

const utf8 = (text: string) => new TextEncoder().encode(text)
const few = (from: string, most: number) =>
  fc.array(fc.constantFrom(...from), { minLength: 1, maxLength: most }).map((all) => all.join(''))

it('finds what a search for each would find, in whatever case and however the text is cut', () => {
  const hint = few('abC-é\n', 5)
  fc.assert(
    fc.property(
      fc.array(hint, { minLength: 1, maxLength: 12 }),
      fc.array(few('aABbc-é\nx', 9), { maxLength: 8 }),
      (texts, pieces) => {
        const look = createHints(texts.map((text, i) => ({ text, bits: 1 << i }))).look()
        const seen = pieces.reduce((bits, piece) => bits | (look.plain(utf8(piece)) ?? look.text(piece)), 0)
        const whole = pieces.join('').toLowerCase()
        for (const [i, text] of texts.entries()) {
          const isThere = whole.includes(text.toLowerCase())
          expect({ text, whole, found: (seen & (1 << i)) !== 0 }).toEqual({ text, whole, found: isThere })
        }
      },
    ),
    { numRuns: 500 },
  )
})

it('bytes that are more than printable ASCII, tabs and line ends are not taken for text', () => {
  const look = createHints([{ text: 'key', bits: 1 }]).look()
  for (let byte = 0; byte < 256; byte++) {
    const isPlain = byte === 9 || byte === 10 || (byte >= 32 && byte < 127)
    expect(look.plain(Uint8Array.of(97, byte)) !== undefined).toBe(isPlain)
  }
  // And what was not taken has left no trace.
  look.text('ke')
  expect(look.plain(utf8('\u001by'))).toBeUndefined()
  expect(look.plain(utf8('y'))).toBe(1)
})
