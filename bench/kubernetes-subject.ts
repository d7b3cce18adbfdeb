/** Execs on a real cluster in a process of its own, by drover's backend or by @kubernetes/client-node; prints its figures as one line of JSON. */

import { Writable } from 'node:stream'
import { Exec, KubeConfig } from '@kubernetes/client-node'
import { kubernetes } from '../src/backends/kubernetes/connect.ts'
import { filesOf } from '../src/backends/kubernetes/files.ts'
import { fanOut } from '../src/core/fan-out.ts'
import type { Target } from '../src/core/model.ts'
import { nodeMachine } from '../src/runtime/machine-node.ts'
import { nodeTransport } from '../src/runtime/transport-node.ts'
import { usage } from './processes.ts'

export type KubernetesSubject = {
  readonly who: 'drover' | 'client-node' | 'lists, connections kept' | 'lists, a connection each'
  readonly kubeconfig: string
  readonly count: number
  readonly parallel: number
  readonly argv: readonly [string, ...string[]]
  readonly times: number
}
export type KubernetesFigures = {
  readonly ms: readonly number[]
  readonly cpuMs: number
  /** What the process holds more while all of them are open; with --expose-gc. */
  readonly heldBytes: number
}

type Run = (target: Target) => Promise<void>

const backendOf = (kubeconfig: string) =>
  kubernetes('bench', { kubeconfig, impersonate: 'none' }, { transport: nodeTransport, files: filesOf(nodeMachine()) })
const soon = () => AbortSignal.timeout(100_000)

function byDrover(kubeconfig: string, argv: KubernetesSubject['argv']): Run {
  const backend = backendOf(kubeconfig)
  return async (target) => {
    const exec = crypto.randomUUID().replaceAll('-', '')
    for await (const event of backend.exec(target, { argv }, exec, soon()))
      if (event.type === 'exit' && event.code !== 0) throw new Error(`exit code ${event.code}`)
  }
}

function byClient(kubeconfig: string, argv: KubernetesSubject['argv']): Run {
  const config = new KubeConfig()
  config.loadFromFile(kubeconfig)
  const nowhere = () => new Writable({ write: (_, __, done) => done() })
  return (target) => {
    const [namespace = '', pod = '', container = ''] = target.native.split('/')
    return new Promise((resolve, reject) => {
      new Exec(config)
        .exec(namespace, pod, container, [...argv], nowhere(), nowhere(), null, false, ({ status, message }) =>
          status === 'Success' ? resolve() : reject(new Error(message)),
        )
        .catch(reject)
    })
  }
}

async function main(options: KubernetesSubject): Promise<KubernetesFigures> {
  const { who, kubeconfig, count, parallel, argv, times } = options
  const pods = (await backendOf(kubeconfig).list({ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, soon())).slice(0, 2)
  const targets = Array.from({ length: count }, (_, i) => pods[i % pods.length]!)
  const lister = backendOf(kubeconfig)
  const list = async (): Promise<void> => {
    await (who === 'lists, connections kept' ? lister : backendOf(kubeconfig)).list({}, soon())
  }
  const run = who === 'client-node' ? byClient(kubeconfig, argv) : who === 'drover' ? byDrover(kubeconfig, argv) : list
  // What is loaded and compiled once is not a cost of a run.
  await run(targets[0]!)
  const before = usage()
  const empty = held()
  let heldBytes = 0
  const timer = setInterval(() => {
    heldBytes = Math.max(heldBytes, held() - empty)
  }, 500)
  const ms: number[] = []
  for (let i = 0; i < times; i += 1) {
    const begin = performance.now()
    await fanOut(targets, parallel, run)
    ms.push(performance.now() - begin)
  }
  clearInterval(timer)
  return { ms, cpuMs: usage().cpuMs - before.cpuMs, heldBytes }
}

/** The whole process: TLS keeps its buffers outside of the heap. */
function held(): number {
  globalThis.gc?.()
  return process.memoryUsage().rss
}

console.log(JSON.stringify(await main(JSON.parse(process.argv[2] ?? '{}') as KubernetesSubject)))
process.exit(0)
