/** The protocol view: one run on all its wires, as it happens. */

import { el } from './dom.js'
import { $, now } from './state.js'

const lanes = {
  'slack-in': 'Slack → drover',
  drover: 'drover',
  rancher: 'Rancher HTTP',
  kubernetes: 'Kubernetes HTTP',
  socket: 'websocket',
  'slack-out': 'drover → Slack',
}
const order = Object.keys(lanes)
const hiddenLanes = new Set()
let runs = []
let shown
/** Entries of the shown run, by id. */
const entries = new Map()

/** The chosen run; otherwise that of the open thread; otherwise the latest. */
function wanted() {
  const chosen = $('protocol-run').value
  if (chosen !== '') return chosen
  return (runs.find((one) => now.thread !== undefined && one.spots.includes(now.thread)) ?? runs[0])?.id
}

let turns = 0

export function protocolNews(news) {
  runs = news.runs
  if ($('protocol').hidden) return
  drawRuns()
  if (wanted() !== shown) return void follow()
  for (const entry of news.entries) if (entry.run === shown) add(entry)
}

/** Loads what there is of the run that is to be seen. */
export async function showProtocol() {
  if ($('protocol').hidden) return
  const before = runs
  const answer = await ask('/api/protocol')
  // News that came meanwhile are newer.
  if (answer && runs === before) runs = answer.runs
  drawRuns()
  await follow()
}

async function follow() {
  turns += 1
  const turn = turns
  const run = wanted()
  const isOther = run !== shown
  shown = run
  if (isOther) entries.clear()
  if (isOther || run === undefined) $('protocol-list').replaceChildren()
  $('protocol-empty').hidden = run !== undefined
  if (run === undefined) return
  const answer = await ask(`/api/protocol?run=${encodeURIComponent(run)}`)
  if (turn === turns && shown === run) for (const entry of answer?.entries ?? []) add(entry)
}

/** Undefined where there is no answer: the page says that by itself, and asks again when it is connected. */
async function ask(path) {
  const response = await fetch(path).catch(() => undefined)
  return response?.ok ? response.json() : undefined
}

let drawn = ''

/** Not while nothing changes: a list that is open would close. */
function drawRuns() {
  const select = $('protocol-run')
  const chosen = select.value
  const time = (at) => new Date(at).toLocaleTimeString()
  const title = (one) => (one.title.length > 40 ? `${one.title.slice(0, 40)}…` : one.title)
  const list = JSON.stringify(runs.map(({ id, at, title }) => [id, at, title]))
  if (list === drawn) return
  drawn = list
  const options = [
    el('option', { value: '' }, 'the open thread, or the latest'),
    ...runs.map((one) => el('option', { value: one.id, selected: one.id === chosen }, `${time(one.at)} ${title(one)}`)),
  ]
  select.replaceChildren(...options)
}

const before = (a, b) => a.at - b.at || order.indexOf(a.lane) - order.indexOf(b.lane) || a.id - b.id

/** Late lines go where they belong by time. */
function add(entry) {
  if (entries.has(entry.id)) return
  entries.set(entry.id, entry)
  const list = $('protocol-list')
  const node = entryNode(entry)
  const next = [...list.children].findLast((one) => before(entries.get(Number(one.dataset.id)), entry) <= 0)
  if (next) next.after(node)
  else list.prepend(node)
  const begin = Math.min(...[...entries.values()].map(({ at }) => at))
  for (const one of list.children)
    one.querySelector('time').textContent = `+${offset(entries.get(Number(one.dataset.id)).at - begin)}`
}

const offset = (ms) => (ms < 10_000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`)
const opensItself = /^(read:|allowed|denied|refused|recorded: delivered)/

const isShort = (text) => text.length <= 90 && !text.trimEnd().includes('\n')

function entryNode(entry) {
  const mark = { good: '✓', bad: '✗' }[entry.tone]
  return el(
    'li',
    { class: `entry ${entry.lane} ${entry.tone ?? ''}`, 'data-id': String(entry.id), hidden: hiddenLanes.has(entry.lane) },
    el(
      'details',
      { open: opensItself.test(entry.title) },
      el(
        'summary',
        {},
        el('time', {}),
        el('span', { class: 'lane' }, lanes[entry.lane]),
        el(
          'span',
          { class: 'what' },
          mark && el('span', { class: 'mark', 'aria-hidden': 'true' }, `${mark} `),
          mark && el('span', { class: 'hidden' }, entry.tone === 'good' ? 'went well: ' : 'went wrong: '),
          entry.title,
        ),
      ),
      entry.parts.map((part) =>
        el(
          'div',
          { class: `part ${isShort(part.text) ? 'short' : ''}` },
          el('h3', {}, part.name),
          el('pre', isShort(part.text) ? {} : { tabindex: '0' }, part.text),
        ),
      ),
    ),
  )
}

function drawLanes() {
  $('protocol-lanes').replaceChildren(
    ...order.map((lane) =>
      el(
        'button',
        {
          type: 'button',
          class: `chip ${lane}`,
          'aria-pressed': String(!hiddenLanes.has(lane)),
          onclick: (event) => {
            if (!hiddenLanes.delete(lane)) hiddenLanes.add(lane)
            event.currentTarget.setAttribute('aria-pressed', String(!hiddenLanes.has(lane)))
            for (const node of $('protocol-list').querySelectorAll(`.${lane}`)) node.hidden = hiddenLanes.has(lane)
          },
        },
        lanes[lane],
      ),
    ),
  )
}

export function startProtocol() {
  drawLanes()
  $('protocol-run').addEventListener('change', () => void showProtocol())
}
