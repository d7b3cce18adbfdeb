/** Slack's rich text as nodes. */

import { el, notice } from './dom.js'
import { emoji } from './emoji.js'
import { link, mention } from './mrkdwn.js'

function leaf(one, names) {
  const nodes = {
    text: () => document.createTextNode(one.text),
    link: () => link(one.url, one.text ?? one.url),
    user: () => mention(names, 'person', one.user_id),
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

export function rich(element, names) {
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
