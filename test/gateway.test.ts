/** A gateway in this process between its peers: who may do what with a run, and what people are told when Slack or Rancher misbehaves. */

import { createHmac } from 'node:crypto'
import { serve } from '@hono/node-server'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseConfig } from '../src/config.ts'
import type { RunRequest } from '../src/core/model.ts'
import { runIdFor } from '../src/core/run-id.ts'
import { createGateway } from '../src/gateway.ts'
import { type RancherPeer, startRancherPeer } from '../src/playground/rancher/peer.ts'
import { type PeerMessage, type SlackPeer, startSlackPeer } from '../src/playground/slack/peer.ts'
import { type Serving, startServing } from '../src/serving.ts'
import { until } from './e2e/scenario.ts'
import { processEngine } from './peers/engine-process.ts'

const hookSecret = 'the-secret-of-the-shared-hook'
let url: string
let slack: SlackPeer
let rancher: RancherPeer
let local: Serving
let close: () => Promise<void>

beforeEach(async () => {
  slack = await startSlackPeer({ rateLimits: false })
  rancher = await startRancherPeer({ engine: processEngine() })
  const config = parseConfig(
    `
ledger: { path: ':memory:' }
slack: { signingSecret: { env: SIGNING }, botToken: { env: TOKEN }, team: T0PLAY, botUserId: ${slack.botUserId}, botId: ${slack.botId}, apiUrl: '${slack.apiUrl}' }
backends: { play: { kind: rancher1, url: '${rancher.url}', accessKey: { env: ACCESS }, secretKey: { env: SECRET } } }
rules:
  - { id: all, effect: allow, who: { users: [T0PLAY/U0ALEX] }, commands: ['...'], rollouts: ['...'], rights: [shell] }
  - { id: api, effect: allow, who: { users: [T0PLAY/U0SAM] }, targets: { service: [api] }, commands: [uptime] }
  - { id: look, effect: allow, who: { users: [T0PLAY/U0SAM] }, rollouts: [status] }
  - { id: hooks, effect: allow, who: { webhooks: [shared] }, commands: ['echo *'] }
hooks:
  shared: { secrets: [{ env: HOOK }], channel: T0PLAY/C0SHARED, request: 'name=shop-web-1 -- echo out' }
mask: [{ env: MASKED }]
`,
    'drover.yaml',
    {
      SIGNING: slack.signingSecret,
      TOKEN: slack.botToken,
      ACCESS: rancher.environmentKey.accessKey,
      SECRET: rancher.environmentKey.secretKey,
      HOOK: hookSecret,
      MASKED: 'correct-horse-battery',
    },
  )
  local = await startServing(config, () => {})
  const server = await new Promise<{ port: number; server: ReturnType<typeof serve> }>((resolve) => {
    const made = serve({ fetch: local.app.fetch, hostname: '127.0.0.1', port: 0 }, (info) =>
      resolve({ port: info.port, server: made }),
    )
  })
  url = `http://127.0.0.1:${server.port}`
  slack.connect(`${url}/slack/events`)
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

const told = (user: string) => shown(slack.ephemerals(user))

/** A command of Alex's that runs, and its message. */
async function running(text: string): Promise<PeerMessage> {
  await slack.slash('U0ALEX', 'C0OPS', text)
  return await until(() =>
    parents().find((one) => /drover:cancel/.test(JSON.stringify(one.blocks)) && rancher.seen.starts.length > 0),
  )
}

it('S28 what is closed to somebody in chat is not even counted; on a terminal, where the keys are, it is', async () => {
  const sam = { kind: 'slack-user', team: 'T0PLAY', user: 'U0SAM' } as const
  const place = { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' } as const
  const seen = await local.gateway.targets({ facets: { stack: 'shop' } }, sam, place)
  expect(seen).toMatchObject({ ok: true })
  expect(seen).not.toHaveProperty('hidden')
  const web = { facets: { stack: 'shop', service: 'web' } }
  expect(await local.gateway.targets(web, sam, place)).toMatchObject({
    ok: false,
    failure: { message: 'No running container matches.' },
  })
  const here = await local.gateway.targets(web, { kind: 'cli', user: 'me' }, { kind: 'terminal' })
  expect(here).toMatchObject({ ok: false, failure: { code: 'no_targets', message: expect.stringContaining('(3 containers)') } })
})

describe('who may do what with a run', () => {
  it('[no-secret-shown] somebody without a rule cannot cancel, and is shown nothing of the command', async () => {
    const parent = await running('name=shop-web-1 timeout=20s cmd="sleep 82.5; echo correct-horse-battery"')
    await slack.click('U0SAM', 'C0OPS', parent.ts, 'drover:cancel')
    await until(() => (told('U0SAM') === '' ? undefined : true))
    expect(told('U0SAM')).toMatch(/Not cancelled/)
    expect(told('U0SAM')).not.toMatch(/sleep|correct-horse/)
    expect(shown(thread())).not.toContain('correct-horse')
    expect((await local.gateway.list({ limit: 1 }))[0]?.status).toBe('running')
    await slack.click('U0ALEX', 'C0OPS', parent.ts, 'drover:cancel')
    await until(() => (/cancelled/.test(shown(thread())) ? true : undefined))
  }, 60_000)

  it('who may not roll it out can neither stop watching it, nor undo it, nor do it again', async () => {
    const line = 'image stack=shop service=web container=web image='
    const writes = () =>
      rancher.seen.requests.filter(({ method, path }) => method !== 'GET' && path.includes('/services/')).length
    await slack.slash('U0ALEX', 'C0OPS', `${line}shop/web:missing`, { command: '/rollout' })
    const parent = await until(() => parents().find((one) => /drover:undo:0/.test(JSON.stringify(one.blocks))))
    for (const [action, said] of [
      ['drover:cancel', /Not cancelled/],
      ['drover:undo:0', /Nothing was changed.*\n?.*No rule allows you to roll this out/],
    ] as const) {
      const before = slack.ephemerals('U0SAM').length
      await slack.click('U0SAM', 'C0OPS', parent.ts, action)
      await until(() => slack.ephemerals('U0SAM').length > before || undefined)
      expect(told('U0SAM')).toMatch(said)
    }
    expect(writes()).toBe(1)
    await slack.click('U0ALEX', 'C0OPS', parent.ts, 'drover:cancel')
    await until(() => (/no longer watched; the change stays/.test(shown(parents())) ? true : undefined))
    await slack.click('U0ALEX', 'C0OPS', parent.ts, 'drover:undo:0')
    await until(() => (/✅ rolled back/.test(shown(thread())) ? true : undefined))
    expect(shown(thread())).toContain(`(takes back run r`)
    expect(writes()).toBeGreaterThan(1)
    // The card of what was taken back says so, and has no way back any more.
    const card = await until(() => parents().find((one) => one.ts === parent.ts && /undone by/.test(shown([one]))))
    expect(shown([card])).toMatch(/"user_id":"U0ALEX".*"url":"http[^"]*\/archives\/C0OPS\/p\d+[^"]*","text":"run r/)
    expect(shown([card])).not.toContain('drover:undo')
  }, 60_000)

  it('S13 a hook does not answer into a channel that another company reads', async () => {
    const timestamp = String(Math.floor(Date.now() / 1000))
    const signature = createHmac('sha256', hookSecret).update(`v1:${timestamp}:{}`).digest('hex')
    const headers = { 'x-drover-timestamp': timestamp, 'x-drover-signature': `v1=${signature}` }
    expect((await fetch(`${url}/hooks/shared`, { method: 'POST', body: '{}', headers })).status).toBe(202)
    await until(async () => ((await local.gateway.list({ limit: 1 }))[0]?.outcome === 'refused' ? true : undefined))
    expect(rancher.seen.starts).toHaveLength(0)
  })

  it('targets alone shows what the asker may use here, and nothing else', async () => {
    await slack.slash('U0SAM', 'C0OPS', 'targets')
    const text = await until(() => (/target/.test(told('U0SAM')) ? told('U0SAM') : undefined))
    expect(text).toContain('shop-api-1')
    expect(text).not.toMatch(/shop-web|shop-db/)
    await slack.slash('U0SAM', 'C0OPS', 'targets name=shop-db-1')
    await until(() => (/No running container matches/.test(told('U0SAM')) ? true : undefined))
  })

  it('S13 S29 runs is not read out to a guest', async () => {
    await slack.slash('U0GUEST', 'C0INC123', 'runs')
    expect(await until(() => (told('U0GUEST') === '' ? undefined : told('U0GUEST')))).toMatch(/guest/)
  })

  it('[nothing-lost] a delivery that comes again wakes a run whose first wake was lost', async () => {
    const asleep = createGateway(parseConfig('', 'none', {}), local.house, { wake: async () => {} })
    const delivery = 'slack:lost-wake'
    const request: RunRequest = {
      id: await runIdFor(delivery),
      actor: { kind: 'slack-user', team: 'T0PLAY', user: 'U0ALEX' },
      trigger: { kind: 'slash', delivery },
      selector: { name: 'shop-web-1' },
      command: { argv: ['echo', 'late'] },
      place: { kind: 'slack', team: 'T0PLAY', channel: 'C0OPS' },
      receivedAt: Date.now(),
    }
    expect(await asleep.submit(request)).toBe('accepted')
    expect(await local.gateway.submit(request)).toBe('duplicate')
    await until(() => (/exit 0/.test(shown(thread())) ? true : undefined))
    expect(rancher.seen.starts).toHaveLength(1)
  })
})

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
