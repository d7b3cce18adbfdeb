/** The backend contract on a real containerd that is reached through an agent, and what the agent's list keeps from a gateway that was broken into. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { backendByOrder } from '../../src/agent/by-order.ts'
import type { Transport } from '../../src/backends/transport.ts'
import type { Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { type Link, startLink, until } from '../agent/link.ts'
import { backendContract, begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import { breakable } from './agent-breakable.ts'
import { commandsInside, ctrAt, given, removeContainers, rootOf, startContainer } from './containerd-engine.ts'

const address = given('CONTAINERD_ADDRESS')
const namespace = given('CONTAINERD_NAMESPACE')
const ctr = ctrAt(address, namespace)
const soon = () => AbortSignal.timeout(30_000)
const fifos = mkdtempSync(join(tmpdir(), 'drover-fifos-'))
const bareRoot = rootOf(['sleep', 'timeout', 'setsid'])

beforeAll(() => {
  removeContainers(ctr)
  startContainer(ctr, 'web-1', { labels: { app: 'web' } })
  startContainer(ctr, 'bare', { rootfs: bareRoot, argv: ['/bin/sleep', '1000000'] })
  startContainer(ctr, 'stopped')
  startContainer(ctr, 'db-1', { labels: { app: 'db' } })
  startContainer(ctr, 'strong', { labels: { app: 'web' }, flags: ['--privileged'] })
})
afterAll(() => {
  removeContainers(ctr)
  for (const folder of [fifos, bareRoot]) rmSync(folder, { recursive: true, force: true })
})

/** `engine:` and `allow:` as they stand in the agent's file: JSON is YAML, too. */
const fileOf = (allow: object, engine: object = {}) =>
  `engine: ${JSON.stringify({ kind: 'containerd', address, namespace, fifoDirectory: fifos, ...engine })}\nallow: ${JSON.stringify(allow)}`

const through = (way: Transport): Backend => backendByOrder({ name: 'ctd', kind: 'containerd', hasUser: true }, way)

async function targetNamed(backend: Backend, name: string): Promise<Target> {
  const found = (await backend.list({ name }, soon())).find((one) => one.name === name)
  if (!found) throw new Error(`there is no container ${name}`)
  return found
}

backendContract('containerd through an agent', async () => {
  const link = await startLink({ file: fileOf({}) })
  const { way, breakAfter } = breakable(link)
  const backend = through(way)
  const stopped = await targetNamed(backend, 'stopped')
  ctr('tasks', 'kill', '-s', 'KILL', 'stopped')
  while ((await backend.list({}, soon())).some(({ name }) => name === 'stopped')) await sleep(50)
  return {
    backend,
    target: await targetNamed(backend, 'web-1'),
    bare: await targetNamed(backend, 'bare'),
    stopped,
    processesInside: async ({ native }, needle) => commandsInside(native, needle),
    // What an execution holds open beside the engine is a folder of named pipes.
    openConnections: () => readdirSync(fifos).length,
    breakAfter,
    tearDown: () => link.close(),
  }
})

describe('a real containerd behind an agent and its list', () => {
  async function behind(allow: object, engine: object = {}) {
    const link = await startLink({ file: fileOf(allow, engine) })
    onTestFinished(() => link.close())
    return { link, backend: through(link.transport) }
  }
  const direct = async (name: string): Promise<Target> => {
    const link = await startLink({ file: fileOf({ privileged: true }) })
    const found = await targetNamed(through(link.transport), name)
    await link.close()
    return found
  }
  const ask = async (link: Link, path: string, body: unknown): Promise<string> => {
    const sent = { method: 'POST', url: `https://lab.agent${path}`, body: JSON.stringify(body), signal: soon() } as const
    return await link.transport.http(sent).then(
      ({ body: told }) => told,
      (error: Error) => error.message,
    )
  }

  it('[default-deny] S45 what its list does not name is not there and not run in, and what is privileged is refused by name', async () => {
    const { backend } = await behind({ labels: 'app=web' })
    expect((await backend.list({}, soon())).map(({ name }) => name).sort()).toEqual(['strong', 'web-1'])
    const other = await failureOf(runOn(backend, await direct('db-1'), { argv: ['true'] }))
    expect([other.code, other.ran, other.message]).toEqual([
      'backend_forbidden',
      'no',
      'The agent lab refused it: "db-1" is not on its list',
    ])
    const strong = await failureOf(runOn(backend, await direct('strong'), { argv: ['true'] }))
    expect(strong.message).toMatch(/^The agent lab refused it: "strong" is privileged/)
  })

  it('[default-deny] a gateway that was broken into reaches no other namespace, no pipe of its choice, and no call of containerd', async () => {
    const { link } = await behind({ labels: 'app=web' })
    const web = { target: { native: 'web-1' }, exec: newExec(), command: { argv: ['true'] } }
    const tries: [string, unknown, RegExp][] = [
      ['/drover/v1/exec', { ...web, namespace: 'k8s.io' }, /"namespace" of exec is not on its list/],
      ['/drover/v1/exec', { ...web, stdout: '/run/containerd/fifo/1/db-1-stdout' }, /"stdout" of exec is not on its list/],
      ['/drover/v1/exec', { ...web, spec: { capabilities: {} } }, /"spec" of exec is not on its list/],
      ['/drover/v1/exec', { ...web, exec: '../web-1' }, /"exec" of exec is not on its list/],
      ['/drover/v1/exec', { ...web, target: { native: '../k8s.io/dns' } }, /not_running/],
      ['/containerd.services.tasks.v1.Tasks/Kill', {}, /"\/containerd.services.tasks.v1.Tasks\/Kill" is not on its list/],
      ['/drover/v1/plan', {}, /rollouts are not on its list/],
    ]
    for (const [path, body, words] of tries) expect(await ask(link, path, body)).toMatch(words)
    const kill = { target: { native: 'web-1' }, handle: { exec: 'noitcudorp-tnega' } }
    expect(await ask(link, '/drover/v1/kill', kill)).toMatch(/"handle.exec" of kill is not on its list/)
    expect(link.agentLog.filter(({ event }) => event === 'refused')).toHaveLength(7)
    expect(commandsInside('web-1', 'sleep 1000000')).toHaveLength(1)
    expect(readdirSync(fifos)).toEqual([])
  })

  it('[true-ending] S41 an agent that is killed in the middle makes the outcome unknown, and a kill by the next one ends what went on', async () => {
    const first = await behind({})
    const target = await targetNamed(first.backend, 'web-1')
    const running = await begin(first.backend, target, ['/bin/sh', '-c', 'echo go; sleep 765432; echo done'])
    first.link.cut()
    const rest = (async () => {
      for (;;) if ((await running.events.next()).done) return
    })()
    expect(await failureOf(rest)).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    expect(commandsInside('web-1', 'sleep 765432')).not.toEqual([])
    const second = await behind({})
    expect(await second.backend.kill(target, running.handle, soon())).toEqual({ result: 'gone' })
    expect(commandsInside('web-1', 'sleep 765432')).toEqual([])
  })

  it('[gone-is-gone] a container that has ended since took all that ran in it along', async () => {
    const { backend } = await behind({})
    startContainer(ctr, 'brief')
    const target = await targetNamed(backend, 'brief')
    const { handle, events } = await begin(backend, target, ['/bin/sh', '-c', 'echo go; sleep 765431; true'])
    ctr('tasks', 'kill', '-s', 'KILL', 'brief')
    await until(async () => !(await backend.list({}, soon())).some(({ name }) => name === 'brief'))
    for (let next = await events.next().catch(() => undefined); next && !next.done; )
      next = await events.next().catch(() => undefined)
    expect(await backend.kill(target, handle, soon())).toEqual({ result: 'gone' })
    const again = await behind({})
    expect(await again.backend.kill(target, handle, soon())).toEqual({ result: 'gone' })
  })

  it('a new container is made of the images that its list names and within the agent’s own bounds, and is gone afterwards', async () => {
    const image = `docker.io/${given('DOCKER_TEST_IMAGE')}`
    const link = await startLink({ file: fileOf({ images: [image] }, { newContainers: { memory: '64m' } }) })
    onTestFinished(() => link.close())
    const bounds = { networks: ['none'], memory: '64m', cpus: 1, processes: 64 }
    const backend = backendByOrder({ name: 'ctd', kind: 'containerd', hasUser: true, bounds }, link.transport)
    const ran = await runOn(backend, backend.newContainer!({ image }), { argv: ['sh', '-c', 'cat; exit 4'], stdin: 'made' })
    expect([`${ran.out}`, ran.code]).toEqual(['made', 4])
    expect(ctr('containers', 'ls', '-q')).not.toMatch(/drover-/)
    const greedy = backendByOrder(
      { name: 'ctd', kind: 'containerd', hasUser: true, bounds: { ...bounds, memory: '1g' } },
      link.transport,
    )
    const more = await failureOf(runOn(greedy, greedy.newContainer!({ image }), { argv: ['true'] }))
    expect(more.message).toBe('The agent lab refused it: memory= may be 64m at most on lab.')
    const other = await failureOf(
      runOn(backend, backend.newContainer!({ image: 'docker.io/library/other:1' }), { argv: ['true'] }),
    )
    expect(other.message).toMatch(/new containers of "docker.io\/library\/other:1" are not on its list/)
    const begun = await begin(backend, backend.newContainer!({ image }), ['sh', '-c', 'echo go; sleep 765430; true'])
    const target = backend.newContainer!({ image })
    expect(await backend.kill(target, begun.handle, soon())).toEqual({ result: 'gone' })
    begun.connection.abort()
    await until(() => !/drover-/.test(ctr('containers', 'ls', '-q')))
  })

  it('[bounded] 100 commands at a time each get their own output and exit code', async () => {
    const { backend } = await behind({})
    const target = await targetNamed(backend, 'web-1')
    const all = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const ran = await runOn(
          backend,
          target,
          { argv: ['sh', '-c', `echo ${n}; exit ${n % 100}`] },
          AbortSignal.timeout(120_000),
        )
        return [`${ran.out}`.trim(), ran.code]
      }),
    )
    expect(all).toEqual(Array.from({ length: 100 }, (_, n) => [`${n}`, n % 100]))
  }, 180_000)
})
