/** Writing a command by keyboard only: suggestions from what drover tells this person here. */

import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type House, openHouse, type Visit } from './open.ts'

let house: House
let here: Visit

beforeAll(async () => {
  house = await openHouse()
})
afterAll(() => house?.close())
beforeEach(async () => {
  here = await house.visit()
})

const list = () => here.page.getByRole('listbox', { name: 'Suggestions' })
const options = () => list().getByRole('option')
const active = () => here.composer.getAttribute('aria-activedescendant')

it('from a slash to a sent command without a mouse', async () => {
  const { page, composer } = here
  await page.getByRole('list', { name: 'Messages', exact: true }).focus()
  await page.keyboard.press('/')
  await options().filter({ hasText: '/exec' }).waitFor()
  await page.keyboard.press('Tab')
  expect(await composer.inputValue()).toBe('/exec ')
  await page.keyboard.type('na')
  await page.keyboard.press('Tab')
  expect(await composer.inputValue()).toBe('/exec name=')
  await options().filter({ hasText: 'shop-web-*' }).waitFor()
  await page.keyboard.type('shop-web')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  const chosen = page.locator(`#${await active()}`)
  expect(await chosen.getAttribute('aria-selected')).toBe('true')
  expect(await chosen.textContent()).toContain('shop-web-1')
  await page.keyboard.press('ArrowUp')
  expect(await page.locator(`#${await active()}`).textContent()).toContain('shop-web-*')
  await page.keyboard.press('Enter')
  expect(await composer.inputValue()).toBe('/exec name=shop-web-* ')
  await page.keyboard.type('cmd=')
  await options().filter({ hasText: 'uptime' }).waitFor()
  await page.keyboard.press('Tab')
  expect(await composer.inputValue()).toBe('/exec name=shop-web-* cmd="uptime" ')
  await page.keyboard.press('Escape')
  await list().waitFor({ state: 'hidden' })
  await page.keyboard.press('Enter')
  await here.thread.getByText('3 of 3 ok').waitFor()
  expect(here.complaints).toEqual([])
})

it('Enter sends when nothing was chosen, and Escape closes the list before the thread', async () => {
  const { page } = here
  await here.ask('/exec name=shop-web-1 cmd="hostname"')
  await here.composer.focus()
  await page.keyboard.type('/exec ')
  await options().first().waitFor()
  await page.keyboard.press('Escape')
  await list().waitFor({ state: 'hidden' })
  expect(await here.thread.isVisible()).toBe(true)
  await page.keyboard.type('help')
  await page.keyboard.press('Enter')
  await page.getByText('Only visible to you').waitFor()
})

it('offers each person what drover lets them use there, and a stranger nothing', async () => {
  const offered = async () => {
    await here.composer.fill('')
    await here.composer.pressSequentially('/exec stack=')
    const answer = await here.page.waitForResponse(/api\/complete/, { timeout: 1500 }).catch(() => undefined)
    await answer?.finished()
    return options().allTextContents()
  }
  await offered()
  await options().filter({ hasText: 'blog' }).waitFor()
  await here.as('Sam')
  await offered()
  await options().filter({ hasText: 'shop' }).waitFor()
  expect(await options().filter({ hasText: 'blog' }).count()).toBe(0)
  await here.as('Kim')
  expect(await offered()).toEqual([])
})
