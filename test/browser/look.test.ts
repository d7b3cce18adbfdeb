/** Both themes and narrow screens: everything readable, named, and on the screen. */

import { afterAll, beforeAll, expect, it } from 'vitest'
import { faint, type House, openHouse, type Visit } from './open.ts'

let house: House

beforeAll(async () => {
  house = await openHouse()
})
afterAll(() => house?.close())

/** Controls that a screen reader could not name. */
function unnamed({ page }: Visit): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('button, input, select, textarea')]
      .filter((node) => node.checkVisibility())
      .filter((node) => {
        const labels = (node as HTMLInputElement).labels
        return !node.getAttribute('aria-label') && !node.textContent?.trim() && !labels?.length
      })
      .map((node) => node.outerHTML.slice(0, 80)),
  )
}

const sizes = { wide: { width: 1440, height: 860 }, narrow: { width: 390, height: 800 } } as const

for (const theme of ['light', 'dark'] as const) {
  for (const [size, viewport] of Object.entries(sizes)) {
    it(`${theme}, ${size}: contrast AA, names for all controls, nothing wider than the screen`, async () => {
      const here = await house.visit({ colorScheme: theme, viewport })
      const fits = async (what: string) => {
        expect(await faint(here.page), what).toEqual([])
        expect(await unnamed(here), what).toEqual([])
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
