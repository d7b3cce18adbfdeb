/** Puts the table of the last full run into docs/performance.md, between its two markers. `node bench/table.ts` */

import { readFileSync, writeFileSync } from 'node:fs'
import { here, root } from './places.ts'
import { markdown, type Result } from './report.ts'

const begin = '<!-- bench: written by bench/table.ts -->'
const end = '<!-- bench: end -->'

export const latest = (): Result => JSON.parse(readFileSync(here('results/latest.json'), 'utf8')) as Result

/** The page with this result's table in the place of the one it had. */
export function withTable(page: string, result: Result): string {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the page has no place for the table: ${begin} … ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${markdown(result)}\n\n${page.slice(to)}`
}

export function writeTable(): void {
  const page = root('docs/performance.md')
  writeFileSync(page, withTable(readFileSync(page, 'utf8'), latest()))
}

if (import.meta.main) writeTable()
