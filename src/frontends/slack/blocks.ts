/** Slack's layout from plain data: what comes from outside goes into rich text, which nothing in it can leave. */

export type Block = { readonly type: string; readonly [key: string]: unknown }
export type Leaf =
  | { readonly type: 'text'; readonly text: string; readonly style?: Readonly<Record<string, true>> }
  | { readonly type: 'user'; readonly user_id: string }
  | { readonly type: 'usergroup'; readonly usergroup_id: string }
  | { readonly type: 'channel'; readonly channel_id: string }
  /** Only to Slack itself. */
  | { readonly type: 'link'; readonly url: string; readonly text: string }
export type Message = { readonly text: string; readonly blocks: readonly Block[] }

/** No number is published for rich text; the count is taken after escaping. */
export const MAX_BLOCK_CHARS = 2900
export const MAX_BLOCKS = 45
/** What a mention may come to. */
const MENTION_CHARS = 20
const MAX_TEXT_CHARS = 3000

/** Top-level `text` is mrkdwn: escaped, it can neither ping nor link. docs.slack.dev, "Escaping text". */
export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

export function plain(text: string): Leaf {
  return { type: 'text', text }
}

export function bold(text: string): Leaf {
  return { type: 'text', text, style: { bold: true } }
}

export function italic(text: string): Leaf {
  return { type: 'text', text, style: { italic: true } }
}

/** Lines of text; each line is a list of leaves. Text that is empty is left out, as Slack refuses it; what does not fit one block is cut off. */
export function lines(...all: readonly (readonly Leaf[])[]): Block {
  let room = MAX_BLOCK_CHARS
  const elements = all
    .flatMap((line, index) => [...(index === 0 ? [] : [plain('\n')]), ...line])
    .flatMap((leaf): readonly Leaf[] => {
      if (room <= 0 || (leaf.type === 'text' && leaf.text === '')) return []
      const fitting = leaf.type === 'text' ? { ...leaf, text: cut(leaf.text, room) } : leaf
      room -= fitting.type === 'text' || fitting.type === 'link' ? escapedLength(fitting.text) : MENTION_CHARS
      return [fitting]
    })
  return { type: 'rich_text', elements: [{ type: 'rich_text_section', elements: elements.length > 0 ? elements : [plain(' ')] }] }
}

export function preformatted(text: string): Block {
  return {
    type: 'rich_text',
    elements: [{ type: 'rich_text_preformatted', elements: [plain(text === '' ? ' ' : text)] }],
  }
}

export type Button = {
  readonly action: string
  readonly label: string
  /** An opaque id, never more: everybody in the channel can read it. */
  readonly value: string
  readonly style?: 'primary' | 'danger'
  readonly confirm?: { readonly title: string; readonly text: string; readonly yes: string }
}

export function buttons(all: readonly Button[]): Block {
  return {
    type: 'actions',
    elements: all.map((button) => ({
      type: 'button',
      action_id: button.action,
      text: { type: 'plain_text', text: button.label },
      value: button.value,
      ...(button.style === undefined ? {} : { style: button.style }),
      ...(button.confirm === undefined ? {} : { confirm: confirmDialog(button.confirm) }),
    })),
  }
}

function confirmDialog({ title, text, yes }: { title: string; text: string; yes: string }) {
  return {
    title: { type: 'plain_text', text: title },
    text: { type: 'plain_text', text: cut(text, 300) },
    confirm: { type: 'plain_text', text: yes },
    deny: { type: 'plain_text', text: 'No' },
  }
}

/** A message whose notification text is `text`, which is escaped here. */
export function message(text: string, blocks: readonly Block[]): Message {
  return { text: cut(escapeText(text), MAX_TEXT_CHARS), blocks }
}

// ---- sizes -----------------------------------------------------------------------------------

/** Length in code points as Slack counts it: `&` becomes five, `<` and `>` four. */
export function escapedLength(text: string): number {
  let length = 0
  for (const char of text) length += escapedCost(char)
  return length
}

function escapedCost(char: string): number {
  return char === '&' ? 5 : char === '<' || char === '>' ? 4 : 1
}

/** Never longer than `max` after escaping; cut between code points, with `…` for what is missing. */
export function cut(text: string, max: number): string {
  let length = 0
  let kept = ''
  for (const char of text) {
    length += escapedCost(char)
    if (length > max - 1) return escapedLength(text) <= max ? text : `${kept}…`
    kept += char
  }
  return text
}

/** Pieces that each fit a block after escaping; split at line ends where it can be. At most `most` pieces; says what is left over. */
export function splitForBlocks(text: string, most: number, max = MAX_BLOCK_CHARS): { pieces: readonly string[]; rest: string } {
  const pieces: string[] = []
  let rest = text
  while (rest !== '' && pieces.length < most) {
    const end = endOfPiece(rest, max)
    const piece = rest.slice(0, end)
    pieces.push(piece.endsWith('\n') && piece.length > 1 ? piece.slice(0, -1) : piece)
    rest = rest.slice(end)
  }
  return { pieces, rest }
}

function endOfPiece(text: string, max: number): number {
  let length = 0
  let at = 0
  let lineEnd = 0
  for (const char of text) {
    length += escapedCost(char)
    if (length > max) return lineEnd > 0 ? lineEnd : at
    at += char.length
    if (char === '\n') lineEnd = at
  }
  return at
}
