/** Buttons, confirmations and modals. */

import { blocks } from './blocks.js'
import { el } from './dom.js'
import { fill, valuesIn } from './elements.js'
import { textObject } from './mrkdwn.js'
import { $, api, failureText, messages, names, toast } from './state.js'

export async function click(message, element, value, node) {
  if (node.ariaBusy === 'true') return
  if (element.confirm) {
    if (!(await asked(element.confirm))) return
    // The run may have ended while the question stood.
    const { blocks: current } = messages.get(`${message.channel} ${message.ts}`) ?? {}
    if (!JSON.stringify(current ?? []).includes(JSON.stringify(element.action_id)))
      return toast('The message has changed meanwhile: that button is gone.', 'bad')
  }
  if (element.url) window.open(element.url, '_blank', 'noopener,noreferrer')
  node.ariaBusy = 'true'
  await press({ channel: message.channel, ts: message.ts, actionId: element.action_id, value })
  node.ariaBusy = null
}

async function press(what, path = '/api/click') {
  try {
    const result = await api(path, what)
    if (result.failure) toast(failureText(result), 'bad')
  } catch (error) {
    toast(error.message, 'bad')
  }
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

let shown
const left = new Set()

/** What was open in a page before this one stays closed here, as it does where Slack is loaded anew. */
export function leaveViews(stack) {
  for (const { id } of stack) left.add(id)
}

export function drawViews(stack) {
  const dialog = $('modal')
  const top = stack.findLast(({ id }) => !left.has(id))
  if (!top) {
    shown = undefined
    return dialog.open && dialog.close()
  }
  // Told again what is on the screen: what is being written there stays as it is.
  if (JSON.stringify(shown) === JSON.stringify(top)) return
  const isSame = shown?.id === top.id
  const focused = isSame ? document.activeElement?.name : undefined
  const kept = isSame ? valuesIn(dialog) : {}
  shown = top
  const form = formOf(top)
  dialog.replaceChildren(form)
  fill(form, kept)
  if (!dialog.open) dialog.showModal()
  const first =
    form.querySelector('.input:has(.error) :is(input, select, textarea)') ?? form.querySelector('input, select, textarea')
  const again = focused && form.querySelector(`[name="${CSS.escape(focused)}"]`)
  ;(again || first)?.focus()
}

function formOf({ view, id, errors }) {
  const act = (element, value) => press({ viewId: id, actionId: element.action_id, value })
  const form = el(
    'form',
    {},
    el(
      'header',
      {},
      el('h2', { id: 'modal-title' }, textObject(view.title, names)),
      el('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', onclick: () => closeView(id) }, '✕'),
    ),
    el('div', { class: 'fieldset' }, blocks(view.blocks, names, act, errors)),
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
    await press({ viewId: id, values: valuesIn(form) }, '/api/view/submit')
    submit.disabled = false
  })
  return form
}

let closing

async function closeView(viewId) {
  if (closing === viewId) return
  closing = viewId
  await press({ viewId }, '/api/view/close')
  closing = undefined
}

$('modal').addEventListener('cancel', (event) => {
  event.preventDefault()
  if (shown) void closeView(shown.id)
})
