/** How a temporary service is made, refused, given up and swept away, on a real swarm of two. */

import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Command, Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { begin, failureOf, runOn } from '../contract/backend.ts'
import {
  bareOn,
  byService,
  cliImage,
  drained,
  image,
  manager,
  nodeId,
  pathOf,
  services,
  shopOf,
  soon,
  swarmWorld,
  temporaryService,
  workerHost,
} from './swarm-world.ts'

describe('a temporary service: its beginning and its end', { timeout: 180_000 }, () => {
  const world = swarmWorld()
  const serviced = byService()
  let web: Target
  beforeAll(async () => {
    ;({ web } = await shopOf(world))
  })
  afterAll(() => world.tearDown())
  const run = (command: Command, target = web, on: Backend = serviced) => runOn(on, target, command, soon())

  test.each([
    [{ image: `sha256:${'0'.repeat(64)}` }, /image of the temporary service is not on the node drover-worker/],
    [{ socket: '/no/such.sock' }, /no engine’s socket where temporaryService says/],
    [{ socket: '/etc/hostname' }, /does not get through to the engine/],
    [{ image }, /has no docker client/],
    [{ image: bareOn(workerHost) }, /has no \/bin\/sh/],
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
