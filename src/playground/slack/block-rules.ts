/** What Slack refuses in a layout of blocks: unknown types and properties, missing parts, sizes counted after escaping. */

import { escapeText } from './typed-text.ts'

export type Json = Readonly<Record<string, unknown>>
export type Surface = 'message' | 'modal' | 'home'

type Seen = { readonly actions: Set<string>; readonly blocks: Set<string>; tables: number }
type Scope = { readonly at: string; readonly problems: string[]; readonly seen: Seen }
type Check = (value: Json, scope: Scope) => void

/** Problems in Slack's own words, each with its JSON pointer; empty when Slack would take it. */
export function blockProblems(blocks: unknown, surface: Surface = 'message'): readonly string[] {
  const problems: string[] = []
  const scope: Scope = { at: '/blocks', problems, seen: { actions: new Set(), blocks: new Set(), tables: 0 } }
  if (!Array.isArray(blocks)) return ['must provide an array [json-pointer:/blocks]']
  const most = surface === 'message' ? 50 : 100
  if (blocks.length > most) say(scope, `no more than ${most} items allowed`)
  blocks.forEach((block, index) => {
    checkBlock(block, under(scope, index))
  })
  return problems
}

/** Code points after `& < >` are escaped; what a sender escaped already is not counted twice. */
export function escapedLength(text: string, type: 'plain_text' | 'mrkdwn'): number {
  return [...(type === 'mrkdwn' ? text.replace(/&(?!amp;|lt;|gt;)/g, '&amp;') : escapeText(text))].length
}

/** Slack names every block that the sender left unnamed. */
export function withBlockIds(blocks: readonly Json[]): readonly Json[] {
  const names = new Set(blocks.map((block) => block.block_id))
  let next = 0
  return blocks.map((block) => {
    if (block.block_id !== undefined) return block
    do next += 1
    while (names.has(`b${next}`))
    return { ...block, block_id: `b${next}` }
  })
}

function say(scope: Scope, problem: string) {
  scope.problems.push(`${problem} [json-pointer:${scope.at}]`)
}

function under(scope: Scope, key: string | number): Scope {
  return { ...scope, at: `${scope.at}/${key}` }
}

function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function onlyKeys(value: Json, allowed: string, scope: Scope) {
  const known = new Set(['type', ...allowed.split(' ')])
  for (const key of Object.keys(value)) if (!known.has(key)) say(scope, `invalid additional property: ${key}`)
}

function checkString(value: unknown, most: number, scope: Scope) {
  if (typeof value !== 'string') say(scope, value === undefined ? 'missing required field' : 'must be a string')
  else if (value.length === 0) say(scope, 'must be more than 0 characters')
  else if ([...value].length > most) say(scope, `must be less than ${most + 1} characters`)
}

function checkText(value: unknown, most: number, scope: Scope, only?: 'plain_text') {
  if (!isJson(value)) return say(scope, value === undefined ? 'missing required field: text' : 'must be an object')
  const type = value.type
  if (type !== 'plain_text' && type !== 'mrkdwn') return say(under(scope, 'type'), `unsupported type: ${String(type)}`)
  if (only !== undefined && type !== only) return say(under(scope, 'type'), `unsupported type: ${type}, must be ${only}`)
  onlyKeys(value, type === 'plain_text' ? 'text emoji' : 'text verbatim', scope)
  const inner = under(scope, 'text')
  if (typeof value.text !== 'string') return say(inner, 'must be a string')
  const length = escapedLength(value.text, type)
  if (length === 0) say(inner, 'must be more than 0 characters')
  if (length > most) say(inner, `must be less than ${most + 1} characters`)
}

function checkList(value: unknown, most: number, scope: Scope, each: (item: unknown, scope: Scope) => void) {
  if (!Array.isArray(value)) return say(scope, value === undefined ? 'missing required field' : 'must provide an array')
  if (value.length === 0) say(scope, 'no fewer than 1 items allowed')
  if (value.length > most) say(scope, `no more than ${most} items allowed`)
  value.forEach((item, index) => {
    each(item, under(scope, index))
  })
}

function checkId(value: Json, key: 'action_id' | 'block_id', scope: Scope) {
  if (value[key] === undefined) return
  checkString(value[key], 255, under(scope, key))
  const seen = key === 'action_id' ? scope.seen.actions : scope.seen.blocks
  if (seen.has(String(value[key]))) say(scope, `\`${key}\` ${String(value[key])} already exists in another element`)
  seen.add(String(value[key]))
}

// ---- parts of elements -----------------------------------------------------------------------

const checkConfirm: Check = (confirm, scope) => {
  onlyKeys(confirm, 'title text confirm deny style', scope)
  checkText(confirm.title, 100, under(scope, 'title'), 'plain_text')
  checkText(confirm.text, 300, under(scope, 'text'))
  for (const key of ['confirm', 'deny'] as const) checkText(confirm[key], 30, under(scope, key), 'plain_text')
  checkStyle(confirm, scope)
}

function checkStyle(value: Json, scope: Scope) {
  if (value.style !== undefined && value.style !== 'primary' && value.style !== 'danger') {
    say(under(scope, 'style'), 'must be a valid enum value')
  }
}

function checkOption(option: unknown, scope: Scope) {
  if (!isJson(option)) return say(scope, 'must be an object')
  onlyKeys(option, 'text value description url', scope)
  checkText(option.text, 75, under(scope, 'text'))
  // The published types say 75; Slack's documentation and its API take 150.
  checkString(option.value, 150, under(scope, 'value'))
  if (option.description !== undefined) checkText(option.description, 75, under(scope, 'description'))
}

const choice =
  (most: number): Check =>
  (element, scope) => {
    onlyKeys(
      element,
      'action_id options option_groups initial_option initial_options placeholder confirm focus_on_load max_selected_items',
      scope,
    )
    if (element.option_groups === undefined) checkList(element.options, most, under(scope, 'options'), checkOption)
    if (element.placeholder !== undefined) checkText(element.placeholder, 150, under(scope, 'placeholder'), 'plain_text')
  }

const free: Check = () => {}

const elementChecks: Readonly<Record<string, Check>> = {
  button: (button, scope) => {
    onlyKeys(button, 'text action_id url value style confirm accessibility_label', scope)
    checkText(button.text, 75, under(scope, 'text'), 'plain_text')
    if (button.value !== undefined) checkString(button.value, 2000, under(scope, 'value'))
    if (button.url !== undefined) checkString(button.url, 3000, under(scope, 'url'))
    if (button.accessibility_label !== undefined) checkString(button.accessibility_label, 75, under(scope, 'accessibility_label'))
    checkStyle(button, scope)
  },
  static_select: choice(100),
  multi_static_select: choice(100),
  overflow: choice(5),
  checkboxes: choice(10),
  radio_buttons: choice(10),
  plain_text_input: (input, scope) => {
    onlyKeys(
      input,
      'action_id initial_value multiline min_length max_length dispatch_action_config focus_on_load placeholder',
      scope,
    )
    if (input.placeholder !== undefined) checkText(input.placeholder, 150, under(scope, 'placeholder'), 'plain_text')
  },
  users_select: free,
  multi_users_select: free,
  conversations_select: free,
  multi_conversations_select: free,
  channels_select: free,
  multi_channels_select: free,
  external_select: free,
  multi_external_select: free,
  datepicker: free,
  timepicker: free,
  datetimepicker: free,
  number_input: free,
  email_text_input: free,
  url_text_input: free,
  rich_text_input: free,
  file_input: free,
  workflow_button: free,
  image: (image, scope) => {
    onlyKeys(image, 'image_url slack_file alt_text', scope)
    checkString(image.alt_text, 2000, under(scope, 'alt_text'))
  },
}

const inputOnly = new Set(['plain_text_input', 'number_input', 'email_text_input', 'url_text_input', 'file_input'])

function checkElement(element: unknown, scope: Scope, place: 'actions' | 'accessory' | 'input') {
  if (!isJson(element)) return say(scope, 'must be an object')
  const type = String(element.type)
  const check = Object.hasOwn(elementChecks, type) ? elementChecks[type] : undefined
  const fits = place === 'input' ? type !== 'button' && type !== 'overflow' && type !== 'image' : !inputOnly.has(type)
  if (check === undefined || !fits || (place === 'actions' && type === 'image')) return say(scope, `unsupported type: ${type}`)
  check(element, scope)
  checkId(element, 'action_id', scope)
  if (isJson(element.confirm)) checkConfirm(element.confirm, under(scope, 'confirm'))
}

// ---- rich text -------------------------------------------------------------------------------

const leafKeys: Readonly<Record<string, string>> = {
  text: 'text style',
  link: 'url text style unsafe',
  user: 'user_id style',
  usergroup: 'usergroup_id style',
  channel: 'channel_id style',
  broadcast: 'range style',
  emoji: 'name unicode skin_tone style',
  color: 'value style',
  date: 'timestamp format url fallback style',
  team: 'team_id style',
}

const richKeys: Readonly<Record<string, string>> = {
  rich_text_section: 'elements',
  rich_text_preformatted: 'elements border language',
  rich_text_quote: 'elements border',
  rich_text_list: 'elements style indent border offset',
}

/** Returns the characters it holds. */
function checkRich(element: unknown, scope: Scope): number {
  if (!isJson(element)) {
    say(scope, 'must be an object')
    return 0
  }
  const type = String(element.type)
  const keys = Object.hasOwn(richKeys, type) ? richKeys[type] : undefined
  if (keys === undefined) {
    say(scope, `unsupported type: ${type}`)
    return 0
  }
  onlyKeys(element, keys, scope)
  if (type === 'rich_text_list' && element.style !== 'bullet' && element.style !== 'ordered') {
    say(under(scope, 'style'), 'must be a valid enum value')
  }
  let length = 0
  checkList(element.elements, 1000, under(scope, 'elements'), (item, inner) => {
    length += type === 'rich_text_list' ? checkRich(item, inner) : checkLeaf(item, inner, type)
  })
  return length
}

function checkLeaf(leaf: unknown, scope: Scope, parent: string): number {
  const type = isJson(leaf) ? String(leaf.type) : ''
  const keys = Object.hasOwn(leafKeys, type) ? leafKeys[type] : undefined
  const fits = parent !== 'rich_text_preformatted' || type === 'text' || type === 'link'
  if (!isJson(leaf) || keys === undefined || !fits) {
    say(scope, `unsupported type: ${type}`)
    return 0
  }
  onlyKeys(leaf, keys, scope)
  if (type === 'link') checkString(leaf.url, 3000, under(scope, 'url'))
  if (type !== 'text') return typeof leaf.text === 'string' ? escapedLength(leaf.text, 'plain_text') : 0
  if (typeof leaf.text !== 'string') say(under(scope, 'text'), 'must be a string')
  else if (leaf.text.length === 0) say(under(scope, 'text'), 'must be more than 0 characters')
  return escapedLength(String(leaf.text ?? ''), 'plain_text')
}

/** Slack publishes no number for rich text; this is the size a sender is advised to stay under. */
const mostRichText = 3000

// ---- blocks ----------------------------------------------------------------------------------

const blockChecks: Readonly<Record<string, Check>> = {
  section: (block, scope) => {
    onlyKeys(block, 'block_id text fields accessory expand', scope)
    if (block.text === undefined && block.fields === undefined) say(scope, 'missing required field: text or fields')
    if (block.text !== undefined) checkText(block.text, 3000, under(scope, 'text'))
    if (block.fields !== undefined) {
      checkList(block.fields, 10, under(scope, 'fields'), (field, inner) => checkText(field, 2000, inner))
    }
    if (block.accessory !== undefined) checkElement(block.accessory, under(scope, 'accessory'), 'accessory')
  },
  header: (block, scope) => {
    onlyKeys(block, 'block_id text level', scope)
    checkText(block.text, 150, under(scope, 'text'), 'plain_text')
  },
  divider: (block, scope) => onlyKeys(block, 'block_id', scope),
  context: (block, scope) => {
    onlyKeys(block, 'block_id elements', scope)
    checkList(block.elements, 10, under(scope, 'elements'), (element, inner) => {
      if (isJson(element) && element.type === 'image') elementChecks.image?.(element, inner)
      else checkText(element, 3000, inner)
    })
  },
  actions: (block, scope) => {
    onlyKeys(block, 'block_id elements', scope)
    checkList(block.elements, 25, under(scope, 'elements'), (element, inner) => checkElement(element, inner, 'actions'))
  },
  input: (block, scope) => {
    onlyKeys(block, 'block_id label hint optional element dispatch_action', scope)
    checkText(block.label, 2000, under(scope, 'label'), 'plain_text')
    if (block.hint !== undefined) checkText(block.hint, 2000, under(scope, 'hint'), 'plain_text')
    checkElement(block.element, under(scope, 'element'), 'input')
  },
  rich_text: (block, scope) => {
    onlyKeys(block, 'block_id elements', scope)
    let length = 0
    checkList(block.elements, 1000, under(scope, 'elements'), (element, inner) => {
      length += checkRich(element, inner)
    })
    if (length > mostRichText) say(scope, `must be less than ${mostRichText + 1} characters`)
  },
  markdown: (block, scope) => {
    onlyKeys(block, 'block_id text', scope)
    checkString(block.text, 12_000, under(scope, 'text'))
  },
  image: (block, scope) => {
    onlyKeys(block, 'block_id alt_text title image_url slack_file', scope)
    checkString(block.alt_text, 2000, under(scope, 'alt_text'))
    if (block.title !== undefined) checkText(block.title, 2000, under(scope, 'title'), 'plain_text')
  },
  table: (block, scope) => {
    onlyKeys(block, 'block_id rows column_settings', scope)
    checkList(block.rows, 100, under(scope, 'rows'), (row, inner) => checkList(row, 20, inner, () => {}))
    scope.seen.tables += 1
    if (scope.seen.tables > 1) say(scope, 'only one table is allowed')
  },
  container: (block, scope) => {
    const keys = 'title rich_text_title subtitle child_blocks width icon is_collapsible default_collapsed has_header_divider'
    onlyKeys(block, `block_id ${keys}`, scope)
    if (block.title !== undefined) checkText(block.title, 150, under(scope, 'title'), 'plain_text')
    if (block.subtitle !== undefined) checkText(block.subtitle, 150, under(scope, 'subtitle'))
    checkList(block.child_blocks, 10, under(scope, 'child_blocks'), checkBlock)
  },
  alert: (block, scope) => checkText(block.text, 200, under(scope, 'text')),
  file: free,
  video: free,
  card: free,
  carousel: free,
  context_actions: free,
  data_table: free,
  plan: free,
  task_card: free,
}

function checkBlock(block: unknown, scope: Scope) {
  if (!isJson(block)) return say(scope, 'must be an object')
  const type = String(block.type)
  const check = Object.hasOwn(blockChecks, type) ? blockChecks[type] : undefined
  if (check === undefined) return say(scope, `unsupported type: ${type}`)
  check(block, scope)
  checkId(block, 'block_id', scope)
}
