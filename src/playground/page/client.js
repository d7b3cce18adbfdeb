/** The page in the browser: where you are in it, and what arrives. */

import { completes } from './complete.js'
import { composes, grow, hint } from './compose.js'
import { drawViews } from './dialogs.js'
import { drawFaults, heal } from './fault-menu.js'
import { icon, messageNode, place, sticky, toEnd } from './messages.js'
import { protocolNews, showProtocol, startProtocol } from './protocol-view.js'
import { drawSide, welcomeNode } from './side.js'
import { $, load, messages, now, sorted, toast, unread, world } from './state.js'
import { startTour, tourSaw, tourSees } from './tour.js'

let source

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
    void showProtocol()
    // What came while the snapshot was on its way may be newer than the snapshot.
    for (const change of missed) changed(change)
  })
  source.addEventListener('protocol', (event) => protocolNews(JSON.parse(event.data)))
  source.addEventListener('faults', (event) => drawFaults(JSON.parse(event.data), tryIt))
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
  tourSees(message)
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
  const isAnswer = now.thread === undefined && message.botId && Number(message.threadTs) > now.awaits
  if (!message.threadTs || message.threadTs === now.thread || !(isAnswer || message.onlyFor)) return
  now.awaits = undefined
  now.thread = message.threadTs
  remember()
  drawThread()
}

function drawChannel() {
  const channel = world.channels.find((one) => one.id === now.channel)
  $('channel-name').replaceChildren(channel.isPrivate ? icon('lock') : channel.imWith ? '@' : '#', ` ${channel.name}`)
  $('channel-topic').textContent = channel.topic
  $('composer').placeholder = `Message ${channel.imWith ? '@' : '#'}${channel.name}, or /exec … or /rollout …`
  const mine = sorted().filter((one) => !one.threadTs || one.broadcast)
  $('messages').replaceChildren(welcomeNode(), ...mine.map((one) => messageNode(one, false)))
  toEnd($('messages'), true)
  drawWelcome()
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
  void showProtocol()
}

export function skipTour() {
  localStorage.setItem('tour', 'skipped')
  drawChannel()
  $('composer').focus()
}

function draw() {
  drawSide()
  $('tools').hidden = !world.bench?.faults
  drawFaults(world.bench?.faults, tryIt)
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

export function go(channel, thread) {
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

/** One panel at a time. */
function openPanel(name) {
  for (const one of ['protocol', 'faults']) {
    $(one).hidden = one !== name
    $(`open-${one}`).setAttribute('aria-expanded', String(one === name))
  }
  document.body.classList.toggle('with-panel', name !== undefined)
  if (name === undefined) return $('composer').focus()
  tourSaw(name)
  void showProtocol()
  $(name).querySelector('select, button:not(:disabled)').focus()
}

function closeThread() {
  now.thread = undefined
  remember()
  drawThread()
  $('composer').focus()
}

export async function become(user) {
  source?.close()
  await load(user)
  unread.clear()
  go(now.channel, now.thread)
  listen()
}

export async function tryIt(example) {
  if (example.user && example.user !== now.me) await become(example.user)
  if (example.channel && example.channel !== now.channel) go(example.channel)
  // So that the answer opens its own thread.
  if (now.thread !== undefined) closeThread()
  const composer = $('composer')
  composer.value = example.text
  grow(composer)
  hint(composer, $('compose-hint'), false)
  composer.focus()
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

for (const name of ['protocol', 'faults']) {
  $(`open-${name}`).addEventListener('click', () => openPanel($(name).hidden ? name : undefined))
}
for (const button of document.querySelectorAll('[data-close]')) button.addEventListener('click', () => openPanel(undefined))
$('heal').addEventListener('click', () => void heal())
startProtocol()
startTour({ tryIt, openPanel })

sticky($('messages'))
sticky($('thread-messages'))
$('thread-close').addEventListener('click', closeThread)
for (const [composer, where, isInThread] of [
  ['composer', 'compose-hint', false],
  ['thread-composer', 'thread-hint', true],
]) {
  completes($(composer), $(`${composer}-list`), () => {
    grow($(composer))
    hint($(composer), $(where), isInThread)
  })
}
composes($('compose'), $('composer'), $('compose-hint'), () => undefined)
composes($('thread-compose'), $('thread-composer'), $('thread-hint'), () => now.thread)

document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest?.('input:not([type=radio]), textarea, select, dialog') !== null
  if (event.key === 'Escape' && event.target.closest?.('.panel')) return openPanel(undefined)
  if (event.key === 'Escape' && now.thread !== undefined && !document.querySelector('dialog[open]')) return closeThread()
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault()
    const composer = $('composer')
    if (composer.value === '') composer.value = '/'
    composer.focus()
    composer.dispatchEvent(new Event('input'))
  }
  if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
    event.preventDefault()
    const at = world.channels.findIndex((one) => one.id === now.channel) + (event.key === 'ArrowUp' ? -1 : 1)
    const next = world.channels[(at + world.channels.length) % world.channels.length]
    if (next) go(next.id)
  }
})

document.addEventListener('click', (event) => {
  const ts = event.target.closest?.('[data-thread]')?.dataset.thread
  if (ts) openThread(ts)
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
