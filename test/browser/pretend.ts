/** The page before a pretend app whose every answer a test decides, and whose news it can hold back on their way to the browser. */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type HttpBindings, serve } from '@hono/node-server'
import type { Browser, Page } from 'playwright-core'
import { type Bench, playgroundPage } from '../../src/playground/page/server.ts'
import { type StubApp, startStubApp } from '../playground/slack-stub-app.ts'
import { isOfTheNetwork, steady } from './chromium.ts'

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
    const parent = await app.call('chat.postMessage', { channel, text: `run of <@${user}>`, blocks: runBlocks, ...thread })
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

export function clicks(app: StubApp): readonly string[] {
  return app.received.flatMap(({ fields }) => ((fields.actions ?? []) as { action_id: string }[]).map((one) => one.action_id))
}

export type Visit = {
  readonly page: Page
  readonly app: StubApp
  readonly complaints: string[]
  /** From now on nothing that the server tells reaches this page. */
  hold(): Promise<void>
  /** So much of it as was held does now; all of it, and what comes after, without a number. */
  letGo(count?: number): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** The tap is on the event source, where the network would be slow: what a closed one had not told is lost. */
function tap(): void {
  const held: (() => void)[] = []
  const tapped = Object.assign(window, {
    holding: false,
    letGo(count = Number.POSITIVE_INFINITY) {
      for (const tell of held.splice(0, count)) tell()
    },
  })
  const add = EventSource.prototype.addEventListener
  EventSource.prototype.addEventListener = function (this: EventSource, type: string, listener: unknown) {
    add.call(this, type, (event: Event) => {
      const tell = () => this.readyState !== EventSource.CLOSED && (listener as (event: Event) => void)(event)
      if (tapped.holding && type !== 'error') held.push(tell)
      else (listener as (event: Event) => void)(event)
    })
  }
}

type Tapped = { holding: boolean; letGo(count?: number): void }

export async function visit(browser: Browser, colorScheme: 'light' | 'dark', bench: Bench = {}): Promise<Visit> {
  const app = await startGateway()
  const examples = [
    { label: 'How long are the web containers up?', text: '/exec label=web cmd="uptime"' },
    { label: 'Sam may not', text: '/exec label=web cmd="reboot"', user: 'U0SAM' },
  ]
  const served = playgroundPage({ peer: app.peer, token: 'right', examples, bench })
  const server = serve({ port: 0, hostname: '127.0.0.1', fetch: (request, env) => served.fetch(request, env as HttpBindings) })
  if (!server.listening) await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const context = await browser.newContext({ colorScheme, viewport: { width: 1360, height: 820 } })
  await steady(context)
  const page = await context.newPage()
  await page.addInitScript(tap)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !isOfTheNetwork(message.text())) complaints.push(message.text())
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
    hold: () =>
      page.evaluate(() => {
        ;(window as unknown as Tapped).holding = true
      }),
    letGo: (count) =>
      page.evaluate((some) => {
        const tapped = window as unknown as Tapped
        if (some === undefined) tapped.holding = false
        tapped.letGo(some)
      }, count),
    async [Symbol.asyncDispose]() {
      await context.close()
      if ('closeAllConnections' in server) server.closeAllConnections()
      server.close()
      await app[Symbol.asyncDispose]()
    },
  }
}
