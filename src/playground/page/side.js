/** The left side, and the welcome: who you can be, where you can be, what you can try. */

import { become } from './arrivals.js'
import { tryIt } from './compose.js'
import { el } from './dom.js'
import { avatar, icon } from './messages.js'
import { $, now, unread, world } from './state.js'
import { go as goTour, tourWasSeen } from './tour.js'
import { drawChannel, go } from './where.js'

export function drawSide() {
  const focused = document.activeElement?.id
  $('people').replaceChildren(
    ...world.switchable.map((id) => {
      const person = world.people.find((one) => one.id === id)
      const input = el('input', {
        type: 'radio',
        name: 'person',
        id: `person-${id}`,
        value: id,
        checked: id === now.me,
        onchange: () => void become(id, { keepsFocus: input.matches(':focus-visible') }),
      })
      return el(
        'label',
        { class: id === now.me ? 'chosen' : '' },
        input,
        avatar(id),
        el('span', {}, el('strong', {}, person.realName), el('small', {}, person.title)),
      )
    }),
  )
  $('channels').replaceChildren(
    ...world.channels.map((one) =>
      el(
        'li',
        {},
        el(
          'button',
          {
            type: 'button',
            id: `channel-${one.id}`,
            'aria-current': one.id === now.channel ? 'page' : undefined,
            class: unread.has(one.id) ? 'unread' : '',
            onclick: () => go(one.id),
          },
          el('span', { class: 'sign', 'aria-hidden': 'true' }, one.isPrivate ? icon('lock') : one.imWith ? '@' : '#'),
          one.name,
          one.isExtShared && el('span', { class: 'badge outside' }, 'Acme'),
          unread.has(one.id) && el('span', { class: 'dot' }, el('span', { class: 'hidden' }, 'new messages')),
        ),
      ),
    ),
  )
  if ($('examples').childElementCount === 0)
    $('examples').append(...world.examples.map((one) => el('li', {}, exampleButton(one))))
  if (/^(person|channel)-/.test(focused)) $(focused)?.focus()
  document.querySelector('#channels [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
}

function exampleButton(example) {
  return el(
    'button',
    { type: 'button', class: 'example', onclick: () => void tryIt(example) },
    el('span', {}, example.label),
    el('code', {}, example.text),
  )
}

export function welcomeNode() {
  const me = world.people.find((one) => one.id === now.me)
  return el(
    'li',
    { class: 'welcome' },
    el('h3', {}, 'Run a command in a container, from a chat'),
    el(
      'p',
      {},
      'This is a small pretend Slack on your machine. The bot ',
      el('strong', {}, 'drover'),
      ` is in it, and ${world.containers} wait for it. You are `,
      el('strong', {}, me.realName),
      ` (${me.title}).`,
    ),
    world.bench?.faults &&
      el(
        'p',
        { class: `ways ${tourWasSeen() ? 'seen' : ''}` },
        el(
          'button',
          { type: 'button', class: `kit ${tourWasSeen() ? '' : 'primary'}`, onclick: () => goTour(0) },
          tourWasSeen() ? 'Take the tour again' : 'Take the tour: eight steps',
        ),
        !tourWasSeen() && el('button', { type: 'button', class: 'kit', onclick: () => skipTour() }, 'Not now'),
      ),
    el('p', { class: 'pick' }, 'Pick one, then press ', el('kbd', {}, 'Enter'), ':'),
    el('div', { class: 'cards' }, world.examples.slice(0, 4).map(exampleButton)),
    el(
      'p',
      { class: 'small' },
      'drover answers in a thread. /rollout changes a workload, and shows before and after. Switch to someone else on the left to see what they may not do.',
    ),
  )
}

function skipTour() {
  localStorage.setItem('tour', 'skipped')
  drawChannel()
  $('composer').focus()
}
