/** A rollout as a person sees it: the card, the way there, the end, and the way back. */

import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { barriers, type House, openHouse, type Visit } from './open.ts'

let house: House
let here: Visit

beforeAll(async () => {
  house = await openHouse()
})
afterAll(() => house?.close())
beforeEach(async () => {
  here = await house.visit()
})

it('a new image is shown with before and after, followed to its end, and taken back', async () => {
  const { page } = here
  const card = page.locator('#messages > li').filter({ hasText: 'set the image of main' })
  await here.say('/rollout image deployment=api container=main image=drover-test/busybox:2')
  await card.getByText('image main drover-test/busybox:1 → drover-test/busybox:2').waitFor()
  const shown = (await card.textContent()) ?? ''
  expect(shown).toContain('PATCH /apis/apps/v1/namespaces/store/deployments/api')
  expect(shown).toContain('rule oncall-anything')
  await card.getByText(/✅ rolled out/).waitFor()
  await here.thread.getByText('rolled out', { exact: true }).waitFor()
  await here.thread.getByRole('button', { name: 'Undo' }).click()
  await page.getByText(/goes back to revision 1/).waitFor()
  await page.getByRole('dialog').getByRole('button', { name: 'Undo' }).click()
  await here.thread.getByText(/✅ rolled back/).waitFor()
  await here.thread.getByText('image main drover-test/busybox:2 → drover-test/busybox:1').waitFor()
  expect(await barriers(page)).toEqual([])
  expect(here.complaints).toEqual([])
})

it('Sam may look and no more, and nobody scales to nothing', async () => {
  expect(await here.refused('/rollout scale deployment=api replicas=0')).toContain('it would be an outage')
  await here.as('Sam')
  expect(await here.refused('/rollout restart deployment=api')).toContain('No rule allows you to roll this out')
  await here.say('/rollout status deployment=api')
  await here.page.getByText(/👀 as it stands now/).waitFor()
  expect(here.complaints).toEqual([])
})
