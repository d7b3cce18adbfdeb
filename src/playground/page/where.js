/** Where you are: the channel, its thread, a panel beside them; and how they are drawn. */

import { hint } from './compose.js'
import { icon, messageNode, toEnd } from './messages.js'
import { showProtocol } from './protocol-view.js'
import { drawSide, welcomeNode } from './side.js'
import { $, messages, now, sorted, unread, world } from './state.js'
import { tourSaw } from './tour.js'

const panels = ['protocol', 'faults']

export function draw() {
  drawSide()
  $('tools').hidden = !world.bench?.faults
  drawChannel()
  drawThread()
  hint($('composer'), $('compose-hint'), false)
  hint($('thread-composer'), $('thread-hint'), true)
}

export function drawChannel() {
  const channel = world.channels.find((one) => one.id === now.channel)
  $('channel-name').replaceChildren(channel.isPrivate ? icon('lock') : channel.imWith ? '@' : '#', ` ${channel.name}`)
  $('channel-topic').textContent = channel.topic
  $('thread-back').textContent = `‹ ${channel.imWith ? '@' : '#'}${channel.name}`
  $('composer').placeholder = `Message ${channel.imWith ? '@' : '#'}${channel.name}, or /exec …`
  const mine = sorted().filter((one) => !one.threadTs || one.broadcast)
  $('messages').replaceChildren(welcomeNode(), ...mine.map((one) => messageNode(one, false)))
  drawWelcome()
  toEnd($('messages'))
}

export function drawWelcome() {
  $('messages').classList.toggle('empty', $('messages').children.length <= 1)
}

function drawThread() {
  $('thread').hidden = now.thread === undefined
  document.body.classList.toggle('with-thread', now.thread !== undefined)
  if (now.thread === undefined) return $('thread-messages').replaceChildren()
  const list = sorted().filter((one) => one.ts === now.thread || one.threadTs === now.thread)
  $('thread-messages').replaceChildren(...list.map((one) => messageNode(one, true)))
  toEnd($('thread-messages'))
  void showProtocol()
}

function remember() {
  history.replaceState(null, '', `#${[now.me, now.channel, now.thread].filter(Boolean).join('/')}`)
}

/** Does not take the focus. A thread that is not there is not opened. */
export function arrive(channel, thread) {
  const isKnown = world.channels.some((one) => one.id === channel)
  now.channel = isKnown ? channel : world.channels[0]?.id
  now.thread = messages.has(`${now.channel} ${thread}`) ? thread : undefined
  unread.delete(now.channel)
  remember()
  draw()
  toEnd($('messages'), true)
  toEnd($('thread-messages'), true)
}

export function go(channel, thread) {
  arrive(channel, thread)
  $('composer').focus()
}

function setThread(ts) {
  now.thread = ts
  remember()
  drawThread()
  toEnd($('thread-messages'), true)
}

export function openThread(ts) {
  setThread(ts)
  $('thread-composer').focus()
}

/** For an answer, without being asked: only where it takes nothing away that is being written. Says whether it did. */
export function offerThread(ts) {
  const composer = $('composer')
  const before = now.thread
  if (before !== undefined && $('thread-composer').value !== '') return false
  const wasThere = composer.checkVisibility()
  const hadFocus = document.activeElement === composer
  setThread(ts)
  if (!wasThere || composer.checkVisibility()) return true
  if (composer.value !== '') {
    setThread(before)
    if (hadFocus) composer.focus()
    return false
  }
  if (hadFocus) $('thread-composer').focus()
  return true
}

export function closeThread() {
  setThread(undefined)
  focusComposer()
}

/** One panel at a time. */
export function openPanel(name) {
  for (const one of panels) {
    $(one).hidden = one !== name
    $(`open-${one}`).setAttribute('aria-expanded', String(one === name))
  }
  document.body.classList.toggle('with-panel', name !== undefined)
  if (name === undefined) return focusComposer()
  tourSaw(name)
  void showProtocol()
  $(name).querySelector('select, button:not(:disabled)').focus()
}

function focusComposer() {
  $($('composer').checkVisibility() ? 'composer' : 'thread-composer').focus()
}

/** The composer of the channel, whatever stands before it. */
export function toComposer() {
  const composer = $('composer')
  if (!composer.checkVisibility() && now.thread !== undefined) closeThread()
  if (!composer.checkVisibility()) openPanel(undefined)
  composer.focus()
}
