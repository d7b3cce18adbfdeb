/** How Debian's Chromium is started in tests: headless, and without calls of its own to the network. */

import type { BrowserContext } from 'playwright-core'

export const chromiumOptions = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
}

/**
 * Chromium drops what it is loading when an interface of the machine comes or goes, as engines beside it make them
 * (ERR_NETWORK_CHANGED). What a page loads comes by way of the test instead; its events do not, and are taken up again by the page.
 */
export async function steady(context: BrowserContext): Promise<void> {
  await context.route('**', async (route) => {
    if (!['script', 'stylesheet', 'fetch'].includes(route.request().resourceType())) return route.continue()
    const response = await route.fetch().catch(() => undefined)
    // The page may be gone by now.
    await (response ? route.fulfill({ response }) : route.abort()).catch(() => {})
  })
}

/** What the console says of a network that changed is not the page's. */
export const isOfTheNetwork = (text: string): boolean => text.includes('ERR_NETWORK_CHANGED')
