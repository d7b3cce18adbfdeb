/** The page in the browser: who you are, where you are, what was said, and what you type. */

import { blocks, el, mrkdwn, textObject, valuesIn } from './blocks.js'

const $ = (id) => document.getElementById(id)
const now = { me: undefined, channel: undefined, thread: undefined, awaits: false }
let world = { people: [], switchable: [], channels: [], examples: [], archives: '' }
/** Messages of this person's channels by `channel ts`. */
const messages = new Map()
const unread = new Set()
let source
let loads = 0

const names = {
  person: (id) => world.people.find((one) => one.id === id)?.name,
  channel: (id) => world.channels.find((one) => one.id === id)?.name,
  people: () => world.people.filter((one) => !one.isBot),
  channels: () => world.channels,
}

// ---- talking to the server -------------------------------------------------------------------

async function api(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: now.me, ...body }),
  })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.error)
  return answer.result
}

/** False when a later load has overtaken it. */
async function load(user) {
  loads += 1
  const turn = loads
  const response = await fetch(`/api/state${user ? `?user=${encodeURIComponent(user)}` : ''}`)
  if (!response.ok) throw new Error((await response.json()).error)
  const answer = await response.json()
  if (turn !== loads) return false
  world = answer
  now.me = world.me
  messages.clear()
  for (const message of world.messages) messages.set(`${message.channel} ${message.ts}`, message)
  return true
}

function listen() {
  source?.close()
  source = new EventSource(`/api/events?user=${now.me}`)
  const mine = source
  /** Changes that arrive while a snapshot is on its way. */
  let late
  let wasLost = false
  source.addEventListener('error', () => {
    wasLost = true
    document.body.classList.add('offline')
  })
  source.addEventListener('ready', async () => {
    document.body.classList.remove('offline')
    // What happened while the connection was lost, or before it was there.
    if (wasLost) toast('Connected again.')
    late = []
    const isNow = await load(now.me).catch(() => false)
    const missed = late
    late = undefined
    if (mine !== source) return
    if (isNow) draw()
    // What came while the snapshot was on its way may be newer than the snapshot.
    for (const change of missed) changed(change)
  })
  source.addEventListener('message', (event) => {
    const change = JSON.parse(event.data)
    if (late) late.push(change)
    else changed(change)
  })
}

function changed(change) {
  if (change.type === 'views') return drawViews(change.views)
  const { message } = change
  const key = `${message.channel} ${message.ts}`
  if (change.type === 'message_deleted') messages.delete(key)
  else messages.set(key, message)
  if (message.channel !== now.channel) {
    if (change.type === 'message') unread.add(message.channel)
    return drawSide()
  }
  place($('messages'), message, change.type, !message.threadTs || message.broadcast === true)
  if (now.thread !== undefined) {
    place($('thread-messages'), message, change.type, message.ts === now.thread || message.threadTs === now.thread)
  }
  const parent = messages.get(`${message.channel} ${message.threadTs}`)
  if (parent) place($('messages'), parent, 'message_changed', true)
  drawWelcome()
  if (change.type === 'message') lookAt(message)
}

/** Opens the thread of the answer just waited for, and of an answer that only you can see: neither should go unnoticed. */
function lookAt(message) {
  const isAnswer = now.awaits && now.thread === undefined && message.botId
  if (!message.threadTs || message.threadTs === now.thread || !(isAnswer || message.onlyFor)) return
  now.awaits = false
  now.thread = message.threadTs
  remember()
  drawThread()
}

/** Adds, replaces or removes one message in a list, and keeps the end in view when it was. */
function place(list, message, type, belongs) {
  const old = list.querySelector(`[data-ts="${message.ts}"]`)
  if (type === 'message_deleted' || !belongs) return old?.remove()
  const node = messageNode(message, list.id === 'thread-messages')
  if (old) {
    const focused = old.contains(document.activeElement) ? document.activeElement.dataset.action : undefined
    old.replaceWith(node)
    if (focused) node.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus()
  } else list.append(node)
}

const atEnd = new Map()
/** A list that shows its end goes on showing it while it grows, shrinks or fills late. */
function sticky(list) {
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

function toEnd(list, force = false) {
  if (force) atEnd.set(list, true)
  if (atEnd.get(list)) list.scrollTop = list.scrollHeight
}

function icon(name) {
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

// ---- drawing ---------------------------------------------------------------------------------

const clock = (ts) => new Date(Number(ts) * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
const size = (bytes) =>
  bytes < 1024 ? `${bytes} bytes` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`

function avatar(user) {
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

function messageNode(message, inThread) {
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
      (message.files ?? []).map(fileNode),
      replies.length > 0 &&
        el(
          'button',
          { type: 'button', class: 'replies', onclick: () => openThread(message.ts) },
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
          onclick: () => openThread(message.threadTs ?? message.ts),
        },
        '↳ Reply',
      ),
  )
}

function fileNode(file) {
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
    })
  return box
}

function drawSide() {
  $('people').replaceChildren(
    ...world.switchable.map((id) => {
      const person = world.people.find((one) => one.id === id)
      const input = el('input', { type: 'radio', name: 'person', value: id, checked: id === now.me, onchange: () => become(id) })
      return el(
        'label',
        { class: id === now.me ? 'chosen' : '' },
        input,
        avatar(id),
        el('span', {}, el('strong', {}, person.realName), el('small', {}, person.title)),
      )
    }),
  )
  $('channels').replaceChildren(
    ...world.channels.map((one) =>
      el(
        'li',
        {},
        el(
          'button',
          {
            type: 'button',
            'aria-current': one.id === now.channel ? 'page' : undefined,
            class: unread.has(one.id) ? 'unread' : '',
            onclick: () => go(one.id),
          },
          el('span', { class: 'sign', 'aria-hidden': 'true' }, one.isPrivate ? icon('lock') : '#'),
          one.name,
          one.isExtShared && el('span', { class: 'badge outside' }, 'Acme'),
          unread.has(one.id) && el('span', { class: 'dot' }, el('span', { class: 'hidden' }, 'new messages')),
        ),
      ),
    ),
  )
  $('examples').replaceChildren(...world.examples.map((one) => el('li', {}, exampleButton(one))))
}

function exampleButton(example) {
  return el(
    'button',
    { type: 'button', class: 'example', onclick: () => tryIt(example) },
    el('span', {}, example.label),
    el('code', {}, example.text),
  )
}

function drawChannel() {
  const channel = world.channels.find((one) => one.id === now.channel)
  $('channel-name').replaceChildren(channel.isPrivate ? icon('lock') : '#', ` ${channel.name}`)
  $('channel-topic').textContent = channel.topic
  $('composer').placeholder = `Message #${channel.name}, or /exec …`
  const mine = sorted().filter((one) => !one.threadTs || one.broadcast)
  $('messages').replaceChildren(welcomeNode(), ...mine.map((one) => messageNode(one, false)))
  toEnd($('messages'), true)
  drawWelcome()
}

const sorted = () =>
  [...messages.values()].filter((one) => one.channel === now.channel).sort((a, b) => Number(a.ts) - Number(b.ts))

function welcomeNode() {
  const me = world.people.find((one) => one.id === now.me)
  return el(
    'li',
    { class: 'welcome' },
    el('h3', {}, 'Run a command in a container, from a chat'),
    el(
      'p',
      {},
      'This is a small pretend Slack on your machine. The bot ',
      el('strong', {}, 'drover'),
      ' is in it, and pretend containers wait for it. You are ',
      el('strong', {}, me.realName),
      ` (${me.title}).`,
    ),
    el('p', { class: 'pick' }, 'Pick one, then press ', el('kbd', {}, 'Enter'), ':'),
    el('div', { class: 'cards' }, world.examples.slice(0, 4).map(exampleButton)),
    el('p', { class: 'small' }, 'drover answers in a thread. Switch to someone else on the left to see what they may not do.'),
  )
}

function drawWelcome() {
  $('messages').classList.toggle('empty', $('messages').children.length <= 1)
}

function drawThread() {
  $('thread').hidden = now.thread === undefined
  document.body.classList.toggle('with-thread', now.thread !== undefined)
  if (now.thread === undefined) return $('thread-messages').replaceChildren()
  const list = sorted().filter((one) => one.ts === now.thread || one.threadTs === now.thread)
  $('thread-messages').replaceChildren(...list.map((one) => messageNode(one, true)))
  toEnd($('thread-messages'), true)
  $('thread-composer').placeholder = 'Reply, or @drover …'
}

function draw() {
  drawSide()
  drawChannel()
  drawThread()
  drawViews(world.views ?? [])
  hint($('composer'), $('compose-hint'), false)
  hint($('thread-composer'), $('thread-hint'), true)
}

// ---- moving about ----------------------------------------------------------------------------

function remember() {
  history.replaceState(null, '', `#${[now.me, now.channel, now.thread].filter(Boolean).join('/')}`)
}

function go(channel, thread) {
  const isKnown = world.channels.some((one) => one.id === channel)
  now.channel = isKnown ? channel : world.channels[0]?.id
  now.thread = isKnown ? thread : undefined
  unread.delete(now.channel)
  remember()
  draw()
  $('composer').focus()
}

function openThread(ts) {
  now.thread = ts
  remember()
  drawThread()
  $('thread-composer').focus()
}

function closeThread() {
  now.thread = undefined
  remember()
  drawThread()
  $('composer').focus()
}

async function become(user) {
  source?.close()
  await load(user)
  unread.clear()
  go(now.channel, now.thread)
  listen()
}

async function tryIt(example) {
  if (example.user && example.user !== now.me) await become(example.user)
  if (example.channel && example.channel !== now.channel) go(example.channel)
  const composer = $('composer')
  composer.value = example.text
  grow(composer)
  hint(composer, $('compose-hint'), false)
  composer.focus()
}

// ---- typing ----------------------------------------------------------------------------------

function hint(composer, where, inThread) {
  const text = composer.value
  if (/^\//.test(text)) {
    where.textContent = inThread
      ? 'Slack has no slash commands inside threads. Write @drover instead.'
      : 'Slash command: only drover reads it. Enter sends.'
  } else if (/@drover\b/i.test(text)) where.textContent = 'Mention: everyone sees it, drover answers in the thread. Enter sends.'
  else if (text.trim() !== '') where.textContent = 'Plain message: drover does not read it.'
  else
    where.textContent = inThread
      ? '@drover runs a command in this thread'
      : '/exec or @drover runs a command · / to come here · ↑ for the last one'
}

function grow(composer) {
  composer.rows = Math.min(8, composer.value.split('\n').length)
}

function composes(form, composer, where, threadOf) {
  const past = []
  let at = 0
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const text = composer.value.trim()
    if (text === '') return
    past.push(text)
    at = past.length
    composer.value = ''
    grow(composer)
    const threadTs = threadOf()
    now.awaits = threadTs === undefined
    hint(composer, where, threadTs !== undefined)
    try {
      const result = await api('/api/send', { channel: now.channel, text, ...(threadTs ? { threadTs } : {}) })
      if (result.message) {
        toast(result.message, 'bad')
        composer.value = result.inThread ? text.replace(/^\/\S+/, '@drover') : text
        hint(composer, where, threadTs !== undefined)
      } else if (result.failure) toast(failureText(result), 'bad')
    } catch (error) {
      toast(error.message, 'bad')
      composer.value = text
    }
  })
  composer.addEventListener('input', () => {
    grow(composer)
    hint(composer, where, threadOf() !== undefined)
  })
  composer.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      form.requestSubmit()
    }
    if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return
    if (composer.value !== '' && composer.value !== past[at]) return
    const next = at + (event.key === 'ArrowUp' ? -1 : 1)
    if (next < 0 || next > past.length) return
    event.preventDefault()
    at = next
    composer.value = past[at] ?? ''
    hint(composer, where, threadOf() !== undefined)
  })
}

function failureText({ status, failure }) {
  if (failure === 'http_timeout') return 'drover did not answer within 3 seconds.'
  if (failure === 'connection_failed') return 'drover could not be reached.'
  return `drover answered with HTTP ${status}.`
}

// ---- buttons, dialogs, modals ----------------------------------------------------------------

async function click(message, element, value, node) {
  if (element.confirm && !(await asked(element.confirm))) return
  if (element.url) window.open(element.url, '_blank', 'noopener,noreferrer')
  node.disabled = true
  node.setAttribute('aria-busy', 'true')
  try {
    const result = await api('/api/click', { channel: message.channel, ts: message.ts, actionId: element.action_id, value })
    if (result.failure) toast(failureText(result), 'bad')
  } catch (error) {
    toast(error.message, 'bad')
  }
  node.disabled = false
  node.removeAttribute('aria-busy')
}

function asked(confirm) {
  const dialog = $('confirm')
  const { promise, resolve } = Promise.withResolvers()
  const style = confirm.style === 'danger' ? 'danger' : 'primary'
  dialog.replaceChildren(
    el('h2', { id: 'confirm-title' }, textObject(confirm.title, names)),
    el('div', { class: 'text' }, textObject(confirm.text, names)),
    el(
      'div',
      { class: 'buttons' },
      el('button', { type: 'button', class: 'kit', onclick: () => dialog.close('') }, textObject(confirm.deny, names)),
      el(
        'button',
        { type: 'button', class: `kit ${style}`, autofocus: true, onclick: () => dialog.close('yes') },
        textObject(confirm.confirm, names),
      ),
    ),
  )
  dialog.returnValue = ''
  dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true })
  dialog.showModal()
  return promise
}

let shownView

function drawViews(stack) {
  const dialog = $('modal')
  const top = stack.at(-1)
  if (!top) {
    shownView = undefined
    return dialog.open && dialog.close()
  }
  const { view, id } = top
  const act = async (element, value) => {
    try {
      const result = await api('/api/click', { viewId: id, actionId: element.action_id, value })
      if (result.failure) toast(failureText(result), 'bad')
    } catch (error) {
      toast(error.message, 'bad')
    }
  }
  const form = el(
    'form',
    {},
    el(
      'header',
      {},
      el('h2', { id: 'modal-title' }, textObject(view.title, names)),
      el('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: () => closeView(id) }, '✕'),
    ),
    el('div', { class: 'fieldset' }, blocks(view.blocks, names, act, top.errors)),
    el(
      'div',
      { class: 'buttons' },
      el(
        'button',
        { type: 'button', class: 'kit', onclick: () => closeView(id) },
        view.close ? textObject(view.close, names) : 'Cancel',
      ),
      view.submit && el('button', { type: 'submit', class: 'kit primary' }, textObject(view.submit, names)),
    ),
  )
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const submit = form.querySelector('[type=submit]')
    submit.disabled = true
    try {
      const result = await api('/api/view/submit', { viewId: id, values: valuesIn(form) })
      if (result.failure) toast(failureText(result), 'bad')
    } catch (error) {
      toast(error.message, 'bad')
    }
    submit.disabled = false
  })
  // An update keeps what was typed into fields that are still there.
  const kept = shownView === id ? valuesIn(dialog) : {}
  shownView = id
  dialog.replaceChildren(form)
  for (const [name, value] of Object.entries(kept)) {
    const field = form.querySelector(`[name="${CSS.escape(name)}"]`)
    if (field && typeof value === 'string' && field.type !== 'radio') field.value = value
  }
  if (!dialog.open) dialog.showModal()
  form.querySelector('input, select, textarea')?.focus()
}

async function closeView(viewId) {
  try {
    await api('/api/view/close', { viewId })
  } catch (error) {
    toast(error.message, 'bad')
  }
}

$('modal').addEventListener('cancel', (event) => {
  event.preventDefault()
  if (shownView) void closeView(shownView)
})

function toast(text, kind = '') {
  const node = el('p', { class: `toast ${kind}` }, text)
  $('toasts').append(node)
  setTimeout(() => node.remove(), 8000)
}

// ---- theme, keys, start ----------------------------------------------------------------------

const isDark = () => matchMedia('(prefers-color-scheme: dark)').matches
function theme(name) {
  if (name) document.documentElement.dataset.theme = name
}
theme(localStorage.getItem('theme'))
$('theme').addEventListener('click', () => {
  const next = (document.documentElement.dataset.theme ?? (isDark() ? 'dark' : 'light')) === 'dark' ? 'light' : 'dark'
  localStorage.setItem('theme', next)
  theme(next)
})

sticky($('messages'))
sticky($('thread-messages'))
$('thread-close').addEventListener('click', closeThread)
composes($('compose'), $('composer'), $('compose-hint'), () => undefined)
composes($('thread-compose'), $('thread-composer'), $('thread-hint'), () => now.thread)

document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest?.('input:not([type=radio]), textarea, select, dialog') !== null
  if (event.key === 'Escape' && now.thread !== undefined && !document.querySelector('dialog[open]')) return closeThread()
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault()
    const composer = $('composer')
    if (composer.value === '') composer.value = '/'
    composer.focus()
    hint(composer, $('compose-hint'), false)
  }
  if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
    event.preventDefault()
    const at = world.channels.findIndex((one) => one.id === now.channel) + (event.key === 'ArrowUp' ? -1 : 1)
    const next = world.channels[(at + world.channels.length) % world.channels.length]
    if (next) go(next.id)
  }
})

// A link to a message leads to the message here.
document.addEventListener('click', (event) => {
  const href = event.target.closest?.('a')?.href ?? ''
  if (!world.archives || !href.startsWith(world.archives)) return
  event.preventDefault()
  const url = new URL(href)
  const [, , channel, p] = url.pathname.split('/')
  const ts = p.replace(/^p(\d{10})(\d{6})$/, '$1.$2')
  go(channel, url.searchParams.get('thread_ts') ?? ts)
})

async function start() {
  const [user, channel, thread] = location.hash.slice(1).split('/')
  await load(user).catch(() => load())
  go(channel ?? world.channels[0]?.id, thread)
  listen()
}
start().catch((error) => toast(error.message, 'bad'))
