/** What the person typed, out of what Slack delivers: mark-up and typography are undone exactly once here, or refused. */

import { DroverError } from '../../core/errors.ts'

export type RestoredText = { readonly text: string; readonly changes: readonly string[] }

/** Above what the command line takes, five times: escaping can make that much of it. */
const MAX_TEXT = 100_000

/** One character (or one restored run of characters) and where it stood in the delivered text. */
type Piece = { readonly text: string; readonly at: number }
type Note = (change: string) => void

/**
 * `command`: the text of a slash command, which Slack may or may not have escaped; `event`: message text, which is always escaped.
 * Throws DroverError `mangled_text`; its position counts in `text` as delivered.
 */
export function restoreSlackText(text: string, source: 'command' | 'event'): RestoredText {
  if (text.length > MAX_TEXT)
    throw mangled('The text is far longer than a command', 'Put long scripts into the image and call them.', MAX_TEXT)
  const changes = new Set<string>()
  const note: Note = (change) => changes.add(change)
  const pieces = withoutCodeSpan(undoMarkup(text, source, note), note)
  return { text: undoTypography(pieces, note), changes: [...changes] }
}

// ---- mark-up ---------------------------------------------------------------------------------

const ENTITIES: Readonly<Record<string, string>> = { '&amp;': '&', '&lt;': '<', '&gt;': '>' }

/** docs.slack.dev, "Formatting message text": exactly `& < >` are escaped, everything between raw `<` and `>` is Slack's. */
function undoMarkup(text: string, source: 'command' | 'event', note: Note): Piece[] {
  const pieces: Piece[] = []
  const push = (restored: string, at: number) => {
    for (const char of restored) pieces.push({ text: char, at })
  }
  let at = 0
  while (at < text.length) {
    const char = String.fromCodePoint(text.codePointAt(at) ?? 0)
    const entity = char === '&' ? /^&(?:amp|lt|gt);/.exec(text.slice(at, at + 5))?.[0] : undefined
    if (entity !== undefined) {
      const plain = ENTITIES[entity] ?? entity
      push(plain, at)
      at += entity.length
      continue
    }
    const end = char === '<' ? text.indexOf('>', at) : -1
    const inner = end < 0 ? '' : text.slice(at + 1, end)
    if (char === '<' && isToken(inner)) {
      push(undoToken(inner, at, note), at)
      at = end + 1
      continue
    }
    if (char === '<' && source === 'event') {
      throw mangled('Slack sent mark-up here that drover does not know', 'Type it as plain text, or put it in a code span.', at)
    }
    push(char, at)
    at += char.length
  }
  return pieces
}

/** People put commands into code spans, where Slack leaves them alone; one around everything is not part of the command. */
function withoutCodeSpan(pieces: readonly Piece[], note: Note): readonly Piece[] {
  const whole = pieces.map((piece) => piece.text).join('')
  const fence = /^\s*(```|`)[^`]+\1\s*$/.exec(whole)?.[1]
  if (fence === undefined) return pieces
  note('the code span around it was taken off')
  const first = pieces.findIndex((piece) => piece.text === '`')
  const last = pieces.findLastIndex((piece) => piece.text === '`')
  return pieces.slice(first + fence.length, last + 1 - fence.length)
}

function isToken(inner: string): boolean {
  return /^(?:@[UWB][A-Z0-9]+|#[CDG][A-Z0-9]+|![a-z]+)(?:$|[|^])/.test(inner) || /^[a-z][a-z0-9+.-]*:[^\s<]+/i.test(inner)
}

function undoToken(inner: string, at: number, note: Note): string {
  const kind = { '@': 'a mention of a person', '#': 'a link to a channel', '!': 'a mention of a group' }[inner.charAt(0)]
  if (kind !== undefined) {
    throw mangled(
      `Slack turned a word into ${kind}, and a command cannot contain one`,
      'Type it without @ or #, or put a space or a backslash after the sign.',
      at,
    )
  }
  const bar = inner.indexOf('|')
  const url = decode(bar < 0 ? inner : inner.slice(0, bar))
  const label = bar < 0 ? undefined : decode(inner.slice(bar + 1))
  if (label === undefined) {
    note('a link became its text again')
    return url
  }
  if (!isAutoLink(url, label)) {
    throw mangled('A link here shows one text and leads somewhere else', 'Remove the link and type the text you mean.', at)
  }
  note('a link became its text again')
  return label
}

function decode(text: string): string {
  return text.replace(/&(?:amp|lt|gt);/g, (entity) => ENTITIES[entity] ?? entity)
}

/** Slack adds a scheme, a punycode host or percent escapes to what was typed; more than that is a link somebody made. */
function isAutoLink(url: string, label: string): boolean {
  if (url === label) return true
  if (/^tel:/i.test(url)) return digits(url) === digits(label)
  const wanted = canonical(url)
  return ['', 'http://', 'https://', 'mailto:'].some((scheme) => canonical(scheme + label) === wanted)
}

function digits(text: string): string {
  return text.replace(/[^0-9]/g, '')
}

function canonical(text: string): string {
  try {
    return new URL(text).href
  } catch {
    return text
  }
}

// ---- typography ------------------------------------------------------------------------------

const DOUBLE = /[\u201c\u201d\u201e\u201f]/u
const SINGLE = /[\u2018\u2019\u201a\u201b]/u
const WIDE_SPACE = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/u
const INVISIBLE = /[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/u
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ud800-\udfff]/u
const LOOKALIKE = /[\u2010-\u2012\u2015\u2212]/u

/** Where the scan stands in the quoting of the restored text. */
type Quoting = { readonly kind: '' | '"' | "'"; readonly typographic: boolean }

const OUTSIDE: Quoting = { kind: '', typographic: false }

function undoTypography(pieces: readonly Piece[], note: Note): string {
  let restored = ''
  let quoting = OUTSIDE
  let escaped = false
  for (const [index, piece] of pieces.entries()) {
    const plain = undoChar(piece, { quoting, before: restored.at(-1), after: pieces[index + 1]?.text, escaped }, note)
    const typographic = plain !== piece.text
    restored += plain
    if (escaped) {
      escaped = false
    } else if (plain === '\\' && quoting.kind !== "'") {
      escaped = true
    } else if (plain === '"' || plain === "'") {
      if (quoting.kind === '') quoting = { kind: plain, typographic }
      else if (quoting.kind === plain) {
        if (quoting.typographic !== typographic) throw mixedQuotes(piece.at)
        quoting = OUTSIDE
      }
    }
  }
  return restored
}

type Around = {
  readonly quoting: Quoting
  readonly before: string | undefined
  readonly after: string | undefined
  readonly escaped: boolean
}

function undoChar({ text, at }: Piece, around: Around, note: Note): string {
  if (text <= '~' && text >= ' ') return text
  if (DOUBLE.test(text)) return noted(note, text, '"')
  if (SINGLE.test(text)) return noted(note, text, "'")
  if (INVISIBLE.test(text) || CONTROL.test(text)) {
    throw mangled(`An invisible character (${codePoint(text)}) stands here`, 'Type this part again by hand.', at)
  }
  const outside = around.quoting.kind === '' && !around.escaped
  if (WIDE_SPACE.test(text)) {
    if (outside) return noted(note, `a special space (${codePoint(text)})`, ' ', 'a space')
    throw mangled(`A special space (${codePoint(text)}) stands inside an argument`, 'Type a plain space here.', at)
  }
  if (text === '\u2014' || text === '\u2013') {
    const startsWord = outside && (around.before === undefined || /\s/.test(around.before))
    const beforeWord = around.after !== undefined && /[\p{L}\p{N}]/u.test(around.after)
    const alone = around.after === undefined || /\s/.test(around.after)
    // macOS and iOS make an em dash of `--`; alone, outside quotes, it can only be the separator before an argv.
    if (startsWord && text === '\u2014' && (beforeWord || alone)) return noted(note, text, '--')
    if (startsWord && text === '\u2013' && beforeWord) return noted(note, text, '-')
    throw mangled(`${text} may have been typed as -- or -`, 'Type the hyphens again and undo the automatic replacement.', at)
  }
  if (LOOKALIKE.test(text)) {
    throw mangled(`A character that only looks like a hyphen (${codePoint(text)}) stands here`, 'Type - instead.', at)
  }
  if (text === '\u2026') throw mangled('… may have been typed as three dots', 'Type ... and undo the automatic replacement.', at)
  if (/[«»‹›]/.test(text) && outside) {
    throw mangled(`${text} does not quote anything here`, 'Use " or \' around arguments.', at)
  }
  return text
}

function noted(note: Note, from: string, to: string, shown = to): string {
  note(`${from} became ${shown}`)
  return to
}

function codePoint(text: string): string {
  return `U+${(text.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
}

function mixedQuotes(at: number): DroverError {
  return mangled(
    'A straight and a typographic quote of one kind stand in one quotation, so its end is uncertain',
    'Type the quotes of this argument again, all alike.',
    at,
  )
}

function mangled(message: string, next: string, position: number): DroverError {
  return new DroverError({ code: 'mangled_text', message: `${message}.`, next, position })
}
