/** A real containerd: drover against `ctr` (one process of it for each container), and against the bare calls. Only where CONTAINERD_ADDRESS names one (test/engines/start-docker.sh). */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { containerd as containerdBackend } from '../src/backends/containerd/backend.ts'
import { engineOf } from '../src/backends/containerd/engine.ts'
import { fanOut } from '../src/core/fan-out.ts'
import type { Target } from '../src/core/model.ts'
import { readCgroups } from '../src/runtime/host-processes.ts'
import { nodeMachine } from '../src/runtime/machine-node.ts'
import { makePipes } from '../src/runtime/named-pipes.ts'
import { nodeTransport } from '../src/runtime/transport-node.ts'
import { missing, startDocker } from './engines.ts'
import { against, type Bench, interleaved, median } from './rows.ts'
import { startWhole } from './whole.ts'

const parallel = 16
const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const begin = performance.now()
  await work()
  return performance.now() - begin
}
const soon = () => AbortSignal.timeout(100_000)

export const containerd: Bench = {
  name: 'containerd',
  needs: () => missing('CONTAINERD_ADDRESS', startDocker),
  async run({ quick, say }) {
    const address = process.env.CONTAINERD_ADDRESS ?? '/run/containerd/containerd.sock'
    const namespace = process.env.CONTAINERD_NAMESPACE ?? 'default'
    const image = `docker.io/${process.env.DOCKER_TEST_IMAGE ?? 'library/busybox:latest'}`
    const ctr = (...args: readonly string[]) => promisify(execFile)('ctr', ['-a', address, '-n', namespace, ...args])
    const byCtr = (name: string) => ctr('task', 'exec', '--exec-id', `bench-${crypto.randomUUID()}`, name, 'true')
    const names = Array.from({ length: quick ? 10 : 100 }, (_, i) => `drover-bench-${process.pid}-${i + 1}`)
    const whole = await startWhole({ kind: 'containerd', address, namespace }, parallel)
    try {
      say(`${names.length} containers on containerd`)
      await fanOut(names, 4, async (name) => {
        await ctr('run', '-d', image, name, 'sleep', '100000')
      })
      const [first = ''] = names
      const all = `name=drover-bench-${process.pid}-*`
      const alone = await backendAlone(address, namespace, first)
      const bare = bareCalls(address, namespace)
      // What is loaded and compiled once is not a cost of a run.
      await whole.run([`name=${first}`, '--', 'true'])
      for (const run of [alone, bare]) await run(first)
      say('one exec')
      const one = await interleaved(quick ? 3 : 15, {
        drover: async () => (await whole.run([`name=${first}`, '--', 'true'])).ms,
        ctr: () => timed(() => byCtr(first)),
        alone: () => timed(() => alone(first)),
        bare: () => timed(() => bare(first)),
      })
      say(`${names.length} execs`)
      const each = (run: (name: string) => Promise<unknown>, width = parallel) =>
        timed(() => fanOut(names, width, async (name) => void (await run(name))))
      const many = await interleaved(
        quick ? 1 : 3,
        {
          drover: async () => (await whole.run([all, '--', 'true'])).ms,
          ctr: () => each(byCtr),
          bare: () => each(bare),
        },
        (ms) => ms,
      )
      // Nothing waits for anything else: once says it.
      const inSeries = { drover: many.drover ?? [], series: [await each(byCtr, 1)] }
      const row = (name: string, figures: typeof one, [who, to, said]: readonly [string, string, string], atMost?: number) => {
        const ms = (subject: string) => median(figures[subject] ?? [])
        const note = who === 'drover' ? { note: 'list, policy, ledger on disk, exec, its record, answer' } : {}
        const value = { name: `containerd, ${name}`, value: ms(who), unit: 'ms', ...note }
        return against(value, { name: said, value: ms(to) }, ...(atMost === undefined ? [] : [{ atMost }]))
      }
      const inTurns = `${parallel} at a time`
      const count = `${names.length} containers`
      return [
        row('one exec', one, ['drover', 'ctr', '`ctr task exec`'], 0.6),
        row('one exec', one, ['drover', 'bare', 'the bare calls']),
        row('one exec by the backend alone', one, ['alone', 'ctr', '`ctr task exec`']),
        row('one exec by the backend alone', one, ['alone', 'bare', 'the bare calls']),
        row('the bare calls: what containerd itself takes', one, ['bare', 'ctr', '`ctr task exec`']),
        row(count, many, ['drover', 'ctr', `\`ctr task exec\` for each, ${inTurns}`], 0.1),
        row(count, inSeries, ['drover', 'series', '`ctr task exec` for each, one after the other']),
        row(count, many, ['drover', 'bare', `the bare calls, ${inTurns}`]),
        row(`${count} by the bare calls`, many, ['bare', 'ctr', `\`ctr task exec\` for each, ${inTurns}`]),
      ]
    } finally {
      await whole.close()
      // One after the other it takes half as long as all that was measured.
      await fanOut(names, 8, async (name) => {
        await ctr('task', 'rm', '-f', name).catch(() => {})
        await ctr('container', 'rm', name).catch(() => {})
      })
    }
  },
}

/** Without policy, ledger and answer. */
async function backendAlone(address: string, namespace: string, name: string): Promise<(name: string) => Promise<void>> {
  const beside = { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups }
  const backend = containerdBackend({ name: 'bench', address, namespace, parallel }, beside)
  const target = (await backend.list({}, soon())).find((one) => one.name === name) as Target
  return async () => {
    const exec = crypto.randomUUID().replaceAll('-', '')
    for await (const event of backend.exec(target, { argv: ['true'] }, exec, soon()))
      if (event.type === 'exit' && event.code !== 0) throw new Error(`exit code ${event.code}`)
  }
}

/** Get, pipes, Exec, Wait, Start, DeleteProcess: what no client can do without. */
function bareCalls(address: string, namespace: string): (name: string) => Promise<void> {
  const engine = engineOf(address, namespace)
  return async (name) => {
    const { spec } = await engine.container(name, soon())
    const { process: document } = JSON.parse(new TextDecoder().decode(spec?.value)) as { process: object }
    const pipes = await makePipes(['stdout', 'stderr'], undefined, soon())
    try {
      for (const stream of ['stdout', 'stderr']) {
        const data = await pipes.read(stream, soon())
        void (async () => {
          for await (const _ of data);
        })().catch(() => {})
      }
      const id = { containerId: name, execId: `bench-${crypto.randomUUID()}` }
      await engine.exec(
        {
          ...id,
          stdin: '',
          stdout: pipes.path('stdout'),
          stderr: pipes.path('stderr'),
          terminal: false,
          spec: {
            typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
            value: new TextEncoder().encode(JSON.stringify({ ...document, args: ['true'] })),
          },
        },
        soon(),
      )
      const ended = engine.wait(id, soon())
      await engine.start(id, soon())
      if ((await ended) !== 0) throw new Error('it failed')
      await engine.forget(id, soon())
    } finally {
      pipes.close()
    }
  }
}
