/** How commands end that went through a temporary service, on a real swarm of two. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { swarm } from '../../src/backends/swarm/backend.ts'
import { handleText, SERVICE_WAY } from '../../src/backends/swarm/exec.ts'
import type { Argv, Target } from '../../src/core/model.ts'
import { begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import { slowWay } from './swarm-slow.ts'
import {
  bareOn,
  byMap,
  byService,
  drained,
  manager,
  managerHost,
  mark,
  outside,
  pathOf,
  processesIn,
  services,
  shopOf,
  sleepMs,
  soon,
  swarmWorld,
  taskOf,
  temporaryService,
  worker,
  workerHost,
} from './swarm-world.ts'

const workerFolder = dirname(pathOf(workerHost))
/** As the power going: no word to anybody. */
const killEngine = () => process.kill(Number(readFileSync(join(workerFolder, 'dockerd.pid'), 'utf8')), 'SIGKILL')
const startAgain = () => {
  const env = { ...process.env, ENGINE_DIR: dirname(pathOf(managerHost)) }
  execFileSync('sh', [fileURLToPath(new URL('start-docker.sh', import.meta.url)), 'start', '--worker', '--cli-image'], { env })
}

describe('a temporary service: endings', { timeout: 180_000 }, () => {
  const world = swarmWorld()
  const mapped = byMap()
  const serviced = byService()
  let web: Target
  let bare: Target
  beforeAll(async () => {
    ;({ web } = await shopOf(world))
    bare = await taskOf(serviced, await world.serve('bare', 'worker', [], bareOn(workerHost)))
  })
  afterAll(() => world.tearDown())

  test('[gone-is-gone] S42 a kill at the very first word finds what is only about to begin', async () => {
    const own = mark()
    for (let round = 0; round < 4; round += 1) {
      const connection = new AbortController()
      for await (const event of serviced.exec(web, { argv: ['sleep', own] }, newExec(), connection.signal)) {
        if (event.type !== 'started') continue
        await sleepMs(round * 200)
        expect(await serviced.kill(web, event.handle, soon())).toEqual({ result: 'gone' })
        break
      }
      await sleepMs(1_000)
      expect(processesIn(web, `sleep ${own}`)).toEqual([])
    }
  })

  test('[gone-is-gone] in a paused container nothing is said to be gone, and afterwards it can be ended', async () => {
    const own = mark()
    for await (const event of serviced.exec(web, { argv: ['sleep', own] }, newExec(), new AbortController().signal)) {
      if (event.type !== 'started') continue
      await expect.poll(() => processesIn(web, `sleep ${own}`).length).toBeGreaterThan(0)
      worker('pause', web.engineId ?? '')
      try {
        expect(await serviced.kill(web, event.handle, soon()).catch(() => 'nobody can tell')).not.toEqual({ result: 'gone' })
      } finally {
        worker('unpause', web.engineId ?? '')
      }
      expect(await serviced.kill(web, event.handle, soon())).toEqual({ result: 'gone' })
      break
    }
    expect(processesIn(web, `sleep ${own}`)).toEqual([])
  })

  test('[gone-is-gone] the kill of a start that was given up leaves nothing that begins later', async () => {
    const own = mark()
    for (let round = 0; round < 4; round += 1) {
      const [exec, connection] = [newExec(), new AbortController()]
      const work = (async () => {
        for await (const _ of serviced.exec(web, { argv: ['sleep', own] }, exec, connection.signal));
      })()
      work.catch(() => undefined)
      await sleepMs(round * 8)
      connection.abort()
      expect(await serviced.kill(web, { target: web.id, exec }, soon())).toEqual({ result: 'gone' })
      await work.catch(() => undefined)
    }
    await sleepMs(1_000)
    expect(processesIn(web, `sleep ${own}`)).toEqual([])
  })

  test('[gone-is-gone] S42 what a slow manager makes after it was given up does not begin', async () => {
    const [own, exec, connection] = [mark(), newExec(), new AbortController()]
    const slow = await slowWay(pathOf(managerHost), (body) => body.includes(`"${own}"`), 4_000)
    const through = byService({ host: slow.host, plaintext: true })
    const work = drained(through.exec(web, { argv: ['sleep', own] }, exec, connection.signal)[Symbol.asyncIterator]())
    work.catch(() => undefined)
    await sleepMs(300)
    connection.abort()
    expect(await through.kill(web, { target: web.id, exec }, soon())).toEqual({ result: 'gone' })
    expect(await failureOf(work)).toMatchObject({ ran: 'no' })
    await sleepMs(3_000)
    expect([processesIn(web, `sleep ${own}`), services()]).toEqual([[], []])
    await slow.close()
  })

  test('[gone-is-gone] S42 a command that wiped the mark off itself is not said to be gone', async () => {
    const own = mark()
    const { handle, connection, events } = await begin(serviced, web, ['/bin/sh', '-c', `echo go; exec env -i sleep ${own}`])
    await expect.poll(() => processesIn(web, `sleep ${own}`)).toHaveLength(1)
    expect(await serviced.kill(web, handle, soon())).toEqual({ result: 'left' })
    process.kill(Number(processesIn(web, `sleep ${own}`)[0]?.trim().split(/\s+/)[0]), 'SIGKILL')
    connection.abort()
    await drained(events).catch(() => undefined)
  })

  test('[gone-is-gone] another drover ends it by the handle alone, and removes its service as well', async () => {
    const own = mark()
    const { handle, connection, events } = await begin(serviced, web, [
      '/bin/sh',
      '-c',
      `echo go; setsid sleep ${own} & sleep ${own}`,
    ])
    expect(await byService().kill(web, handle, soon())).toEqual({ result: 'gone' })
    expect([processesIn(web, own), services()]).toEqual([[], []])
    connection.abort()
    await drained(events).catch(() => undefined)
  })

  test('[gone-is-gone] without a shell inside it is left; and what a user runs is not looked for as another', async () => {
    const own = mark()
    const exec = newExec()
    const connection = new AbortController()
    const events = serviced.exec(bare, { argv: ['sleep', own] }, exec, connection.signal)[Symbol.asyncIterator]()
    await events.next()
    await expect.poll(() => processesIn(bare, own)).toHaveLength(1)
    expect(await serviced.kill(bare, { target: bare.id, exec, way: SERVICE_WAY }, soon())).toEqual({ result: 'left' })
    expect(await mapped.kill(web, { target: web.id, exec: handleText(exec, 'nobody'), way: SERVICE_WAY }, soon())).toEqual({
      result: 'left',
    })
    process.kill(Number(processesIn(bare, own)[0]?.trim().split(/\s+/)[0]), 'SIGKILL')
    connection.abort()
    await drained(events).catch(() => undefined)
  })

  test('[true-ending] a task that is stopped, or removed with its service, while a command runs is no success', async () => {
    for (const how of ['stop', 'remove'] as const) {
      const name = await world.serve('victim', 'worker', ['--restart-condition', 'none'])
      const victim = await taskOf(serviced, name)
      const { events } = await begin(serviced, victim, ['/bin/sh', '-c', 'echo go; sleep 100; exit 0'])
      if (how === 'stop') worker('kill', victim.engineId ?? '')
      else manager('service', 'rm', name)
      const outcome = await (async () => {
        for (;;) {
          const next = await events.next()
          if (next.done) return 'nothing'
          if (next.value.type === 'exit') return `exited ${next.value.code}`
        }
      })().catch((error: { ran?: string; code?: string }) => `${error.ran} ${error.code}`)
      expect(outcome).toMatch(/^exited 137$|^maybe (stream_broken|backend_not_found)$/)
    }
  })

  test('[true-ending] S41 a service that somebody removes under a command is no ending of it', async () => {
    const own = mark()
    const { events, handle } = await begin(serviced, web, ['/bin/sh', '-c', `echo go; sleep ${own}; true`])
    manager('service', 'rm', ...services())
    const failure = await failureOf(drained(events))
    expect(failure.message).toContain('removed by somebody else')
    expect([failure.code, failure.ran, failure.next]).toEqual([
      'stream_broken',
      'maybe',
      expect.stringContaining('Look at the container'),
    ])
    expect(await serviced.kill(web, handle, soon())).toEqual({ result: 'gone' })
    expect(processesIn(web, `sleep ${own}`)).toEqual([])
  })

  test('[true-ending] S41 a client that is stopped or killed beside a command that goes on is no ending of it', async () => {
    const client = () => worker('ps', '-q', '--filter', 'label=drover.helper=service')
    for (const end of ['stop', 'kill']) {
      const own = mark()
      const { handle, connection, events } = await begin(serviced, web, ['/bin/sh', '-c', `echo go; exec sleep ${own}`])
      worker(end, client())
      expect(await failureOf(drained(events))).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
      expect(processesIn(web, `sleep ${own}`)).toHaveLength(1)
      expect(await serviced.kill(web, handle, soon())).toEqual({ result: 'gone' })
      connection.abort()
    }
    expect((await runOn(serviced, web, { argv: ['/bin/sh', '-c', 'kill -KILL $$'] }, soon())).code).toBe(137)
  })

  test('[true-ending] S41 a signal to the service’s container is no ending of the command, and no exit code stands behind it', async () => {
    const client = () => worker('ps', '-q', '--filter', 'label=drover.helper=service')
    const pids = () => worker('top', client(), '-eo', 'pid').split('\n').slice(1).map(Number)
    for (const [signal, to] of [
      ['SIGTERM', 'its first process'],
      ['SIGTERM', 'all of it'],
      ['SIGINT', 'all of it'],
    ] as const) {
      const own = mark()
      const argv: Argv = ['/bin/sh', '-c', `echo go; sleep ${to === 'all of it' ? own : '2'}; exit 0`]
      const { handle, connection, events } = await begin(serviced, web, argv)
      if (to === 'all of it') for (const pid of pids()) process.kill(pid, signal)
      else worker('kill', '-s', signal, client())
      expect(await failureOf(drained(events))).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
      expect(processesIn(web, `sleep ${own}`).length > 0).toBe(to === 'all of it')
      expect(await serviced.kill(web, handle, soon())).toEqual({ result: 'gone' })
      connection.abort()
    }
  })

  test('[true-ending] S41 a manager that is away for a moment costs nothing, one that stays away makes it unknown', async () => {
    const relay = await startRelay(pathOf(managerHost))
    const through = swarm({ name: 'fleet', host: `tcp://127.0.0.1:${relay.port}`, plaintext: true, temporaryService }, outside)
    const { events } = await begin(through, web, ['/bin/sh', '-c', 'echo go; sleep 6; echo on; exit 4'])
    const cutting = setInterval(() => relay.cut('at once'), 20)
    setTimeout(() => clearInterval(cutting), 3_000)
    const rest: string[] = []
    for (;;) {
      const next = await events.next()
      if (next.done) break
      rest.push(
        next.value.type === 'output'
          ? `${Buffer.from(next.value.data)}`
          : next.value.type === 'exit'
            ? `exit ${next.value.code}`
            : '',
      )
    }
    expect(rest.join('')).toBe('on\nexit 4')
    const second = await begin(through, web, ['/bin/sh', '-c', 'echo go; sleep 5; exit 0'])
    await relay.close()
    expect(await failureOf(drained(second.events))).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    manager('service', 'rm', ...services())
  })

  // Last: it takes the worker's engine away.
  test('[true-ending] a worker whose engine dies under a command makes its outcome unknown', async () => {
    const argv: Argv = ['/bin/sh', '-c', 'echo go; sleep 100; exit 0']
    const { events } = await begin(serviced, web, argv)
    killEngine()
    const failure = await failureOf(drained(events))
    expect([failure.code, failure.ran, failure.message]).toEqual([
      'stream_broken',
      'maybe',
      expect.stringMatching(/drover-worker.*went down/),
    ])
    startAgain()
    await expect.poll(services, { timeout: 60_000 }).toEqual([])
  })
})
