/** What the backend `swarm` promises beyond the contract, on a real swarm of two. */

import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { swarm } from '../../src/backends/swarm/backend.ts'
import { handleText, SERVICE_WAY } from '../../src/backends/swarm/exec.ts'
import type { Argv, Command, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { begin, failureOf, newExec, runOn } from '../contract/backend.ts'
import { startRelay } from './docker-relay.ts'
import {
  bareOn,
  byMap,
  byService,
  cliImage,
  image,
  manager,
  managerHost,
  nodeId,
  outside,
  pathOf,
  processesIn,
  services,
  swarmWorld,
  taskOf,
  tasksOf,
  temporaryService,
  worker,
  workerHost,
} from './swarm-world.ts'

const soon = () => AbortSignal.timeout(90_000)
const mark = () => `${600_000 + Math.floor(Math.random() * 300_000)}`
/** As the power going: no word to anybody. */
const killEngine = () => process.kill(Number(readFileSync(join(workerFolder, 'dockerd.pid'), 'utf8')), 'SIGKILL')
const startAgain = () => {
  const env = { ...process.env, ENGINE_DIR: dirname(pathOf(managerHost)) }
  execFileSync('sh', [fileURLToPath(new URL('start-docker.sh', import.meta.url)), 'start', '--worker', '--cli-image'], { env })
}
const workerFolder = dirname(pathOf(workerHost))
const sleepMs = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe('Docker Swarm', { timeout: 180_000 }, () => {
  const world = swarmWorld()
  const mapped = byMap()
  const serviced = byService()
  let shop: string
  let web: Target
  let bare: Target
  beforeAll(async () => {
    const labels = [
      '--label',
      'tier=front',
      '--container-label',
      'app=web',
      '--label',
      'k=service',
      '--container-label',
      'k=container',
    ]
    shop = await world.serve('shop', 'both', labels)
    web = (await tasksOf(serviced, shop)).find(({ facets }) => facets.host === 'drover-worker')!
    bare = await taskOf(serviced, await world.serve('bare', 'worker', [], bareOn(workerHost)))
  })
  afterAll(() => world.tearDown())
  const run = (command: Command, target = web, on: Backend = serviced) => runOn(on, target, command, soon())
  const sh = (text: string, more: Partial<Command> = {}, on = serviced) =>
    run({ argv: ['/bin/sh', '-c', text], ...more }, web, on)
  const drained = async (events: AsyncIterator<unknown>) => {
    for (;;) if ((await events.next()).done) return
  }

  describe('what runs where', () => {
    test('a service has a task on each node, found by service, by its label, by the container’s, by node and by task', async () => {
      const both = await tasksOf(mapped, shop)
      expect(both.map(({ facets }) => facets.host).sort()).toEqual(['drover-manager', 'drover-worker'])
      const found = async (selector: Parameters<Backend['list']>[0]) => (await mapped.list(selector, soon())).length
      const label = (key: string, value: string) => ({ labels: [{ op: 'eq' as const, key, value }], facets: { service: shop } })
      expect(await found(label('tier', 'front'))).toBe(2)
      expect(await found(label('app', 'web'))).toBe(2)
      // On a key that both have it is the container's own.
      expect([await found(label('k', 'container')), await found(label('k', 'service'))]).toEqual([2, 0])
      expect(await found({ facets: { service: shop, host: 'drover-worker' } })).toBe(1)
      expect(await found({ id: web.native.slice(0, 8), facets: { task: `${web.native.slice(0, 8)}*` } })).toBe(1)
    })

    test('a task is called as the engine of its node calls its container, and bears the labels that it has there', async () => {
      expect(worker('inspect', '-f', '{{.Name}}', web.engineId ?? '')).toBe(`/${web.name}`)
      const labels = JSON.parse(worker('inspect', '-f', '{{json .Config.Labels}}', web.engineId ?? '')) as Record<string, string>
      expect(web.labels).toMatchObject({ ...labels, 'com.docker.swarm.task': expect.any(String) })
    })

    test('S45 what holds the host’s network or its engine’s socket is privileged; drover’s own is the platform’s', async () => {
      const strong = await taskOf(mapped, await world.serve('strong', 'worker', ['--network', 'host']))
      const socket = ['--mount', `type=bind,source=${pathOf(workerHost)},target=/var/run/docker.sock`]
      const holder = await taskOf(mapped, await world.serve('holder', 'worker', socket))
      const capable = await taskOf(mapped, await world.serve('capable', 'worker', ['--cap-add', 'SYS_ADMIN']))
      expect([strong.privileged, holder.privileged, capable.privileged, web.privileged]).toEqual([true, true, true, undefined])
      const { connection, events, handle } = await begin(serviced, web, ['/bin/sh', '-c', 'echo go; sleep 100'])
      const own = (await mapped.list({}, soon())).find(({ name }) => name.startsWith('drover-exec-'))
      expect([own?.system, own?.privileged]).toEqual([true, true])
      expect(await serviced.kill(web, handle, soon())).toEqual({ result: 'gone' })
      connection.abort()
      await drained(events).catch(() => undefined)
    })

    test('only what runs is a target: a task that ended, or is being made, is none', async () => {
      const once = await world.serve('once', 'worker', ['--restart-condition', 'none'], image, ['sleep', '2'])
      await expect.poll(async () => (await tasksOf(mapped, once)).length, { timeout: 30_000 }).toBe(0)
    })
  })

  describe('the way', () => {
    test('the manager’s own engine, then the nodes map, then a temporary service; the handle says which', async () => {
      const [onManager, onWorker] = ['drover-manager', 'drover-worker'].map((host) => ({ host, service: shop }))
      const all = byMap({ temporaryService })
      for (const [backend, facets, way] of [
        [all, onManager, 'the manager’s engine'],
        [all, onWorker, 'the nodes map'],
        [serviced, onManager, 'the manager’s engine'],
        [serviced, onWorker, SERVICE_WAY],
      ] as const) {
        const [target] = await backend.list({ facets: facets! }, soon())
        const ran = await run({ argv: ['hostname'] }, target, backend)
        expect([ran.code, ran.handle?.way]).toEqual([0, way])
      }
    })

    test('an entry of the map may be the node’s id', async () => {
      const backend = swarm({ name: 'fleet', host: managerHost, nodes: { [nodeId('worker')]: { host: workerHost } } }, outside)
      expect((await run({ argv: ['true'] }, web, backend)).handle?.way).toBe('the nodes map')
    })

    test('without a way nothing runs, and it is said what would make one', async () => {
      const failure = await failureOf(run({ argv: ['true'] }, web, swarm({ name: 'fleet', host: managerHost }, outside)))
      expect([failure.code, failure.ran]).toEqual(['config', 'no'])
      expect(`${failure.message} ${failure.next}`).toMatch(/drover-worker.*nodes:.*temporaryService/)
    })

    test('a worker and an engine outside a swarm are refused in words, by the list and by the check', async () => {
      const backend = swarm({ name: 'fleet', host: workerHost }, outside)
      const failure = await failureOf(backend.list({}, soon()))
      expect([failure.code, failure.message, failure.next]).toEqual([
        'config',
        expect.stringContaining('a worker of its swarm'),
        expect.stringContaining('docker node ls'),
      ])
      const [, line] = await backend.check(soon())
      expect([line?.ok, line?.what, line?.next]).toEqual([false, failure.message, failure.next])
    })

    test('the check says by which way each node is reached, and what that means', async () => {
      const said = async (backend: Backend) =>
        (await backend.check(soon())).map((line) => `${line.ok} ${line.what}: ${line.detail ?? ''}`).join('\n')
      expect(await said(serviced)).toMatch(/a manager of a swarm of 2 nodes: .*root on every node/)
      expect(await said(serviced)).toMatch(/drover-worker \([a-z0-9]{12}\): through a temporary service/)
      expect(await said(serviced)).toMatch(/warn temporary services are allowed/)
      expect(await said(serviced)).toMatch(/true the image of the temporary service is on drover-manager/)
      expect(await said(mapped)).toMatch(/drover-manager \(.*\): through the manager’s engine/)
      expect(await said(mapped)).toMatch(/drover-worker \(.*\): through the nodes map/)
      expect(await said(mapped)).toMatch(/no temporary service is ever made/)
      expect(await said(byMap({ nodes: { 'drover-worker': { host: managerHost }, nobody: { host: workerHost } } }))).toMatch(
        /false drover-worker \(.*\): the engine at unix:.* is another[\s\S]*warn nodes: names what is no node here: nobody/,
      )
      const missing = { ...temporaryService, image: `sha256:${'0'.repeat(64)}` }
      expect(await said(byService({ temporaryService: missing }))).toMatch(
        /warn the image of the temporary service is not on drover-manager/,
      )
    })
  })

  describe('a temporary service', () => {
    test('[true-ending] S38 5 MB of random bytes arrive exactly', async () => {
      const ran = await sh('head -c 5000000 /dev/urandom >/tmp/r; md5sum </tmp/r >&2; cat /tmp/r; rm /tmp/r')
      expect([ran.out.length, ran.code]).toEqual([5_000_000, 0])
      expect(createHash('md5').update(ran.out).digest('hex')).toBe(`${ran.err}`.slice(0, 32))
    })

    test('S38 a long line, empty lines, and lines of both streams arrive whole, in order, once', async () => {
      const ran = await sh(
        'head -c 300000 /dev/zero | tr "\\0" x; for i in $(seq 3000); do echo; echo $i; [ $((i % 3)) = 0 ] && echo e$i >&2; done; printf end',
      )
      const lines = Array.from({ length: 3000 }, (_, i) => `\n${i + 1}\n`).join('')
      expect(`${ran.out}` === `${'x'.repeat(300_000)}${lines}end`).toBe(true)
      expect(`${ran.err}`).toBe(Array.from({ length: 1000 }, (_, i) => `e${3 * (i + 1)}\n`).join(''))
    })

    test('[bounded] many lines come while they are written, and at the end every one was there once', async () => {
      const ran = await sh('i=0; while [ $i -lt 40 ]; do seq $((i * 1000)) $((i * 1000 + 999)); i=$((i + 1)); sleep 0.05; done')
      expect(`${ran.out}` === Array.from({ length: 40_000 }, (_, i) => `${i}\n`).join('')).toBe(true)
      expect(ran.events.filter(({ type }) => type === 'output').length).toBeGreaterThan(3)
    })

    test('[true-ending] [bounded] a log that is longer than there is time for makes no timeout of a command that has ended', async () => {
      const events = serviced.exec(web, { argv: ['/bin/sh', '-c', 'seq 300000; exit 3'] }, newExec(), soon(), undefined, 6_000)
      let [err, lines, code] = ['', 0, -1]
      for await (const event of events) {
        if (event.type === 'exit') code = event.code
        if (event.type !== 'output') continue
        if (event.stream === 'stderr') err += Buffer.from(event.data)
        else lines += Buffer.from(event.data).filter((byte) => byte === 10).length
      }
      expect([code, err]).toEqual([3, expect.stringContaining('more than could be read in its time')])
      expect(lines).toBeGreaterThan(1_000)
    })

    test('[exact-argv] S06 what looks like a template of the swarm is an argument like any other', async () => {
      const words = ['{{.Node.ID}}', '{{.Task.Name}}', '{{', '-e', '--', '$x', '--help']
      expect(`${(await run({ argv: ['printf', '%s\\n', ...words], env: { A: '{{.Node.Hostname}}' } })).out}`).toBe(
        `${words.join('\n')}\n`,
      )
      expect(`${(await sh('printf %s "$A"', { env: { A: '{{.Node.Hostname}}' } })).out}`).toBe('{{.Node.Hostname}}')
    })

    test('a chosen user is who runs it, and the kill looks as that user', async () => {
      expect(`${(await run({ argv: ['id', '-u'], user: 'nobody' })).out}`).toBe('65534\n')
      const own = mark()
      const connection = new AbortController()
      const events = serviced.exec(
        web,
        { argv: ['/bin/sh', '-c', `echo go; setsid sleep ${own} & sleep ${own}`], user: 'nobody' },
        newExec(),
        connection.signal,
      )
      for await (const event of events) {
        if (event.type !== 'started') continue
        expect(event.handle.exec).toMatch(/\/nobody$/)
        await expect.poll(() => processesIn(web, `sleep ${own}`).length).toBeGreaterThan(1)
        // What began by a service ends by one, although the nodes map would be preferred.
        expect(await byMap({ temporaryService }).kill(web, event.handle, soon())).toEqual({ result: 'gone' })
        break
      }
      expect(processesIn(web, own)).toEqual([])
    })

    test('stdin is small and arrives whole; what is larger, or has no base64 to come by, is refused with the way that takes it', async () => {
      const stdin = `${'äöü\n'.repeat(9_000)}{{.Node.ID}} $x "'`
      const ran = await sh('cat; env >&2; exit 3', { stdin })
      expect([`${ran.out}` === stdin, ran.code]).toEqual([true, 3])
      expect(`${ran.err}`).not.toContain('DROVER_STDIN')
      expect((await run({ argv: ['cat'], stdin: '' })).out.length).toBe(0)
      for (const [target, text] of [
        [web, 'x'.repeat(64 * 1024 + 1)],
        [bare, 'x'],
      ] as const) {
        const failure = await failureOf(run({ argv: ['echo', 'ran'], stdin: text }, target))
        expect([failure.code, failure.ran]).toEqual(['unsupported', 'no'])
        expect(failure.next).toContain('nodes:')
      }
    })

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

    test.each([
      [{ image: `sha256:${'0'.repeat(64)}` }, /image of the temporary service is not on the node drover-worker/],
      [{ socket: '/no/such.sock' }, /no engine’s socket where temporaryService says/],
      [{ socket: '/etc/hostname' }, /does not get through to the engine/],
      [{ image }, /has no docker client/],
    ])('what cannot be started is told with what to mend, and did not run: %#', async (settings, said) => {
      const failure = await failureOf(
        run({ argv: ['true'] }, web, byService({ temporaryService: { ...temporaryService, ...settings } })),
      )
      expect([failure.ran, failure.code]).toEqual(['no', 'config'])
      expect(failure.message).toMatch(said)
      expect(failure.next).toBeTruthy()
      expect(services()).toEqual([])
    })

    test('[bounded] a node that takes nothing new is refused at once; one where nothing is scheduled, when 15 s have passed', async () => {
      manager('node', 'update', '--availability', 'pause', 'drover-worker')
      try {
        const early = await failureOf(run({ argv: ['true'] }, web, byService()))
        expect([early.code, early.ran, early.message]).toEqual([
          'backend_unavailable',
          'no',
          expect.stringContaining('takes nothing new (pause)'),
        ])
        // Known as active a moment ago.
        const late = byService()
        manager('node', 'update', '--availability', 'active', 'drover-worker')
        expect((await run({ argv: ['true'] }, web, late)).code).toBe(0)
        manager('node', 'update', '--availability', 'pause', 'drover-worker')
        const failure = await failureOf(run({ argv: ['true'] }, web, late))
        expect([failure.code, failure.ran]).toEqual(['timeout', 'no'])
        expect(failure.message).toMatch(/drover-worker.*pending: no suitable node/)
      } finally {
        manager('node', 'update', '--availability', 'active', 'drover-worker')
      }
      expect(services()).toEqual([])
    })

    test('sixteen at once all tell their own output and code', async () => {
      const ran = await Promise.all(Array.from({ length: 16 }, (_, i) => sh(`echo ${i}; echo e${i} >&2; exit ${i}`)))
      expect(ran.map(({ out, err, code }) => `${out}${err}${code}`)).toEqual(ran.map((_, i) => `${i}\ne${i}\n${i}`))
    })

    test('[no-secret-shown] its container may do nothing but speak to its engine, and is made from what the configuration names', async () => {
      const { connection, events, handle } = await begin(serviced, web, ['/bin/sh', '-c', 'echo go; sleep 100'])
      const [name = ''] = services()
      const spec = JSON.parse(manager('service', 'inspect', '-f', '{{json .Spec}}', name)) as {
        Labels: Record<string, string>
        TaskTemplate: {
          ContainerSpec: Record<string, unknown>
          RestartPolicy: unknown
          LogDriver: { Name: string }
          Placement: unknown
        }
      }
      const { ContainerSpec: container, LogDriver, RestartPolicy, Placement } = spec.TaskTemplate
      expect(container).toMatchObject({
        Image: cliImage,
        ReadOnly: true,
        CapabilityDrop: ['ALL'],
        StopGracePeriod: 1_000_000_000,
      })
      expect(container.Mounts).toEqual([{ Type: 'bind', Source: pathOf(workerHost), Target: '/var/run/docker.sock' }])
      expect([LogDriver.Name, RestartPolicy, Placement]).toMatchObject([
        'local',
        { Condition: 'none' },
        { Constraints: [`node.id==${nodeId('worker')}`] },
      ])
      expect(Number(spec.Labels['drover.deadline'])).toBeGreaterThan(Date.now())
      await serviced.kill(web, handle, soon())
      connection.abort()
      await drained(events).catch(() => undefined)
    })

    test('what an ended drover left is swept when its time has passed, and not before; what is not drover’s stays', async () => {
      const leave = (name: string, ...labels: string[]) =>
        manager(
          'service',
          'create',
          '-d',
          '-q',
          '--no-resolve-image',
          '--replicas',
          '0',
          '--name',
          name,
          ...labels.flatMap((one) => ['--label', one]),
          image,
          'true',
        )
      const tag = randomBytes(3).toString('hex')
      leave(`drover-exec-old${tag}`, 'drover.exec=x', `drover.deadline=${Date.now() - 1000}`)
      leave(`drover-exec-young${tag}`, 'drover.exec=x', `drover.deadline=${Date.now() + 600_000}`)
      leave(`drover-exec-bare${tag}`, 'drover.exec=x')
      leave(`other-${tag}`, 'drover.exec=x', 'drover.deadline=1')
      await serviced.sweep?.(soon())
      const left = [`drover-exec-bare${tag}`, `drover-exec-young${tag}`, `other-${tag}`]
      expect([...services()].sort()).toEqual(left)
      manager('service', 'rm', ...left)
    })
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
