/** What you type, and what becomes of it. */

import { become, whom } from './arrivals.js'
import { toEnd } from './messages.js'
import { $, api, failureText, now, sorted, toast } from './state.js'
import { closeThread, go, toComposer } from './where.js'

export function hint(composer, where, inThread) {
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
      : '/exec or @drover runs a command · /rollout changes a workload · / comes here · ↑ the last one'
}

export function grow(composer) {
  composer.rows = Math.min(8, composer.value.split('\n').length)
}

export function composes(form, composer, where, threadOf) {
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
    const { me, channel } = now
    if (threadTs === undefined && /^\/|@drover\b/i.test(text)) now.awaits = { channel, after: Number(sorted().at(-1)?.ts ?? 0) }
    hint(composer, where, threadTs !== undefined)
    toEnd($(threadTs === undefined ? 'messages' : 'thread-messages'), true)
    /** What did not go out comes back, unless something else is being written by now, or elsewhere. */
    const giveBack = (words) => {
      if (composer.value !== '' || now.me !== me || now.channel !== channel || threadOf() !== threadTs) return
      composer.value = words
      grow(composer)
      hint(composer, where, threadTs !== undefined)
    }
    try {
      const result = await api('/api/send', { channel, text, ...(threadTs ? { threadTs } : {}) })
      if (result.message) {
        toast(result.message, 'bad')
        giveBack(result.inThread ? text.replace(/^\/\S+/, '@drover') : text)
      } else if (result.failure) toast(failureText(result), 'bad')
    } catch (error) {
      toast(error.message, 'bad')
      giveBack(text)
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

let tries = 0

/** Brings an example to the composer, where it is to be sent, as who is to send it. The last one chosen counts. */
export async function tryIt(example) {
  tries += 1
  const turn = tries
  if (example.user && example.user !== whom() && !(await become(example.user))) return
  if (turn !== tries) return
  if (example.channel && example.channel !== now.channel) go(example.channel)
  // So that the answer opens its own thread.
  if (now.thread !== undefined) closeThread()
  toComposer()
  const composer = $('composer')
  composer.value = example.text
  grow(composer)
  hint(composer, $('compose-hint'), false)
}
