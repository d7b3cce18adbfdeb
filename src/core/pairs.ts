/** `key=value`, the words that every line is made of: which keys there are, what a slip of the pen meant, which containers are meant. */

import { DroverError } from './errors.ts'
import type { Facet, LabelTerm, Selector } from './model.ts'
import { blank, facetNames, isBlank, parseLabels, refuseEmpty } from './selector.ts'
import type { Word } from './words.ts'

export type Pair = { readonly key: string; readonly value: string; readonly word: Word; readonly valueAt: number }
export type Grammar = { readonly keys: readonly string[]; hint(word: string): string }

/** Short forms: `deployment=api` is `workload=deployment/api`. */
export const workloadKinds = ['deployment', 'statefulset', 'daemonset'] as const
const repeatable = ['env', 'label']

/** `hint`: what to do instead, when the word has no key. */
export function parsePair(word: Word, { keys, hint }: Grammar): Pair {
  const equals = word.text.indexOf('=')
  const key = word.text.slice(0, equals)
  if (equals <= 0 || !/^[A-Za-z]+$/.test(key)) {
    // Only a plain word is quoted: anything else may be a secret, and the position points at it anyway (S35).
    const quoted = /^[A-Za-z-]{1,20}$/.test(word.text) ? `"${word.text}"` : 'This word'
    throw usage(`${quoted} has no key.`, word.start, hint(word.text))
  }
  if (!keys.includes(key)) {
    const near = keys.find(
      (k) => k.startsWith(key.toLowerCase()) || key.toLowerCase().startsWith(k) || isOneSlip(k, key.toLowerCase()),
    )
    throw usage(
      key.length <= 20 ? `There is no key ${key}=.` : 'There is no such key.',
      word.start,
      near ? `Did you mean ${near}= ?` : `Keys: ${keys.join(', ')}.`,
    )
  }
  return { key, value: word.text.slice(equals + 1), word, valueAt: word.at[equals + 1] ?? word.start + equals + 1 }
}

/** One letter missing, added, changed, or two swapped. */
function isOneSlip(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false
  let i = 0
  while (i < a.length && a[i] === b[i]) i++
  const rest = (x: string, from: number) => x.slice(from)
  return (
    rest(a, i + 1) === rest(b, i + 1) ||
    rest(a, i + 1) === rest(b, i) ||
    rest(a, i) === rest(b, i + 1) ||
    (a[i] === b[i + 1] && a[i + 1] === b[i] && rest(a, i + 2) === rest(b, i + 2))
  )
}

export function selectorOf(pairs: readonly Pair[], purpose: 'run' | 'look'): Selector {
  const selector: { -readonly [K in keyof Selector]: Selector[K] } = {}
  const labels: LabelTerm[] = []
  const facets: Partial<Record<Facet, string>> = {}
  for (const pair of pairs) {
    const { key, value, valueAt } = pair
    if (key === 'label') labels.push(...parseLabels(value, valueAt))
    else if (key === 'on' || key === 'name' || key === 'id') selector[key] = filled(pair)
    else if (key === 'task') {
      if (pairs.some((other) => other.key === 'id'))
        throw usage('id= and task= both name one container.', pair.word.start, 'Say one of them.')
      // Abbreviated like any id, so that one that begins two is refused; and no other kind's id is meant.
      const id = said(pair)
      if (/[*?]/.test(id)) throw usage('task= takes the beginning of an id.', valueAt, 'For example task=x7k2m9qa.')
      selector.id = id
      facets.task = `${id}*`
    } else if (facetNames.some((facet) => facet === key)) facets[key as Facet] = filled(pair)
    else if (workloadKinds.some((kind) => kind === key)) facets.workload = `${key}/${said(pair)}`
    else if (key === 'any' || key === 'all') selector[key] = parseCount(pair)
    else if (key === 'system') {
      if (value !== '1') throw usage('system= is either left out or 1.', valueAt, 'Write system=1.')
      selector.system = true
    }
  }
  if (labels.length > 0) selector.labels = labels
  if (Object.keys(facets).length > 0) selector.facets = facets
  if (purpose === 'run' || pairs.length > 0) refuseEmpty(selector)
  return selector
}

/** Behind the kind even a lone `*` would look like a name. */
function said(pair: Pair): string {
  const value = filled(pair)
  if (isBlank(value)) throw blank(pair.key, { position: pair.valueAt })
  return value
}

export function filled({ key, value, valueAt }: Pair): string {
  if (value.trim() === '') {
    throw new DroverError({
      code: 'empty_selector',
      message: `${key}= is empty, and that would mean every container.`,
      next: `Give ${key}= a value, or leave it out.`,
      position: valueAt,
    })
  }
  return value
}

function parseCount({ key, value, valueAt }: Pair): number {
  if (!/^[1-9][0-9]{0,5}$/.test(value)) {
    const meaning = key === 'all' ? 'the exact number of containers you mean' : 'how many of the matches to take'
    throw usage(`${key}= takes a number: ${meaning}.`, valueAt, `For example ${key}=3.`)
  }
  return Number(value)
}

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

export function parseDuration({ value, valueAt }: Pair): number {
  const match = /^([0-9]{1,7})(ms|s|m|h)?$/.exec(value)
  const ms = match ? Number(match[1]) * units[match[2] ?? 's']! : 0
  if (ms < 100 || ms > 86_400_000)
    throw usage('timeout= takes a time between 100ms and 24h.', valueAt, 'For example timeout=20s or timeout=5m.')
  return ms
}

/** Throws where a key is given twice, or two keys name the one workload. */
export function refuseTwice(pairs: readonly Pair[]): void {
  const same = (key: string) => (workloadKinds.some((kind) => kind === key) ? 'workload' : key)
  for (const [i, { key, word }] of pairs.entries()) {
    const first = pairs.findIndex((pair) => same(pair.key) === same(key))
    if (repeatable.includes(key) || first === i) continue
    const message =
      pairs[first]?.key === key ? `${key}= is given twice.` : `${key}= and ${pairs[first]?.key}= both name the workload.`
    throw usage(message, word.start, `Say ${pairs[first]?.key === key ? `${key}= once` : 'one of them'}.`)
  }
}

export function usage(message: string, position: number, next: string): DroverError {
  return new DroverError({ code: 'usage', message, next, position })
}
