/** Masks secrets: values that drover knows from its configuration, and tokens of well-known shapes. Linear, also on hostile text. */

import { createHints } from './hints.ts'
import type { Argv } from './model.ts'
import { keyBegin, keyEnd } from './private-keys.ts'

export type Redactor = {
  /** A finished text. */
  text(text: string): { readonly text: string; readonly masked: number }
  /** The same, with a dot for each character, so that positions in the text stay what they were. */
  blank(text: string): string
  /** A text that comes in pieces: a secret split over two pieces is still caught. `isInKey`: it begins within a private key. */
  stream(isInKey?: boolean): RedactStream
  /** Bytes of a text that have to be known for what follows them to be masked. */
  readonly reach: number
  /** Secrets that were read or given out while drover runs; masked from now on, in streams that are open too. */
  readonly learn: Learn
}

/** Called again with the same values it costs nothing. */
export type Learn = (values: readonly string[]) => void

export type RedactStream = {
  /**
   * Looks at the bytes of what `write` is given next, where they are text that needs nothing done to it: tabs, line ends and printable
   * ASCII. Undefined when they are not: then `write` looks itself.
   */
  look(data: Uint8Array): number | undefined
  /** What can be shown by now. `seen`: what `look` said of this piece. */
  write(piece: string, seen?: number): string
  /** Shows nothing of what waits, which is returned; a secret that begins in it and ends later is masked as ever. */
  hide(): string
  end(): string
  /** A private key has begun and not ended. */
  readonly isInKey: boolean
  readonly masked: number
}

type Shape = readonly [name: string, hints: readonly string[], pattern: RegExp]

/** Words by which a value is called; a text without one of them is not searched for the shapes that need them. */
const words = ['passw', 'passphrase', 'secret', 'token', 'key']

/**
 * Shapes whose match is the secret itself, or whose named group `secret` is. Each is a prefix and a bounded run: no backtracking.
 * `hints`: there is no match without one of them, in whatever case; a text without any is not searched.
 */
const shapes: readonly Shape[] = [
  ['aws-key', ['akia', 'asia', 'abia', 'acca'], /\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b/g],
  [
    'github-token',
    ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_', 'github_pat_'],
    /\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})/g,
  ],
  ['gitlab-token', ['glpat-', 'gldt-', 'glrt-', 'glft-', 'glcbt-'], /\bgl(?:pat|dt|rt|ft|cbt)-[A-Za-z0-9_.-]{20,200}/g],
  ['slack-token', ['xox', 'xapp-'], /\bxox[abeprs]-[A-Za-z0-9-]{10,250}|\bxapp-[0-9]-[A-Za-z0-9-]{10,250}/g],
  [
    'slack-webhook',
    ['hooks.slack.com/'],
    /hooks\.slack\.com\/(?:services|workflows|triggers|commands|actions|app)\/[A-Za-z0-9/_-]{20,200}/g,
  ],
  // No start inside a run of its own characters: else `-eyJ-eyJ…` would be read once for each.
  ['jwt', ['.eyj'], /(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8,2000}/g],
  [
    'api-key',
    ['k_live_', 'k_test_', 'sk-', 'aiza', 'sg.', 'npm_', 'dop_v1_'],
    /\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,200}|\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,200}|\bAIza[A-Za-z0-9_-]{35}|\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}|\bnpm_[A-Za-z0-9]{36}|\bdop_v1_[a-f0-9]{64}/g,
  ],
  ['authorization', ['bearer', 'basic', 'token'], /\b(?:Bearer|Basic|token)\s+(?<secret>[A-Za-z0-9+/_.~-]{16,4000}=*)/gi],
  // Up to the last `@` of the host part: people write passwords with one in them as they are.
  ['password-in-url', ['://'], /[a-z][a-z0-9+.-]{1,20}:\/\/[^\s/:@'"]{0,100}:(?<secret>[^\s/'"]{1,200})@/gi],
  ['docker-auth', ['"auth"'], /"auth"\s{0,3}:\s{0,3}"(?<secret>[A-Za-z0-9+/]{8,4000}={0,2})"/g],
  [
    'option',
    words,
    /(?<![A-Za-z0-9_-])--?[a-z-]{0,30}?(?:password|passwd|passphrase|secret|token|api-?key|access-?key|private-?key)\s{1,3}["']?(?<secret>[^\s"',;&-][^\s"',;&]{5,400})/gi,
  ],
  [
    'secret',
    [...words, 'credential', '_pass', '_pwd'],
    // Django's SECRET_KEY, Rails' SECRET_KEY_BASE, Laravel's APP_KEY, DB_PASS, MYSQL_PWD: what `printenv` shows. PWD alone is a folder.
    /(?:password|passwd|passphrase|secret(?:[_-]?key(?:[_-]?base)?)?|token|(?:api|access|private|account|encryption|signing|master|session|app)[_-]?key|credential|[a-z0-9]_(?:pass|pwd))s?["']?\s{0,3}[=:]\s{0,3}["']?(?<secret>[^\s"',;&]{6,400})/gi,
  ],
]

/** Bits of what a text may hold: one for each shape, and these two. */
const bitOfKnown = 1 << shapes.length
const bitOfKey = bitOfKnown << 1
const shapeHints = [
  ...shapes.flatMap(([, hints], i) => hints.map((text) => ({ text, bits: 1 << i }))),
  { text: '-----begin ', bits: bitOfKey },
]
/** So much of a known value is looked for in the first pass. */
const prefix = 8

/** `start`: where the words before the secret begin, by which it is known. `open`: a private key whose end has not come. */
type Span = { readonly start: number; readonly from: number; readonly to: number; readonly name: string; readonly open?: boolean }

const none: readonly Span[] = []

const mask = (name: string) => `[masked: ${name}]`
/** Values shorter than this would mask half of every text; the configuration refuses them. */
export const shortestSecret = 6
/** A line longer than this is shown in pieces; the last `overlap` characters wait, so that a token is not cut. */
const longLine = 65_536
/** More than the longest match of any shape. */
const overlap = 16_384
/** Learned values that are remembered, those used last, and how long one may be: tokens are replaced for as long as drover runs. */
const mostLearned = 256
const longestLearned = 16_384

type Known = ReturnType<typeof knownOf>

function knownOf(values: readonly string[]) {
  const known = [...new Set(values.filter((value) => value.length >= shortestSecret).flatMap(spellings))].sort(
    (a, b) => b.length - a.length,
  )
  return {
    values: known,
    longest: known[0]?.length ?? 0,
    /** Of a value of several lines. */
    spread: Math.max(0, ...known.filter((value) => value.includes('\n')).map((value) => value.length)),
    hints: createHints([...shapeHints, ...known.map((value) => ({ text: value.slice(0, prefix), bits: bitOfKnown }))]),
  }
}

/** `values`: secrets drover knows; also found in base64 and percent-encoding. */
export function createRedactor(values: readonly string[]): Redactor {
  const learned = new Set<string>()
  let made: Known | undefined
  const current = () => {
    made ??= knownOf([...values, ...learned])
    return made
  }

  /** `bits`: of the hints that the text has. */
  function find(text: string, known: Known = current(), bits = known.hints.look().text(text)): Span[] {
    const spans: Span[] = []
    for (const value of bits & bitOfKnown ? known.values : []) {
      for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + value.length)) {
        spans.push({ start: at, from: at, to: at + value.length, name: 'known secret' })
      }
    }
    for (const [i, [name, , pattern]] of shapes.entries()) {
      if (!(bits & (1 << i))) continue
      for (const match of text.matchAll(pattern)) {
        const secret = match.groups?.secret ?? match[0]
        // The secret group is always the last thing in its match but for closing characters.
        const from = match.index + match[0].lastIndexOf(secret)
        if (!secret.startsWith('[masked:')) spans.push({ start: match.index, from, to: from + secret.length, name })
      }
    }
    let until = 0
    for (const begin of bits & bitOfKey ? text.matchAll(keyBegin) : []) {
      if (begin.index < until) continue
      keyEnd.lastIndex = begin.index
      const end = keyEnd.exec(text)
      until = end ? end.index + end[0].length : text.length
      spans.push({ start: begin.index, from: begin.index, to: until, name: 'private-key', open: end === null })
    }
    return spans.length > 1 ? merge(spans) : spans
  }

  /** `at`: what stands before it is not shown. */
  function apply(text: string, spans: readonly Span[], at = 0): string {
    if (spans.length === 0) return at === 0 ? text : text.slice(at)
    let out = ''
    for (const span of spans) {
      out += text.slice(at, span.from) + mask(span.name)
      at = span.to
    }
    return out + text.slice(at)
  }

  return {
    learn(more) {
      const fresh = more.filter((value) => {
        if (value.length < shortestSecret || value.length > longestLearned || values.includes(value)) return false
        const isNew = !learned.delete(value)
        learned.add(value)
        return isNew
      })
      if (fresh.length === 0) return
      for (const oldest of [...learned].slice(0, Math.max(0, learned.size - mostLearned))) learned.delete(oldest)
      made = undefined
    },
    blank(text) {
      let out = ''
      let at = 0
      for (const { from, to } of find(text)) {
        out += text.slice(at, from) + '•'.repeat(to - from)
        at = to
      }
      return out + text.slice(at)
    },
    text(text) {
      const spans = find(text)
      return { text: apply(text, spans), masked: spans.length }
    },
    get reach() {
      return 3 * Math.max(overlap, current().longest)
    },
    stream(isInKey = false) {
      let held = ''
      /** So much of it is not shown. */
      let hidden = 0
      /** Of a key that began in what is not shown. */
      let lead = ''
      let masked = 0
      let inKey = isInKey
      let known = current()
      let look = known.hints.look()
      /** Of the hints in `held`, and perhaps some of what was shown already. */
      let heldBits = 0
      /** What was learned since the last piece is looked for in what is held, too. True: nothing that was seen before counts. */
      const renewed = () => {
        if (known === made) return false
        known = current()
        look = known.hints.look()
        heldBits = look.text(held)
        return true
      }
      const letGo = (characters: number) => {
        held = held.slice(characters)
        hidden = Math.max(0, hidden - characters)
      }
      const led = (text: string) => {
        const all = lead + text
        lead = ''
        return all
      }
      function next(piece: string, seen: number | undefined): string {
        const bits = renewed() || seen === undefined ? look.text(piece) : seen
        const { spread, longest } = known
        heldBits |= bits
        held += piece
        if (inKey) {
          keyEnd.lastIndex = 0
          const end = keyEnd.exec(held)
          if (!end) {
            letGo(Math.max(0, held.length - 80))
            return ''
          }
          letGo(end.index + end[0].length)
          inKey = false
        }
        if (held.length <= longLine && !piece.includes('\n')) return ''
        // Up to the last line end that no value of several lines can reach over.
        let ready = held.length > spread ? held.lastIndexOf('\n', held.length - spread - 1) + 1 : 0
        if (ready === 0 && held.length > longLine) ready = held.length - Math.max(overlap, longest)
        if (ready <= 0) return ''
        const spans = heldBits === 0 ? none : find(held, known, heldBits)
        // Nothing is cut in the middle of a match: what straddles the border waits whole, unless it never ends.
        const astride = spans.find((span) => span.start < ready && (span.open || span.to > ready))
        if (astride?.open) {
          // A key whose end never comes: what stands before it is shown, the rest is swallowed until an end does come.
          const before = spans.filter((span) => span.to > hidden && span.to <= astride.from)
          masked += before.length + 1
          inKey = true
          const out = apply(held.slice(0, astride.from), before, hidden) + mask('private-key')
          letGo(Math.max(astride.from, held.length - 80))
          return out
        }
        // A chain of matches longer than any secret is masked as one and let go, or it would be held for ever.
        if (astride) ready = held.length - astride.start > 2 * longLine ? astride.to : astride.start
        const done = spans.filter((span) => span.to > hidden && span.to <= ready)
        masked += done.length
        const out = apply(held.slice(0, ready), done, hidden)
        letGo(ready)
        if (held.length <= piece.length) heldBits = bits
        return out
      }
      const stream: RedactStream = {
        get isInKey() {
          return inKey
        },
        get masked() {
          return masked
        },
        look(data) {
          renewed()
          return look.plain(data)
        },
        write: (piece, seen) => led(next(piece, seen)),
        hide() {
          hidden = held.length
          if (inKey) {
            masked++
            lead = mask('private-key')
          }
          return held
        },
        end(): string {
          if (inKey) return led('')
          renewed()
          const spans = find(held, known, heldBits).filter((span) => span.to > hidden)
          masked += spans.length
          const out = apply(held, spans, hidden)
          inKey = spans.at(-1)?.open ?? false
          letGo(held.length)
          return led(out)
        },
      }
      return stream
    },
  }
}

function merge(spans: Span[]): Span[] {
  spans.sort((a, b) => a.from - b.from || b.to - a.to)
  const merged: Span[] = []
  for (const span of spans) {
    const last = merged.at(-1)
    if (last && span.from < last.to) {
      const both = { ...last, start: Math.min(last.start, span.start), to: Math.max(last.to, span.to) }
      merged[merged.length - 1] = span.open ? { ...both, name: span.name, open: true } : both
    } else merged.push(span)
  }
  return merged
}

/** A value as it may appear in output: plain, with the line ends of a terminal, percent-encoded, in JSON, in base64. */
function spellings(value: string): string[] {
  const plain = value.trim().length >= shortestSecret ? value.trim() : value
  const bytes = new TextEncoder().encode(plain)
  const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
  // Only the digits that the value alone decides: `echo secret | base64` encodes a line end with it.
  const digits = base64.slice(0, Math.floor((bytes.length * 4) / 3))
  const encoded = [encodeURIComponent(plain.toWellFormed()), JSON.stringify(plain).slice(1, -1)]
  const url = digits.replaceAll('+', '-').replaceAll('/', '_')
  return [plain, plain.replaceAll('\r\n', '\n'), ...encoded, ...(digits.length >= 8 ? [digits, url] : [])]
}

/** An argv as it may be shown: each argument masked by itself, and by the one before it (`--password hunter2`). */
export function maskArgv(argv: Argv, redactor: Redactor): Argv {
  const masked = argv.map((arg, i) => {
    const before = i === 0 ? '' : `${argv[i - 1]} `
    const pair = redactor.text(before + arg).text
    return pair.startsWith(before) ? pair.slice(before.length) : redactor.text(arg).text
  })
  return masked as unknown as Argv
}
