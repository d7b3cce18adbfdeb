/** The address of a Socket Mode connection: how it is asked for, and what a refusal means. */

import { expect, test } from 'vitest'
import { askSocketUrl } from '../../../src/frontends/slack/socket-url.ts'

/** Asks a Slack that answers with this, and keeps what was sent. */
async function ask(response: Response, apiUrl = 'https://slack.com/api/') {
  const sent: { url: string; init: RequestInit | undefined }[] = []
  const answer = await askSocketUrl({
    appToken: 'xapp-1-secret',
    apiUrl,
    fetch: async (url, init) => {
      sent.push({ url: String(url), init })
      return response
    },
  })
  return { answer, sent }
}

test('the token goes in the header alone, and no redirect takes it elsewhere', async () => {
  const { answer, sent } = await ask(Response.json({ ok: true, url: 'wss://wss-primary.slack.com/link/?ticket=1' }))
  expect(answer).toEqual({ ok: true, url: 'wss://wss-primary.slack.com/link/?ticket=1' })
  expect(sent[0]?.url).toBe('https://slack.com/api/apps.connections.open')
  expect(sent[0]?.init).toMatchObject({ method: 'POST', redirect: 'manual', headers: { authorization: 'Bearer xapp-1-secret' } })
  expect(sent[0]?.init?.body).toBeUndefined()
})

test.each([
  ['an address without TLS', Response.json({ ok: true, url: 'ws://127.0.0.1/' }), 'unreadable_answer'],
  ['an address that is no websocket', Response.json({ ok: true, url: 'https://slack.com/' }), 'unreadable_answer'],
  ['no address', Response.json({ ok: true }), 'unreadable_answer'],
  ['a redirect', new Response(null, { status: 302, headers: { location: 'https://elsewhere.example/' } }), 'http_302'],
  ['what is not JSON', new Response('<html>'), 'no_answer'],
  ['an answer of 1 MiB', new Response('x'.repeat(1024 * 1024)), 'http_200'],
])('%s is no address', async (_, response, error) => {
  expect((await ask(response)).answer).toMatchObject({ ok: false, error, isFinal: false })
})

test.each([
  ['20', 20_000],
  ['', 1000],
  ['never', 1000],
  ['999999', 600_000],
])('[bounded] Retry-After "%s" is a wait of %i ms', async (header, retryAfterMs) => {
  const { answer } = await ask(new Response('{}', { status: 429, headers: { 'retry-after': header } }))
  expect(answer).toMatchObject({ ok: false, error: 'ratelimited', retryAfterMs, isFinal: false })
})

test('what only a person can mend is told apart from what passes', async () => {
  const isFinal = async (error: string) => {
    const { answer } = await ask(Response.json({ ok: false, error }))
    return !answer.ok && answer.isFinal
  }
  for (const error of ['invalid_auth', 'missing_scope', 'not_allowed_token_type', 'token_revoked'])
    expect(await isFinal(error)).toBe(true)
  for (const error of ['internal_error', 'service_unavailable', 'toString']) expect(await isFinal(error)).toBe(false)
})
