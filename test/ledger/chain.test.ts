/** Canonical JSON: what every hash of the record covers. */

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { attach, canonical, detachedOf, pack } from '../../src/ledger/chain.ts'
import { output } from '../contract/ledger-words.ts'

test('keys stand in the order of their UTF-16 units at every level, without spaces and without what is undefined', () => {
  const value = { b: [1, undefined, { z: null, '10': 'ä', '9': '\u2028' }], a: undefined, é: '"', A: {}, B: [] }
  expect(canonical(value)).toBe('{"A":{},"B":[],"b":[1,null,{"10":"ä","9":"\u2028","z":null}],"é":"\\""}')
  expect(['x', '', 1.5, -0, true, null, undefined].map(canonical)).toEqual(['"x"', '""', '1.5', '0', 'true', 'null', 'null'])
})

test('whatever order its keys came in, a value is one text, and that text is the value', () => {
  const turned = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(turned)
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([key, item]) => [key, turned(item)]),
    )
  }
  fc.assert(
    fc.property(fc.jsonValue({ depthSize: 'medium' }), (value) => {
      const text = canonical(value)
      expect(canonical(turned(value))).toBe(text)
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
    }),
  )
})

test('the payload of output is the canonical JSON of its chunks', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ text: fc.string({ unit: 'binary' }), stream: fc.constantFrom('stdout', 'stderr') })),
      (chunks) => {
        const { body, parts } = pack({ ...output('1i1', 0, ''), chunks } as ReturnType<typeof output>)
        expect(attach(detachedOf(body)!, parts)).toBe(canonical(chunks))
      },
    ),
    { numRuns: 30 },
  )
})
