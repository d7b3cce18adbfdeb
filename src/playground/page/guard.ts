/** Who may talk to the page: this machine's browser, with the token of this start, from the page itself. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { HttpBindings } from '@hono/node-server'
import type { Context, MiddlewareHandler } from 'hono'
import { getCookie, setCookie } from 'hono/cookie'

type Env = { Bindings: Partial<HttpBindings> }

/** Cookies know no port: two playgrounds on one machine must not overwrite each other's. */
function cookieName(port: string): string {
  return `drover_playground_${port}`
}

/** `host:port` when the request names this machine and the port it arrived at: a name rebound to 127.0.0.1 does not pass. */
function ownHost(c: Context<Env>): { readonly host: string; readonly port: string } | undefined {
  const host = c.req.header('host') ?? new URL(c.req.url).host
  const match = /^(?:127\.0\.0\.1|localhost):(\d+)$/.exec(host)
  const arrivedAt = c.env?.incoming?.socket.localPort
  if (match?.[1] === undefined || (arrivedAt !== undefined && match[1] !== String(arrivedAt))) return undefined
  return { host, port: match[1] }
}

function sameToken(given: string | undefined, token: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return given !== undefined && timingSafeEqual(digest(given), digest(token))
}

export function guard(token: string, refused: (message: string) => string): MiddlewareHandler<Env> {
  return async (c, next) => {
    const own = ownHost(c)
    if (own === undefined) return c.text('This page answers only to its own address on this machine.', 421)
    const origin = c.req.header('origin')
    const isRead = c.req.method === 'GET' || c.req.method === 'HEAD'
    if (origin === undefined ? !isRead : origin !== `http://${own.host}`)
      return c.text('This request comes from another page.', 403)

    const url = new URL(c.req.url)
    const offered = url.searchParams.get('token') ?? undefined
    if (c.req.method === 'GET' && url.pathname === '/' && offered !== undefined) {
      if (!sameToken(offered, token)) return c.html(refused('This address carries the token of another start.'), 403)
      setCookie(c, cookieName(own.port), token, { httpOnly: true, sameSite: 'Strict', path: '/' })
      return c.redirect('/', 303)
    }
    if (!sameToken(getCookie(c, cookieName(own.port)), token)) {
      return url.pathname === '/'
        ? c.html(refused('This page needs the token that was printed at start-up.'), 403)
        : c.json({ error: 'Open the address that was printed at start-up.' }, 403)
    }
    return next()
  }
}
