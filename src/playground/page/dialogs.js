/** Buttons, confirmations and modals. */

import { blocks } from './blocks.js'
import { el } from './dom.js'
import { valuesIn } from './elements.js'
import { textObject } from './mrkdwn.js'
import { $, api, failureText, names, toast } from './state.js'

export async function click(message, element, value, node) {
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

export function drawViews(stack) {
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
