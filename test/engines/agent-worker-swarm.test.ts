/** A gateway on workerd and a real swarm of two behind an agent beside its manager: the story of a person in chat, whole. */

import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeKeyPair } from '../../src/agent/keys.ts'
import type { Target } from '../../src/core/model.ts'
import { startAgent } from '../e2e/agent.ts'
import { end } from '../e2e/process.ts'
import { until } from '../e2e/scenario.ts'
import { managerHost, processesIn, services, shopOf, swarmWorld, temporaryService } from './swarm-world.ts'
import { startWorkerChat, type WorkerChat } from './worker-chat.ts'

describe('a swarm behind an agent, the gateway on workerd', { timeout: 120_000 }, () => {
  const world = swarmWorld()
  let chat: WorkerChat
  let keys: Awaited<ReturnType<typeof makeKeyPair>>
  let agent: Awaited<ReturnType<typeof startAgent>>
  /** On the worker, where only a temporary service of the manager's gets to. */
  let web: Target
  let shop: string
  const engine = JSON.stringify({ kind: 'swarm', host: managerHost, temporaryService })
  const start = () => startAgent(chat.url, keys, `engine: ${engine}\nallow: { labels: app=web }`, {}, undefined, 'fleet')

  beforeAll(async () => {
    ;({ shop, web } = await shopOf(world))
    await world.serve('other', 'manager')
    keys = await makeKeyPair()
    chat = await startWorkerChat(`
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
`)
    agent = await start()
  }, 120_000)
  afterAll(async () => {
    await end(agent, 'SIGTERM')
    rmSync(agent.folder, { recursive: true, force: true })
    await chat.stop()
    world.tearDown()
  }, 60_000)

  const run = (text: string) => chat.run(`on=fleet ${text}`)

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
    expect((await chat.slack.slash('U0ALEX', 'C0OPS', 'on=fleet service=other-* cmd="echo never"')).status).toBe(200)
    await until(
      () => (/No running container matches/.test(JSON.stringify(chat.slack.ephemerals('U0ALEX'))) ? true : undefined),
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
