import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chromiumOptions } from './chromium.ts'
import { barriers } from './open.ts'
import { clicks, visit } from './pretend.ts'

let browser: Browser
beforeAll(async () => {
  browser = await chromium.launch(chromiumOptions)
}, 60_000)
afterAll(() => browser.close())

for (const theme of ['light', 'dark'] as const) {
  test(`from the first click to a shared answer, by keyboard and mouse (${theme})`, { timeout: 60_000 }, async () => {
    await using here = await visit(browser, theme)
    const { page, app } = here
    expect(new URL(page.url()).search).toBe('')

    await page
      .getByRole('button', { name: /How long are the web/ })
      .first()
      .click()
    expect(await page.getByLabel('Message', { exact: true }).inputValue()).toBe('/exec label=web cmd="uptime"')
    await page.keyboard.press('Enter')
    const thread = page.getByRole('complementary', { name: 'Thread' })
    await thread.getByText('2 said the same').waitFor()
    await page.getByRole('button', { name: 'Close the thread' }).click()
    await page.getByRole('button', { name: '2 replies' }).click()
    expect(app.received[0]?.fields).toMatchObject({ command: '/exec', user_id: 'U0ALEX', text: 'label=web cmd="uptime"' })

    const channel = page.getByRole('list', { name: 'Messages', exact: true })
    expect(await channel.getByRole('heading', { name: 'uptime on 2 containers' }).count()).toBe(1)
    expect(await channel.locator('.section .text').textContent()).toBe('Alex ran uptime & @sam watched the log')
    expect(await thread.locator('.rich-text pre').textContent()).toBe('<script>alert(1)</script> *up* 3 days')
    expect(await thread.getByRole('listitem').filter({ hasText: 'one of a list' }).count()).toBeGreaterThan(0)
    await thread.getByText('This page cannot show a “video” block. Slack would.').waitFor()
    await thread.getByText('line 8').waitFor()
    await thread.getByRole('button', { name: 'Show more' }).click()
    expect(await thread.locator('.file pre').textContent()).toContain('line 20')
    const [download] = await Promise.all([page.waitForEvent('download'), thread.getByRole('link', { name: 'Download' }).click()])
    expect(download.suggestedFilename()).toBe('out.txt')
    expect(await barriers(page)).toEqual([])

    await channel.getByRole('button', { name: 'Share', exact: true }).click()
    const modal = page.getByRole('dialog', { name: 'Share this run' })
    await modal.getByLabel('Where to').selectOption('random')
    await modal.getByRole('button', { name: 'Share', exact: true }).click()
    await modal.getByRole('alert').getByText('not there').waitFor()
    expect(await barriers(page)).toEqual([])
    await modal.getByLabel('Where to').selectOption('inc-123')
    await modal.getByRole('button', { name: 'Share', exact: true }).click()
    await modal.waitFor({ state: 'hidden' })
    expect(app.peer.views('U0ALEX')).toEqual([])

    await channel.getByRole('button', { name: 'Stop' }).click()
    await page.getByRole('dialog', { name: 'Stop it?' }).getByRole('button', { name: 'No' }).click()
    expect(clicks(app)).toEqual(['share'])
    await channel.getByRole('button', { name: 'Stop' }).click()
    await page.getByRole('dialog', { name: 'Stop it?' }).getByRole('button', { name: 'Yes' }).click()
    await channel.getByText('Stopped.').waitFor()
    await thread.getByText('Stopped.').waitFor()
    expect(clicks(app)).toEqual(['share', 'stop'])
    expect(here.complaints).toEqual([])
  })
}

test('in a thread a slash command is refused in Slack’s words, and the mention takes its place', {
  timeout: 60_000,
}, async () => {
  await using here = await visit(browser, 'light')
  const { page, app } = here
  await page.keyboard.type('hello')
  await page.keyboard.press('Enter')
  await page.getByText('hello', { exact: true }).hover()
  await page.getByRole('button', { name: 'Reply in a thread' }).click()
  await page.keyboard.type('/exec label=web cmd="uptime"')
  await page.keyboard.press('Enter')
  await page.getByText('/exec is not supported in threads. Sorry!').waitFor()
  expect(app.received).toEqual([])
  expect(await page.getByLabel('Reply', { exact: true }).inputValue()).toBe('@drover label=web cmd="uptime"')
  await page.keyboard.press('Enter')
  await page.getByRole('complementary', { name: 'Thread' }).getByText('2 said the same').waitFor()
  expect(app.received).toHaveLength(1)
  expect(here.complaints).toEqual([])
})

test('another person gets their own answer, which the first does not see', { timeout: 60_000 }, async () => {
  await using here = await visit(browser, 'dark')
  const { page } = here
  await page
    .getByRole('button', { name: /Sam may not/ })
    .first()
    .click()
  await page.getByText('You are Sam').waitFor()
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('reboot'))
  await page.keyboard.press('Enter')
  const refusal = page.getByText('No rule lets you run that.')
  await refusal.waitFor()
  expect(await page.getByText('Only visible to you').count()).toBe(1)
  await page.getByRole('radio', { name: /Alex/ }).check({ force: true })
  await page.getByText('You are Alex').waitFor()
  expect(await refusal.count()).toBe(0)
  await page.getByRole('radio', { name: /Kim/ }).check({ force: true })
  await page.getByText('You are Kim').waitFor()
  expect(await page.getByRole('navigation').locator('#channels button').allInnerTexts()).toHaveLength(2)
  expect(here.complaints).toEqual([])
})

test('a slash focuses the composer, arrows walk the channels and what was typed, Escape leaves the thread', {
  timeout: 60_000,
}, async () => {
  await using here = await visit(browser, 'light')
  const { page } = here
  await page.getByRole('list', { name: 'Messages', exact: true }).focus()
  await page.keyboard.type('/')
  const composer = page.getByLabel('Message', { exact: true })
  expect(await composer.inputValue()).toBe('/')
  expect(await composer.evaluate((node) => node === document.activeElement)).toBe(true)
  await composer.fill('good morning')
  await page.keyboard.press('Enter')
  await page.getByRole('list', { name: 'Messages', exact: true }).getByText('good morning').waitFor()
  await page.keyboard.press('ArrowUp')
  expect(await composer.inputValue()).toBe('good morning')
  await page.getByText('good morning').first().hover()
  await page.getByRole('button', { name: 'Reply in a thread' }).click()
  await page.getByRole('complementary', { name: 'Thread' }).waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('complementary', { name: 'Thread' }).waitFor({ state: 'hidden' })
  await page.keyboard.press('Alt+ArrowDown')
  await page.getByRole('heading', { name: '# inc-123' }).waitFor()
  await page.reload()
  await page.getByRole('heading', { name: '# inc-123' }).waitFor()
  expect(here.complaints).toEqual([])
})

test('an answer that only you can see in a thread opens the thread', { timeout: 60_000 }, async () => {
  await using here = await visit(browser, 'light')
  const { page, app } = here
  const { ts } = app.peer.say('U0SAM', 'C0OPS', 'anyone?')
  await page.getByText('anyone?').waitFor()
  await app.call('chat.postEphemeral', { channel: 'C0OPS', user: 'U0ALEX', text: 'for you alone', thread_ts: ts })
  await page.getByRole('complementary', { name: 'Thread' }).getByText('for you alone').waitFor()
  expect(await page.getByRole('list', { name: 'Messages', exact: true }).getByText('for you alone').count()).toBe(0)
})

test('the theme is kept, and an app that is gone is named', { timeout: 60_000 }, async () => {
  await using here = await visit(browser, 'light')
  const { page, app } = here
  await page.getByRole('button', { name: 'Switch between light and dark' }).click()
  await page.reload()
  await page.getByText('Run a command in a container').waitFor()
  expect(await page.evaluate(() => getComputedStyle(document.body).colorScheme)).toBe('dark')
  app.peer.connect('http://127.0.0.1:1/')
  await page.keyboard.type('/exec label=web cmd="uptime"')
  await page.keyboard.press('Enter')
  await page.getByText('drover could not be reached.').waitFor()
  await page.getByText('failed because the app did not respond').waitFor()
})
