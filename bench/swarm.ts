/** A real swarm of two: what a temporary service costs against an engine of the nodes map. Only where test/engines/start-docker.sh --worker --cli-image says where it is. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { missing, startDocker } from './engines.ts'
import { against, type Bench, interleaved, median } from './rows.ts'
import { startWhole, type Whole } from './whole.ts'

const parallel = 16
const docker = (host: string, ...args: readonly string[]) => promisify(execFile)('docker', ['-H', host, ...args])

export const swarm: Bench = {
  name: 'swarm',
  needs: () => missing('DOCKER_HOST', startDocker) ?? missing('DOCKER_WORKER_HOST', startDocker),
  async run({ quick, say }) {
    const {
      DOCKER_HOST: host = '',
      DOCKER_WORKER_HOST: worker = '',
      DOCKER_CLI_IMAGE: cli = '',
      DOCKER_TEST_IMAGE: image = '',
    } = process.env
    const idOf = async (name: string) => (await docker(host, 'image', 'inspect', '-f', '{{.Id}}', name)).stdout.trim()
    const service = `drover-bench-${process.pid}`
    const count = quick ? 5 : 20
    const socket = worker.replace(/^unix:\/\//, '')
    const entry = { kind: 'swarm', host }
    const ways = {
      map: await startWhole({ ...entry, nodes: { 'drover-worker': { host: worker } } }, parallel),
      temporary: await startWhole({ ...entry, temporaryService: { image: await idOf(cli), socket } }, parallel),
    }
    try {
      say(`a service of ${count} tasks on the worker`)
      const place = ['--constraint', 'node.hostname==drover-worker', '--no-resolve-image', '-d', '-q']
      await docker(
        host,
        'service',
        'create',
        '--name',
        service,
        '--replicas',
        String(count),
        ...place,
        await idOf(image),
        'sleep',
        '100000',
      )
      await allRunning(host, service, count)
      const rounds = quick ? 3 : 9
      const all = [`service=${service}`, '--', 'true']
      const one = [`service=${service}`, 'any=1', '--', 'true']
      // What is loaded and compiled once is not a cost of a run.
      for (const way of Object.values(ways)) await way.run(one)
      say('one exec')
      const single = await interleaved(rounds, { ...timed(ways, one), client: () => clientMs(worker, service) })
      say(`${count} execs`)
      const many = await interleaved(quick ? 1 : 3, timed(ways, all), (one) => one)
      const ms = (figures: Readonly<Record<string, readonly number[]>>, who: string) => median(figures[who] ?? [])
      const row = (name: string, value: number, baseline: { name: string; value: number }) =>
        against({ name: `Docker Swarm, ${name}`, value, unit: 'ms', note: 'accepted to delivered' }, baseline)
      return [
        row('nodes map, one exec', ms(single, 'map'), { name: '`docker exec` at the node', value: ms(single, 'client') }),
        row('temporary service, one exec', ms(single, 'temporary'), { name: 'the nodes map', value: ms(single, 'map') }),
        row(`temporary service, ${count} tasks of one node`, ms(many, 'temporary'), {
          name: 'the nodes map',
          value: ms(many, 'map'),
        }),
      ]
    } finally {
      await Promise.all(Object.values(ways).map((way) => way.close()))
      await docker(host, 'service', 'rm', service).catch(() => undefined)
    }
  },
}

const timed = (ways: Readonly<Record<'map' | 'temporary', Whole>>, words: readonly string[]) => ({
  map: async () => (await ways.map.run(words)).ms,
  temporary: async () => (await ways.temporary.run(words)).ms,
})

async function clientMs(worker: string, service: string): Promise<number> {
  const { stdout } = await docker(worker, 'ps', '-q', '--filter', `label=com.docker.swarm.service.name=${service}`)
  const begin = performance.now()
  await docker(worker, 'exec', stdout.split('\n')[0] ?? '', 'true')
  return performance.now() - begin
}

async function allRunning(host: string, service: string, count: number): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    const { stdout } = await docker(host, 'service', 'ps', service, '--format', '{{.CurrentState}}')
    if (stdout.split('\n').filter((state) => state.startsWith('Running')).length >= count) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`the tasks of ${service} do not run`)
}
