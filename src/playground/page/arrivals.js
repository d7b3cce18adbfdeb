/** What arrives from the server: the person you are, what was said, and what was missed meanwhile. */

import { drawViews, leaveViews } from './dialogs.js'
import { drawFaults } from './fault-menu.js'
import { place } from './messages.js'
import { protocolNews, showProtocol } from './protocol-view.js'
import { drawSide } from './side.js'
import { $, load, messages, now, toast, unread, world } from './state.js'
import { tourSees } from './tour.js'
import { arrive, draw, drawWelcome, offerThread } from './where.js'

let source
/** Who you are, or are just becoming. */
let heading

function listen() {
  source?.close()
  if (document.hidden) return
  source = new EventSource(`/api/events?user=${now.me}`)
  const mine = source
  /** What arrives while a snapshot is on its way: it may be newer than the snapshot. */
  let late
  let snapshots = 0
  let wasLost = false
  const on = (type, act) =>
    mine.addEventListener(type, ({ data }) => {
      const told = JSON.parse(data)
      if (late) late.push(() => act(told))
      else act(told)
    })
  mine.addEventListener('error', () => {
    wasLost = true
    document.body.classList.add('offline')
    // It tries again by itself, unless the server said no: then this is another start, with another token.
    document.body.classList.toggle('gone', mine.readyState === EventSource.CLOSED)
  })
  mine.addEventListener('ready', async () => {
    document.body.classList.remove('offline', 'gone')
    if (wasLost) toast('Connected again.')
    wasLost = false
    late ??= []
    snapshots += 1
    await catchUp(mine)
    snapshots -= 1
    if (mine !== source || snapshots > 0) return
    const missed = late
    late = undefined
    for (const act of missed) act()
    void showProtocol()
  })
  on('protocol', protocolNews)
  on('faults', drawFaults)
  on('message', changed)
}

/** A browser keeps few connections to one address: a tab that nobody sees leaves its own to the others, and catches up later. */
document.addEventListener('visibilitychange', () => {
  if (document.hidden) source?.close()
  else if (now.me !== undefined && source?.readyState !== EventSource.OPEN) listen()
})

/** What happened while the connection was lost, or before it was there. */
async function catchUp(mine) {
  const before = new Map(messages)
  const answer = await load(now.me, () => mine === source).catch(() => 'stale')
  if (answer !== 'new') return
  drawRest()
  draw()
  for (const [key, message] of messages) {
    const old = before.get(key)
    if (old === undefined) seen(message, 'message')
    else if (JSON.stringify(old) !== JSON.stringify(message)) tourSees(message)
  }
}

/** What a snapshot tells besides the chat. */
function drawRest() {
  drawFaults(world.bench?.faults)
  drawViews(world.views ?? [])
}

function changed(change) {
  if (change.type === 'views') return drawViews(change.views)
  const { message } = change
  const key = `${message.channel} ${message.ts}`
  if (change.type === 'message_deleted') messages.delete(key)
  else messages.set(key, message)
  if (message.channel === now.channel) {
    place($('messages'), message, change.type, !message.threadTs || message.broadcast === true)
    if (now.thread !== undefined) {
      place($('thread-messages'), message, change.type, message.ts === now.thread || message.threadTs === now.thread)
    }
    const parent = messages.get(`${message.channel} ${message.threadTs}`)
    if (parent) place($('messages'), parent, 'message_changed', true)
    drawWelcome()
  }
  seen(message, change.type)
}

function seen(message, type) {
  tourSees(message)
  if (type !== 'message') return
  if (message.channel === now.channel) return lookAt(message)
  unread.add(message.channel)
  drawSide()
}

/** Opens the thread of the answer just waited for, and of an answer that only you can see: neither should go unnoticed. */
function lookAt(message) {
  if (!message.threadTs || message.threadTs === now.thread) return
  if (isAwaited(message)) {
    if (offerThread(message.threadTs)) now.awaits = undefined
  } else if (message.onlyFor && !offerThread(message.threadTs)) toast('drover has answered you alone, in another thread.')
}

/** Threads that were there already may still get a reply of the answer before, and others may be asking as well. */
function isAwaited({ channel, threadTs, botId }) {
  if (!now.awaits || now.thread !== undefined || !botId) return false
  if (channel !== now.awaits.channel || Number(threadTs) <= now.awaits.after) return false
  const root = messages.get(`${channel} ${threadTs}`)
  return root === undefined || root.user === now.me || JSON.stringify([root.text, root.blocks]).includes(now.me)
}

/** False when it came to nothing, or somebody else was chosen meanwhile. `keepsFocus`: whoever walks through the people by keys goes on there. */
export async function become(user, { keepsFocus = false } = {}) {
  heading = user
  source?.close()
  const answer = await load(user, () => heading === user).catch((error) => error)
  if (heading !== user) return false
  if (answer instanceof Error) {
    toast(answer.message, 'bad')
    heading = now.me
    drawSide()
    listen()
    return false
  }
  unread.clear()
  now.awaits = undefined
  drawRest()
  arrive(now.channel, now.thread)
  $(keepsFocus ? `person-${user}` : 'composer').focus()
  listen()
  return true
}

/** Who will answer for what is done next. */
export const whom = () => heading ?? now.me

export async function begin(user, channel, thread) {
  await load(user).catch(() => load())
  leaveViews(world.views ?? [])
  drawRest()
  arrive(channel, thread)
  $('composer').focus()
  listen()
}
