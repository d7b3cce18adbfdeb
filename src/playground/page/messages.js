/** Messages as nodes, and the lists they stand in. */

import { blocks } from './blocks.js'
import { click } from './dialogs.js'
import { el } from './dom.js'
import { mrkdwn } from './mrkdwn.js'
import { messages, names, now, world } from './state.js'

/** Adds, replaces or removes one message in a list, and keeps the end in view when it was. */
export function place(list, message, type, belongs) {
  const old = list.querySelector(`[data-ts="${message.ts}"]`)
  if (type === 'message_deleted' || !belongs) return old?.remove()
  const node = messageNode(message, list.id === 'thread-messages')
  if (old) {
    const focused = old.contains(document.activeElement) ? document.activeElement : undefined
    old.replaceWith(node)
    if (focused && !focused.isConnected) refocus(node, focused)
  } else list.append(node)
}

/** The same button again; where it is gone the message itself, so that Tab goes on from there and Enter presses no other. */
function refocus(node, { dataset: { action, thread } }) {
  const same = action ? `[data-action="${CSS.escape(action)}"]` : thread ? `[data-thread="${CSS.escape(thread)}"]` : undefined
  const found = same && node.querySelector(same)
  if (!found) node.tabIndex = -1
  ;(found || node).focus({ preventScroll: true })
}

const atEnd = new Map()
/** A list that shows its end goes on showing it while it grows, shrinks or fills late. */
export function sticky(list) {
  atEnd.set(list, true)
  list.addEventListener('scroll', () => atEnd.set(list, list.scrollHeight - list.scrollTop - list.clientHeight < 60))
  const sizes = new ResizeObserver(() => toEnd(list))
  const children = new MutationObserver(() => {
    sizes.disconnect()
    for (const one of [list, ...list.children]) sizes.observe(one)
    toEnd(list)
  })
  children.observe(list, { childList: true })
}

export function toEnd(list, force = false) {
  if (force) atEnd.set(list, true)
  if (atEnd.get(list)) list.scrollTop = list.classList.contains('empty') ? 0 : list.scrollHeight
}

export function icon(name) {
  const paths = {
    lock: 'M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7h1zm2 0h4V5a2 2 0 0 0-4 0v2z',
    file: 'M3 1h6l4 4v10H3V1zm5 1.5V6h3.5L8 2.5zM5 8v1.2h6V8H5zm0 3v1.2h6V11H5z',
  }
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  for (const [key, value] of Object.entries({
    viewBox: '0 0 16 16',
    width: '14',
    height: '14',
    fill: 'currentColor',
    'aria-hidden': 'true',
  }))
    svg.setAttribute(key, value)
  path.setAttribute('d', paths[name])
  path.setAttribute('fill-rule', 'evenodd')
  svg.append(path)
  return svg
}

const clock = (ts) => new Date(Number(ts) * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
const size = (bytes) =>
  bytes < 1024 ? `${bytes} bytes` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`

export function avatar(user) {
  const person = world.people.find((one) => one.id === user)
  return el(
    'span',
    {
      class: `avatar a-${user === world.bot ? 'bot' : user === 'USLACKBOT' ? 'slack' : (person?.name ?? 'x')}`,
      'aria-hidden': 'true',
    },
    user === world.bot ? '>_' : (person?.realName ?? 'S').slice(0, 1).toUpperCase(),
  )
}

export function messageNode(message, inThread) {
  const person = world.people.find((one) => one.id === message.user)
  const key = `${message.channel} ${message.ts}`
  const replies =
    inThread || message.threadTs
      ? []
      : [...messages.values()].filter((one) => one.channel === message.channel && one.threadTs === message.ts && !one.onlyFor)
  const act = (element, value, node) => click(message, element, value, node)
  const content = message.blocks
    ? blocks(message.blocks, names, act)
    : message.text
      ? el('div', { class: 'text' }, mrkdwn(message.text, names))
      : ''
  return el(
    'li',
    { class: `message ${message.onlyFor ? 'only' : ''}`, 'data-ts': message.ts, 'data-key': key },
    avatar(message.user),
    el(
      'div',
      { class: 'content' },
      message.onlyFor && el('p', { class: 'only-you' }, 'Only visible to you'),
      el(
        'p',
        { class: 'by' },
        el('strong', {}, person?.realName ?? 'Slackbot'),
        message.botId && el('span', { class: 'badge' }, 'app'),
        person?.isStranger && el('span', { class: 'badge outside' }, 'Acme'),
        el('time', { datetime: new Date(Number(message.ts) * 1000).toISOString() }, clock(message.ts)),
        message.edited && el('span', { class: 'edited' }, '(edited)'),
        message.broadcast && !inThread && el('span', { class: 'edited' }, 'replied in a thread'),
      ),
      content,
      (message.files ?? []).map((file) => fileBox(file, inThread)),
      replies.length > 0 &&
        el(
          'button',
          { type: 'button', class: 'replies', 'data-thread': message.ts },
          `${replies.length} ${replies.length === 1 ? 'reply' : 'replies'}`,
        ),
    ),
    !inThread &&
      !message.onlyFor &&
      el(
        'button',
        {
          type: 'button',
          class: 'quiet reply-here',
          'aria-label': 'Reply in a thread',
          'data-thread': message.threadTs ?? message.ts,
        },
        '↳ Reply',
      ),
  )
}

const boxes = new Map()
/** Made once for each list: what was opened in it stays open when its message is drawn anew. */
function fileBox(file, inThread) {
  const key = `${now.me} ${inThread} ${file.id}`
  if (!boxes.has(key))
    boxes.set(
      key,
      fileNode(file, () => boxes.delete(key)),
    )
  return boxes.get(key)
}

function fileNode(file, failed) {
  const url = `/api/files/${file.id}?user=${now.me}`
  const text = el('pre', { tabindex: '0' }, '…')
  const more = el('button', { type: 'button', class: 'quiet', hidden: true }, 'Show more')
  const box = el(
    'div',
    { class: 'file' },
    el(
      'p',
      {},
      icon('file'),
      el('strong', {}, file.title),
      el('span', { class: 'size' }, size(file.size)),
      el('a', { href: url, download: file.name }, 'Download'),
    ),
    text,
    more,
  )
  fetch(`${url}&preview=1`)
    .then((response) => response.json())
    .then((preview) => {
      if (preview.binary) return text.replaceWith(el('p', { class: 'notice' }, 'Not text: download it to look inside.'))
      const lines = preview.text.split('\n')
      const short = lines.slice(0, 8).join('\n')
      const whole = preview.text + (preview.cut ? '\n… the preview ends here; download the rest' : '')
      text.textContent = short
      more.hidden = lines.length <= 8
      more.addEventListener('click', () => {
        const isShort = more.textContent === 'Show more'
        text.textContent = isShort ? whole : short
        more.textContent = isShort ? 'Show less' : 'Show more'
      })
    })
    .catch(() => {
      text.textContent = 'The preview could not be loaded.'
      failed()
    })
  return box
}
