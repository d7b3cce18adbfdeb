/** A tour in eight steps: each names one thing to do, and sees when it is done. */

import { el } from './dom.js'
import { heal, setFault } from './fault-menu.js'
import { $ } from './state.js'

const alex = { user: 'U0ALEX', channel: 'C0OPS' }
const says = (message, pattern) => message.botId && pattern.test(JSON.stringify([message.text, message.blocks]))

const steps = [
  {
    title: 'An answer in a thread',
    text: 'Ask every container with the label web how long it is up. Everyone in the channel sees who asked, and the answer.',
    example: { ...alex, text: '/exec label=web cmd="uptime"' },
    done: (message) => says(message, /\d of \d+ ok/),
  },
  {
    title: 'Both streams, and the exit code',
    text: 'Rancher 1.x itself tells neither stderr nor the exit code. drover brings both.',
    example: { ...alex, text: '/exec stack=shop service=api cmd="echo out; echo err >&2; exit 3"' },
    done: (message) => says(message, /exit 3/),
  },
  {
    title: 'A deadline, with proof',
    text: 'Two seconds for a command of a minute: drover ends it in the container, looks again, and says that it is gone.',
    example: { ...alex, text: '/exec name=shop-web-1 timeout=2s cmd="sleep 60"' },
    done: (message) => says(message, /timed out/i),
  },
  {
    title: 'Sam may look, and no more',
    text: 'No rule gives Sam a shell. The refusal says what was missing, and only Sam sees it.',
    example: { user: 'U0SAM', channel: 'C0OPS', text: '/exec label=web cmd="ps aux | head -3"' },
    done: (message) => message.onlyFor === 'U0SAM',
  },
  {
    title: 'A stranger',
    text: 'Kim works at another company and shares one channel with yours. drover does nothing for strangers.',
    example: { user: 'U0KIM', channel: 'C0SHARED', text: '/exec label=web cmd="uptime"' },
    done: (message) => message.onlyFor === 'U0KIM',
  },
  {
    title: 'A connection that drops',
    text: 'This breaks the way to the container in the middle of the output. A broken stream is never a success: the answer is “unknown”.',
    fault: 'drop',
    example: { ...alex, text: '/exec name=shop-web-1 cmd="seq 1 100"' },
    done: (message) => says(message, /unknown|may still run/i),
  },
  {
    title: 'Share it into the incident',
    text: 'Run this, then press Share under the answer and choose #inc-123. Nothing runs again: the stored result is shown there.',
    example: { ...alex, text: '/exec name=shop-web-2 cmd="echo worth sharing"' },
    done: (message) => message.channel === 'C0INC123' && says(message, /worth sharing/),
  },
  {
    title: 'Look inside',
    text: 'Open the protocol view: the signed request, the rule that decided, every frame on the wire, and the ledger with its hashes.',
    open: 'protocol',
    done: () => false,
  },
]

let at = -1
let isDone = false
let tryIt
let openPanel

export const tourWasSeen = () => localStorage.getItem('tour') !== null

export function startTour(options) {
  ;({ tryIt, openPanel } = options)
  $('tour-again').addEventListener('click', () => go(0))
}

export function go(step) {
  if (steps[at]?.fault) void heal()
  at = step
  isDone = false
  localStorage.setItem('tour', 'seen')
  if (at >= steps.length) at = -1
  draw()
  if (at >= 0) $('tour').querySelector('.kit')?.focus()
}

export function tourSees(message) {
  if (at >= 0 && !isDone && steps[at].done(message)) reached()
}

/** A panel was opened. */
export function tourSaw(panel) {
  if (at >= 0 && steps[at].open === panel) reached()
}

function reached() {
  isDone = true
  draw()
}

function draw() {
  const step = steps[at]
  $('tour').hidden = step === undefined
  document.body.classList.toggle('on-tour', step !== undefined)
  if (!step) return $('tour').replaceChildren()
  const isLast = at === steps.length - 1
  const act = step.open
    ? el('button', { type: 'button', class: 'kit primary', onclick: () => openPanel(step.open) }, 'Open the protocol view')
    : el(
        'button',
        { type: 'button', class: `kit ${isDone ? '' : 'primary'}`, onclick: begin },
        step.fault ? 'Break it, and write it' : 'Write it for me',
      )
  $('tour').replaceChildren(
    el(
      'p',
      { class: 'step' },
      `Tour, step ${at + 1} of ${steps.length}`,
      el('button', { type: 'button', class: 'quiet', onclick: () => go(steps.length) }, 'Leave'),
    ),
    el('h3', {}, step.title),
    el('p', {}, step.text),
    step.example && el('code', {}, step.example.text),
    el('p', { role: 'status', class: 'reached' }, isDone ? '✓ Done.' : step.open ? '' : 'Then press Enter in the composer.'),
    el(
      'p',
      { class: 'ways' },
      act,
      at > 0 && el('button', { type: 'button', class: 'kit', onclick: () => go(at - 1) }, 'Back'),
      el(
        'button',
        { type: 'button', class: `kit ${isDone ? 'primary' : ''}`, onclick: () => go(at + 1) },
        isLast ? 'Finish' : isDone ? 'Next' : 'Skip',
      ),
    ),
  )
}

async function begin() {
  const step = steps[at]
  if (step.fault) await setFault(step.fault, true)
  await tryIt(step.example)
}
