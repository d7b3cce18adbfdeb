import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type HttpBindings, serve } from '@hono/node-server'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { playgroundPage } from '../../src/playground/page/server.ts'
import { type StubApp, startStubApp } from '../playground/slack-stub-app.ts'
import { chromiumOptions } from './chromium.ts'
import { faint } from './open.ts'

let browser: Browser
beforeAll(async () => {
  browser = await chromium.launch(chromiumOptions)
}, 60_000)
afterAll(() => browser.close())

const plain = (text: string) => ({ type: 'plain_text', text })
const mrkdwn = (text: string) => ({ type: 'mrkdwn', text })

const runBlocks = [
  { type: 'header', text: plain('uptime on 2 containers') },
  { type: 'section', text: mrkdwn('*Alex* ran `uptime` &amp; <@U0SAM> _watched_ <https://a.example/x|the log>') },
  { type: 'context', elements: [mrkdwn('run `r1` · exit 0')] },
  { type: 'divider' },
  {
    type: 'actions',
    elements: [
      { type: 'button', action_id: 'share', style: 'primary', text: plain('Share'), value: 'r1' },
      {
        type: 'button',
        action_id: 'stop',
        style: 'danger',
        text: plain('Stop'),
        value: 'r1',
        confirm: { title: plain('Stop it?'), text: plain('All of it.'), confirm: plain('Yes'), deny: plain('No') },
      },
    ],
  },
]
const outputBlocks = [
  {
    type: 'rich_text',
    elements: [
      { type: 'rich_text_section', elements: [{ type: 'text', text: '2 said the same', style: { bold: true } }] },
      { type: 'rich_text_preformatted', elements: [{ type: 'text', text: '<script>alert(1)</script> *up* 3 days' }] },
      { type: 'rich_text_quote', elements: [{ type: 'text', text: 'quoted' }] },
      {
        type: 'rich_text_list',
        style: 'bullet',
        elements: [{ type: 'rich_text_section', elements: [{ type: 'text', text: 'one of a list' }] }],
      },
    ],
  },
  { type: 'video', title: plain('x'), title_url: 'https://a.example', alt_text: 'x' },
]
const shareView = {
  type: 'modal',
  title: plain('Share this run'),
  submit: plain('Share'),
  blocks: [
    {
      type: 'input',
      block_id: 'where',
      label: plain('Where to'),
      element: {
        type: 'static_select',
        action_id: 'channel',
        options: ['inc-123', 'random'].map((name) => ({ text: plain(name), value: name })),
      },
    },
  ],
}

/** Answers as a gateway would: a parent, a reply, a file; a modal for Share; an error before it takes the modal. */
async function startGateway(): Promise<StubApp> {
  return startStubApp(async ({ fields }, app) => {
    if (fields.type === 'view_submission') {
      const values = JSON.stringify((fields.view as { state: object }).state)
      return values.includes('"random"') ? { body: { response_action: 'errors', errors: { where: 'not there' } } } : undefined
    }
    const action = (fields.actions as { action_id: string }[] | undefined)?.[0]?.action_id
    if (action === 'share') await app.call('views.open', { trigger_id: fields.trigger_id, view: shareView })
    if (action === 'stop') {
      const message = fields.message as { ts: string }
      await app.call('chat.update', { channel: 'C0OPS', ts: message.ts, text: 'Stopped.' })
    }
    if (action !== undefined) return undefined
    const event = fields.event as { channel: string; user: string; ts: string; thread_ts?: string } | undefined
    const channel = String(event?.channel ?? fields.channel_id)
    const user = String(event?.user ?? fields.user_id)
    if (user === 'U0SAM') return { body: { response_type: 'ephemeral', text: 'No rule lets you run that.' } }
    const thread = event && { thread_ts: event.thread_ts ?? event.ts }
    const parent = await app.call('chat.postMessage', { channel, text: 'run', blocks: runBlocks, ...thread })
    const thread_ts = thread?.thread_ts ?? parent.body.ts
    await app.call('chat.postMessage', { channel, text: 'output', blocks: outputBlocks, thread_ts })
    const content = Buffer.from(Array.from({ length: 20 }, (_, line) => `line ${line + 1}`).join('\n'))
    const url = await app.call('files.getUploadURLExternal', { filename: 'out.txt', length: content.length })
    await fetch(String(url.body.upload_url), { method: 'POST', body: new Uint8Array(content) })
    const files = [{ id: url.body.file_id, title: 'All output' }]
    await app.call('files.completeUploadExternal', { files, channel_id: channel, thread_ts })
    return undefined
  })
}

function clicks(app: StubApp): readonly string[] {
  return app.received.flatMap(({ fields }) => ((fields.actions ?? []) as { action_id: string }[]).map((one) => one.action_id))
}

type Visit = { readonly page: Page; readonly app: StubApp; readonly complaints: string[]; [Symbol.asyncDispose](): Promise<void> }

async function visit(colorScheme: 'light' | 'dark'): Promise<Visit> {
  const app = await startGateway()
  const examples = [
    { label: 'How long are the web containers up?', text: '/exec label=web cmd="uptime"' },
    { label: 'Sam may not', text: '/exec label=web cmd="reboot"', user: 'U0SAM' },
  ]
  const served = playgroundPage({ peer: app.peer, token: 'right', examples })
  const server = serve({ port: 0, hostname: '127.0.0.1', fetch: (request, env) => served.fetch(request, env as HttpBindings) })
  if (!server.listening) await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const context = await browser.newContext({ colorScheme, viewport: { width: 1360, height: 820 } })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:')) complaints.push(`request to ${request.url()}`)
  })
  await page.goto(`${origin}/?token=right`)
  await page.getByText('Run a command in a container').waitFor()
  return {
    page,
    app,
    complaints,
    async [Symbol.asyncDispose]() {
      await context.close()
      if ('closeAllConnections' in server) server.closeAllConnections()
      server.close()
      await app[Symbol.asyncDispose]()
    },
  }
}

for (const theme of ['light', 'dark'] as const) {
  test(`from the first click to a shared answer, by keyboard and mouse (${theme})`, { timeout: 60_000 }, async () => {
    await using here = await visit(theme)
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

    const channel = page.getByRole('log', { name: 'Messages', exact: true })
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
    expect(await faint(page)).toEqual([])

    await channel.getByRole('button', { name: 'Share', exact: true }).click()
    const modal = page.getByRole('dialog', { name: 'Share this run' })
    await modal.getByLabel('Where to').selectOption('random')
    await modal.getByRole('button', { name: 'Share', exact: true }).click()
    await modal.getByRole('alert').getByText('not there').waitFor()
    expect(await faint(page)).toEqual([])
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
  await using here = await visit('light')
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
  await using here = await visit('dark')
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
  await using here = await visit('light')
  const { page } = here
  await page.getByRole('log', { name: 'Messages', exact: true }).focus()
  await page.keyboard.type('/')
  const composer = page.getByLabel('Message', { exact: true })
  expect(await composer.inputValue()).toBe('/')
  expect(await composer.evaluate((node) => node === document.activeElement)).toBe(true)
  await composer.fill('good morning')
  await page.keyboard.press('Enter')
  await page.getByRole('log', { name: 'Messages', exact: true }).getByText('good morning').waitFor()
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
  await using here = await visit('light')
  const { page, app } = here
  const { ts } = app.peer.say('U0SAM', 'C0OPS', 'anyone?')
  await page.getByText('anyone?').waitFor()
  await app.call('chat.postEphemeral', { channel: 'C0OPS', user: 'U0ALEX', text: 'for you alone', thread_ts: ts })
  await page.getByRole('complementary', { name: 'Thread' }).getByText('for you alone').waitFor()
  expect(await page.getByRole('log', { name: 'Messages', exact: true }).getByText('for you alone').count()).toBe(0)
})

test('the theme is kept, and an app that is gone is named', { timeout: 60_000 }, async () => {
  await using here = await visit('light')
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
