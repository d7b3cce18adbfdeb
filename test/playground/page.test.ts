import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type HttpBindings, serve } from '@hono/node-server'
import { expect, test } from 'vitest'
import { playgroundPage } from '../../src/playground/page/server.ts'
import { type StubApp, startStubApp } from './slack-stub-app.ts'

type Page = {
  readonly origin: string
  readonly app: StubApp
  /** With the cookie, unless headers say otherwise. */
  get(path: string, headers?: Record<string, string>): Promise<Response>
  post(path: string, body: object, headers?: Record<string, string>): Promise<Response>
  [Symbol.asyncDispose](): Promise<void>
}

const examples = [{ label: 'Up?', text: '/exec label=web cmd="uptime"' }]

async function openPage(app: StubApp): Promise<Page> {
  const page = playgroundPage({ peer: app.peer, token: 'right', examples })
  const server = serve({ port: 0, hostname: '127.0.0.1', fetch: (request, env) => page.fetch(request, env as HttpBindings) })
  if (!server.listening) await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const first = await fetch(`${origin}/?token=right`, { redirect: 'manual' })
  const cookie = first.headers.get('set-cookie')?.split(';')[0] ?? ''
  return {
    origin,
    app,
    get: (path, headers = {}) => fetch(origin + path, { headers: { cookie, ...headers }, redirect: 'manual' }),
    post: (path, body, headers = {}) =>
      fetch(origin + path, {
        method: 'POST',
        headers: { cookie, origin, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      }),
    async [Symbol.asyncDispose]() {
      if ('closeAllConnections' in server) server.closeAllConnections()
      server.close()
      await app[Symbol.asyncDispose]()
    },
  }
}

/** `fetch` does not let anybody choose the Host header. */
async function statusFor(url: string, headers: Record<string, string>): Promise<number | undefined> {
  const request = httpRequest(url, { headers })
  request.end()
  const [response] = (await once(request, 'response')) as [{ statusCode?: number; resume(): void }]
  response.resume()
  return response.statusCode
}

const routes = [
  '/',
  '/start.js',
  '/client.js',
  '/blocks.js',
  '/suggest.js',
  '/side.js',
  '/look.css',
  '/panels.css',
  '/welcome.css',
  '/elements.js',
  '/api/state',
  '/api/events?user=U0ALEX',
  '/api/files/F1?user=U0ALEX',
  '/api/protocol',
  '/api/faults',
  '/api/complete?user=U0ALEX&channel=C0OPS',
]
const actions = ['/api/send', '/api/click', '/api/view/submit', '/api/view/close', '/api/faults']

test('the printed address sets a strict cookie once and leads to an address without the token', async () => {
  await using page = await openPage(await startStubApp())
  const response = await fetch(`${page.origin}/?token=right`, { redirect: 'manual' })
  expect(response.status).toBe(303)
  expect(response.headers.get('location')).toBe('/')
  expect(response.headers.get('set-cookie')).toMatch(/; HttpOnly; SameSite=Strict$/)
  expect((await fetch(`${page.origin}/?token=wrong`, { redirect: 'manual' })).status).toBe(403)
})

test.for(routes)('without the token %s answers nothing but how to get in', async (path) => {
  await using page = await openPage(await startStubApp())
  const response = await page.get(path, { cookie: 'drover_playground_1=right' })
  expect(response.status).toBe(403)
  expect(await response.text()).not.toContain('U0ALEX')
})

test.for(actions)(
  'S30: %s does nothing without the token, from another origin, without an origin, or as a form',
  async (path) => {
    await using page = await openPage(await startStubApp())
    const body = { user: 'U0ALEX', channel: 'C0OPS', text: '/exec x' }
    expect((await page.post(path, body, { cookie: '' })).status).toBe(403)
    expect((await page.post(path, body, { origin: 'http://evil.example' })).status).toBe(403)
    expect((await page.post(path, body, { origin: 'null' })).status).toBe(403)
    expect((await page.post(path, body, { origin: page.origin.replace(/\d+$/, '1') })).status).toBe(403)
    expect((await page.post(path, body, { 'content-type': 'text/plain' })).status).toBe(415)
    const { cookie } = {
      cookie: (await fetch(`${page.origin}/?token=right`, { redirect: 'manual' })).headers.get('set-cookie') ?? '',
    }
    const withoutOrigin = await fetch(page.origin + path, { method: 'POST', headers: { cookie }, body: '{}' })
    expect(withoutOrigin.status).toBe(403)
    expect(page.app.received).toEqual([])
  },
)

test.for(['evil.example', 'evil.example:PORT', '127.0.0.1', '127.0.0.1:1', '127.0.0.1.evil.example:PORT', 'localhost.:PORT'])(
  'S30: the Host %s is refused: a rebound name reaches nothing',
  async (host) => {
    await using page = await openPage(await startStubApp())
    const named = host.replace('PORT', new URL(page.origin).port)
    expect(await statusFor(`${page.origin}/?token=right`, { host: named })).toBe(421)
  },
)

test('localhost with the own port is the same machine', async () => {
  await using page = await openPage(await startStubApp())
  const port = new URL(page.origin).port
  expect(await statusFor(`${page.origin}/?token=right`, { host: `localhost:${port}` })).toBe(303)
})

test('the page allows no script, style or address but its own, and holds no inline handler', async () => {
  await using page = await openPage(await startStubApp())
  const response = await page.get('/')
  const policy = response.headers.get('content-security-policy') ?? ''
  const html = await response.text()
  const nonce = /script-src 'nonce-([^']+)'/.exec(policy)?.[1] ?? 'none'
  expect(policy).toContain("default-src 'none'")
  expect(policy).not.toMatch(/unsafe|\*|https?:/)
  expect(html.match(/<script /g)).toHaveLength(1)
  expect(html).toContain(`src="/start.js" nonce="${nonce}"`)
  expect(html).not.toMatch(/ on\w+=|style=|https?:\/\//)
  expect((await (await page.get('/')).text()).includes(nonce)).toBe(false)
})

test('what is typed becomes a slash command, a mention or a plain message', async () => {
  await using page = await openPage(await startStubApp())
  const send = async (text: string, more: object = {}) => {
    const response = await page.post('/api/send', { user: 'U0ALEX', channel: 'C0OPS', text, ...more })
    return (await response.json()) as { ok: boolean; result: Record<string, unknown> }
  }
  expect((await send('/exec label=web cmd="uptime"')).result.status).toBe(200)
  await send('@drover label=web')
  const { result } = await send('just talking')
  await send('@drover here', { threadTs: result.ts })
  expect(page.app.received.map(({ fields }) => fields.text ?? (fields.event as { text: string }).text)).toEqual([
    'label=web cmd="uptime"',
    '<@U0DROVER> label=web',
    '<@U0DROVER> here',
  ])
  expect(page.app.peer.thread('C0OPS', String(result.ts)).map((one) => one.text)).toEqual(['just talking', '<@U0DROVER> here'])
})

test('a slash command in a thread is refused in Slack’s words and not sent', async () => {
  await using page = await openPage(await startStubApp())
  const { ts } = page.app.peer.say('U0ALEX', 'C0OPS', 'parent')
  const body = { user: 'U0ALEX', channel: 'C0OPS', text: '/exec label=web', threadTs: ts }
  const answer = (await (await page.post('/api/send', body)).json()) as { result: object }
  expect(answer.result).toEqual({ inThread: true, message: '/exec is not supported in threads. Sorry!' })
  expect(page.app.received).toEqual([])
})

test('each person sees their own channels and ephemerals, and nobody speaks where they are not', async () => {
  await using page = await openPage(await startStubApp())
  await page.app.call('chat.postEphemeral', { channel: 'C0OPS', user: 'U0ALEX', text: 'for Alex' })
  const state = async (user: string) =>
    (await (await page.get(`/api/state?user=${user}`)).json()) as Record<string, { id: string }[]>
  expect((await state('U0KIM')).channels?.map((one) => one.id)).toEqual(['C0SHARED', 'D0KIM'])
  expect((await state('U0ALEX')).messages).toMatchObject([{ text: 'for Alex' }])
  expect((await state('U0SAM')).messages).toEqual([])
  expect((await page.post('/api/send', { user: 'U0KIM', channel: 'C0OPS', text: 'hello' })).status).toBe(400)
  expect((await page.post('/api/send', { user: 'U0DROVER', channel: 'C0OPS', text: 'hello' })).status).toBe(400)
  expect(page.app.peer.messages('C0OPS')).toEqual([])
})

test('changes arrive as events, without what is for others', async () => {
  await using page = await openPage(await startStubApp())
  const response = await page.get('/api/events?user=U0SAM')
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const until = async (wanted: string) => {
    while (!text.includes(wanted)) {
      const { value, done } = await reader.read()
      if (done) throw new Error(`the stream ended without ${wanted}`)
      text += value
    }
  }
  await until('event: ready')
  await page.app.call('chat.postEphemeral', { channel: 'C0OPS', user: 'U0ALEX', text: 'for Alex' })
  page.app.peer.say('U0KIM', 'C0SHARED', 'hello Sam')
  await until('hello Sam')
  expect(text).not.toContain('for Alex')
  await reader.cancel()
})

test('a file is previewed as text, downloaded as bytes, and hidden from those outside its channel', async () => {
  await using page = await openPage(await startStubApp())
  const upload = async (filename: string, content: Buffer) => {
    const { upload_url, file_id } = (await page.app.call('files.getUploadURLExternal', { filename, length: content.length })).body
    await fetch(String(upload_url), { method: 'POST', body: new Uint8Array(content) })
    await page.app.call('files.completeUploadExternal', { files: [{ id: file_id }], channel_id: 'C0OPS' })
    return `/api/files/${file_id}`
  }
  const text = await upload('ä "quoted".txt', Buffer.from('<b>one</b>\n'))
  const binary = await upload('core', Buffer.from([1, 0, 2]))
  expect(await (await page.get(`${text}?user=U0ALEX&preview=1`)).json()).toEqual({
    binary: false,
    text: '<b>one</b>\n',
    cut: false,
  })
  expect(await (await page.get(`${binary}?user=U0ALEX&preview=1`)).json()).toMatchObject({ binary: true, text: '' })
  const download = await page.get(`${text}?user=U0ALEX`)
  expect(download.headers.get('content-disposition')).toBe("attachment; filename*=UTF-8''%C3%A4%20%22quoted%22.txt")
  expect(download.headers.get('content-type')).toBe('application/octet-stream')
  expect(await download.text()).toBe('<b>one</b>\n')
  expect((await page.get(`${text}?user=U0KIM`)).status).toBe(404)
})

test('the browser is told nothing that is signed or secret', async () => {
  await using page = await openPage(await startStubApp())
  const sent = await (await page.post('/api/send', { user: 'U0ALEX', channel: 'C0OPS', text: '/exec x' })).text()
  const state = await (await page.get('/api/state?user=U0ALEX')).text()
  const { botToken, signingSecret } = page.app.peer
  for (const secret of [botToken, signingSecret, 'v0=', 'response_url', 'trigger']) {
    expect(sent).not.toContain(secret)
    expect(state).not.toContain(secret)
  }
})
