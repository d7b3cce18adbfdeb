/** Slack's own doors over HTTP: the Web API, upload URLs, response URLs, file downloads. */

import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Json } from './block-rules.ts'
import type { Fault } from './pace.ts'
import type { Context } from './places.ts'
import { Refusal } from './refusal.ts'
import { useResponseUrl } from './response-url.ts'
import type { Store } from './store.ts'
import { methods } from './web-api.ts'

export type PeerCall = { readonly method: string; readonly at: number; readonly args: Json; readonly answered: Json }

export type ServerOptions = {
  readonly context: () => Context
  readonly store: Store
  readonly botToken: string
  readonly app: { readonly token: string; readonly scopes: ReadonlySet<string> }
  readonly called: (call: PeerCall) => void
  readonly limit: (method: string, channel: string | undefined) => number | undefined
  readonly fault: (method: string) => Fault | undefined
  readonly responseUrlMs: number
}

const mostUploadBytes = 128 * 1024 * 1024

export function peerServer(options: ServerOptions): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>()
  const { store, called } = options

  app.on(['GET', 'POST'], '/api/:method', bodyLimit({ maxSize: 2 * 1024 * 1024 }), async (c) => {
    const method = c.req.param('method')
    const { token, ...args } = await readArgs(c.req.raw)
    const bearer = c.req.header('authorization')?.replace(/^Bearer /i, '') ?? token
    const log = (answered: Json) => {
      called({ method, at: Date.now(), args, answered })
      return answered
    }
    const fault = options.fault(method)
    const retryAfterS =
      fault?.kind === 'rate-limit'
        ? fault.retryAfterS
        : fault === undefined && bearer === options.botToken
          ? options.limit(method, typeof args.channel === 'string' ? args.channel : undefined)
          : undefined
    if (retryAfterS !== undefined) {
      return c.json(log({ ok: false, error: 'ratelimited' }), 429, { 'retry-after': String(retryAfterS) })
    }
    if (fault?.kind === 'fail') {
      const answered = log({ ok: false, error: fault.error })
      return new Response(JSON.stringify(answered), {
        status: fault.status,
        headers: { 'content-type': 'application/json; charset=utf-8' },
      })
    }
    if (fault?.kind === 'drop') {
      const done = fault.afterAccept ? call(method, bearer, args, options) : {}
      log({ ...done, dropped: true })
      c.env.incoming.socket.destroy()
      return c.body(null)
    }
    // Slack tells the scopes of a token that it knows with any answer.
    const known =
      bearer === options.botToken ? options.context().scopes : bearer === options.app.token ? options.app.scopes : undefined
    if (known !== undefined) c.header('x-oauth-scopes', [...known].join(','))
    return c.json(log(call(method, bearer, args, options)))
  })

  app.post('/upload/v1/:secret', bodyLimit({ maxSize: mostUploadBytes }), async (c) => {
    const fault = options.fault('upload')
    const upload = store.uploads.get(c.req.param('secret'))
    if (fault?.kind === 'drop' && !fault.afterAccept) {
      c.env.incoming.socket.destroy()
      return c.body(null)
    }
    if (fault?.kind === 'fail') return c.text(fault.error, fault.status === 200 ? 500 : (fault.status as 500))
    if (!upload) return c.text('no such upload', 404)
    const content = await readUpload(c.req.raw)
    if (content.length !== upload.length) {
      return c.text(`expected ${upload.length} bytes, got ${content.length}`, 400)
    }
    upload.content = content
    if (fault?.kind === 'drop') c.env.incoming.socket.destroy()
    return c.text(`OK - ${content.length}`)
  })

  app.post('/response/:secret', bodyLimit({ maxSize: 2 * 1024 * 1024 }), async (c) => {
    const answer = useResponseUrl(c.req.param('secret'), await readArgs(c.req.raw), options.context(), options.responseUrlMs)
    called({ method: 'response_url', at: Date.now(), args: answer.args, answered: answer.body })
    return answer.status === 200 ? c.text('ok') : c.json(answer.body, answer.status)
  })

  app.get('/files/:id/:name', (c) => {
    if (c.req.header('authorization') !== `Bearer ${options.botToken}`) return c.text('Not Found', 404)
    const file = store.files.find((one) => one.id === c.req.param('id'))
    return file ? c.body(Buffer.from(file.content)) : c.text('Not Found', 404)
  })

  return app
}

function call(method: string, bearer: unknown, args: Json, options: ServerOptions): Json {
  const known = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (known === undefined) return { ok: false, error: 'unknown_method', req_method: method }
  if (typeof bearer !== 'string' || bearer === '') return { ok: false, error: 'not_authed' }
  const context = options.context()
  const bot = { token: options.botToken, scopes: context.scopes }
  const [wanted, other] = known.token === 'app' ? [options.app, bot] : [bot, options.app]
  if (bearer !== wanted.token) return { ok: false, error: bearer === other.token ? 'not_allowed_token_type' : 'invalid_auth' }
  if (known.scope !== undefined && !wanted.scopes.has(known.scope)) {
    return { ok: false, error: 'missing_scope', needed: known.scope, provided: [...wanted.scopes].join(',') }
  }
  try {
    return { ok: true, ...known.run(args, context) }
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, error: error.message, ...error.extra }
    throw error
  }
}

const jsonFields = new Set(['blocks', 'attachments', 'view', 'files', 'metadata', 'unfurls'])

/** JSON or form; in a form, nested values are JSON strings. */
async function readArgs(request: Request): Promise<Json> {
  const type = request.headers.get('content-type') ?? ''
  if (type.startsWith('application/json')) return asJson(await request.text())
  const query = Object.fromEntries(new URL(request.url).searchParams)
  if (request.method === 'GET') return query
  const form = type.startsWith('multipart/form-data')
    ? [...(await request.formData())]
    : [...new URLSearchParams(await request.text())]
  return {
    ...query,
    ...Object.fromEntries(form.map(([key, value]) => [key, jsonFields.has(key) ? parsedField(String(value)) : value])),
  }
}

function asJson(text: string): Json {
  const value = parsedField(text)
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {}
}

function parsedField(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

async function readUpload(request: Request): Promise<Uint8Array> {
  if (request.headers.get('content-type')?.startsWith('multipart/form-data')) {
    for (const [, value] of await request.formData()) {
      if (typeof value !== 'string') return new Uint8Array(await value.arrayBuffer())
    }
  }
  return new Uint8Array(await request.arrayBuffer())
}
