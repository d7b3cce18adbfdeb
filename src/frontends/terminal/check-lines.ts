/** What a check found, as lines of a terminal. */

import type { CheckLine } from '../../core/ports.ts'

type Paint = (colour: 'green' | 'yellow' | 'red', text: string) => string

export function formatCheck({ ok, what, detail, next }: CheckLine, paint: Paint): string {
  const mark = ok === true ? paint('green', 'ok  ') : ok === 'warn' ? paint('yellow', 'warn') : paint('red', 'FAIL')
  const line = `${mark} ${what}${detail ? `: ${detail}` : ''}`
  return next && ok !== true ? `${line}\n     ${withoutItself(next)}` : line
}

/** Who asks `check` or `trust` need not be sent to it. */
export function withoutItself(next: string): string {
  return next.replace('; `drover check` tells more.', '.')
}
