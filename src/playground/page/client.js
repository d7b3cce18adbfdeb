/** The page in the browser: its keys and buttons, and how it begins. */

import { begin } from './arrivals.js'
import { completes } from './complete.js'
import { composes, grow, hint, tryIt } from './compose.js'
import { heal } from './fault-menu.js'
import { sticky } from './messages.js'
import { startProtocol } from './protocol-view.js'
import { $, now, world } from './state.js'
import { startTour } from './tour.js'
import { closeThread, go, openPanel, openThread, toComposer } from './where.js'

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
for (const id of ['thread-close', 'thread-back']) $(id).addEventListener('click', closeThread)
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
  // What a dialog asks comes first.
  if (document.querySelector('dialog[open]')) return
  const isTyping = event.target.closest?.('input:not([type=radio]), textarea, select') !== null
  if (event.key === 'Escape' && event.target.closest?.('.panel')) return openPanel(undefined)
  if (event.key === 'Escape' && now.thread !== undefined) return closeThread()
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault()
    const composer = $('composer')
    if (composer.value === '') composer.value = '/'
    toComposer()
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

const [user, channel, thread] = location.hash.slice(1).split('/')
await begin(user, channel, thread)
