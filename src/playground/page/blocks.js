/** Block Kit as nodes. */

import { el, notice } from './dom.js'
import { control } from './elements.js'
import { textObject } from './mrkdwn.js'
import { rich } from './rich-text.js'

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
