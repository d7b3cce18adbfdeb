/** The rows as a table on the terminal, as JSON, as one picture, and as the table of docs/performance.md. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { styleText } from 'node:util'
import type { Machine } from './machine.ts'
import type { Row } from './rows.ts'

/** What a full run leaves in `latest.json`. */
export type Result = {
  readonly machine: Machine
  /** Seconds of each bench. */
  readonly took?: Readonly<Record<string, number>>
  /** Benches that could not be run here, and what they need. */
  readonly leftOut?: Readonly<Record<string, string>>
  readonly rows: readonly Row[]
}

export function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => cellsOf(row, 'MISSED'))
  const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells
    .map(([name = '', value = '', ratio = '', aim = '', met = '']) => {
      const line = `${name.padEnd(widths[0] ?? 0)}  ${value.padStart(widths[1] ?? 0)}  ${ratio.padStart(widths[2] ?? 0)}  ${aim.padEnd(widths[3] ?? 0)}  `
      return line + (met === '' ? '' : styleText(met === 'met' ? 'green' : 'red', met))
    })
    .join('\n')
}

function cellsOf({ name, value, unit, ratio, aim, met }: Row, missed: string): readonly string[] {
  const verdict = met === undefined ? '' : met ? 'met' : missed
  return [name, `${figure(value)} ${unit}`, ratio === undefined ? '' : `${ratio.toFixed(2)} ×`, aim ?? '', verdict]
}

/** On what it was taken, what was left out, and every row. */
export function markdown({ machine, took = {}, leftOut = {}, rows }: Result): string {
  const seconds = Object.entries(took).map(([name, one]) => `${name} ${one}`)
  const total = Object.values(took).reduce((sum, one) => sum + one, 0)
  const { missed, aims } = aimsOf(rows)
  const taken = [
    `Taken on ${machine.at.slice(0, 10)} on ${machine.cores} cores (${machine.cpu}), ${machine.memoryGiB} GiB, Node ${machine.node.slice(1)}, Deno ${machine.deno}, load ${machine.loadBefore[0]} before the first row:`,
    `${rows.length} rows${total > 0 ? ` in ${total} s (${seconds.join(', ')})` : ''}, ${missed} of ${aims} aims missed.`,
    ...Object.entries(leftOut).map(([name, needs]) => `Without the rows of \`${name}\`: ${needs}.`),
  ]
  const lines = rows.map((row) => `| ${cellsOf(row, '**missed**').join(' | ')} |`)
  return [taken.join(' '), '', '| | drover | ratio | aim | |', '|---|---:|---:|---|---|', ...lines].join('\n')
}

export function aimsOf(rows: readonly Row[]): { readonly missed: number; readonly aims: number } {
  const judged = rows.filter(({ met }) => met !== undefined)
  return { missed: judged.filter(({ met }) => !met).length, aims: judged.length }
}

/** `latest.json` and `latest.svg` in the folder. */
export function write(folder: string, result: Result): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}/latest.json`, `${JSON.stringify({ ...result, rows: result.rows.map(rounded) }, null, 2)}\n`)
  writeFileSync(`${folder}/latest.svg`, picture(result))
}

function rounded(row: Row): Row {
  const digits = (value: number) => Number(value.toPrecision(4))
  return { ...row, value: digits(row.value), ...(row.ratio === undefined ? {} : { ratio: digits(row.ratio) }) }
}

function figure(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en').replaceAll(',', ' ')
  return value.toPrecision(3)
}

const line = 22
const left = 460
const width = 1000

/** A dot for each ratio on a logarithmic scale from a hundredth to a hundred; 1 is the baseline. */
function picture({ machine, rows }: Result): string {
  const shown = rows.filter(({ ratio }) => ratio !== undefined && ratio > 0)
  const height = 70 + shown.length * line
  const x = (ratio: number) => left + ((Math.log10(Math.min(100, Math.max(0.01, ratio))) + 2) / 4) * (width - left - 170)
  const grid = [0.01, 0.1, 1, 10, 100].map(
    (ratio) =>
      `<line x1="${x(ratio)}" x2="${x(ratio)}" y1="48" y2="${height - 8}" stroke="#8886"/><text x="${x(ratio)}" y="42" text-anchor="middle">${ratio} ×</text>`,
  )
  const dots = shown.map(({ name, ratio = 1, aim = '', met }, i) => {
    const y = 64 + i * line
    const colour = met === undefined ? '#888' : met ? '#2a8' : '#d43'
    return `<text x="${left - 12}" y="${y + 4}" text-anchor="end">${escaped(name)}</text><line x1="${x(1)}" x2="${x(ratio)}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="3"/><circle cx="${x(ratio)}" cy="${y}" r="5" fill="${colour}"><title>${escaped(`${ratio.toFixed(2)}, ${aim}`)}</title></circle><text x="${width - 160}" y="${y + 4}">${ratio.toFixed(2)} × · ${escaped(aim.replace(/ ×.*/, ''))}</text>`
  })
  const title = `drover against its baselines · ${machine.cores} cores, ${machine.cpu}, Node ${machine.node.slice(1)} · ${machine.at.slice(0, 10)}`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12" fill="#777"><title>${escaped(title)}</title><text x="12" y="20" font-size="14">${escaped(title)}</text>\n${[...grid, ...dots].join('\n')}\n</svg>\n`
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
