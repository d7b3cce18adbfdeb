/** What a swarm's manager tells, and by which way drover then goes, on a real swarm of two. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { swarm } from '../../src/backends/swarm/backend.ts'
import { SERVICE_WAY } from '../../src/backends/swarm/exec.ts'
import type { Command, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { begin, failureOf, runOn } from '../contract/backend.ts'
import {
  byMap,
  byService,
  drained,
  image,
  managerHost,
  nodeId,
  outside,
  pathOf,
  shopOf,
  soon,
  swarmWorld,
  taskOf,
  tasksOf,
  temporaryService,
  worker,
  workerHost,
} from './swarm-world.ts'

describe('Docker Swarm', { timeout: 180_000 }, () => {
  const world = swarmWorld()
  const mapped = byMap()
  const serviced = byService()
  let shop: string
  let web: Target
  beforeAll(async () => {
    ;({ shop, web } = await shopOf(world))
  })
  afterAll(() => world.tearDown())
  const run = (command: Command, target = web, on: Backend = serviced) => runOn(on, target, command, soon())

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

    test.each([
      ['the nodes map', { nodes: { 'drover-worker': { host: workerHost } } }],
      ['a temporary service', { temporaryService }],
    ])('on Deno as on Node: %s', async (way, settings) => {
      const service = await world.serve('deno', 'worker')
      const deno = fileURLToPath(new URL('../../node_modules/.bin/deno', import.meta.url))
      const program = fileURLToPath(new URL('swarm-deno.ts', import.meta.url))
      const commands = [{ argv: ['/bin/sh', '-c', 'cat; echo err >&2; exit 3'], stdin: 'in' }]
      const words = [
        'run',
        '--quiet',
        '--no-lock',
        '-A',
        program,
        JSON.stringify([{ name: 'fleet', host: managerHost, ...settings }, service, commands]),
      ]
      const { stdout } = await promisify(execFile)(deno, words, { timeout: 60_000 })
      expect(JSON.parse(stdout)).toEqual({ stdout: 'in', stderr: 'err\n', code: 3, way })
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
        /false drover-worker \(.*\): the engine at unix:.* is another[\s\S]*warn nodes: names what is not a node of this swarm: nobody/,
      )
      const missing = { ...temporaryService, image: `sha256:${'0'.repeat(64)}` }
      expect(await said(byService({ temporaryService: missing }))).toMatch(
        /warn the image of the temporary service is not on drover-manager/,
      )
    })
  })
})
