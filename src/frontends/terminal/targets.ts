/** What `drover targets` prints: columns with headings for a person, a line of tabs for each target for a program. */

import { counted } from '../../core/counted.ts'
import type { Target } from '../../core/model.ts'
import type { TargetsAnswer } from '../../core/ports.ts'
import { inOneLine } from './one-line.ts'

/** The columns of the form for programs, which does not change. */
const forPrograms = (target: Target) => [
  target.name,
  target.id,
  ...(['stack', 'service', 'image', 'host'] as const).map((facet) => target.facets[facet]),
]

const headings = ['NAME', 'ID', 'NAMESPACE', 'STACK', 'SERVICE', 'CONTAINER', 'IMAGE', 'HOST'] as const
const forPeople = ({ name, id, facets: { namespace, stack, service, container, image, host } }: Target) => [
  name,
  id,
  namespace,
  stack,
  service,
  // Where it is the name anyway, as in Docker, it says nothing new.
  container === name ? undefined : container,
  image,
  host,
]
/** An image is cut no shorter than this, and nothing else is cut: it is typed again. */
const leastImage = 16

/** `screen`: set where stdout is a terminal. */
export function describeTargets(
  answer: TargetsAnswer,
  screen: { readonly columns: number } | undefined,
): { readonly out: readonly string[]; readonly err: readonly string[] } {
  if (!answer.ok) return { out: [], err: [answer.failure.message, answer.failure.next ?? ''].filter(Boolean) }
  const { targets, hidden = 0 } = answer
  // The total says it, too.
  const closed = hidden > 0 && !screen ? [notYours(hidden)] : []
  const notes = [...answer.notes, ...closed].map((note) => `note: ${inOneLine(note)}`)
  if (!screen) {
    const line = (target: Target) => forPrograms(target).map((part) => (part === undefined ? '-' : inOneLine(part) || '-'))
    return { out: targets.map((target) => line(target).join('\t')), err: notes }
  }
  return { out: [...table(targets, screen.columns), '', total(targets.length, hidden)], err: notes }
}

function table(targets: readonly Target[], columns: number): readonly string[] {
  const rows = [headings, ...targets.map(forPeople)].map((row) =>
    row.map((part) => (part === undefined ? '-' : inOneLine(part) || '-')),
  )
  const used = headings.map((_, i) => rows.slice(1).some((row) => row[i] !== '-'))
  const kept = rows.map((row) => row.filter((_, i) => used[i]))
  const widths = (kept[0] ?? []).map((_, i) => Math.max(...kept.map((row) => lengthOf(row[i]))))
  const image = (kept[0] ?? []).indexOf('IMAGE')
  const over = widths.reduce((sum, width) => sum + width + 2, -2) - columns
  if (image >= 0 && over > 0) widths[image] = Math.max(leastImage, (widths[image] ?? 0) - over)
  return kept.map((row) =>
    row
      .map((part, i) => fitted(part, widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

const lengthOf = (text = '') => [...text].length

function fitted(text: string, width: number): string {
  const characters = [...text]
  if (characters.length <= width) return text + ' '.repeat(width - characters.length)
  return `${characters.slice(0, width - 1).join('')}…`
}

function total(targets: number, hidden: number): string {
  const found = targets + hidden
  const all = found === 1 ? 'in it' : 'in all of them'
  return `${counted(found, 'target')} found; you may run commands ${hidden === 0 ? all : `in ${targets} of them`}.`
}

function notYours(hidden: number): string {
  return `${counted(hidden, 'more matches', 'more match')}, and no rule lets you run anything there`
}
