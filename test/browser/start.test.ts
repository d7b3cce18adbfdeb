/** How the page begins when not all of it comes: it is never blank, and says what is missing. */

import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { chromiumOptions } from './chromium.ts'
import { type Visit, visit } from './pretend.ts'

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

/** The next `times` requests for it break off; counts them all. */
async function breaks(path: string, times: number): Promise<() => number> {
  let count = 0
  await here.page.route(path, async (route) => {
    count += 1
    if (count <= times) await route.abort()
    else await route.fallback()
  })
  return () => count
}

const parts = ['**/start.js', '**/client.js', '**/side.js', '**/suggest.js', '**/look.css', '**/protocol.css', '**/api/state*']

test.for(parts.slice(1))('%s breaks off once, and the page is whole all the same', async (path) => {
  const count = await breaks(path, 1)
  await here.page.reload()
  await here.page.getByText('You are Alex').waitFor()
  expect(await here.page.locator('#starting').count()).toBe(0)
  expect(count()).toBeGreaterThan(1)
})

test.for(parts)('%s breaks off again and again, and the page says so instead of staying blank', async (path) => {
  const count = await breaks(path, Number.POSITIVE_INFINITY)
  await here.page.reload()
  await here.page.getByRole('link', { name: 'load it again' }).waitFor()
  if (path !== '**/start.js') await here.page.getByText('The page could not start:').waitFor()
  expect(await here.page.locator('#starting').isVisible()).toBe(true)
  const before = count()
  await here.page.unroute(path)
  await here.page.getByRole('link', { name: 'load it again' }).click()
  await here.page.getByText('You are Alex').waitFor()
  expect(before).toBeLessThan(6)
})

/** Headless tabs all count as seen; the browser would say this when another tab is in front. */
async function hide(page: Page, isHidden: boolean): Promise<void> {
  await page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden })
    document.dispatchEvent(new Event('visibilitychange'))
  }, isHidden)
}

test('tabs that nobody sees keep no connection from the next one, and have all that was said when they are seen again', async () => {
  await hide(here.page, true)
  for (let n = 0; n < 7; n += 1) {
    const next = await here.page.context().newPage()
    await next.goto(here.page.url())
    await next.getByText('You are Alex').waitFor()
    await hide(next, true)
  }
  here.app.peer.say('U0SAM', 'C0OPS', 'said meanwhile')
  expect(await here.page.getByText('said meanwhile').count()).toBe(0)
  await hide(here.page, false)
  await here.page.locator('#messages').getByText('said meanwhile').waitFor()
  here.app.peer.say('U0SAM', 'C0OPS', 'and once more')
  await here.page.locator('#messages').getByText('and once more').waitFor()
  expect(await here.page.locator('body.offline').count()).toBe(0)
})
