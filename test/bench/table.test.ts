/** The table of docs/performance.md is the last full run's, and no one's copy of it. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { markdown, type Result } from '../../bench/report.ts'
import { interleaved, isSteady } from '../../bench/rows.ts'
import { latest, withTable } from '../../bench/table.ts'

const page = readFileSync(join(import.meta.dirname, '../../docs/performance.md'), 'utf8')

const result: Result = {
  machine: {
    ...{ at: '2026-01-02T03:04:05.000Z', system: 'Linux', cpu: 'CPU', cores: 2, memoryGiB: 8 },
    ...{ loadBefore: [0.5, 1, 2], node: 'v24.0.0', deno: '2.0.0' },
  },
  took: { one: 10, two: 20 },
  leftOut: { docker: 'DOCKER_HOST is not set' },
  rows: [
    { name: 'a', value: 1234.4, unit: 'ms', ratio: 0.5, aim: '≥ 0.4 × b', met: true },
    { name: 'b', value: 0.01, unit: 's', aim: '≤ 1 s', met: false },
    { name: 'c', value: 12, unit: 'MB' },
  ],
}

it('the table of docs/performance.md is that of the last full run; `node bench/table.ts` writes it', () => {
  expect(withTable(page, latest())).toBe(page)
})

it('the table says on what it was taken, how long it took, what was left out, and every row', () => {
  expect(markdown(result).split('\n')).toEqual([
    'Taken on 2026-01-02 on 2 cores (CPU), 8 GiB, Node 24.0.0, Deno 2.0.0, load 0.5 before the first row: 3 rows in 30 s (one 10, two 20), 1 of 2 aims missed. Without the rows of `docker`: DOCKER_HOST is not set.',
    '',
    '| | drover | ratio | aim | |',
    '|---|---:|---:|---|---|',
    '| a | 1 234 ms | 0.50 × | ≥ 0.4 × b | met |',
    '| b | 0.0100 s |  | ≤ 1 s | **missed** |',
    '| c | 12.0 MB |  |  |  |',
  ])
})

it('what stands around the table stays, and a page without a place for it is refused', () => {
  const [before = ''] = page.split('<!-- bench')
  const written = withTable(page, result)
  expect(written.startsWith(before)).toBe(true)
  expect(written.endsWith(page.slice(page.indexOf('<!-- bench: end -->')))).toBe(true)
  expect(written).toContain('| a | 1 234 ms |')
  expect(written).not.toContain(latest().rows[0]!.name)
  expect(() => withTable(before, result)).toThrow('no place for the table')
})

it('rounds end when two and more agree on every ratio, and not before', async () => {
  expect(isSteady([[10], [20]])).toBe(false)
  expect(
    isSteady([
      [10, 12],
      [20, 24.5],
    ]),
  ).toBe(true)
  expect(
    isSteady([
      [10, 12],
      [20, 24.5],
      [30, 30],
    ]),
  ).toBe(false)
  const figures = [20, 30, 30.5, 31].values()
  const measured = await interleaved(4, { base: async () => 10, other: async () => figures.next().value ?? 0 }, (one) => one)
  expect(measured.other).toEqual([20, 30, 30.5, 31])
  const same = await interleaved(4, { base: async () => 10, other: async () => 20 }, (one) => one)
  expect(same.other).toEqual([20, 20])
  const all = await interleaved(4, { base: async () => 10, other: async () => 20 })
  expect(all.other).toHaveLength(4)
})
