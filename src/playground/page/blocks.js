/** Block Kit and Slack's message text as DOM nodes; text only ever enters as text. */

const emoji = {
  white_check_mark: '✅',
  heavy_check_mark: '✔️',
  x: '❌',
  no_entry: '⛔',
  no_entry_sign: '🚫',
  warning: '⚠️',
  question: '❓',
  grey_question: '❔',
  exclamation: '❗',
  hourglass: '⌛',
  hourglass_flowing_sand: '⏳',
  stopwatch: '⏱️',
  alarm_clock: '⏰',
  gear: '⚙️',
  lock: '🔒',
  mag: '🔍',
  eyes: '👀',
  rocket: '🚀',
  tada: '🎉',
  wave: '👋',
  bulb: '💡',
  information_source: 'ℹ️',
  arrow_forward: '▶️',
  arrows_counterclockwise: '🔄',
  repeat: '🔁',
  octagonal_sign: '🛑',
  stop_sign: '🛑',
  skull: '💀',
  zap: '⚡',
  fire: '🔥',
  computer: '💻',
  package: '📦',
  page_facing_up: '📄',
  scroll: '📜',
  link: '🔗',
  large_green_circle: '🟢',
  large_yellow_circle: '🟡',
  red_circle: '🔴',
  white_circle: '⚪',
  black_square_for_stop: '⏹️',
  thinking_face: '🤔',
  thumbsup: '👍',
  '+1': '👍',
}

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (name === 'class') node.className = value
    else node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false))
  return node
}

const unescaped = (text) => text.replace(/&(amp|lt|gt);/g, (_, name) => ({ amp: '&', lt: '<', gt: '>' })[name])
const withEmoji = (text) => text.replace(/:([a-z0-9_+-]+):/g, (whole, name) => emoji[name] ?? whole)

/** Only web addresses become links; anything else stays text. */
function link(url, text) {
  if (!/^(https?|mailto):/i.test(url)) return document.createTextNode(text)
  return el('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, text)
}

function mention(names, kind, id, fallback) {
  const label = { user: () => `@${names.person(id) ?? fallback ?? id}`, channel: () => `#${names.channel(id) ?? fallback ?? id}` }
  return el('span', { class: 'mention' }, (label[kind] ?? (() => `@${fallback ?? id}`))())
}

const inline =
  /```([\s\S]*?)```|`([^`\n]+)`|<([^<>\n]+)>|(?<![\w*])\*(?=\S)([^*\n]*\S)\*(?![\w*])|(?<!\w)_(?=\S)([^_\n]*\S)_(?!\w)|(?<!\w)~(?=\S)([^~\n]*\S)~(?!\w)/g

/** Slack's mrkdwn. */
export function mrkdwn(text, names) {
  const out = document.createDocumentFragment()
  for (const part of text.split(/((?:^|\n)&gt;[^\n]*(?:\n&gt;[^\n]*)*)/)) {
    if (/^\n?&gt;/.test(part)) {
      out.append(el('blockquote', {}, inlineNodes(part.replace(/^\n/, '').replace(/^&gt; ?/gm, ''), names)))
    } else out.append(inlineNodes(part, names))
  }
  return out
}

function inlineNodes(text, names) {
  const out = document.createDocumentFragment()
  const plain = (from, to) => from < to && out.append(withEmoji(unescaped(text.slice(from, to))))
  let end = 0
  for (const match of text.matchAll(inline)) {
    plain(end, match.index)
    end = match.index + match[0].length
    const [, fence, code, angle, bold, italic, strike] = match
    if (fence !== undefined) out.append(el('pre', {}, unescaped(fence.replace(/^\n/, ''))))
    else if (code !== undefined) out.append(el('code', {}, unescaped(code)))
    else if (angle !== undefined) out.append(angled(angle, names))
    else if (bold !== undefined) out.append(el('strong', {}, inlineNodes(bold, names)))
    else if (italic !== undefined) out.append(el('em', {}, inlineNodes(italic, names)))
    else out.append(el('s', {}, inlineNodes(strike, names)))
  }
  plain(end, text.length)
  return out
}

function angled(inner, names) {
  const bar = inner.indexOf('|')
  const [target, label] = bar < 0 ? [inner, undefined] : [inner.slice(0, bar), unescaped(inner.slice(bar + 1))]
  if (target.startsWith('@')) return mention(names, 'user', target.slice(1), label)
  if (target.startsWith('#')) return mention(names, 'channel', target.slice(1), label)
  if (target.startsWith('!subteam^')) return mention(names, 'group', target.slice(9), label)
  if (target.startsWith('!date^')) return document.createTextNode(label ?? '')
  if (target.startsWith('!')) return el('span', { class: 'mention broadcast' }, `@${target.slice(1)}`)
  return link(unescaped(target), label ?? unescaped(target).replace(/^mailto:/, ''))
}

export function textObject(object, names) {
  if (!object) return ''
  return object.type === 'mrkdwn' ? mrkdwn(object.text, names) : withEmoji(object.text)
}

// ---- rich text -------------------------------------------------------------------------------

function leaf(one, names) {
  const nodes = {
    text: () => document.createTextNode(one.text),
    link: () => link(one.url, one.text ?? one.url),
    user: () => mention(names, 'user', one.user_id),
    channel: () => mention(names, 'channel', one.channel_id),
    usergroup: () => mention(names, 'group', one.usergroup_id),
    broadcast: () => el('span', { class: 'mention broadcast' }, `@${one.range}`),
    emoji: () => document.createTextNode(emoji[one.name] ?? `:${one.name}:`),
    date: () => document.createTextNode(one.fallback ?? new Date(one.timestamp * 1000).toLocaleString()),
  }
  let node = (nodes[one.type] ?? (() => notice(`a “${one.type}” in rich text`)))()
  for (const [style, tag] of [
    ['code', 'code'],
    ['bold', 'strong'],
    ['italic', 'em'],
    ['strike', 's'],
  ]) {
    if (one.style?.[style]) node = el(tag, {}, node)
  }
  return node
}

function rich(element, names) {
  const leaves = () => element.elements.map((one) => leaf(one, names))
  switch (element.type) {
    case 'rich_text_section':
      return el('p', { class: 'rich' }, leaves())
    case 'rich_text_preformatted':
      return el('pre', { tabindex: '0' }, leaves())
    case 'rich_text_quote':
      return el('blockquote', {}, leaves())
    case 'rich_text_list': {
      const items = element.elements.map((one) =>
        el(
          'li',
          {},
          one.elements.map((each) => leaf(each, names)),
        ),
      )
      const list = el(
        element.style === 'ordered' ? 'ol' : 'ul',
        { class: `rich indent-${Math.min(element.indent ?? 0, 4)}` },
        items,
      )
      if (element.offset) list.setAttribute('start', element.offset + 1)
      return list
    }
    default:
      return notice(`a “${element.type}”`)
  }
}

function notice(what) {
  return el('p', { class: 'notice' }, `This page cannot show ${what}. Slack would.`)
}

// ---- elements --------------------------------------------------------------------------------

function button(element, names, act) {
  const node = el(
    'button',
    {
      type: 'button',
      class: `kit ${element.style ?? ''}`,
      'data-action': element.action_id,
      'aria-label': element.accessibility_label,
      onclick: () => act(element, undefined, node),
    },
    textObject(element.text, names),
  )
  return node
}

const optionNodes = (element, chosen) =>
  (element.options ?? (element.option_groups ?? []).flatMap((group) => group.options)).map((option) => {
    const isChosen = chosen.includes(option.value)
    return el('option', { value: option.value, selected: isChosen }, withEmoji(option.text.text))
  })

function select(element, names, act) {
  const isMulti = element.type.startsWith('multi_')
  const initial = (element.initial_options ?? (element.initial_option ? [element.initial_option] : [])).map((one) => one.value)
  const places = () =>
    names
      .channels()
      .map((one) =>
        el(
          'option',
          { value: one.id, selected: one.id === (element.initial_conversation ?? element.initial_channel) },
          `#${one.name}`,
        ),
      )
  const people = () =>
    names.people().map((one) => el('option', { value: one.id, selected: one.id === element.initial_user }, one.realName))
  const kind = element.type.replace(/^multi_/, '')
  const options =
    { channels_select: places, conversations_select: places, users_select: people }[kind]?.() ?? optionNodes(element, initial)
  const node = el(
    'select',
    { name: element.action_id, 'data-action': element.action_id, multiple: isMulti, 'aria-label': element.placeholder?.text },
    [isMulti ? undefined : el('option', { value: '' }, element.placeholder?.text ?? 'Choose…'), ...options],
  )
  if (act) node.addEventListener('change', () => node.value && act(element, node.value, node))
  return node
}

function choices(element, type, names, act) {
  const initial = (element.initial_options ?? (element.initial_option ? [element.initial_option] : [])).map((one) => one.value)
  return el(
    'div',
    { class: 'choices' },
    element.options.map((option) => {
      const input = el('input', { type, name: element.action_id, value: option.value, checked: initial.includes(option.value) })
      if (act) input.addEventListener('change', () => act(element, option.value, input))
      return el('label', {}, input, ' ', textObject(option.text, names))
    }),
  )
}

function control(element, names, act) {
  const text = {
    name: element.action_id,
    'data-action': element.action_id,
    placeholder: element.placeholder?.text,
    value: element.initial_value,
    maxlength: element.max_length,
  }
  switch (element.type) {
    case 'button':
      return button(element, names, act)
    case 'plain_text_input': {
      if (!element.multiline) return el('input', { type: 'text', ...text })
      const area = el('textarea', { ...text, rows: '5' })
      area.value = element.initial_value ?? ''
      return area
    }
    case 'number_input':
      return el('input', { type: 'number', ...text })
    case 'email_text_input':
      return el('input', { type: 'email', ...text })
    case 'url_text_input':
      return el('input', { type: 'url', ...text })
    case 'datepicker':
      return el('input', { type: 'date', ...text, value: element.initial_date })
    case 'timepicker':
      return el('input', { type: 'time', ...text, value: element.initial_time })
    case 'checkboxes':
      return choices(element, 'checkbox', names, act)
    case 'radio_buttons':
      return choices(element, 'radio', names, act)
    case 'overflow':
      return el(
        'details',
        { class: 'overflow' },
        el('summary', { 'aria-label': 'More' }, '⋯'),
        el(
          'div',
          {},
          element.options.map((option) =>
            el(
              'button',
              { type: 'button', class: 'kit', onclick: (event) => act(element, option.value, event.currentTarget) },
              textObject(option.text, names),
            ),
          ),
        ),
      )
    case 'static_select':
    case 'multi_static_select':
    case 'channels_select':
    case 'conversations_select':
    case 'users_select':
    case 'multi_channels_select':
    case 'multi_conversations_select':
    case 'multi_users_select':
      return select(element, names, act)
    default:
      return notice(`a “${element.type}”`)
  }
}

// ---- blocks ----------------------------------------------------------------------------------

function cell(one, names) {
  if (one.type === 'rich_text') return one.elements.map((element) => rich(element, names))
  return String(one.text ?? one.value ?? '')
}

/** `act(element, value, node)` is told of clicks; `errors` are by block id. */
export function blocks(list, names, act, errors = {}) {
  return list.map((block) => {
    switch (block.type) {
      case 'section': {
        const label = block.accessory && el('div', { class: 'accessory' }, control(block.accessory, names, act))
        const fields =
          block.fields &&
          el(
            'div',
            { class: 'fields' },
            block.fields.map((one) => el('div', {}, textObject(one, names))),
          )
        return el(
          'div',
          { class: 'section' },
          el('div', { class: 'body' }, block.text && el('div', { class: 'text' }, textObject(block.text, names)), fields),
          label,
        )
      }
      case 'header':
        return el('h3', { class: 'header' }, textObject(block.text, names))
      case 'divider':
        return el('hr')
      case 'context':
        return el(
          'div',
          { class: 'context' },
          block.elements.map((one) =>
            one.type === 'image' ? el('span', {}, `🖼 ${one.alt_text}`) : el('span', {}, textObject(one, names)),
          ),
        )
      case 'actions':
        return el(
          'div',
          { class: 'actions' },
          block.elements.map((one) => control(one, names, act)),
        )
      case 'rich_text':
        return el(
          'div',
          { class: 'rich-text' },
          block.elements.map((one) => rich(one, names)),
        )
      case 'markdown':
        return el('div', { class: 'text' }, block.text)
      case 'image':
        return el('p', { class: 'context' }, `🖼 ${block.alt_text}`)
      case 'table':
        return el(
          'div',
          { class: 'scroll', tabindex: '0' },
          el(
            'table',
            {},
            block.rows.map((row, index) =>
              el(
                'tr',
                {},
                row.map((one) => el(index === 0 ? 'th' : 'td', {}, cell(one, names))),
              ),
            ),
          ),
        )
      case 'container':
        return el(
          'details',
          { class: 'container', open: !block.default_collapsed },
          el('summary', {}, textObject(block.title, names)),
          blocks(block.child_blocks, names, act),
        )
      case 'alert':
        return el('p', { class: `alert ${block.level ?? ''}` }, textObject(block.text, names))
      case 'input': {
        const error = errors[block.block_id]
        const label = el(
          'span',
          { class: 'label' },
          textObject(block.label, names),
          block.optional && el('span', { class: 'optional' }, ' (optional)'),
        )
        const group = block.element.type === 'checkboxes' || block.element.type === 'radio_buttons'
        const made = control(block.element, names, block.dispatch_action ? act : undefined)
        if (!block.optional && 'required' in made) made.required = true
        return el(
          group ? 'fieldset' : 'label',
          { class: 'input', 'data-block': block.block_id },
          label,
          made,
          block.hint && el('span', { class: 'hint' }, textObject(block.hint, names)),
          error && el('span', { class: 'error', role: 'alert' }, error),
        )
      }
      default:
        return notice(`a “${block.type}” block`)
    }
  })
}

/** What a form of blocks holds now, by action id. */
export function valuesIn(form) {
  const values = {}
  for (const node of form.querySelectorAll('input[name], textarea[name], select[name]')) {
    if (node.type === 'radio' && !node.checked) continue
    if (node.type === 'checkbox') values[node.name] = [...(values[node.name] ?? []), ...(node.checked ? [node.value] : [])]
    else if (node.multiple) values[node.name] = [...node.selectedOptions].map((one) => one.value)
    else if (node.value !== '') values[node.name] = node.value
  }
  return values
}
