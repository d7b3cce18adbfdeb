/** A real containerd: drover against `ctr`, one process of it for each container. Only where CONTAINERD_ADDRESS names one (test/engines/start-docker.sh). */

import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { fanOut } from '../src/core/fan-out.ts'
import { against, type Bench, interleaved, median } from './rows.ts'
import { startWhole } from './whole.ts'

const parallel = 16
const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const begin = performance.now()
  await work()
  return performance.now() - begin
}

export const containerd: Bench = {
  name: 'containerd',
  async run({ quick, say }) {
    const address = process.env.CONTAINERD_ADDRESS ?? '/run/containerd/containerd.sock'
    const namespace = process.env.CONTAINERD_NAMESPACE ?? 'default'
    const image = `docker.io/${process.env.DOCKER_TEST_IMAGE ?? 'library/busybox:latest'}`
    const client = (...args: readonly string[]) => promisify(execFile)('ctr', ['-a', address, '-n', namespace, ...args])
    const byClient = (name: string) => client('task', 'exec', '--exec-id', `bench-${crypto.randomUUID()}`, name, 'true')
    const names = Array.from({ length: quick ? 10 : 100 }, (_, i) => `drover-bench-${process.pid}-${i + 1}`)
    const whole = await startWhole({ kind: 'containerd', address, namespace }, parallel)
    try {
      say(`${names.length} containers on containerd`)
      await fanOut(names, 4, async (name) => {
        await client('run', '-d', image, name, 'sleep', '100000')
      })
      const [first = ''] = names
      const all = `name=drover-bench-${process.pid}-*`
      // What is loaded and compiled once is not a cost of a run.
      await whole.run([`name=${first}`, '--', 'true'])
      say('one exec')
      const one = await interleaved(quick ? 3 : 15, {
        drover: async () => (await whole.run([`name=${first}`, '--', 'true'])).ms,
        client: () => timed(() => byClient(first)),
      })
      say(`${names.length} execs`)
      const many = await interleaved(quick ? 1 : 3, {
        drover: async () => (await whole.run([all, '--', 'true'])).ms,
        client: () =>
          timed(() =>
            fanOut(names, parallel, async (name) => {
              await byClient(name)
            }),
          ),
        series: () =>
          timed(async () => {
            for (const name of names) await byClient(name)
          }),
      })
      const ms = (figures: Readonly<Record<string, readonly number[]>>, who: string) => median(figures[who] ?? [])
      const note = 'list, policy, ledger on disk, exec, its record, answer'
      const row = (
        name: string,
        value: number,
        baseline: { readonly name: string; readonly value: number },
        aim?: { readonly atMost: number },
      ) => against({ name: `containerd, ${name}`, value, unit: 'ms', note }, baseline, aim)
      const count = `${names.length} containers`
      return [
        row('one exec', ms(one, 'drover'), { name: '`ctr task exec`', value: ms(one, 'client') }, { atMost: 0.6 }),
        row(count, ms(many, 'drover'), {
          name: `\`ctr task exec\` for each, ${parallel} at a time`,
          value: ms(many, 'client'),
        }),
        row(
          count,
          ms(many, 'drover'),
          { name: '`ctr task exec` for each, one after the other', value: ms(many, 'series') },
          { atMost: 0.1 },
        ),
      ]
    } finally {
      await whole.close()
      for (const name of names) {
        spawnSync('ctr', ['-a', address, '-n', namespace, 'task', 'rm', '-f', name], { stdio: 'ignore' })
        spawnSync('ctr', ['-a', address, '-n', namespace, 'container', 'rm', name], { stdio: 'ignore' })
      }
    }
  },
}
