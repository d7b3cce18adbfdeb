/** A real swarm of two for the tests of its backend: services made and looked at with the docker client, a manager and a worker. */

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type SwarmOptions, swarm as swarmBackend } from '../../src/backends/swarm/backend.ts'
import type { Target } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { bareImage } from './docker-world.ts'

export const outside = { transport: nodeTransport, machine: nodeMachine() }

const given = (name: string): string => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: test/engines/run.sh swarm starts a swarm and says where it is`)
  return value
}

export const managerHost = given('DOCKER_HOST')
export const workerHost = given('DOCKER_WORKER_HOST')
export const pathOf = (host: string): string => host.replace(/^unix:\/\//, '')

const run = (host: string, args: readonly string[]): string =>
  execFileSync('docker', ['-H', host, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
export const manager = (...args: readonly string[]): string => run(managerHost, args)
export const worker = (...args: readonly string[]): string => run(workerHost, args)

export const idOf = (image: string): string => manager('image', 'inspect', '-f', '{{.Id}}', image)
export const image = idOf(given('DOCKER_TEST_IMAGE'))
export const cliImage = idOf(given('DOCKER_CLI_IMAGE'))
export const nodeId = (which: 'manager' | 'worker'): string =>
  (which === 'manager' ? manager : worker)('info', '-f', '{{.Swarm.NodeID}}')

export const temporaryService = { image: cliImage, socket: pathOf(workerHost) }
export const byMap = (more: Partial<SwarmOptions> = {}): Backend =>
  swarmBackend({ name: 'fleet', host: managerHost, nodes: { 'drover-worker': { host: workerHost } }, ...more }, outside)
export const byService = (more: Partial<SwarmOptions> = {}): Backend =>
  swarmBackend({ name: 'fleet', host: managerHost, temporaryService, ...more }, outside)

/** An image without a shell, by its id; carried to another engine, for an import there would give it another id. */
export function bareOn(host = managerHost): string {
  const id = idOf(bareImage())
  if (host !== managerHost)
    execFileSync('sh', ['-c', 'docker -H "$1" save "$3" | docker -H "$2" load', 'sh', managerHost, host, id], { stdio: 'ignore' })
  return id
}

/** Of drover’s own making, on the manager. */
export const services = (): readonly string[] =>
  manager('service', 'ls', '--filter', 'label=drover.exec', '--format', '{{.Name}}').split('\n').filter(Boolean)

export type World = {
  /** Creates a service whose task lasts, on that node, and waits for it. Returns its name. */
  serve(
    name: string,
    where: 'manager' | 'worker' | 'both',
    options?: readonly string[],
    from?: string,
    argv?: readonly string[],
  ): Promise<string>
  tearDown(): void
}

export function swarmWorld(): World {
  const tag = randomBytes(3).toString('hex')
  const names: string[] = []
  return {
    async serve(name, where, options = [], from = image, argv = ['sleep', '100000']) {
      const whole = `${name}-${tag}${names.length}`
      const place = where === 'both' ? ['--mode', 'global'] : ['--constraint', `node.id==${nodeId(where)}`]
      const flags = ['--no-resolve-image', '--stop-grace-period', '1s', ...place, ...options]
      names.push(whole)
      manager('service', 'create', '-d', '-q', '--name', whole, ...flags, from, ...argv)
      const wanted = where === 'both' ? 2 : 1
      for (let tries = 0; ; tries += 1) {
        const states = manager('service', 'ps', whole, '--format', '{{.CurrentState}}').split('\n')
        if (states.filter((state) => state.startsWith('Running')).length >= wanted) return whole
        if (tries > 150) throw new Error(`${whole} does not run: ${manager('service', 'ps', '--no-trunc', whole)}`)
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
    },
    tearDown: () => {
      // What an agent that was killed has left is drover's to remove after minutes; the next file counts what there is.
      for (const name of [...names, ...services()])
        try {
          manager('service', 'rm', name)
        } catch {
          // A test has removed it.
        }
    },
  }
}

export async function tasksOf(backend: Backend, service: string): Promise<readonly Target[]> {
  return backend.list({ facets: { service } }, AbortSignal.timeout(30_000))
}

export async function taskOf(backend: Backend, service: string): Promise<Target> {
  const [found] = await tasksOf(backend, service)
  if (!found) throw new Error(`no task of ${service}`)
  return found
}

/** By the eyes of the task’s own host. */
export function processesIn(target: Target, needle: string): readonly string[] {
  const docker = target.facets.host === 'drover-manager' ? manager : worker
  return docker('top', target.engineId ?? '', '-eo', 'pid,stat,args')
    .split('\n')
    .filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line))
}

export const soon = (): AbortSignal => AbortSignal.timeout(90_000)
/** A number of seconds to sleep that no other test uses. */
export const mark = (): string => `${600_000 + Math.floor(Math.random() * 300_000)}`
export const sleepMs = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export async function drained(events: AsyncIterator<unknown>): Promise<void> {
  for (;;) if ((await events.next()).done) return
}

/** A service with a task on each node, and its task on the worker. */
export async function shopOf(world: World): Promise<{ readonly shop: string; readonly web: Target }> {
  const service = ['--label', 'tier=front', '--label', 'k=service']
  const shop = await world.serve('shop', 'both', [...service, '--container-label', 'app=web', '--container-label', 'k=container'])
  const web = (await tasksOf(byMap(), shop)).find(({ facets }) => facets.host === 'drover-worker')
  if (!web) throw new Error(`${shop} has no task on the worker`)
  return { shop, web }
}
