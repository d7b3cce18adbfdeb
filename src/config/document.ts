/** The text of a YAML file as data, and where in that text each part of it stands. */

import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from 'yaml'

export type Path = readonly PropertyKey[]
/** Counted from 1. */
export type Spot = { readonly line: number; readonly column: number }
export type Mistake = { readonly path: Path; readonly words: string; readonly spot?: Spot | undefined }

export type Source = {
  readonly data: unknown
  /** Of a key itself, where `key` names one in what is at `path`; of what is not there: of the nearest part around it. Undefined: nobody wrote it. */
  spotOf(path: Path, key?: string): Spot | undefined
  /** A comment stands where a value should: what was meant begins with `#`. */
  isCommentedOut(path: Path): boolean
}

const MOST_CHARACTERS = 1_000_000

/** A configuration is data, and small: few aliases, no tags, one document (S30). */
export function readDocument(
  text: string,
): { readonly ok: true; readonly source: Source } | { readonly ok: false; readonly mistakes: readonly Mistake[] } {
  if (text.length > MOST_CHARACTERS)
    return { ok: false, mistakes: [{ path: [], words: 'it is larger than 1 MB, and a configuration is small' }] }
  const lineCounter = new LineCounter()
  const spotAt = (offset: number): Spot => {
    const { line, col } = lineCounter.linePos(offset)
    return { line, column: col }
  }
  const document = parseDocument(text, { schema: 'core', customTags: [], uniqueKeys: true, prettyErrors: false, lineCounter })
  // Of several the first is the mistake, and what follows comes of it.
  const [fault] = [...document.errors, ...document.warnings].sort((one, other) => one.pos[0] - other.pos[0])
  if (fault) return { ok: false, mistakes: [{ path: [], words: wordsOf(fault, text), spot: spotAt(fault.pos[0]) }] }
  const read = dataOf(document)
  if ('problem' in read) return { ok: false, mistakes: [{ path: [], words: read.problem }] }
  return {
    ok: true,
    source: {
      data: read.data ?? {},
      spotOf: (path, key) => spotAt(offsetOf(document, key === undefined ? path : [...path, key], key !== undefined)),
      isCommentedOut: (path) => isCommentAt(text, offsetOf(document, path, true)),
    },
  }
}

function dataOf(document: Document.Parsed): { readonly data: unknown } | { readonly problem: string } {
  try {
    return { data: document.toJS({ maxAliasCount: 20 }) }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) }
  }
}

/** Where what is at `path` begins: its value, or with `atKey` its key. */
function offsetOf(document: Document.Parsed, path: Path, atKey: boolean): number {
  let node: unknown = document.contents
  let offset = 0
  for (const [i, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    const isLast = i === path.length - 1
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step))
      if (!pair) return offset
      const key = startOf(pair.key)
      // Where a value is empty, or begins on a line below, people look at its key.
      offset = (isLast && !atKey && isScalar(pair.value) && pair.value.value !== null ? startOf(pair.value) : key) ?? offset
      node = pair.value
    } else if (isSeq(node)) {
      const item: unknown = node.items[Number(step)]
      if (item === undefined) return offset
      offset = startOf(item) ?? offset
      node = item
    } else return offset
  }
  return offset
}

const startOf = (node: unknown): number | undefined => (isNode(node) ? (node as Node).range?.[0] : undefined)

/** `channel: #inc`, `- #inc` */
function isCommentAt(text: string, offset: number): boolean {
  const from = text.lastIndexOf('\n', offset - 1) + 1
  const [line = ''] = text.slice(from).split('\n', 1)
  return /(?:^\s*-|:)\s+#/.test(line)
}

/** What the parser's own words say to somebody who knows YAML by sight alone. */
function wordsOf({ code, message, pos }: YAMLError, text: string): string {
  const said = message.replaceAll('"', '').replace(/\.$/, '')
  const key = /^["']?([\w.-]+)/.exec(text.slice(pos[0]))?.[1]
  switch (code) {
    case 'DUPLICATE_KEY':
      return `the key ${key ?? ''} stands here a second time; put both together`.replace('  ', ' ')
    case 'TAB_AS_INDENT':
      return 'a tab; indent with spaces'
    case 'MULTIPLE_DOCS':
      return 'a second document begins here (---); a configuration is one'
    case 'TAG_RESOLVE_FAILED':
      return 'a tag (!…) means nothing here; take it out, or put the text in quotes'
    case 'BAD_ALIAS':
      return 'a text that begins with * has to stand in quotes'
    case 'BAD_SCALAR_START':
      return `a text that begins with ${text[pos[0]]} has to stand in quotes`
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'a second ": " in one line; put a text that holds one in quotes, or begin a new line'
    case 'BAD_INDENT':
      if (message.startsWith('Flow')) return `the ${message.includes('sequence') ? '[' : '{'} before this line is not closed`
      break
    case 'MISSING_CHAR':
      if (message.startsWith('Comments')) return 'a # begins a comment; put a text with one in quotes'
      if (message.startsWith('Missing closing')) return 'a quote is not closed before this'
      if (message.startsWith('Sequence item'))
        return 'this line stands neither under the item above nor beside it: mend its indentation'
      if (message.startsWith('Implicit map keys')) return 'a key without its colon'
      break
    case 'UNEXPECTED_TOKEN':
      return 'this cannot follow what stands before it; a text with quotes in it goes in the other kind of quotes'
  }
  return `this is not YAML: ${said}`
}
