/** News that come late, early or in between: what a person is doing meanwhile is not taken away, and nothing that was asked for goes unnoticed. */

import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { chromiumOptions } from './chromium.ts'
import { clicks, type Visit, visit } from './pretend.ts'

let browser: Browser
let here: Visit
beforeAll(async () => {
  browser = await chromium.launch(chromiumOptions)
}, 60_000)
afterAll(() => browser.close())
beforeEach(async () => {
  here = await visit(browser, 'light')
  return () => here[Symbol.asyncDispose]()
})

const composer = () => here.page.locator('#composer')
const log = () => here.page.locator('#messages')
const thread = () => here.page.locator('#thread')
const modal = () => here.page.locator('#modal')

/** Requests for it wait until they are let through. */
async function gate(page: Page, path: string | RegExp): Promise<() => void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  await page.route(path, async (route) => {
    await promise
    await route.fallback().catch(() => {})
  })
  return resolve
}

/** As drover answers: a parent that names who asked, and a reply. */
async function answer(user: string, words: string, channel = 'C0OPS'): Promise<string> {
  const parent = await here.app.call('chat.postMessage', { channel, text: `${words}: asked by <@${user}>` })
  const ts = String(parent.body.ts)
  await here.app.call('chat.postMessage', { channel, text: `${words}: output`, thread_ts: ts })
  return ts
}

async function send(text: string): Promise<void> {
  await composer().fill(text)
  await composer().press('Enter')
}

test('a late reply of the answer before opens no thread, and the answer that is waited for opens its own', async () => {
  const before = await answer('U0ALEX', 'earlier')
  await log().getByText('earlier: asked').waitFor()
  await here.hold()
  await here.app.call('chat.postMessage', { channel: 'C0OPS', text: 'earlier: late', thread_ts: before })
  await send('/exec label=web cmd="uptime"')
  await here.app.arrived(1)
  await here.letGo(1)
  await log().getByRole('button', { name: '2 replies' }).first().waitFor()
  expect(await thread().isVisible()).toBe(false)
  await here.letGo()
  await thread().getByText('2 said the same').waitFor()
})

test('someone else’s answer opens no thread in the place of one’s own', async () => {
  await here.hold()
  await send('/exec label=web cmd="uptime"')
  await answer('U0SAM', 'of Sam')
  await here.letGo()
  await thread().getByText('2 said the same').waitFor()
  expect(await thread().getByText('of Sam').count()).toBe(0)
})

test('an answer elsewhere opens nothing after a plain message', async () => {
  await send('good morning')
  await log().getByText('good morning').waitFor()
  await answer('U0ALEX', 'from another tab')
  await log().getByRole('button', { name: '1 reply' }).waitFor()
  expect(await thread().isVisible()).toBe(false)
})

test('an answer that came before the page was listening opens its thread when it is', async () => {
  const listen = await gate(here.page, '**/api/events*')
  await here.page.reload({ waitUntil: 'commit' })
  await here.page.getByText('You are Alex').waitFor()
  await send('/exec label=web cmd="uptime"')
  await here.app.arrived(1)
  await expect.poll(() => here.app.peer.files.length).toBe(1)
  expect(await thread().isVisible()).toBe(false)
  listen()
  await thread().getByText('2 said the same').waitFor()
  await here.page.reload()
  await thread().getByText('2 said the same').waitFor()
})

test('what is being written in a thread is not carried into another', async () => {
  const first = await answer('U0ALEX', 'first')
  const second = await answer('U0ALEX', 'second')
  await log().locator(`.replies[data-thread="${first}"]`).click()
  await here.page.locator('#thread-composer').fill('@drover half a com')
  await here.app.call('chat.postEphemeral', { channel: 'C0OPS', user: 'U0ALEX', text: 'for you alone', thread_ts: second })
  await here.page.getByText('drover has answered you alone, in another thread.').waitFor()
  expect(await thread().getByText('first: output').count()).toBe(1)
  await log().locator(`.replies[data-thread="${second}"]`).click()
  await thread().getByText('for you alone').waitFor()
})

test('on a narrow screen no answer covers the composer while something is written in it', async () => {
  await here.page.setViewportSize({ width: 900, height: 700 })
  await here.hold()
  await send('/exec label=web cmd="uptime"')
  await composer().fill('/exec la')
  await here.app.arrived(1)
  await expect.poll(() => here.app.peer.files.length).toBe(1)
  await here.letGo()
  await log().getByRole('button', { name: '2 replies' }).waitFor()
  expect(await composer().isVisible()).toBe(true)
  await composer().fill('')
  await log().getByRole('button', { name: '2 replies' }).click()
  await here.page.locator('#thread-close').focus()
  await here.page.keyboard.press('/')
  await expect.poll(() => composer().evaluate((node) => node === document.activeElement)).toBe(true)
  expect(await composer().inputValue()).toBe('/')
})

test('words that could not be sent come back, but not over others', async () => {
  const fail = Promise.withResolvers<void>()
  await here.page.route('**/api/send', async (route) => {
    await fail.promise
    await route.abort()
  })
  await send('/exec label=web cmd="first"')
  await composer().fill('/exec label=web cmd="second"')
  fail.resolve()
  await here.page.locator('.toast.bad').waitFor()
  expect(await composer().inputValue()).toBe('/exec label=web cmd="second"')
  await composer().fill('/exec label=web cmd="third"')
  await composer().press('Enter')
  await here.page.locator('.toast.bad').nth(1).waitFor()
  expect(await composer().inputValue()).toBe('/exec label=web cmd="third"')
})

test('of two people chosen one after the other the last one counts, whichever answer is slower', async () => {
  const slow = await gate(here.page, /api\/state\?user=U0SAM/)
  await here.page.locator('#examples button').nth(1).click()
  await here.page.locator('#people').getByText('Kim', { exact: true }).click()
  await here.page.getByText('You are Kim').waitFor()
  slow()
  await here.app.call('chat.postMessage', { channel: 'C0SHARED', text: 'news for Kim' })
  await log().getByText('news for Kim').waitFor()
  expect(await here.page.getByText('You are Kim').count()).toBe(1)
  expect(await composer().inputValue()).toBe('')
  expect(await here.page.locator('#person-U0KIM').isChecked()).toBe(true)
})

test('a switch that fails is said, and news go on arriving for who one was', async () => {
  await here.page.route(/api\/state\?user=U0SAM/, (route) => route.abort())
  await here.page.locator('#people').getByText('Sam', { exact: true }).click()
  await here.page.locator('.toast.bad').waitFor()
  await here.page.unroute(/api\/state\?user=U0SAM/)
  here.app.peer.say('U0SAM', 'C0OPS', 'still there?')
  await log().getByText('still there?').waitFor()
  expect(await here.page.locator('#person-U0ALEX').isChecked()).toBe(true)
})

test('news from another channel leave the focus where it is', async () => {
  const random = here.page.locator('#channel-C0RANDOM')
  await random.focus()
  here.app.peer.say('U0SAM', 'C0INC123', 'look here')
  await here.page.locator('#channel-C0INC123.unread').waitFor()
  expect(await random.evaluate((node) => node === document.activeElement)).toBe(true)
})

test('by arrow keys one walks through the people, and the focus stays with them', async () => {
  await here.page.locator('#person-U0ALEX').focus()
  await here.page.keyboard.press('ArrowDown')
  await here.page.getByText('You are Sam').waitFor()
  await here.page.keyboard.press('ArrowDown')
  await here.page.getByText('You are Kim').waitFor()
  expect(await here.page.evaluate(() => document.activeElement?.id)).toBe('person-U0KIM')
})

test('a button that the run’s end takes away gives its focus to the message, not to another button', async () => {
  await send('/exec label=web cmd="uptime"')
  await thread().getByText('2 said the same').waitFor()
  const parent = log().locator('li.message').first()
  await parent.getByRole('button', { name: 'Share' }).focus()
  const ts = (await parent.getAttribute('data-ts')) ?? ''
  await here.app.call('chat.update', { channel: 'C0OPS', ts, text: 'Ended.' })
  await log().getByText('Ended.').waitFor()
  expect(await here.page.evaluate(() => (document.activeElement as HTMLElement).dataset.ts)).toBe(ts)
})

test('a question about a button that is gone by now presses nothing, and says so', async () => {
  await send('/exec label=web cmd="uptime"')
  await thread().getByText('2 said the same').waitFor()
  const parent = log().locator('li.message').first()
  await parent.getByRole('button', { name: 'Stop' }).click()
  const question = here.page.getByRole('dialog', { name: 'Stop it?' })
  await question.waitFor()
  const ts = (await parent.getAttribute('data-ts')) ?? ''
  await here.app.call('chat.update', { channel: 'C0OPS', ts, text: 'Ended.' })
  await log().getByText('Ended.').waitFor()
  await question.getByRole('button', { name: 'Yes' }).click()
  await here.page.getByText('The message has changed meanwhile').waitFor()
  expect(clicks(here.app)).toEqual([])
})

test('an open modal keeps what was chosen in it and its focus while it is updated, and no key leads away from under it', async () => {
  await send('/exec label=web cmd="uptime"')
  await thread().getByText('2 said the same').waitFor()
  await log().getByRole('button', { name: 'Share', exact: true }).click()
  await modal().locator('select').selectOption('random')
  await modal().getByRole('button', { name: 'Share' }).focus()
  await here.page.keyboard.press('Alt+ArrowDown')
  expect(await here.page.locator('#channel-C0OPS').getAttribute('aria-current')).toBe('page')
  const view = here.app.peer.views('U0ALEX').at(-1)!
  await modal().locator('select').focus()
  await here.app.call('views.update', {
    view_id: view.id,
    view: { ...view.view, title: { type: 'plain_text', text: 'Share it now' } },
  })
  await here.page.getByRole('dialog', { name: 'Share it now' }).waitFor()
  expect(await modal().locator('select').inputValue()).toBe('random')
  expect(await modal().evaluate((node) => node.contains(document.activeElement))).toBe(true)
})

test('a modal that was left open does not come back with the page, and one that was closed not with the next channel', async () => {
  await send('/exec label=web cmd="uptime"')
  await thread().getByText('2 said the same').waitFor()
  await log().getByRole('button', { name: 'Share', exact: true }).click()
  await modal().getByLabel('Where to').waitFor()
  await here.page.reload()
  await thread().getByText('2 said the same').waitFor()
  const tell = here.app.call('chat.postMessage', { channel: 'C0OPS', text: 'listening again' })
  await log().getByText('listening again').waitFor()
  await tell
  expect(await modal().isVisible()).toBe(false)
  await log().getByRole('button', { name: 'Share', exact: true }).click()
  await modal().getByLabel('Where to').waitFor()
  await here.page.keyboard.press('Escape')
  await modal().waitFor({ state: 'hidden' })
  await here.page.locator('#channel-C0RANDOM').click()
  await here.page.getByRole('heading', { name: '# random' }).waitFor()
  expect(await modal().isVisible()).toBe(false)
})

test('two tabs of one person: the answer opens in the one that asked, and a modal closes in both', async () => {
  const second = await here.page.context().newPage()
  await second.goto(here.page.url())
  await second.getByText('You are Alex').waitFor()
  await send('/exec label=web cmd="uptime"')
  await thread().getByText('2 said the same').waitFor()
  await second.locator('#messages').getByRole('button', { name: '2 replies' }).waitFor()
  expect(await second.locator('#thread').isVisible()).toBe(false)
  await log().getByRole('button', { name: 'Share', exact: true }).click()
  await second.locator('#modal').getByLabel('Where to').selectOption('inc-123')
  await second.locator('#modal').getByRole('button', { name: 'Share' }).click()
  await second.locator('#modal').waitFor({ state: 'hidden' })
  await modal().waitFor({ state: 'hidden' })
  expect(here.complaints).toEqual([])
})

test('one’s own words are in view after they are sent, wherever one had scrolled', async () => {
  for (let n = 0; n < 30; n += 1) here.app.peer.say('U0SAM', 'C0OPS', `line ${n}`)
  await log().getByText('line 29').waitFor()
  await log().evaluate((node) => {
    node.scrollTop = 0
  })
  await log().hover()
  await send('here I am')
  await expect.poll(() => log().evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight)).toBeLessThan(2)
})

test('output that was opened stays open when its message is drawn anew', async () => {
  await send('/exec label=web cmd="uptime"')
  await thread().getByRole('button', { name: 'Show more' }).click()
  await thread().getByRole('button', { name: 'Show less' }).waitFor()
  await thread().getByRole('button', { name: 'Close the thread' }).click()
  await log().getByRole('button', { name: '2 replies' }).click()
  await thread().getByRole('button', { name: 'Show less' }).waitFor()
})

test('a page that the server no longer knows says where to go, and not that it tries again', async () => {
  await here.page.route('**/api/events*', (route) => route.fulfill({ status: 403, body: '{}' }))
  await here.page.reload()
  const says = () => here.page.evaluate(() => getComputedStyle(document.body, '::before').content)
  await expect.poll(says).toContain('open the address that it printed')
})

test('a thread of another start is not opened', async () => {
  await here.page.goto(`${new URL(here.page.url()).origin}/#U0ALEX/C0OPS/1700000000.000100`)
  await here.page.reload()
  await here.page.getByText('You are Alex').waitFor()
  expect(await thread().isVisible()).toBe(false)
})
