/** Slack's message text as nodes: marks, mentions, links. */

import { el } from './dom.js'
import { withEmoji } from './emoji.js'

const unescaped = (text) => text.replace(/&(amp|lt|gt);/g, (_, name) => ({ amp: '&', lt: '<', gt: '>' })[name])

/** Only web addresses become links; anything else stays text. */
export function link(url, text) {
  if (!/^(https?|mailto):/i.test(url)) return document.createTextNode(text)
  return el('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, text)
}

export function mention(names, kind, id, fallback) {
  const sign = kind === 'channel' ? '#' : '@'
  return el('span', { class: 'mention' }, `${sign}${names[kind](id) ?? fallback ?? id}`)
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
  if (target.startsWith('@')) return mention(names, 'person', target.slice(1), label)
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
