/** What a configuration is refused with: for each mistake its line, the place in words, what is wrong and what to write. */

import leven from 'leven'
import * as z from 'zod'
import { DroverError } from '../core/errors.ts'
import type { Mistake, Path, Source } from './document.ts'

/** More of them help nobody: what comes later often follows from the first. */
const MOST = 20

export function refusal(file: string, mistakes: readonly Mistake[]): DroverError {
  const inOrder = [...mistakes].sort((one, other) => order(one) - order(other))
  const lines = inOrder
    .slice(0, MOST)
    .map(({ words, spot }) => `  - ${spot ? `line ${spot.line}, column ${spot.column}: ` : ''}${words}`)
  const more = mistakes.length - lines.length
  return new DroverError({
    code: 'config',
    message: [
      `${file} has ${mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`}:`,
      ...lines,
      ...(more > 0 ? [`  - and ${more} more`] : []),
    ].join('\n'),
    next: 'Correct it and start again.',
  })
}

const order = ({ spot }: Mistake): number => (spot ? spot.line * 1000 + Math.min(spot.column, 999) : 0)

/** With the place in words before what is wrong; `source` tells the line. */
export function placed(mistakes: readonly Mistake[], { data, spotOf }: Pick<Source, 'data' | 'spotOf'>): readonly Mistake[] {
  return mistakes.map(({ path, words, spot }) => {
    const place = placeOf(path, data)
    return { path, words: place === '' ? words : `${place}: ${words}`, spot: spot ?? spotOf(path) }
  })
}

/** The keys that may stand at a place, of those that its schema has. */
export type KeysAt = (path: Path, keys: readonly string[]) => readonly string[]

/** A parse that failed, as mistakes of the document. `wordsOf` was its error map. */
export function mistakesOf({ issues }: z.ZodError, source: Source, keysAt: KeysAt = (_, keys) => keys): readonly Mistake[] {
  return placed(
    issues.flatMap((issue) => mistakeOf(issue, source, keysAt)),
    source,
  )
}

function mistakeOf(issue: z.core.$ZodIssue, source: Source, keysAt: KeysAt): readonly Mistake[] {
  const { path, message } = issue
  const value = at(source.data, path)
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        path,
        words: `unknown key ${quoted(key)}; ${nearestOf(key, keysAt(path, message.split(' ')), 'keys here:')}`,
        spot: source.spotOf(path, key),
      }))
    case 'invalid_union': {
      // What is of the kind of one branch is meant as that one.
      const [meant, ...others] = issue.errors.filter(
        (branch) => !branch.some((one) => one.path.length === 0 && one.code === 'invalid_type'),
      )
      if (meant && others.length === 0)
        return meant.flatMap((one) => mistakeOf({ ...one, path: [...path, ...one.path] }, source, keysAt))
      break
    }
    case 'invalid_key':
      return [
        {
          path,
          words: `it cannot be called so: ${issue.issues.map((one) => one.message).join(', ')}`,
          spot: source.spotOf(path.slice(0, -1), String(path.at(-1))),
        },
      ]
    case 'custom':
      return [{ path, words: message }]
  }
  if (value === undefined && issue.path.length > 0) return [{ path, words: `it is missing; ${message}` }]
  if (value !== null) return [{ path, words: message }]
  const nothing = source.isCommentedOut(path)
    ? 'nothing stands here, for # begins a comment; put a text with one in quotes'
    : 'nothing stands here'
  return [{ path, words: `${nothing}; ${message}` }]
}

/** In the place of zod's own words, where a schema has none. */
export function wordsOf(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `write ${typeWords[issue.expected] ?? issue.expected}${insteadOf(issue.input, issue.expected)}`
    case 'invalid_value':
      return issue.values.length === 1 && issue.values[0] === true
        ? 'write true, or take the key out'
        : choiceOf(issue.input, issue.values.map(String))
    case 'too_small':
      if (issue.origin === 'array') return 'the list is empty; name at least one, or take the key out'
      if (issue.origin === 'string') return 'the text is empty'
      return `at least ${issue.minimum}`
    case 'too_big':
      return `at most ${issue.maximum}${issue.origin === 'array' ? ' of them' : issue.origin === 'string' ? ' characters' : ''}`
    case 'unrecognized_keys':
      // An issue has no room for them but its message; `mistakeOf` makes the words.
      return issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape).join(' ') : ''
    case 'invalid_union':
      if (issue.discriminator !== undefined && Array.isArray(issue.options)) {
        const given = (issue.input as Readonly<Record<string, unknown>>)[issue.discriminator]
        return choiceOf(given, issue.options.map(String))
      }
      return [...new Set(issue.errors.flat().map(({ message }) => message))].join(', or ')
    default:
      return 'this has another form'
  }
}

const typeWords: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'keys with values',
  record: 'names with what belongs to each',
}

/** What the mistake was, where it is one that YAML invites. */
function insteadOf(input: unknown, expected: string): string {
  if (input === null && ['array', 'object', 'record'].includes(expected)) return ' under it, or take the key out'
  if (expected === 'array' && typeof input === 'string') return ': put it in [ ]'
  if (expected === 'array' && typeof input === 'object') return ': begin each entry with "- "'
  if (expected !== 'string' || (typeof input !== 'number' && typeof input !== 'boolean')) return ''
  return `; YAML takes this for ${typeof input === 'number' ? 'a number' : 'true or false'}: put it in quotes`
}

/** A value is quoted only where it is one word of a few: elsewhere it could be a secret in the wrong place (S34). */
function choiceOf(input: unknown, choices: readonly string[]): string {
  if (typeof input !== 'string' || input.length > 20) return `write one of ${choices.join(', ')}`
  return `there is no ${quoted(input)}; ${nearestOf(input, choices, 'there are')}`
}

export function nearestOf(word: string, known: readonly string[], intro: string): string {
  const found = near(word, known)
  const list = `${intro} ${known.join(', ') || 'none'}`
  return found.length === 0 ? list : `did you mean ${found.join(' or ')}? (${list})`
}

/** Those that differ from it the least, if that is little: a slip of the finger, or one letter more or less. */
function near(word: string, known: readonly string[]): readonly string[] {
  const most = word.length < 4 ? 1 : word.length < 8 ? 2 : 3
  const far = known.map((one) => [one, leven(word.toLowerCase(), one.toLowerCase())] as const)
  const least = Math.min(...far.map(([, distance]) => distance))
  return least > most ? [] : far.filter(([, distance]) => distance === least).map(([one]) => one)
}

const quoted = (word: string) => (/^[\w./-]{1,40}$/.test(word) ? word : JSON.stringify(word.slice(0, 40)))

/** `rule 2 (oncall), who.users, item 1`: people count from 1, and know a rule by its name. */
function placeOf(path: Path, data: unknown): string {
  if (path.length === 0) return 'the file'
  const [first, second] = path
  const isRule = first === 'rules' && typeof second === 'number'
  const parts: string[] = isRule ? [`rule ${second + 1}${nameOf(at(data, path.slice(0, 2)))}`] : []
  let keys: string[] = []
  for (const step of [...path.slice(isRule ? 2 : 0), undefined]) {
    if (step !== undefined && typeof step !== 'number') keys.push(String(step))
    else {
      if (keys.length > 0) parts.push(keys.join('.'))
      keys = []
      if (step !== undefined) parts.push(`item ${step + 1}`)
    }
  }
  return parts.join(', ')
}

function nameOf(rule: unknown): string {
  if (typeof rule !== 'object' || rule === null || Array.isArray(rule)) return ''
  const { id } = rule as { id?: unknown }
  if (typeof id === 'string' && id.length <= 64) return ` (${id})`
  const [key] = Object.keys(rule)
  return key === undefined ? '' : ` (it begins with ${quoted(key)}:)`
}

export function at(data: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, step) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, step)
        ? (value as Readonly<Record<PropertyKey, unknown>>)[step]
        : undefined,
    data,
  )
}
