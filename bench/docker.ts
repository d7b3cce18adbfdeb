/** A real Docker Engine: drover against the docker client, one process of it for each container. Only where DOCKER_HOST names an engine. */

import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { fanOut } from '../src/core/fan-out.ts'
import { against, type Bench, interleaved, median } from './rows.ts'
import { startWhole } from './whole.ts'

const parallel = 16
const client = (...args: readonly string[]) => promisify(execFile)('docker', args)
const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const begin = performance.now()
  await work()
  return performance.now() - begin
}

export const docker: Bench = {
  name: 'docker',
  async run({ quick, say }) {
    const image = process.env.DOCKER_TEST_IMAGE ?? 'busybox'
    const names = Array.from({ length: quick ? 10 : 100 }, (_, i) => `drover-bench-${process.pid}-${i + 1}`)
    const whole = await startWhole({ kind: 'docker', fromEnvironment: true }, parallel)
    try {
      say(`${names.length} containers on the engine`)
      await fanOut(names, 8, async (name) => {
        await client('run', '-d', '--name', name, image, 'sleep', '100000')
      })
      const [first = ''] = names
      const all = `name=drover-bench-${process.pid}-*`
      // What is loaded and compiled once is not a cost of a run.
      await whole.run([`name=${first}`, '--', 'true'])
      say('one exec')
      const one = await interleaved(quick ? 3 : 15, {
        drover: async () => (await whole.run([`name=${first}`, '--', 'true'])).ms,
        client: () => timed(() => client('exec', first, 'true')),
      })
      say(`${names.length} execs`)
      const many = await interleaved(quick ? 1 : 3, {
        drover: async () => (await whole.run([all, '--', 'true'])).ms,
        client: () =>
          timed(() =>
            fanOut(names, parallel, async (name) => {
              await client('exec', name, 'true')
            }),
          ),
      })
      const ms = (figures: Readonly<Record<string, readonly number[]>>, who: string) => median(figures[who] ?? [])
      const note = 'list and inspect, policy, ledger on disk, exec, its record, answer'
      const row = (name: string, figures: Readonly<Record<string, readonly number[]>>, baseline: string) =>
        against(
          { name: `Docker Engine, ${name}`, value: ms(figures, 'drover'), unit: 'ms', note },
          { name: baseline, value: ms(figures, 'client') },
          { atMost: 1 },
        )
      return [
        row('one exec', one, '`docker exec`'),
        row(`${names.length} containers`, many, `\`docker exec\` for each, ${parallel} at a time`),
      ]
    } finally {
      await whole.close()
      spawnSync('docker', ['rm', '-f', ...names], { stdio: 'ignore' })
    }
  },
}
