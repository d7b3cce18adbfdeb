/** A real cluster: drover against @kubernetes/client-node and against kubectl, one process of it for each exec. Only where KUBE_URL names one (test/engines/kubernetes.sh). */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { fanOut } from '../src/core/fan-out.ts'
import { missing, startKubernetes } from './engines.ts'
import type { KubernetesFigures, KubernetesSubject } from './kubernetes-subject.ts'
import { here } from './places.ts'
import { measured } from './processes.ts'
import { against, type Bench, interleaved, median } from './rows.ts'
import { startWhole } from './whole.ts'

const parallel = 16

const wall = ({ ms }: KubernetesFigures): number => median(ms)
const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const begin = performance.now()
  await work()
  return performance.now() - begin
}

export const kubernetes: Bench = {
  name: 'kubernetes',
  needs: () => missing('KUBE_URL', startKubernetes),
  async run({ quick, say }) {
    const kubeconfig = process.env.KUBECONFIG ?? ''
    const kubectl = (...args: readonly string[]) =>
      promisify(execFile)(process.env.KUBECTL ?? 'kubectl', ['--kubeconfig', kubeconfig, '-n', 'drover', ...args])
    const { stdout } = await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[0].metadata.name}')
    const common = { kubeconfig, argv: ['true'] as const, count: 1, parallel: 1, times: quick ? 5 : 20 }
    const subject = (who: KubernetesSubject['who'], more: Partial<KubernetesSubject> = {}) =>
      measured<KubernetesFigures>(here('kubernetes-subject.ts'), { ...common, who, ...more })
    const each = (figures: readonly KubernetesFigures[]) => median(figures.flatMap(({ ms }) => ms))
    const count = quick ? 20 : 100
    const rounds = quick ? 1 : 3

    say('one exec')
    const one = await interleaved(rounds, { drover: () => subject('drover'), client: () => subject('client-node') }, wall)
    const whole = await startWhole({ kind: 'kubernetes', kubeconfig }, parallel)
    const words = [`name=${stdout}`, '--', 'true']
    await whole.run(words)
    const run = await interleaved(quick ? 3 : 10, {
      drover: async () => (await whole.run(words)).ms,
      kubectl: () => timed(() => kubectl('exec', stdout, '--', 'true')),
    }).finally(() => whole.close())

    say(`${count} execs, ${parallel} at a time`)
    const batch = { count, parallel, times: 1 }
    const many = await interleaved(
      rounds,
      {
        drover: () => subject('drover', batch),
        client: () => subject('client-node', batch),
      },
      wall,
    )
    // A process for each, which takes three times as long as both: once says it.
    const byKubectl = await timed(() =>
      fanOut(Array.from({ length: count }), parallel, async () => void (await kubectl('exec', stdout, '--', 'true'))),
    )

    say('memory of open execs, and lists')
    const open = { argv: ['sleep', '5'] as const, count: quick ? 20 : 60, parallel: 60, times: 1 }
    const inMemory = (who: KubernetesSubject['who']) =>
      measured<KubernetesFigures>(here('kubernetes-subject.ts'), { ...common, ...open, who }, ['--expose-gc'])
    const memory = await interleaved(1, { drover: () => inMemory('drover'), client: () => inMemory('client-node') })
    const grown = (figures: readonly KubernetesFigures[]) => median(figures.map(({ heldBytes }) => heldBytes / open.count / 1024))
    const lists = await interleaved(
      rounds,
      {
        kept: () => subject('lists, connections kept', { count: 20 }),
        fresh: () => subject('lists, a connection each', { count: 20 }),
      },
      wall,
    )
    const row = (name: string, value: number, unit: string, baseline: { name: string; value: number }, note?: string) =>
      against({ name: `Kubernetes, ${name}`, value, unit, ...(note ? { note } : {}) }, baseline)
    return [
      row(
        'one exec by the backend alone',
        each(one.drover ?? []),
        'ms',
        { name: '@kubernetes/client-node', value: each(one.client ?? []) },
        'with the wrapper, which waits for its line and proves the end',
      ),
      row(
        'one exec, accepted to delivered',
        median(run.drover ?? []),
        'ms',
        { name: '`kubectl exec`', value: median(run.kubectl ?? []) },
        'list, policy, ledger on disk, exec, answer',
      ),
      row(`${count} execs by the backend alone`, each(many.drover ?? []), 'ms', {
        name: `@kubernetes/client-node, ${parallel} at a time`,
        value: each(many.client ?? []),
      }),
      row(`${count} execs by the backend alone`, each(many.drover ?? []), 'ms', {
        name: `\`kubectl exec\` for each, ${parallel} at a time`,
        value: byKubectl,
      }),
      row(
        'memory of an open exec',
        grown(memory.drover ?? []),
        'KiB',
        { name: '@kubernetes/client-node', value: grown(memory.client ?? []) },
        'what the process holds more, shared out',
      ),
      row('20 lists, connections kept', each(lists.kept ?? []), 'ms', {
        name: 'a connection for each',
        value: each(lists.fresh ?? []),
      }),
    ]
  },
}
