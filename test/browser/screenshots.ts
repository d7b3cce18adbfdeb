/** Takes the pictures of the README from the running playground: `npm run screenshots`. */

import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { startPlayground } from '../../src/playground.ts'
import { chromiumOptions } from './chromium.ts'

const play = await startPlayground()
const browser = await chromium.launch(chromiumOptions)
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 820 }, colorScheme: 'light' })
  await page.goto(play.pageUrl)
  await page.getByRole('radio', { name: /Alex/ }).waitFor()
  await page.fill('#composer', '/exec label=web cmd="nginx -v"')
  await page.keyboard.press('Enter')
  await page.getByRole('button', { name: 'Run again' }).waitFor()
  await page.getByRole('button', { name: /\d+ repl/ }).click()
  await page.locator('#thread').getByText('exit 0').first().waitFor()
  await page.screenshot({ path: fileURLToPath(new URL('../../docs/images/thread.png', import.meta.url)) })
} finally {
  await browser.close()
  await play.close()
}
