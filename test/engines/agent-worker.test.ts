/** A gateway on workerd, agents on Node, a real Docker Engine and a real containerd on sockets: what no Worker reaches by itself. */

import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeKeyPair } from '../../src/agent/keys.ts'
import { deno, startAgent } from '../e2e/agent.ts'
import { end } from '../e2e/process.ts'
import { until } from '../e2e/scenario.ts'
import { commandsInside, ctrAt, given, removeContainers, startContainer } from './containerd-engine.ts'
import { docker, dockerWorld, image, processesIn } from './docker-world.ts'
import { startWorkerChat, type WorkerChat } from './worker-chat.ts'

describe('Docker and containerd behind agents, the gateway on workerd', () => {
  const world = dockerWorld()
  let chat: WorkerChat
  let agent: Awaited<ReturnType<typeof startAgent>>
  let keys: Awaited<ReturnType<typeof makeKeyPair>>
  let nodeAgent: Awaited<ReturnType<typeof startAgent>>
  let nodeKeys: Awaited<ReturnType<typeof makeKeyPair>>
  const [address, namespace] = [given('CONTAINERD_ADDRESS'), given('CONTAINERD_NAMESPACE')]
  const ctr = ctrAt(address, namespace)
  const node = () => `engine: { kind: containerd, address: ${address}, namespace: ${namespace} }\nallow: { labels: fence=in }`
  let web: string
  let other: string
  const engine = () =>
    `engine: { kind: docker, host: '${process.env.DOCKER_HOST}' }\nallow: { labels: fence=in, images: ['${image}'] }`

  beforeAll(async () => {
    web = world.run('web', ['--label', 'fence=in'])
    other = world.run('other')
    keys = await makeKeyPair()
    nodeKeys = await makeKeyPair()
    removeContainers(ctr)
    startContainer(ctr, 'node-web', { labels: { fence: 'in' } })
    startContainer(ctr, 'node-other')
    chat = await startWorkerChat(`
backends:
  lab: { kind: docker, through: lab, newContainers: {} }
  node: { kind: containerd, through: node }
agents:
  lab: { key: '${keys.publicKey}' }
  node: { key: '${nodeKeys.publicKey}' }
rules:
  - id: oncall
    effect: allow
    who: { groups: [T0PLAY/S0ONCALL] }
    channels: [T0PLAY/C0OPS]
    commands: ['...']
    rights: [shell, env, user, privileged]
  - id: new
    effect: allow
    who: { groups: [T0PLAY/S0ONCALL] }
    channels: [T0PLAY/C0OPS]
    commands: ['...']
    images: ['*']
`)
    agent = await startAgent(chat.url, keys, engine(), {})
    nodeAgent = await startAgent(chat.url, nodeKeys, node(), {}, undefined, 'node')
  }, 120_000)
  afterAll(async () => {
    await end(nodeAgent, 'SIGTERM')
    rmSync(nodeAgent.folder, { recursive: true, force: true })
    removeContainers(ctr)
    await end(agent, 'SIGTERM')
    rmSync(agent.folder, { recursive: true, force: true })
    await chat.stop()
    world.tearDown()
  }, 60_000)

  const run = (text: string) => chat.run(text)

  it('[true-ending] runs a command, with both streams and its exit code', async () => {
    const all = await run(`name=${web} cmd='echo out; echo err >&2; exit 3'`)
    expect(all).toContain('exit 3')
    expect(all).toMatch(/stderr\| err/)
  })

  it('stdin reaches the command, which no Worker can do by itself', async () => {
    expect(await run(`name=${web} stdin="one two three" cmd="wc -w"`)).toMatch(/exit 0[\s\S]*"text":"3"/)
  })

  it('[gone-is-gone] a command past its deadline is ended in the container', async () => {
    expect(await run(`name=${web} timeout=1s -- sleep 654321`)).toMatch(/timed out/)
    expect(processesIn(web, '654321')).toEqual([])
  })

  it('a new container is made from an image on the agent’s list, and is gone afterwards', async () => {
    expect(await run(`image=${image} cmd="echo made"`)).toMatch(/exit 0[\s\S]*"text":"made"/)
    await until(() => (docker('ps', '-aq', '--filter', 'label=drover.helper') === '' ? true : undefined), 20_000)
  })

  it('[default-deny] what the agent’s list does not name is not there, whatever drover.yaml allows', async () => {
    const told = () => JSON.stringify(chat.slack.ephemerals('U0ALEX'))
    expect((await chat.slack.slash('U0ALEX', 'C0OPS', `on=lab name=${other} cmd="echo never"`)).status).toBe(200)
    await until(() => (/No running container matches/.test(told()) ? true : undefined), 30_000)
  })

  it('[default-deny] the person in the thread reads which agent refused what', async () => {
    docker('tag', image, 'drover-test/elsewhere:1')
    const all = await run(`image=drover-test/elsewhere:1 cmd="echo never"`)
    expect(all).toMatch(/The agent lab refused it: new containers of .*drover-test\/elsewhere:1.* are not on its list/)
    expect(all).not.toContain('exit 0')
  })

  it('[true-ending] a link that is lost while a command runs makes its outcome unknown, never a success', async () => {
    const running = run(`name=${web} timeout=60s cmd='echo begun; sleep 87654; echo done'`)
    await until(() => (processesIn(web, 'sleep 87654').length > 0 ? true : undefined), 30_000)
    await end(agent, 'SIGKILL')
    const all = await running
    expect(all).toMatch(/unknown/)
    expect(all).not.toContain('exit 0')
    expect((await chat.slack.slash('U0ALEX', 'C0OPS', `name=${web} cmd="true"`)).status).toBe(200)
    const told = () => JSON.stringify([...chat.slack.ephemerals('U0ALEX'), ...chat.slack.messages('C0OPS')])
    await until(() => (/The agent lab is not connected since 2/.test(told()) ? true : undefined), 30_000)
    rmSync(agent.folder, { recursive: true, force: true })
    agent = await startAgent(chat.url, keys, engine(), {}, deno)
    expect(await run(`name=${web} cmd="echo again"`)).toMatch(/exit 0[\s\S]*"text":"again"/)
  }, 120_000)

  it('an agent on Deno does the same, and is there at once after a time in which nothing ran', async () => {
    // Longer than workerd keeps an object awake that has nothing to do.
    await new Promise((resolve) => setTimeout(resolve, 20_000))
    expect(await run(`name=${web} stdin="one two" cmd="wc -w"`)).toMatch(/exit 0[\s\S]*"text":"2"/)
    expect(await run(`name=${web} cmd='exit 7'`)).toContain('exit 7')
  }, 120_000)

  it('the gateway is asked how an agent stands by who knows its key, and by nobody else', async () => {
    const ask = async (key: string, name = 'lab') =>
      await fetch(`${chat.url}/agents/state?agent=${name}`, { headers: { 'x-drover-agent-key': key } })
    expect(await (await ask(keys.publicKey)).json()).toMatchObject({ connected: true, says: expect.stringContaining('docker') })
    expect([(await ask('')).status, (await ask(keys.publicKey, 'other')).status]).toEqual([404, 404])
  })

  it('[true-ending] [gone-is-gone] containerd: both streams, stdin, the exit code, and an end in the container after the deadline', async () => {
    const all = await run(`on=node name=node-web cmd='echo out; echo err >&2; exit 3'`)
    expect(all).toContain('exit 3')
    expect(all).toMatch(/stderr\| err/)
    expect(await run(`on=node name=node-web stdin="one two three" cmd="wc -w"`)).toMatch(/exit 0[\s\S]*"text":"3"/)
    expect(await run(`on=node name=node-web user=nobody cmd="id -u"`)).toMatch(/exit 0[\s\S]*"text":"65534"/)
    expect(await run(`on=node name=node-web timeout=1s -- sleep 654322`)).toMatch(/timed out/)
    expect(commandsInside('node-web', '654322')).toEqual([])
    expect((await chat.slack.slash('U0ALEX', 'C0OPS', `on=node name=node-other cmd="echo never"`)).status).toBe(200)
    await until(
      () =>
        /node-other|No running container matches/.test(JSON.stringify(chat.slack.ephemerals('U0ALEX').at(-1))) ? true : undefined,
      30_000,
    )
  }, 120_000)

  it('[true-ending] containerd: an agent that is killed makes the outcome unknown, never a success; the next one ends what went on', async () => {
    const running = run(`on=node name=node-web timeout=60s cmd='echo begun; sleep 87655; echo done'`)
    await until(() => (commandsInside('node-web', 'sleep 87655').length > 0 ? true : undefined), 30_000)
    await end(nodeAgent, 'SIGKILL')
    const all = await running
    expect(all).toMatch(/unknown/)
    expect(all).not.toContain('exit 0')
    rmSync(nodeAgent.folder, { recursive: true, force: true })
    nodeAgent = await startAgent(chat.url, nodeKeys, node(), {}, deno, 'node')
    expect(await run(`on=node name=node-web stdin="one two" cmd="wc -w"`)).toMatch(/exit 0[\s\S]*"text":"2"/)
  }, 120_000)

  it('a name that drover.yaml does not hold makes no object', async () => {
    expect((await fetch(`${chat.url}/agents/connect?agent=other`)).status).toBe(403)
    expect((await fetch(`${chat.url}/agents/connect?agent=lab`)).status).toBe(426)
  })
})
