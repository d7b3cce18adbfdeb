/** What people type, as a request: `label=web cmd="uptime"`. Errors point at the character and show the right form. */

import { DroverError } from './errors.ts'
import type { Argv, Command, Facet, LabelTerm, Selector } from './model.ts'
import { facetNames, parseLabels, refuseEmpty } from './selector.ts'
import { givenWord, needsShell, splitWords, type Word } from './words.ts'

export type ParsedLine =
  | { readonly verb: 'exec' | 'why'; readonly selector: Selector; readonly command: Command; readonly timeoutMs?: number }
  | { readonly verb: 'targets'; readonly selector: Selector }
  | { readonly verb: 'runs' | 'help' }

export const rightForm = 'label=web cmd="uptime"   or   name=shop-web-* -- ls -la "/srv/my dir"'

const verbs = ['exec', 'targets', 'why', 'runs', 'help'] as const
const keys = [
  'label',
  'name',
  'id',
  'on',
  ...facetNames,
  'any',
  'all',
  'system',
  'cmd',
  'timeout',
  'env',
  'dir',
  'user',
  'stdin',
  'tty',
]
const repeatable = ['env', 'label']
/** Longest text taken, in UTF-16 units: Slack itself cuts near 40,000; nothing a person types is near this. */
const maxText = 16_384

/** Parses one typed line. Throws DroverError `usage` or `empty_selector`. */
export function parseCommandLine(text: string): ParsedLine {
  if (text.length > maxText) {
    throw usage(
      `The text is ${text.length} characters long; at most ${maxText} are taken.`,
      maxText,
      'Put long scripts into the image and call them.',
    )
  }
  return parseWords(splitWords(text))
}

/** Parses words that a terminal's shell has split already. What follows `--` is the argv, untouched. */
export function parseArguments(args: readonly string[]): ParsedLine {
  return parseWords(args.map(givenWord), true)
}

type Pair = { readonly key: string; readonly value: string; readonly word: Word; readonly valueAt: number }

function parseWords(all: readonly Word[], split = false): ParsedLine {
  const dashes = all.findIndex((word) => word.text === '--' && (split || !word.quoted.includes(true)))
  const after = dashes < 0 ? [] : all.slice(dashes + 1)
  const before = dashes < 0 ? [...all] : all.slice(0, dashes)
  const verb = verbs.find((v) => v === before[0]?.text) ?? 'exec'
  if (verb === before[0]?.text) before.shift()
  if (verb === 'help' || (all.length === 0 && !split)) return { verb: 'help' }
  const pairs = before.map((word) => parsePair(word, verb))
  if (verb === 'runs' || verb === 'targets') {
    const extra =
      before.length > 0 && verb === 'runs'
        ? before[0]
        : (pairs.find(({ key }) => ['cmd', 'timeout', 'env', 'dir', 'user', 'stdin', 'tty'].includes(key))?.word ?? all[dashes])
    if (extra)
      throw usage(
        `${verb} runs nothing, so it takes no ${extra.text.replace(/=.*/s, '=')}`,
        extra.start,
        `Leave it out, or leave out the word ${verb}.`,
      )
  }
  if (verb === 'runs') return { verb }
  for (const [i, pair] of pairs.entries()) {
    if (!repeatable.includes(pair.key) && pairs.findIndex((p) => p.key === pair.key) < i) {
      throw usage(`${pair.key}= is given twice.`, pair.word.start, `Say ${pair.key}= once.`)
    }
  }
  const selector = selectorOf(pairs, verb === 'targets' ? 'look' : 'run')
  if (verb === 'targets') return { verb, selector }
  const timeout = pairs.find((pair) => pair.key === 'timeout')
  const command = commandOf(pairs, after, dashes >= 0, all)
  return { verb, selector, command, ...(timeout ? { timeoutMs: parseDuration(timeout) } : {}) }
}

function parsePair(word: Word, verb: string): Pair {
  const equals = word.text.indexOf('=')
  const key = word.text.slice(0, equals)
  if (equals <= 0 || !/^[A-Za-z]+$/.test(key)) {
    const hint = verbs.some((v) => v === word.text)
      ? `The word ${word.text} comes first.`
      : word.text === 'in'
        ? 'Put quotes around it: label="role in (web,api)".'
        : verb === 'exec'
          ? `Write it as key=value, for example: ${rightForm}`
          : `Write it as key=value, for example: ${verb} label=web`
    // Only a plain word is quoted: anything else may be a secret, and the position points at it anyway (S35).
    const quoted = /^[A-Za-z-]{1,20}$/.test(word.text) ? `"${word.text}"` : 'This word'
    throw usage(`${quoted} has no key.`, word.start, hint)
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

function selectorOf(pairs: readonly Pair[], purpose: 'run' | 'look'): Selector {
  const selector: { -readonly [K in keyof Selector]: Selector[K] } = {}
  const labels: LabelTerm[] = []
  const facets: Partial<Record<Facet, string>> = {}
  for (const pair of pairs) {
    const { key, value, valueAt } = pair
    if (key === 'label') labels.push(...parseLabels(value, valueAt))
    else if (key === 'on' || key === 'name' || key === 'id') selector[key] = filled(pair)
    else if (facetNames.some((facet) => facet === key)) facets[key as Facet] = filled(pair)
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

function filled({ key, value, valueAt }: Pair): string {
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

function parseDuration({ value, valueAt }: Pair): number {
  const match = /^([0-9]{1,7})(ms|s|m|h)?$/.exec(value)
  const ms = match ? Number(match[1]) * units[match[2] ?? 's']! : 0
  if (ms < 100 || ms > 86_400_000)
    throw usage('timeout= takes a time between 100ms and 24h.', valueAt, 'For example timeout=20s or timeout=5m.')
  return ms
}

function commandOf(pairs: readonly Pair[], after: readonly Word[], dashed: boolean, all: readonly Word[]): Command {
  const one = (key: string) => pairs.find((pair) => pair.key === key)
  const cmd = one('cmd')
  const end = all.at(-1)
  const endAt = end ? (end.at.at(-1) ?? end.start) + 1 : 0
  if (cmd && dashed) throw usage('Give either cmd= or words after --, not both.', cmd.word.start, `For example: ${rightForm}`)
  if (!cmd && after.length === 0) throw usage('There is no command.', endAt, `For example: ${rightForm}`)
  const argv = cmd ? argvOf(cmd) : after.map((word) => word.text)
  if (argv[0] === undefined || argv[0] === '')
    throw usage('The command is empty.', cmd?.valueAt ?? endAt, `For example: ${rightForm}`)
  const nul = argv.findIndex((arg) => arg.includes('\0'))
  if (nul >= 0) throw usage('A command cannot hold a NUL character.', cmd?.valueAt ?? after[nul]?.start ?? 0, 'Take it out.')
  const env = pairs
    .filter((pair) => pair.key === 'env')
    .map((pair) => {
      const match = /^([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)$/.exec(pair.value)
      if (!match) throw usage('env= takes NAME=value.', pair.valueAt, 'For example env=LANG=C. Repeat env= for more.')
      return [match[1]!, match[2]!] as const
    })
  const tty = one('tty')
  if (tty && tty.value !== '1') throw usage('tty= is either left out or 1.', tty.valueAt, 'Write tty=1.')
  for (const pair of [one('dir'), one('user')]) {
    if (pair && (pair.value.trim() === '' || pair.value.includes('\0')))
      throw usage(`${pair.key}= is empty.`, pair.valueAt, `Give ${pair.key}= a value, or leave it out.`)
  }
  const texts = Object.fromEntries(['dir', 'user', 'stdin'].flatMap((key) => (one(key) ? [[key, one(key)!.value]] : [])))
  return {
    argv: argv as unknown as Argv,
    // Not by assignment: env=__proto__=x is a name like any other.
    ...(env.length > 0 ? { env: Object.fromEntries(env) } : {}),
    ...texts,
    ...(tty ? { tty: true } : {}),
  }
}

/** Text that needs no shell becomes its words; any other text is handed to a shell whole, and says so. */
function argvOf(cmd: Pair): readonly string[] {
  if (needsShell(cmd.value)) return ['/bin/sh', '-c', cmd.value]
  return splitWords(cmd.value, cmd.word.at.slice(cmd.key.length + 1)).map((word) => word.text)
}

function usage(message: string, position: number, next: string): DroverError {
  return new DroverError({ code: 'usage', message, next, position })
}

/** The typed line with a caret under the character that an error points at, both in one window of at most 80 characters. */
export function pointAt(text: string, position: number): string {
  const from = Math.max(0, position - 50)
  const window = text.slice(from, from + 80).replaceAll(/[\n\t]/g, ' ')
  return `${window}\n${' '.repeat(Math.max(0, position - from))}^`
}
