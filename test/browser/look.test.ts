/** Both themes and narrow screens: everything readable, named, and on the screen. */

import { afterAll, beforeAll, expect, it } from 'vitest'
import { barriers, type House, openHouse } from './open.ts'

let house: House

beforeAll(async () => {
  house = await openHouse()
})
afterAll(() => house?.close())

const sizes = { wide: { width: 1440, height: 860 }, narrow: { width: 390, height: 800 } } as const

for (const theme of ['light', 'dark'] as const) {
  for (const [size, viewport] of Object.entries(sizes)) {
    it(`${theme}, ${size}: no barrier that axe knows, nothing wider than the screen`, async () => {
      const here = await house.visit({ colorScheme: theme, viewport })
      const fits = async (what: string) => {
        expect(await barriers(here.page), what).toEqual([])
        const wide = await here.page.evaluate(() =>
          [...document.querySelectorAll('main, aside, nav, form')]
            .filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1)
            .map((node) => node.id || node.className),
        )
        expect(wide, what).toEqual([])
      }
      await fits('welcome')
      await here.ask('/exec label=web cmd="uptime"')
      await fits('thread')
      await here.page.getByRole('button', { name: 'Protocol' }).click()
      await here.page.locator('#protocol-list > li').filter({ hasText: 'recorded: delivered' }).waitFor()
      await fits('protocol')
      await here.fault('drop')
      await fits('faults')
      await here.heal()
      await here.page.getByRole('button', { name: 'Close the faults' }).click()
      await here.page.getByRole('button', { name: 'Tour', exact: true }).click()
      if (await here.thread.isVisible()) await here.page.locator('#thread-close').click()
      await here.composer.pressSequentially('/exec label=')
      await here.page.getByRole('option').first().waitFor()
      await here.page.keyboard.press('ArrowDown')
      await fits('tour and suggestions')
      expect(here.complaints).toEqual([])
    })
  }
}
