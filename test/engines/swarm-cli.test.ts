/** The `drover` command on a real swarm, from drover.yaml to the terminal; and what is left when it is killed. */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Target } from '../../src/core/model.ts'
import {
  byMap,
  cliImage,
  manager,
  managerHost,
  pathOf,
  processesIn,
  services,
  swarmWorld,
  tasksOf,
  workerHost,
} from './swarm-world.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

describe('drover exec on a Docker Swarm', { timeout: 120_000 }, () => {
  const world = swarmWorld()
  const folder = mkdtempSync(join(tmpdir(), 'drover-cli-'))
  const children: ChildProcess[] = []
  let web: string
  let onWorker: Target
  const configOf = (name: string, backend: string) => {
    const path = join(folder, `${name}.yaml`)
    const rules = `[{ id: me, effect: allow, who: { cli: true }, targets: { service: ['web-*'] }, commands: ['...'], rights: [shell, user] }]`
    writeFileSync(
      path,
      `listen: { port: 0 }\nledger: { path: '${join(folder, `${name}.db`)}' }\nbackends: { swarm: { kind: swarm, host: '${managerHost}', ${backend} } }\nrules: ${rules}\n`,
    )
    return path
  }
  const temporary = configOf('temporary', `temporaryService: { image: '${cliImage}', socket: '${pathOf(workerHost)}' }`)
  const mapped = configOf('mapped', `nodes: { drover-worker: { host: '${workerHost}' } }`)
  const { DOCKER_HOST: _, ...env } = process.env
  beforeAll(async () => {
    web = await world.serve('web', 'both', ['--container-label', 'role=web'])
    onWorker = (await tasksOf(byMap(), web)).find(({ facets }) => facets.host === 'drover-worker')!
  })
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL')
    world.tearDown()
    rmSync(folder, { recursive: true })
  })
  const drover = (config: string, verb: string, ...words: string[]) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const child = execFile(process.execPath, [cli, verb, '--config', config, ...words], { env }, (_error, out, err) =>
        resolve({ code: child.exitCode ?? -1, out, err }),
      )
    })
  const start = (config: string, ...words: string[]) => {
    const child = spawn(process.execPath, [cli, words[0]!, '--config', config, ...words.slice(1)], { env, stdio: 'ignore' })
    children.push(child)
    return child
  }

  test.each([
    ['a temporary service', temporary],
    ['the nodes map', mapped],
  ])('a service on both nodes answers from both, with output and code, and says how it was reached: %s', async (way, config) => {
    const { code, out, err } = await drover(config, 'exec', 'on=swarm', `service=${web}`, 'cmd=hostname; echo e >&2; exit 3')
    expect(code).toBe(3)
    const hostnames = (await tasksOf(byMap(), web)).map(({ engineId }) => engineId?.slice(0, 12) ?? '')
    for (const hostname of hostnames) expect(out).toContain(hostname)
    expect(err).toMatch(new RegExp(`note: .*1 through ${way}`))
    expect(err).toMatch(/note: .*1 through the manager’s engine/)
    expect(services()).toEqual([])
  })

  test('task= takes the beginning of an id, and label= the container’s labels; JSON tells the way', async () => {
    const { out } = await drover(temporary, 'exec', '--json', `task=${onWorker.native.slice(0, 10)}`, '--', 'hostname')
    const { executions } = JSON.parse(out) as { executions: { way: string; stdout: string; target: string }[] }
    expect(executions).toMatchObject([{ way: 'a temporary service', stdout: `${onWorker.engineId?.slice(0, 12)}\n` }])
    expect((await drover(temporary, 'targets', 'label=role=web')).out.trim().split('\n')).toHaveLength(2)
  })

  test('[gone-is-gone] S42 what has timed out or was cancelled is gone, daemons and all, and its service with it', async () => {
    const words = [`task=${onWorker.native}`, 'timeout=4s', 'cmd=setsid sleep 812345 & sleep 812345 & sleep 812345']
    const { code, out, err } = await drover(temporary, 'exec', ...words)
    expect([code, /still running/.test(out + err)]).toEqual([124, false])
    expect([processesIn(onWorker, 'sleep 812345'), services()]).toEqual([[], []])
    const child = start(temporary, 'exec', `task=${onWorker.native}`, 'cmd=setsid sleep 812346 & sleep 812346')
    const ended = new Promise((resolve) => child.on('exit', resolve))
    await expect.poll(() => processesIn(onWorker, 'sleep 812346').length).toBeGreaterThan(1)
    child.kill('SIGINT')
    expect(await ended).toBe(130)
    expect([processesIn(onWorker, 'sleep 812346'), services()]).toEqual([[], []])
  })

  test('[bounded] a drover that is killed leaves a service whose time is soon over, and the next one sweeps it away at its start', async () => {
    const child = start(temporary, 'exec', `task=${onWorker.native}`, 'timeout=60s', '--', 'sleep', '812347')
    await expect.poll(() => processesIn(onWorker, 'sleep 812347'), { timeout: 50_000 }).toHaveLength(1)
    const [name = ''] = services()
    child.kill('SIGKILL')
    const deadline = Number(manager('service', 'inspect', '-f', '{{index .Spec.Labels "drover.deadline"}}', name))
    expect((deadline - Date.now()) / 1000).toBeLessThan(60 + 120)
    expect((await drover(temporary, 'exec', `task=${onWorker.native}`, '--', 'true')).code).toBe(0)
    expect(services()).toEqual([name])
    // What was left in the container a person ends with the button of the run; here by hand.
    const exec = name.replace('drover-exec-', '')
    expect(await byMap().kill(onWorker, { target: onWorker.id, exec }, AbortSignal.timeout(60_000))).toEqual({ result: 'gone' })
    manager('service', 'update', '-q', '-d', '--label-add', 'drover.deadline=1', name)
    const served = start(temporary, 'serve')
    await expect.poll(services, { timeout: 20_000 }).toEqual([])
    served.kill('SIGTERM')
    expect(processesIn(onWorker, 'sleep 812347')).toEqual([])
  })

  test('check says what is reached, how, and what it means', async () => {
    const { out, code } = await drover(temporary, 'check')
    expect(out).toMatch(/swarm: drover-worker \(.*\): through a temporary service/)
    expect(out).toMatch(/warn.* swarm: temporary services are allowed/)
    expect(code).toBe(0)
  })
})
