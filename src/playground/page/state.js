/** What the page knows: who you are, where you are, what was said; and how it asks the server. */

import { el } from './dom.js'

export const $ = (id) => document.getElementById(id)
/** `awaits`: the channel in which a command was sent whose answer is to open its thread, and the newest `ts` there then. */
export const now = { me: undefined, channel: undefined, thread: undefined, awaits: undefined }
export let world = { people: [], switchable: [], channels: [], groups: [], examples: [], archives: '', channelNames: {} }
/** Messages of this person's channels by `channel ts`. */
export const messages = new Map()
export const unread = new Set()
let loads = 0
let lastAnswer

export const names = {
  person: (id) => world.people.find((one) => one.id === id)?.name,
  channel: (id) => world.channels.find((one) => one.id === id)?.name ?? world.channelNames?.[id],
  group: (id) => world.groups.find((one) => one.id === id)?.handle,
  people: () => world.people.filter((one) => !one.isBot),
  channels: () => world.channels,
}

export async function api(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: now.me, ...body }),
  })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.error)
  return answer.result
}

/** `'same'` as what is known already, `'new'`, or `'stale'`: a later one has overtaken it, or it is not wanted any more. */
export async function load(user, isWanted = () => true) {
  loads += 1
  const turn = loads
  const response = await fetch(`/api/state${user ? `?user=${encodeURIComponent(user)}` : ''}`)
  const text = await response.text()
  if (!response.ok) throw new Error(JSON.parse(text).error)
  if (turn !== loads || !isWanted()) return 'stale'
  const known = JSON.stringify([...messages.values()])
  world = JSON.parse(text)
  now.me = world.me
  messages.clear()
  for (const message of world.messages) messages.set(`${message.channel} ${message.ts}`, message)
  const isSame = text === lastAnswer && known === JSON.stringify(world.messages)
  lastAnswer = text
  return isSame ? 'same' : 'new'
}

/** Of this channel, oldest first. */
export const sorted = () =>
  [...messages.values()].filter((one) => one.channel === now.channel).sort((a, b) => Number(a.ts) - Number(b.ts))

export function toast(text, kind = '') {
  const node = el('p', { class: `toast ${kind}` }, text)
  $('toasts').append(node)
  setTimeout(() => node.remove(), 8000)
}

export function failureText({ status, failure }) {
  if (failure === 'http_timeout') return 'drover did not answer within 3 seconds.'
  if (failure === 'connection_failed') return 'drover could not be reached.'
  return `drover answered with HTTP ${status}.`
}
