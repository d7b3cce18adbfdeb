/** What people are told when Slack or Rancher misbehaves: a gateway in this process, its peers broken on purpose. */

import { serve } from '@hono/node-server'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { type Local, startLocal } from '../../src/local.ts'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { type PeerMessage, type SlackPeer, startSlackPeer } from '../../src/playground/slack/peer.ts'
import { until } from '../e2e/scenario.ts'
import { processEngine } from '../peers/engine-process.ts'

let slack: SlackPeer
let rancher: RancherPeer
let local: Local
let close: () => Promise<void>

beforeEach(async () => {
  slack = await startSlackPeer({ rateLimits: false })
  rancher = await startRancherPeer({ engine: processEngine() })
  const config = parseConfig(
    `
ledger: { path: ':memory:' }
slack: { signingSecret: { env: SIGNING }, botToken: { env: TOKEN }, team: T0PLAY, botUserId: ${slack.botUserId}, botId: ${slack.botId}, apiUrl: '${slack.apiUrl}' }
backends: { play: { kind: rancher1, url: '${rancher.url}', accessKey: { env: ACCESS }, secretKey: { env: SECRET } } }
rules: [{ id: all, effect: allow, who: { users: [T0PLAY/U0ALEX] }, commands: ['...'], rights: [shell] }]
`,
    'drover.yaml',
    {
      SIGNING: slack.signingSecret,
      TOKEN: slack.botToken,
      ACCESS: rancher.environmentKey.accessKey,
      SECRET: rancher.environmentKey.secretKey,
    },
  )
  local = await startLocal(config, { log: () => {} })
  const server = await new Promise<{ port: number; server: ReturnType<typeof serve> }>((resolve) => {
    const made = serve({ fetch: local.app.fetch, hostname: '127.0.0.1', port: 0 }, (info) =>
      resolve({ port: info.port, server: made }),
    )
  })
  slack.connect(`http://127.0.0.1:${server.port}/slack/events`)
  close = async () => {
    await local.stop(1_000)
    await new Promise((resolve) => {
      server.server.close(resolve)
      if ('closeAllConnections' in server.server) server.server.closeAllConnections()
    })
    await slack.close()
    await rancher.close()
  }
})
afterEach(() => close(), 30_000)

const shown = (messages: readonly PeerMessage[]) =>
  messages.map((one) => `${one.text}\n${JSON.stringify(one.blocks ?? [])}`).join('\n')
const parents = () => slack.messages('C0OPS').filter((one) => one.user === slack.botUserId)
const thread = () => parents().flatMap((parent) => slack.thread('C0OPS', parent.ts))
const private_ = () => shown(slack.ephemerals('U0ALEX'))

describe('when Slack misbehaves', () => {
  it.each([
    ['5xx', () => slack.faults.fail('chat.postMessage', { status: 503, times: 4 })],
    ['429 with Retry-After', () => slack.faults.rateLimit('chat.postMessage', { retryAfterS: 1, times: 3 })],
    [
      'connections dropped before Slack took the message',
      () => slack.faults.drop('chat.postMessage', { times: 2, afterAccept: false }),
    ],
  ])(
    '[nothing-lost] %s: the command runs once, and its answer arrives when Slack is back',
    async (_, breakIt) => {
      breakIt()
      await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- echo patience')
      await until(() => (shown(thread()).includes('patience') && /exit 0/.test(shown(thread())) ? true : undefined), 40_000)
      expect(rancher.seen.starts).toHaveLength(1)
      expect(parents()).toHaveLength(1)
    },
    60_000,
  )

  it('[nothing-lost] a post that Slack took but did not confirm may come twice, and is never lost', async () => {
    slack.faults.drop('chat.postMessage', { times: 1, afterAccept: true })
    await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- echo twice')
    await until(() => (/exit 0/.test(shown(thread())) ? true : undefined), 40_000)
    expect(parents().length).toBeLessThanOrEqual(2)
    expect(rancher.seen.starts).toHaveLength(1)
  }, 60_000)

  it('[default-deny] facts that Slack cannot give deny', async () => {
    slack.faults.fail('users.info', { status: 500, times: 50 })
    await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- echo no')
    await until(() => (slack.ephemerals('U0ALEX').length > 0 ? true : undefined), 60_000)
    expect(rancher.seen.starts).toHaveLength(0)
  }, 90_000)
})

describe('when Rancher misbehaves', () => {
  it.each([
    ['429', { status: 429, retryAfter: 1 }],
    ['503', { status: 503, body: 'maintenance' }],
    ['401', { status: 401 }],
  ])('%s to the list refuses the run, in words', async (_, fault) => {
    rancher.faults.http.push({ match: /containers/, times: 20, ...fault })
    await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 -- echo no')
    await until(() => (slack.ephemerals('U0ALEX').length > 0 ? true : undefined))
    expect(private_()).toMatch(/play/)
    expect(rancher.seen.starts).toHaveLength(0)
  })

  it('[gone-is-gone] S42 a host that answers nothing any more: the deadline holds, and nothing is claimed to be gone', async () => {
    await slack.slash('U0ALEX', 'C0OPS', 'name=shop-web-1 timeout=2s -- sleep 81')
    await until(() => (rancher.seen.starts.length > 0 ? true : undefined))
    rancher.faults.stallHost = '1h1'
    const text = await until(() => (/drover:again/.test(shown(thread())) ? shown(thread()) : undefined), 60_000)
    expect(text).toMatch(/timed out/)
    expect(text).toMatch(/still running/)
    expect(text).not.toMatch(/proved gone/)
    rancher.faults.stallHost = undefined
  }, 90_000)

  it('[true-ending] S41 a websocket that is closed before the end is an unknown outcome', async () => {
    rancher.faults.closeAfterBytes = 150
    await slack.slash('U0ALEX', 'C0OPS', `name=shop-web-1 cmd='echo begun; sleep 1; echo; seq 1 1000; sleep 1'`)
    const text = await until(() => (/drover:again/.test(shown(thread())) ? shown(thread()) : undefined), 30_000)
    expect(text).toMatch(/unknown/)
    expect(text).not.toMatch(/1 of 1 ok/)
  }, 60_000)
})
