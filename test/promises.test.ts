/** Every promise and every safety lesson is claimed by the name of a test. */

import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lessons, promises } from './promises.ts'

const here = import.meta.dirname

/** Names given to `it`, `test` and `describe`, and first texts of the rows that fill them in. */
function namesIn(source: string): string[] {
  const direct = /\b(?:it|test|describe)(?:\.(?:concurrent|sequential))?\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*?)\1/g
  const each = /\)\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*?)\1\s*,/g
  const rows = /^\s*\[?\s*(['"`])((?:S\d\d|\[[a-z-]+\]) (?:\\.|(?!\1)[\s\S])*?)\1,/gm
  return [direct, each, rows].flatMap((pattern) => [...source.matchAll(pattern)].map((match) => match[2]!))
}

// Wrangler's own folders come and go while the tests run.
const files = globSync('**/*.ts', { cwd: here, exclude: ['**/node_modules', '**/.wrangler'] })
const names = files
  .filter((path) => !path.startsWith('promises'))
  .flatMap((path) => namesIn(readFileSync(join(here, path), 'utf8')).map((name) => ({ path, name })))

describe('the names of the tests', () => {
  it.each(Object.keys(promises))('claim the promise %s', (id) => {
    expect(names.filter(({ name }) => name.startsWith(`[${id}] `)).length, `no test is named "[${id}] …"`).toBeGreaterThan(0)
  })

  it.each(lessons)('claim the lesson %s', (id) => {
    expect(names.filter(({ name }) => new RegExp(`\\b${id}\\b`).test(name)).length, `no test cites ${id}`).toBeGreaterThan(0)
  })

  it('claim no promise that does not exist', () => {
    const unknown = names.flatMap(({ path, name }) => {
      const id = /^\[([a-z][a-z-]+)\] /.exec(name)?.[1]
      return id === undefined || id in promises ? [] : [`${path}: [${id}]`]
    })
    expect(unknown).toEqual([])
  })

  it('are found at all', () => expect(names.length).toBeGreaterThan(100))
})
