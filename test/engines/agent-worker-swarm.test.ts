/** A gateway on workerd and a real swarm of two behind an agent beside its manager: the story of a person in chat, whole. */

import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeKeyPair } from '../../src/agent/keys.ts'
import type { Target } from '../../src/core/model.ts'
import { type SlackPeer, startSlackPeer } from '../../src/playground/slack/peer.ts'
import { startAgent } from '../e2e/agent.ts'
import { end } from '../e2e/process.ts'
import { type Running, until } from '../e2e/scenario.ts'
import { startWorker } from '../e2e/wrangler.ts'
import { managerHost, processesIn, services, shopOf, swarmWorld, temporaryService } from './swarm-world.ts'

describe('a swarm behind an agent, the gateway on workerd', { timeout: 120_000 }, () => {
  const world = swarmWorld()
  let slack: SlackPeer
  let drover: Running
  let keys: Awaited<ReturnType<typeof makeKeyPair>>
  let agent: Awaited<ReturnType<typeof startAgent>>
  /** On the worker, where only a temporary service of the manager's gets to. */
  let web: Target
  let shop: string
  const engine = JSON.stringify({ kind: 'swarm', host: managerHost, temporaryService })
  const start = () => startAgent(drover.url, keys, `engine: ${engine}\nallow: { labels: app=web }`, {}, undefined, 'fleet')

  beforeAll(async () => {
    ;({ shop, web } = await shopOf(world))
    await world.serve('other', 'manager')
    slack = await startSlackPeer({ rateLimits: false })
    keys = await makeKeyPair()
    const config = `
slack:
  signingSecret: { env: SLACK_SIGNING_SECRET }
  botToken: { env: SLACK_BOT_TOKEN }
  team: ${slack.teamId}
  botUserId: ${slack.botUserId}
  botId: ${slack.botId}
  apiUrl: ${slack.apiUrl}
backends:
  fleet: { kind: swarm, through: fleet }
agents:
  fleet: { key: '${keys.publicKey}' }
rules:
  - id: oncall
    effect: allow
    who: { groups: [T0PLAY/S0ONCALL] }
    channels: [T0PLAY/C0OPS]
    commands: ['...']
    rights: [shell]
`
    drover = await startWorker(config, { SLACK_SIGNING_SECRET: slack.signingSecret, SLACK_BOT_TOKEN: slack.botToken })
    await slack.connect(`${drover.url}/slack/events`)
    agent = await start()
  }, 120_000)
  afterAll(async () => {
    await end(agent, 'SIGTERM')
    rmSync(agent.folder, { recursive: true, force: true })
    await drover.stop()
    await slack.close()
    world.tearDown()
  }, 60_000)

  const parents = () => slack.messages('C0OPS').filter((message) => message.user === slack.botUserId)
  async function run(text: string): Promise<string> {
    const before = parents().length
    expect((await slack.slash('U0ALEX', 'C0OPS', `on=fleet ${text}`)).status).toBe(200)
    const parent = await until(() => {
      const found = parents()[before]
      return found && /drover:again/.test(JSON.stringify(found.blocks)) ? found : undefined
    }, 90_000)
    await until(() => slack.thread('C0OPS', parent.ts).length > 1 || undefined, 10_000).catch(() => {})
    const thread = slack.thread('C0OPS', parent.ts)
    return thread.map((message) => `${message.text}\n${JSON.stringify(message.blocks ?? [])}`).join('\n')
  }

  it('[true-ending] runs a command in every task of a service, on both nodes, and says by which way', async () => {
    const all = await run(`service=${shop} cmd='echo out; echo err >&2; exit 3'`)
    expect(all.match(/exit 3/g)?.length).toBeGreaterThan(0)
    expect(all).toMatch(/stderr\| err/)
    expect(all).toMatch(/through a temporary service/)
    expect(services()).toEqual([])
  })

  it('stdin reaches the command in a task on a node that nobody has a way to', async () => {
    expect(await run(`name=${web.name} stdin="one two three" cmd="wc -w"`)).toMatch(/exit 0[\s\S]*"text":"3"/)
  })

  it('[gone-is-gone] a command past its deadline is ended in its container, on the other node', async () => {
    expect(await run(`name=${web.name} timeout=4s -- sleep 654323`)).toMatch(/timed out/)
    expect([processesIn(web, '654323'), services()]).toEqual([[], []])
  })

  it('[default-deny] a task that the agent’s list does not name is not there', async () => {
    expect((await slack.slash('U0ALEX', 'C0OPS', 'on=fleet service=other-* cmd="echo never"')).status).toBe(200)
    await until(
      () => (/No running container matches/.test(JSON.stringify(slack.ephemerals('U0ALEX'))) ? true : undefined),
      30_000,
    )
  })

  it('[true-ending] an agent that is killed makes the outcome unknown, never a success, and the next one goes on', async () => {
    const running = run(`name=${web.name} timeout=60s cmd='echo begun; sleep 87656; echo done'`)
    await until(() => (processesIn(web, 'sleep 87656').length > 0 ? true : undefined), 30_000)
    await end(agent, 'SIGKILL')
    const all = await running
    expect(all).toMatch(/unknown/)
    expect(all).not.toContain('exit 0')
    rmSync(agent.folder, { recursive: true, force: true })
    agent = await start()
    expect(await run(`name=${web.name} cmd="echo again"`)).toMatch(/exit 0[\s\S]*"text":"again"/)
  })
})
