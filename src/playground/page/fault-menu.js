/** The menu of things to break on purpose. */

import { tryIt } from './compose.js'
import { el } from './dom.js'
import { $, api, toast } from './state.js'

let faults = []

export function drawFaults(list) {
  faults = list ?? []
  const on = faults.filter((one) => one.on).length
  $('open-faults').textContent = on === 0 ? 'Break things' : `Break things: ${on}`
  $('open-faults').classList.toggle('alarm', on > 0)
  $('heal').disabled = on === 0
  const focused = document.activeElement?.id
  $('faults-list').replaceChildren(
    ...[...Map.groupBy(faults, (one) => one.group)].map(([group, items]) =>
      el('section', { 'aria-label': group }, el('h3', {}, group), items.map(faultNode)),
    ),
  )
  if (focused?.startsWith('fault-')) $(focused)?.focus()
}

function faultNode(fault) {
  const id = `fault-${fault.id}`
  const input = el('input', {
    type: 'checkbox',
    role: 'switch',
    id,
    checked: fault.on,
    'aria-describedby': `${id}-says`,
    onchange: () => void setFault(fault.id, input.checked),
  })
  return el(
    'div',
    { class: `fault ${fault.on ? 'on' : ''}` },
    el('label', { for: id }, input, el('span', {}, fault.label)),
    el('p', { id: `${id}-says` }, el('strong', {}, 'drover says: '), fault.says),
    el(
      'button',
      { type: 'button', class: 'quiet try-it', onclick: () => void tryIt(fault.example) },
      'Try ',
      el('code', {}, fault.example.text),
    ),
  )
}

/** The server tells every page, this one too, what is on then. */
export async function setFault(id, on) {
  await send({ id, on })
}

export async function heal() {
  await send({ heal: true })
}

async function send(body) {
  try {
    await api('/api/faults', body)
  } catch (error) {
    toast(error.message, 'bad')
    // The switch goes back to what is.
    drawFaults(faults)
  }
}
