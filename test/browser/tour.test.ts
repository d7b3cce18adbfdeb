/** The guided tour: eight steps that can be done, skipped and started again. */

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

const tour = () => here.page.getByRole('region', { name: 'Tour' })
const step = (n: number) => tour().getByText(`Tour, step ${n} of 8`).waitFor()
const press = (name: string) => tour().getByRole('button', { name, exact: true }).click()
const done = () => tour().getByText('✓ Done.').waitFor()

/** The tour writes the command; only Enter is left, once the composer has the focus. */
async function sent(button = 'Write it for me'): Promise<void> {
  await press(button)
  await here.page.waitForFunction(
    () => document.activeElement?.id === 'composer' && (document.activeElement as HTMLTextAreaElement).value.startsWith('/exec'),
  )
  await here.page.keyboard.press('Enter')
}

it('leads through all eight steps, and each sees that it was done', async () => {
  await here.page.getByRole('button', { name: 'Take the tour: eight steps' }).click()
  for (const n of [1, 2, 3, 4, 5]) {
    await step(n)
    await sent()
    await done()
    await press('Next')
  }
  await step(6)
  await sent('Break it, and write it')
  await done()
  await here.page.getByRole('button', { name: 'Break things: 1' }).waitFor()
  await press('Next')
  await step(7)
  await here.page.getByRole('button', { name: 'Break things', exact: true }).waitFor()
  await sent()
  // The thread of the step before is open until this answer comes, and has a Share of its own.
  await here.thread.getByText('worth sharing').first().waitFor()
  await here.thread.getByRole('button', { name: /Share/ }).click()
  await here.page.locator('#modal input[value=C0INC123]').check()
  await here.page.locator('#modal').getByRole('button', { name: 'Share' }).click()
  await done()
  await press('Next')
  await step(8)
  await press('Open the protocol view')
  await done()
  await here.page.getByRole('complementary', { name: 'Protocol view' }).getByText('allowed by the rule').first().waitFor()
  await press('Finish')
  await tour().waitFor({ state: 'hidden' })
  expect(here.complaints).toEqual([])
})

it('is offered on the first visit only, can be skipped step by step, left, and started again', async () => {
  await here.page.getByRole('button', { name: 'Not now' }).click()
  await here.page.reload()
  await here.page.getByText('You are Alex').waitFor()
  expect(await here.page.getByRole('button', { name: 'Not now' }).count()).toBe(0)
  await here.page.getByRole('button', { name: 'Tour', exact: true }).click()
  await step(1)
  await press('Skip')
  await step(2)
  await press('Back')
  await step(1)
  await press('Leave')
  await tour().waitFor({ state: 'hidden' })
  await here.page.getByRole('button', { name: 'Tour', exact: true }).click()
  await step(1)
})
