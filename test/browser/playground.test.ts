/** The playground's main path in a real browser: what a newcomer sees in the first five minutes, with a real drover behind it. */

import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Playground, startPlayground } from '../../src/playground.ts'
import { chromiumOptions } from './chromium.ts'

describe('the playground', () => {
  let browser: Browser
  let play: Playground
  let page: Page
  const complaints: string[] = []

  beforeAll(async () => {
    process.env.PORT = '0'
    play = await startPlayground()
    browser = await chromium.launch(chromiumOptions)
  })
  afterAll(async () => {
    await browser?.close()
    await play?.close()
  })
  beforeEach(async () => {
    await page?.close()
    page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    page.setDefaultTimeout(12_000)
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text())
    })
    await page.goto(play.pageUrl)
    await page.getByRole('radio', { name: /Alex/ }).waitFor()
  })

  const as = (name: string) => page.locator('#people').getByText(name, { exact: true }).click()
  const go = (name: string) => page.locator('#channels').getByRole('button', { name, exact: false }).click()
  const last = () => page.locator('#messages > li').last()
  const thread = () => page.locator('#thread')

  async function say(text: string): Promise<void> {
    await page.fill('#composer', text)
    await page.keyboard.press('Enter')
  }

  /** The last message, once its run has ended, with its thread open. */
  async function openAnswer(): Promise<void> {
    await last().getByRole('button', { name: 'Run again' }).waitFor()
    await last().getByRole('button', { name: /repl/ }).click()
  }

  it('types /exec, and the answer arrives in a thread', async () => {
    await go('ops')
    await say('/exec label=web cmd="uptime"')
    await openAnswer()
    await thread().getByText('load average').first().waitFor()
    expect(await last().textContent()).toContain('4 of 4 ok')
  })

  it('shows both streams and the exit code', async () => {
    await say('/exec service=api cmd="echo out; echo err >&2; exit 3"')
    await openAnswer()
    await thread().getByText('exit 3').first().waitFor()
    expect(await thread().textContent()).toMatch(/stderr\| err/)
  })

  it('cancels by button, and says that it is gone', async () => {
    await say('/exec name=shop-web-1 cmd="sleep 60"')
    await last().getByRole('button', { name: 'Cancel' }).click()
    const parent = page.locator('#messages > li').filter({ hasText: 'sleep 60' }).last()
    await parent.getByRole('button', { name: 'Run again' }).waitFor()
    await parent.getByRole('button', { name: /repl/ }).click()
    await thread()
      .getByText(/cancelled/)
      .first()
      .waitFor()
    expect(await thread().textContent()).not.toContain('still running')
  })

  it('shares a result into the incident', async () => {
    await go('ops')
    await say('/exec name=shop-web-2 cmd="echo worth sharing"')
    await openAnswer()
    await last().getByRole('button', { name: /Share/ }).click()
    const dialog = page.locator('#modal')
    await dialog.locator('input[value=C0INC123]').check()
    await dialog.getByRole('button', { name: 'Share' }).click()
    await go('inc-123')
    await page.locator('#messages').getByText('shop-web-2').first().waitFor()
  })

  it('refuses Sam a shell, in private, and says what was missing', async () => {
    await as('Sam')
    await go('ops')
    await say('/exec label=app=shop cmd="ps aux | head -3"')
    await page.locator('#messages').getByText('Only visible to you').last().waitFor()
    expect(await last().textContent()).toMatch(/No rule allows|shell/)
    await as('Alex')
  })

  it('refuses a stranger from another company', async () => {
    await as('Kim')
    await go('shared-acme')
    await say('/exec label=web cmd="uptime"')
    await page.locator('#messages').getByText('Only visible to you').last().waitFor()
    await as('Alex')
  })

  it('runs no script from output, and the console stays clean', async () => {
    await go('ops')
    await say(`/exec name=shop-web-1 cmd="echo '<img src=x onerror=alert(1)> <!channel>'"`)
    await openAnswer()
    await thread().getByText('onerror').first().waitFor()
    expect(await page.locator('#thread img').count()).toBe(0)
    expect(complaints).toEqual([])
  })
})
