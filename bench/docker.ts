/** A real Docker Engine: drover against the docker client (one process of it for each container), dockerode, and the bare API. Only where DOCKER_HOST names an engine. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { docker as dockerBackend } from '../src/backends/docker/backend.ts'
import { fanOut } from '../src/core/fan-out.ts'
import type { Target } from '../src/core/model.ts'
import { nodeMachine } from '../src/runtime/machine-node.ts'
import { nodeTransport } from '../src/runtime/transport-node.ts'
import { bareApi, type Client, dockerode } from './docker-clients.ts'
import { missing, startDocker } from './engines.ts'
import { against, type Bench, interleaved, median, type Row } from './rows.ts'
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
  needs: () => missing('DOCKER_HOST', startDocker),
  async run({ quick, say }) {
    const image = process.env.DOCKER_TEST_IMAGE ?? 'busybox'
    const names = Array.from({ length: quick ? 10 : 100 }, (_, i) => `drover-bench-${process.pid}-${i + 1}`)
    const whole = await startWhole({ kind: 'docker', fromEnvironment: true }, parallel)
    const other = await dockerode().catch((error: unknown) => {
      say(`no row for dockerode: ${error instanceof Error ? error.message.split('\n')[0] : error}`)
      return undefined
    })
    try {
      say(`${names.length} containers on the engine`)
      await fanOut(names, 8, async (name) => {
        await client('run', '-d', '--name', name, image, 'sleep', '100000')
      })
      const [first = ''] = names
      const all = `name=drover-bench-${process.pid}-*`
      const alone = await backendAlone(first)
      // What is loaded and compiled once is not a cost of a run.
      await whole.run([`name=${first}`, '--', 'true'])
      for (const one of [alone, bareApi, other]) await one?.run(first)
      say('one exec')
      const one = await interleaved(quick ? 3 : 15, {
        drover: async () => (await whole.run([`name=${first}`, '--', 'true'])).ms,
        client: () => timed(() => client('exec', first, 'true')),
        alone: () => timed(() => alone.run(first)),
        bare: () => timed(() => bareApi.run(first)),
        ...(other ? { dockerode: () => timed(() => other.run(first)) } : {}),
      })
      say(`${names.length} execs`)
      const each = (run: (name: string) => Promise<unknown>) =>
        timed(() => fanOut(names, parallel, async (name) => void (await run(name))))
      const many = await interleaved(
        quick ? 1 : 3,
        {
          drover: async () => (await whole.run([all, '--', 'true'])).ms,
          client: () => each((name) => client('exec', name, 'true')),
          bare: () => each(bareApi.run),
          ...(other ? { dockerode: () => each(other.run) } : {}),
        },
        (ms) => ms,
      )
      const ms = (figures: Readonly<Record<string, readonly number[]>>, who: string) => median(figures[who] ?? [])
      const note = 'list, policy, ledger on disk, exec, its record, answer'
      const rows: Row[] = []
      const add = (
        name: string,
        figures: typeof one,
        [who, baseline, said]: readonly [string, string, string],
        atMost?: number,
      ) => {
        if (figures[baseline] === undefined) return
        const row = { name: `Docker Engine, ${name}`, value: ms(figures, who), unit: 'ms', ...(who === 'drover' ? { note } : {}) }
        rows.push(against(row, { name: said, value: ms(figures, baseline) }, ...(atMost === undefined ? [] : [{ atMost }])))
      }
      const inTurns = `${parallel} at a time`
      add('one exec', one, ['drover', 'client', '`docker exec`'], 0.6)
      add('one exec', one, ['drover', 'bare', 'the bare API'])
      add('one exec by the backend alone', one, ['alone', 'dockerode', 'dockerode'], 1)
      add('one exec by the backend alone', one, ['alone', 'bare', 'the bare API'])
      add('the bare API: what the engine itself takes', one, ['bare', 'client', '`docker exec`'])
      add(`${names.length} containers`, many, ['drover', 'client', `\`docker exec\` for each, ${inTurns}`], 0.1)
      add(`${names.length} containers`, many, ['drover', 'dockerode', `dockerode, ${inTurns}`], 1)
      add(`${names.length} containers`, many, ['drover', 'bare', `the bare API, ${inTurns}`])
      add(`${names.length} containers by the bare API`, many, ['bare', 'client', `\`docker exec\` for each, ${inTurns}`])
      return rows
    } finally {
      await whole.close()
      other?.close()
      // One after the other it takes half as long as all that was measured.
      await fanOut(names, 8, (name) =>
        client('rm', '-f', name).then(
          () => {},
          () => {},
        ),
      )
    }
  },
}

/** Without policy, ledger and answer. */
async function backendAlone(name: string): Promise<Client> {
  const backend = dockerBackend({ name: 'bench', fromEnvironment: true }, { transport: nodeTransport, machine: nodeMachine() })
  const soon = () => AbortSignal.timeout(100_000)
  const [target] = (await backend.list({ name }, soon())) as readonly [Target]
  return {
    async run() {
      const exec = crypto.randomUUID().replaceAll('-', '')
      for await (const event of backend.exec(target, { argv: ['true'] }, exec, soon()))
        if (event.type === 'exit' && event.code !== 0) throw new Error(`exit code ${event.code}`)
    },
    close() {},
  }
}
