/** POSIX quoting, both ways, with the position of every character: what people type as words, and words as people would type them. */

import { DroverError } from './errors.ts'

export type Word = {
  readonly text: string
  /** Offset in the source of each UTF-16 unit of `text`. */
  readonly at: readonly number[]
  /** Offset where the word begins. */
  readonly start: number
  /** Which units stood inside quotes or behind a backslash. */
  readonly quoted: readonly boolean[]
}

/** Splits by the rules of POSIX shell quoting (XCU 2.2), expanding nothing. Throws `usage` where a quote is not closed. */
export function splitWords(source: string, origin: readonly number[] = []): Word[] {
  const place = (i: number) => origin[i] ?? i
  const words: Word[] = []
  let word: { text: string; at: number[]; start: number; quoted: boolean[] } | undefined
  const open = (i: number) => {
    word ??= { text: '', at: [], start: place(i), quoted: [] }
    return word
  }
  const put = (i: number, quoted: boolean) => {
    const w = open(i)
    w.text += source[i]
    w.at.push(place(i))
    w.quoted.push(quoted)
  }
  const unclosed = (what: string, i: number) =>
    new DroverError({
      code: 'usage',
      message: `The ${what} opened here is not closed.`,
      next: `Close it with another ${what}, or put a backslash before it if it is meant literally.`,
      position: place(i),
    })
  for (let i = 0; i < source.length; i++) {
    const c = source[i]!
    if (c === ' ' || c === '\t' || c === '\n') {
      if (word) words.push(word)
      word = undefined
    } else if (c === "'") {
      const end = source.indexOf("'", i + 1)
      if (end < 0) throw unclosed('single quote', i)
      open(i)
      for (let k = i + 1; k < end; k++) put(k, true)
      i = end
    } else if (c === '"') {
      const start = i
      open(i)
      for (i++; source[i] !== '"'; i++) {
        if (i >= source.length) throw unclosed('double quote', start)
        // Inside double quotes a backslash escapes only these (XCU 2.2.3).
        if (source[i] === '\\' && '$`"\\\n'.includes(source[i + 1] ?? ' ')) {
          i++
          if (source[i] === '\n') continue
        }
        put(i, true)
      }
    } else if (c === '\\') {
      if (i + 1 >= source.length) throw unclosed('backslash', i)
      i++
      if (source[i] !== '\n') put(i, true)
    } else {
      put(i, false)
    }
  }
  if (word) words.push(word)
  return words
}

/** A word that came already split, as from a terminal's argv: all of it counts as quoted. */
export function givenWord(text: string): Word {
  return {
    text,
    start: 0,
    at: Array.from({ length: text.length }, (_, i) => i),
    quoted: new Array<boolean>(text.length).fill(true),
  }
}

/** One argument as a person would type it: bare when that is safe, else in single quotes. */
export function quoteWord(text: string): string {
  if (text !== '' && /^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text
  return inQuotes(text)
}

function inQuotes(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** The argv as a line that a shell would split into the same array. */
export function formatArgv(argv: readonly string[]): string {
  // A first word with `=` would be an assignment.
  return argv.map((arg, i) => (i === 0 && arg.includes('=') ? inQuotes(arg) : quoteWord(arg))).join(' ')
}

/** Words that only mean something to a shell when they come first. */
const shellWords = new Set(
  '! . : [[ alias bg break case cd command continue eval exec exit export fg for function getopts hash if jobs local read readonly return select set shift source time times trap type typeset ulimit umask unalias unset until wait while { ('.split(
    ' ',
  ),
)

/** Whether a shell would do more with this text than split it into words: operators, expansions, globs, assignments, built-ins. */
export function needsShell(text: string): boolean {
  let quote: '"' | "'" | undefined
  // What stands before `c` once line continuations are gone: they join, so a word may begin right after one.
  let before = ' '
  // How far an unquoted brace expansion of the current word has come: `{`, then `,` or `..`, then `}` (bash as /bin/sh).
  let brace: 'none' | 'open' | 'parted' = 'none'
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (quote === "'") {
      if (c === "'") quote = undefined
      continue
    }
    if (c === '\\') {
      i++
      if (i >= text.length) return false
      if (quote === undefined && text[i] !== '\n') before = c
      continue
    }
    if (c === '$' || c === '`') return true
    if (quote === '"') {
      if (c === '"') quote = undefined
      continue
    }
    if (c === '"' || c === "'") quote = c
    else if ('|&;<>()*?[\n'.includes(c)) return true
    else if ((c === '~' || c === '#') && ' \t=:'.includes(before)) return true
    else if (c === '{') brace = 'open'
    else if (brace === 'open' && (c === ',' || (c === '.' && before === '.'))) brace = 'parted'
    else if (brace === 'parted' && c === '}') return true
    else if (c === ' ' || c === '\t') brace = 'none'
    before = c
  }
  // With a quote or a backslash left open there are no words: `splitWords` says so, as a shell would.
  const first = quote === undefined ? splitWords(text)[0] : undefined
  return first !== undefined && (shellWords.has(first.text) || isAssignment(first))
}

/** `NAME=` or bash's `NAME+=` before a command, unless a part of the name was quoted. */
function isAssignment({ text, quoted }: Word): boolean {
  const name = /^[A-Za-z_][A-Za-z0-9_]*\+?=/.exec(text)?.[0]
  return name !== undefined && !quoted.slice(0, name.length).includes(true)
}
