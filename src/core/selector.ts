/** Which containers are meant: one grammar for labels and names on every backend, and one place that matches. */

import { DroverError, type Failure } from './errors.ts'
import type { Facet, LabelTerm, Selector, Target } from './model.ts'

export const facetNames: readonly Facet[] = [
  'stack',
  'service',
  'task',
  'namespace',
  'workload',
  'pod',
  'container',
  'image',
  'host',
]

/** `*` is any run of characters, `?` any one; all else is literal. At most glob × text steps, never exponential: no regular expression is built. */
export function matchesGlob(glob: string, text: string): boolean {
  let g = 0
  let t = 0
  let star = -1
  let mark = 0
  while (t < text.length) {
    if (g < glob.length && glob[g] === '*') {
      star = g++
      mark = t
    } else if (g < glob.length && (glob[g] === '?' || glob[g] === text[t])) {
      g++
      t++
    } else if (star >= 0) {
      g = star + 1
      t = ++mark
    } else return false
  }
  while (glob[g] === '*') g++
  return g === glob.length
}

/** A value that selects nothing in particular: blank, only wildcards, or a variable nobody resolved (S44). */
export function isBlank(value: string): boolean {
  return /^[\s*?]*$/.test(value) || /\$\{?[A-Za-z_]|\{\{|^<[^>]*>$|^(undefined|null)$/.test(value)
}

/** `k`, `k=v`, `k!=v`, `k in (a,b)`, `!k`, comma = and. Throws `usage` or `empty_selector`; `position` is where the value starts. */
export function parseLabels(text: string, position?: number): LabelTerm[] {
  const where = position === undefined ? {} : { position }
  const terms: LabelTerm[] = []
  for (const part of text.split(/,(?![^(]*\))/)) {
    const term = part.trim()
    if (isBlank(term)) throw blank('label', where)
    const list = /^(\S+)\s+in\s+\(([^()]*)\)$/.exec(term)
    const pair = /^([^=!\s]+)\s*(!=|==|=)\s*(\S(?:.*\S)?)$/.exec(term)
    if (list) {
      const values = list[2]!.split(',').map((v) => v.trim())
      if (values.some(isBlank)) throw blank('label', where)
      terms.push({ op: 'in', key: list[1]!, values })
    } else if (pair) {
      if (isBlank(pair[3]!)) throw blank('label', where)
      terms.push({ op: pair[2] === '!=' ? 'ne' : 'eq', key: pair[1]!, value: pair[3]! })
    } else if (/^![^=!\s]+$/.test(term)) {
      terms.push({ op: 'absent', key: term.slice(1) })
    } else if (/^[^=!\s()]+$/.test(term)) {
      terms.push({ op: 'word', word: term })
    } else {
      throw new DroverError({
        code: 'usage',
        message: `The label term ${JSON.stringify(term)} is not understood.`,
        next: 'Use key, key=value, key!=value, !key or "key in (a,b)", with commas for "and".',
        ...where,
      })
    }
  }
  return terms
}

export function blank(key: string, where: { position?: number }): DroverError {
  return new DroverError({
    code: 'empty_selector',
    message: `${key}= says nothing in particular, and that would mean every container.`,
    next: `Give ${key}= a value. For every container there is, type all=N with their exact number.`,
    ...where,
  })
}

/** Refuses a selector that would mean "everything" without saying so. `on` and `any` alone narrow nothing. */
export function refuseEmpty(selector: Selector): void {
  for (const [key, value] of Object.entries({ name: selector.name, id: selector.id, ...selector.facets })) {
    // `deployment/*` is every deployment there is.
    if (value !== undefined && isBlank(key === 'workload' ? value.slice(value.indexOf('/') + 1) : value)) throw blank(key, {})
  }
  for (const term of selector.labels ?? []) {
    const said =
      term.op === 'word' ? [term.word] : [term.key, ...('value' in term ? [term.value] : 'values' in term ? term.values : [])]
    if (said.length < (term.op === 'in' ? 2 : 1) || said.some(isBlank)) throw blank('label', {})
  }
  if (selector.any !== undefined && !(Number.isSafeInteger(selector.any) && selector.any > 0)) throw blank('any', {})
  const positive = (selector.labels ?? []).some((term) => term.op !== 'absent' && term.op !== 'ne')
  if (
    positive ||
    selector.name ||
    selector.id ||
    Object.values(selector.facets ?? {}).some((value) => value !== undefined) ||
    selector.all !== undefined
  )
    return
  throw new DroverError({
    code: 'empty_selector',
    message: selector.labels?.length
      ? 'Only "not" terms: that would mean nearly every container.'
      : 'Nothing says which containers are meant.',
    next: 'Add label=, name=, id=, stack= or service=. For every container there is, type all=N with their exact number.',
  })
}

function matchesTerm(term: LabelTerm, labels: Target['labels']): boolean {
  switch (term.op) {
    case 'exists':
      return Object.hasOwn(labels, term.key)
    case 'absent':
      return !Object.hasOwn(labels, term.key)
    case 'eq':
      return Object.hasOwn(labels, term.key) && labels[term.key] === term.value
    case 'ne':
      return !Object.hasOwn(labels, term.key) || labels[term.key] !== term.value
    case 'in':
      return Object.hasOwn(labels, term.key) && term.values.includes(labels[term.key]!)
    case 'word':
      return Object.hasOwn(labels, term.word) || Object.values(labels).includes(term.word)
    default:
      return term satisfies never
  }
}

export function matchesLabels(terms: readonly LabelTerm[], labels: Target['labels']): boolean {
  return terms.every((term) => matchesTerm(term, labels))
}

/** A workload is called `deployment/api`, and `api` for short. */
export function namesOf({ name, facets }: Target): readonly string[] {
  return name === facets.workload ? [name, name.slice(name.indexOf('/') + 1)] : [name]
}

export function matches(selector: Selector, target: Target): boolean {
  if (selector.on !== undefined && !matchesGlob(selector.on, target.backend)) return false
  if (selector.name !== undefined && !namesOf(target).some((name) => matchesGlob(selector.name ?? '', name))) return false
  if (selector.id !== undefined && !target.native.startsWith(selector.id) && !target.engineId?.startsWith(selector.id))
    return false
  for (const facet of facetNames) {
    const glob = selector.facets?.[facet]
    if (glob !== undefined && !matchesGlob(glob, target.facets[facet] ?? '')) return false
  }
  return matchesLabels(selector.labels ?? [], target.labels)
}

/** Made once: `localeCompare` makes one for each two names, 60 ms for a thousand of them. */
const byName = new Intl.Collator('en', { numeric: true })

export type Selection =
  | { readonly ok: true; readonly targets: readonly Target[]; readonly notes: readonly string[] }
  | { readonly ok: false; readonly failure: Failure }

/** The targets that a selector means out of all that were listed; a refusal shows what was found. */
export function select(
  selector: Selector,
  listed: readonly Target[],
  purpose: 'run' | 'look' = 'run',
  thing: 'container' | 'workload' = 'container',
): Selection {
  if (purpose === 'run') refuseEmpty(selector)
  const matched = listed.filter((target) => matches(selector, target))
  const platform = matched.filter((target) => target.system && !selector.system)
  let found = matched.filter((target) => !target.system || selector.system)
  // An exact id beats a prefix: 1i16 is not ambiguous because 1i160 exists.
  const exact = found.filter((target) => target.native === selector.id || target.engineId === selector.id)
  if (selector.id !== undefined && exact.length === 1) found = exact
  found.sort((a, b) => byName.compare(a.name, b.name) || (a.id < b.id ? -1 : 1))
  const notes: string[] = []
  const refuse = (failure: Failure): Selection => ({ ok: false, failure })
  if (platform.length > 0)
    notes.push(`left out: ${platform.length} of the platform's own (${names(platform)}); system=1 includes them`)
  if (found.length === 0) {
    return refuse({
      code: 'no_targets',
      message: `No ${thing === 'container' ? 'running container' : thing} matches${platform.length > 0 ? `, except ${platform.length} of the platform's own (${names(platform)})` : ''}.`,
      next:
        thing === 'container'
          ? 'Check the spelling: /exec targets (on a terminal drover targets) lists the running containers that you may use.'
          : 'Check the spelling, for example: rollout status deployment=a*',
    })
  }
  if (selector.id !== undefined && found.length > 1) {
    return refuse({
      code: 'ambiguous',
      message: `id=${selector.id} begins the id of ${found.length} ${thing}s: ${names(found)}.`,
      next: `Type more of the id: ${found
        .slice(0, 3)
        .map((target) => target.native)
        .join(', ')}.`,
    })
  }
  if (selector.all !== undefined && selector.all !== found.length) {
    return refuse({
      code: 'count_mismatch',
      message: `all=${selector.all} was typed, but ${found.length} ${thing}s match: ${names(found)}.`,
      next: `If you do mean all of them, type all=${found.length}.`,
    })
  }
  for (const term of selector.labels ?? []) if (term.op === 'word') notes.push(wordNote(term.word, found))
  if (selector.any !== undefined && found.length > selector.any) {
    notes.push(`any=${selector.any}: took ${selector.any} of ${found.length}`)
    found = found.slice(0, selector.any)
  }
  return { ok: true, targets: found, notes }
}

function wordNote(word: string, found: readonly Target[]): string {
  const keys = found.filter((target) => Object.hasOwn(target.labels, word)).length
  const values = new Set(found.flatMap((target) => Object.entries(target.labels).flatMap(([k, v]) => (v === word ? [k] : []))))
  const parts = [...(keys > 0 ? [`the label key ${word}`] : []), ...[...values].map((key) => `${key}=${word}`)]
  return `"${word}" matched ${parts.join(' and ')}`
}

/** At most eight names, then how many more. */
export function names(targets: readonly Target[]): string {
  const shown = targets.slice(0, 8).map((target) => target.name)
  return shown.join(', ') + (targets.length > 8 ? ` and ${targets.length - 8} more` : '')
}
