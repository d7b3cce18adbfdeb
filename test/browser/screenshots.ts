/** Takes the pictures of the README from the running playground: `npm run screenshots`. */

import { fileURLToPath } from 'node:url'
import { openHouse, type Visit } from './open.ts'

const house = await openHouse()
const viewport = { width: 1440, height: 860 }

async function picture({ page }: Visit, name: string): Promise<void> {
  await page.mouse.move(0, 0)
  await page.screenshot({ path: fileURLToPath(new URL(`../../docs/images/${name}.png`, import.meta.url)) })
}

try {
  const here = await house.visit({ viewport, colorScheme: 'light' })
  const { page } = here
  await page.getByRole('button', { name: 'Not now' }).click()
  await here.ask('/exec label="role in (web,api)" cmd="nginx -v"')
  await picture(here, 'thread')

  await here.ask('/exec name=shop-api-1 cmd="echo out; echo err >&2; exit 3"')
  await page.getByRole('button', { name: 'Protocol' }).click()
  await page.setViewportSize({ width: 1440, height: 1000 })
  const lines = page.locator('#protocol-list > li')
  await lines.filter({ hasText: 'recorded: delivered' }).waitFor()
  // What opens by itself is closed, so that the picture shows more of the way; one message stays open.
  await page.locator('#protocol-list details').evaluateAll((all) => {
    for (const one of all) (one as HTMLDetailsElement).open = false
  })
  await lines.filter({ hasText: 'allowed by the rule' }).locator('summary').click()
  await lines.filter({ hasText: 'the wrapper began' }).first().locator('summary').click()
  await page.locator('#protocol .scrolls').evaluate((node) => {
    node.scrollTop = 0
  })
  await picture(here, 'protocol')

  await page.setViewportSize(viewport)
  await here.fault('drop')
  await here.ask('/exec name=shop-web-1 cmd="seq 1 100"')
  await page.locator('.fault.on').scrollIntoViewIfNeeded()
  await page.locator('#thread-messages').evaluate((node) => {
    node.scrollTop = 0
  })
  await picture(here, 'faults')
} finally {
  await house.close()
}
