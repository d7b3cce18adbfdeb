/** The list of suggestions at a composer: arrows choose, Tab and Enter take, Escape closes; focus stays in the text. */

import { el } from './dom.js'
import { now } from './state.js'
import { suggest } from './suggest.js'

const KEEP_MS = 3000
let cache = { key: '', until: 0, offers: {}, answer: Promise.resolve({}) }

/** What drover tells this person here; asked again once in a while. */
function offersHere() {
  const key = `${now.me} ${now.channel}`
  if (cache.key === key && cache.until > Date.now()) return cache.answer
  const asked = { key, until: Date.now() + KEEP_MS, offers: cache.key === key ? cache.offers : {}, answer: undefined }
  asked.answer = fetch(`/api/complete?user=${now.me}&channel=${now.channel}`)
    .then((response) => (response.ok ? response.json() : {}))
    .then((offers) => {
      asked.offers = offers
      return offers
    })
  cache = asked
  return asked.answer
}

/** `changed` is called when the text was changed here. Add it before whatever else listens to the composer's keys. */
export function completes(composer, list, changed) {
  let shown
  let active = -1
  let turn = 0

  const close = () => {
    turn += 1
    shown = undefined
    active = -1
    list.hidden = true
    list.replaceChildren()
    composer.removeAttribute('aria-activedescendant')
    composer.removeAttribute('aria-controls')
  }

  const choose = (at) => {
    active = at
    for (const [index, option] of [...list.children].entries()) {
      option.setAttribute('aria-selected', String(index === at))
      if (index === at) {
        composer.setAttribute('aria-activedescendant', option.id)
        option.scrollIntoView({ block: 'nearest' })
      }
    }
  }

  const take = (at) => {
    const { from, to } = shown
    const { text } = shown.choices[at]
    composer.setRangeText(text, from, to, 'end')
    close()
    changed()
    void look()
  }

  const draw = (next) => {
    if (!next) return close()
    shown = next
    active = -1
    composer.removeAttribute('aria-activedescendant')
    composer.setAttribute('aria-controls', list.id)
    list.hidden = false
    list.replaceChildren(
      ...next.choices.map((one, index) =>
        el(
          'li',
          {
            id: `${list.id}-${index}`,
            role: 'option',
            'aria-selected': 'false',
            onpointerdown: (event) => {
              event.preventDefault()
              take(index)
            },
          },
          el('code', {}, one.text.trim()),
          one.about && el('span', {}, one.about),
        ),
      ),
    )
  }

  /** Shows at once what needs no question, and the rest when the answer is there. */
  async function look() {
    const ask = (offers) => suggest(composer.value, composer.selectionStart, offers)
    draw(ask(cache.offers))
    if (!/^\/(exec|rollout)\s|@drover\s/i.test(composer.value)) return
    const before = cache.offers
    const mine = ++turn
    const offers = await offersHere().catch(() => ({}))
    // Something was chosen, closed or typed in the meantime.
    if (turn !== mine || active >= 0 || offers === before || document.activeElement !== composer) return
    draw(ask(offers))
  }

  composer.addEventListener('input', look)
  composer.addEventListener('blur', close)
  composer.addEventListener('keydown', (event) => {
    if (!shown || event.isComposing) return
    const count = shown.choices.length
    const keys = {
      ArrowDown: () => choose((active + 1) % count),
      ArrowUp: () => choose((active <= 0 ? count : active) - 1),
      Tab: () => take(Math.max(active, 0)),
      Enter: () => take(active),
      Escape: close,
    }
    const act = keys[event.key]
    // Enter sends, unless something was chosen; Shift+Tab leaves.
    if (!act || (event.key === 'Enter' && active < 0) || event.shiftKey) return
    event.preventDefault()
    event.stopImmediatePropagation()
    act()
  })
}
