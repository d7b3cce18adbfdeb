/** What `drover check` says of the way from Slack to drover. */

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkSlackWay } from '../../../src/frontends/slack/check.ts'
import { type SlackPeer, startSlackPeer } from '../../../src/playground/slack/peer.ts'

let peer: SlackPeer
beforeEach(async () => {
  peer = await startSlackPeer({ rateLimits: false })
})
afterEach(async () => {
  await peer.close()
})

const way = (appToken: string | undefined, signingSecret = false) =>
  checkSlackWay({ apiUrl: peer.apiUrl, signingSecret, appToken, commands: ['/exec', '/rollout'] })

test('without an app token the way in is HTTP, with its request URL and the other way named', async () => {
  const lines = await way(undefined, true)
  expect(lines).toMatchObject([
    {
      ok: true,
      what: 'how Slack reaches drover',
      detail: expect.stringMatching(/\/slack\/events.*\/exec and \/rollout.*Socket Mode/),
    },
  ])
  expect(peer.calls).toEqual([])
})

test('a good app token is said to work, and no connection is opened for it', async () => {
  expect(await way(peer.appToken)).toMatchObject([
    { ok: true, detail: expect.stringMatching(/nothing has to reach drover.*\/exec and \/rollout/) },
    { ok: true, what: 'slack socket mode', detail: expect.stringContaining('connections:write') },
  ])
  expect(peer.calls.map(({ method }) => method)).toEqual(['apps.connections.open'])
  expect(peer.sockets.open).toEqual([])
  expect(JSON.stringify(await way(peer.appToken, true))).toContain('while it is off')
})

test('an app token without connections:write, a wrong one and a bot token are said to fail, with the way out', async () => {
  const poor = await startSlackPeer({ appScopes: [] })
  const lines = await checkSlackWay({ apiUrl: poor.apiUrl, signingSecret: false, appToken: poor.appToken, commands: [] })
  await poor.close()
  expect(lines[1]).toMatchObject({ ok: false, detail: expect.stringContaining('missing_scope') })
  expect(lines[1]?.next).toContain('connections:write')
  expect((await way('xapp-1-A0DROVER-wrong'))[1]).toMatchObject({ ok: false, detail: expect.stringContaining('invalid_auth') })
  expect((await way(peer.botToken))[1]?.next).toContain('xapp-')
})

test('Slack out of reach is a failure, Slack that asks to wait is a warning', async () => {
  peer.faults.drop('apps.connections.open', { times: 1, afterAccept: false })
  expect((await way(peer.appToken))[1]).toMatchObject({ ok: false, detail: expect.stringContaining('no_answer') })
  peer.faults.rateLimit('apps.connections.open', { times: 1, retryAfterS: 30 })
  expect((await way(peer.appToken))[1]).toMatchObject({ ok: 'warn', detail: expect.stringContaining('ratelimited') })
})

test('drover check tells the way in, its app token and the channels, opens no connection, and prints no token', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drover-check-'))
  const tokens = { appToken: { env: 'APP' }, botToken: { env: 'BOT' } }
  const slack = { ...tokens, team: peer.teamId, apiUrl: peer.apiUrl, shareTo: ['C0PUBLIC'] }
  const hooks = { alerts: { secrets: [{ env: 'HOOK' }], channel: 'T0PLAY/C0SHARED', request: 'label=web -- uptime' } }
  writeFileSync(join(folder, 'drover.yaml'), JSON.stringify({ slack, hooks, rules: [{ id: 'none', effect: 'deny' }] }))
  const cli = fileURLToPath(new URL('../../../src/cli.ts', import.meta.url))
  const child = spawn(process.execPath, [cli, 'check', '--json'], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, APP: peer.appToken, BOT: peer.botToken, HOOK: 'the-secret-of-the-hook' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      text += data.toString()
    })
  }
  await new Promise((resolve) => child.once('close', resolve))
  rmSync(folder, { recursive: true, force: true })
  expect(text).toContain('"what":"slack socket mode"')
  expect(text).toContain('"what":"how Slack reaches drover"')
  expect(text).toContain('"detail":"#shared-acme for hooks.alerts: shared with another company"')
  expect(text).toContain('"detail":"#lobby for slack.shareTo: the bot is not in it')
  expect(text).not.toContain(peer.appToken)
  expect(text).not.toContain('ticket')
  expect(peer.sockets.open).toEqual([])
})
