/** A real playground in a real browser, and what a person does there. */

import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core'
import { type Playground, startPlayground } from '../../src/playground.ts'
import { chromiumOptions, isOfTheNetwork, steady } from './chromium.ts'

export type Visit = {
  readonly page: Page
  readonly play: Playground
  /** What the browser's console complained about, and requests to anywhere else. */
  readonly complaints: readonly string[]
  readonly composer: Locator
  readonly thread: Locator
  as(name: string): Promise<void>
  go(channel: string): Promise<void>
  say(text: string): Promise<void>
  /** Says it, and waits until its run has ended: the text of the thread that the answer opened. */
  ask(text: string): Promise<string>
  /** Says it, and waits for the answer that only this person sees. */
  refused(text: string): Promise<string>
  fault(id: string): Promise<void>
  heal(): Promise<void>
}

export type House = {
  readonly play: Playground
  visit(options?: BrowserContextOptions): Promise<Visit>
  close(): Promise<void>
}

export async function openHouse(): Promise<House> {
  process.env.PORT = '0'
  const play = await startPlayground()
  const browser: Browser = await chromium.launch(chromiumOptions)
  return {
    play,
    visit: (options) => visit(browser, play, options),
    async close() {
      await browser.close()
      await play.close()
    },
  }
}

async function visit(browser: Browser, play: Playground, options: BrowserContextOptions = {}): Promise<Visit> {
  for (const open of browser.contexts()) await open.close()
  const context = await browser.newContext({ viewport: { width: 1440, height: 860 }, ...options })
  await steady(context)
  const page = await context.newPage()
  page.setDefaultTimeout(40_000)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !isOfTheNetwork(message.text())) complaints.push(message.text())
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(play.url) && !request.url().startsWith('data:')) complaints.push(`request to ${request.url()}`)
  })
  await page.goto(play.pageUrl)
  await page.getByText('You are Alex').waitFor()
  const composer = page.getByLabel('Message', { exact: true })
  const thread = page.getByRole('complementary', { name: 'Thread' })

  const say = async (text: string) => {
    if (await thread.isVisible()) await page.locator('#thread-close').click()
    await composer.fill(text)
    await composer.press('Enter')
  }
  return {
    page,
    play,
    complaints,
    composer,
    thread,
    say,
    async as(name) {
      await page.locator('#people').getByText(name, { exact: true }).click()
      await page.getByText(`You are ${name}`).waitFor()
    },
    async go(channel) {
      await page.locator('#channels').getByRole('button', { name: channel }).click()
      await page.getByRole('heading', { name: `# ${channel}` }).waitFor()
    },
    async ask(text) {
      await say(text)
      await thread.getByRole('button', { name: 'Run again' }).waitFor({ timeout: 45_000 })
      await thread.getByRole('listitem').nth(1).waitFor()
      return words(thread.locator('#thread-messages'))
    },
    async refused(text) {
      const refusals = page.locator('#messages > li.only')
      const before = await refusals.count()
      await say(text)
      const refusal = refusals.nth(before)
      await refusal.waitFor()
      return words(refusal)
    },
    async fault(id) {
      if (!(await page.locator('#faults').isVisible())) await page.getByRole('button', { name: /Break things/ }).click()
      await page.locator(`#fault-${id}`).check()
      await page.locator(`.fault.on #fault-${id}`).waitFor()
    },
    async heal() {
      await page.getByRole('button', { name: 'Heal all' }).click()
      await page.getByRole('button', { name: 'Break things', exact: true }).waitFor()
    },
  }
}

/** As a person reads it: what is not shown does not count. */
async function words(node: Locator): Promise<string> {
  // biome-ignore lint/performance/useDomNodeTextContent: the line breaks between blocks are only in what is laid out.
  return (await node.innerText()).replaceAll('\n', ' ')
}

/** What keeps somebody from reading or using what is shown: contrast, names, roles, order, as WCAG 2.2 AA and axe see it. */
export async function barriers(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source)
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: typeof import('axe-core') }
    // On a narrow screen a thread or a panel takes the place of the channel, which is the main landmark.
    const { violations } = await axe.run({ rules: { 'landmark-one-main': { enabled: false } } } as never)
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`),
    )
  })
}
