/** Block Kit's buttons, menus and fields as nodes, and what a form of them holds. */

import { el, notice } from './dom.js'
import { withEmoji } from './emoji.js'
import { textObject } from './mrkdwn.js'

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

export function control(element, names, act) {
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

/** Puts back what `valuesIn` read; fields that are not there any more are passed over. */
export function fill(form, values) {
  for (const node of form.querySelectorAll('input[name], textarea[name], select[name]')) {
    const value = values[node.name]
    if (value === undefined) continue
    if (node.type === 'radio') node.checked = node.value === value
    else if (node.type === 'checkbox') node.checked = value.includes(node.value)
    else if (node.multiple) for (const option of node.options) option.selected = value.includes(option.value)
    else node.value = value
  }
}
