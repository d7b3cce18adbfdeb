/** What `drover targets` prints for a person, and for a program. */

import { expect, test } from 'vitest'
import type { Target, TargetId } from '../../../src/core/model.ts'
import { describeTargets } from '../../../src/frontends/terminal/targets.ts'

function target(name: string, facets: Target['facets'] = {}): Target {
  const id = `prod/${name.replaceAll(/\W/g, '')}` as TargetId
  return { id, backend: 'prod', kind: 'docker', native: name, name, labels: {}, facets }
}
const two = [
  target('web-1', { stack: 'shop', image: 'nginx:1' }),
  target('a', { image: 'registry.example.com/shop/api:20260101' }),
]
const wide = { columns: 200 }

test('on a terminal the columns have headings and stand below each other; one that nothing has is left out', () => {
  expect(describeTargets({ ok: true, targets: two, notes: [] }, wide).out).toEqual([
    'NAME   ID         STACK  IMAGE',
    'web-1  prod/web1  shop   nginx:1',
    'a      prod/a     -      registry.example.com/shop/api:20260101',
    '',
    '2 targets found; you may run commands in all of them.',
  ])
})

test('on a narrow terminal the image is cut, and nothing that would be typed again', () => {
  const { out } = describeTargets({ ok: true, targets: two, notes: [] }, { columns: 45 })
  expect(out.slice(0, 3).map((line) => line.length <= 45)).toEqual([true, true, true])
  expect(out[2]).toBe('a      prod/a     -      registry.example.co…')
  const narrow = describeTargets({ ok: true, targets: two, notes: [] }, { columns: 10 }).out
  expect(narrow[2]).toBe('a      prod/a     -      registry.exampl…')
})

test('for a program each target is one line of the same six fields, without headings and totals', () => {
  expect(describeTargets({ ok: true, targets: two, notes: ['any=2: took 2 of 3'], hidden: 1 }, undefined)).toEqual({
    out: ['web-1\tprod/web1\tshop\t-\tnginx:1\t-', 'a\tprod/a\t-\t-\tregistry.example.com/shop/api:20260101\t-'],
    err: ['note: any=2: took 2 of 3', 'note: 1 more matches, and no rule lets you run anything there'],
  })
})

test.each([
  [1, 0, '1 target found; you may run commands in it.'],
  [1, 1, '2 targets found; you may run commands in 1 of them.'],
  [2, 3, '5 targets found; you may run commands in 2 of them.'],
])('of %i open and %i closed targets the total says so', (open, hidden, said) => {
  const answer = { ok: true, targets: two.slice(0, open), notes: [], ...(hidden > 0 ? { hidden } : {}) } as const
  const { out, err } = describeTargets(answer, wide)
  expect([out.at(-1), err]).toEqual([said, []])
})

test('S36 a name that an engine gives obeys no terminal and breaks no line', () => {
  const bad = [target('a\u001b[2J\tb\nc\r', { image: '\u202eevil' })]
  for (const screen of [wide, undefined]) {
    const { out } = describeTargets({ ok: true, targets: bad, notes: [] }, screen)
    expect(out.join('')).not.toMatch(/[\u001b\r\u202e]/)
    const line = out.find((one) => one.startsWith('a'))!
    expect(line.split('\n')).toHaveLength(1)
    expect(line).toContain('␛[2J b c')
  }
})

test('what cannot be shown is said with its next step, on stderr alone', () => {
  const failure = { code: 'no_targets', message: 'Nothing matches.', next: 'Look again.' } as const
  expect(describeTargets({ ok: false, failure }, wide)).toEqual({ out: [], err: ['Nothing matches.', 'Look again.'] })
})
