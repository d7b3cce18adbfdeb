/** Text of an engine as it may stand on a terminal: names, labels and reasons could hold a line end, or what a terminal obeys (S36). */

import { makeVisible } from '../../core/output.ts'

export function inOneLine(text: string): string {
  return makeVisible(text).replaceAll(/\s+/g, ' ')
}
