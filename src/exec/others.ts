/** Other engines than Docker, each by drover's own backend for it; their code is loaded when one is asked for. */

import { BackendError } from '../core/errors.ts'
import type { Target } from '../core/model.ts'
import type { Backend } from '../core/ports.ts'
import { nodeMachine } from '../runtime/machine-node.ts'
import { nodeTransport } from '../runtime/transport-node.ts'
import type { Engine, NewContainer } from './engines.ts'

export type KubernetesOptions = {
  /** Path; or `inCluster`. */
  readonly kubeconfig?: string
  readonly context?: string
  readonly inCluster?: true
  /** Default: the context's own. */
  readonly namespaces?: readonly [string, ...string[]]
  readonly allNamespaces?: true
}

/** Commands in containers of pods. */
export async function kubernetes(options: KubernetesOptions): Promise<Engine> {
  const [{ kubernetes: backend }, { filesOf }] = await Promise.all([
    import('../backends/kubernetes/connect.ts'),
    import('../backends/kubernetes/files.ts'),
  ])
  const { namespaces, ...rest } = options
  const settings = { ...rest, impersonate: 'none' as const, ...(namespaces ? { namespaces: [...namespaces] } : {}) }
  return over(backend('kubernetes', settings, { transport: nodeTransport, files: filesOf(nodeMachine(), () => undefined) }))
}

export type ContainerdOptions = {
  /** Default `/run/containerd/containerd.sock`. */
  readonly address?: string
  readonly namespace: string
  /** Where named pipes are made, if not where the system keeps such things. */
  readonly fifoDirectory?: string
}

/** Commands in containers of the containerd beside this program. */
export async function containerd(options: ContainerdOptions): Promise<Engine> {
  const [{ containerd: backend }, { execIdOf }, { containerdSettings }, { makePipes }, { readCgroups }] = await Promise.all([
    import('../backends/containerd/backend.ts'),
    import('../backends/containerd/exec.ts'),
    import('../backends/containerd/settings.ts'),
    import('../runtime/named-pipes.ts'),
    import('../runtime/host-processes.ts'),
  ])
  const settings = containerdSettings().parse({
    kind: 'containerd',
    newContainers: { memory: '1024g', cpus: 256, networks: ['none', 'host'] },
    ...options,
  })
  const beside = { transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups }
  return over(backend({ ...settings, name: 'containerd' }, beside), execIdOf)
}

/** What such a backend takes as stdin, which is text. */
const MAX_STDIN = 1024 * 1024

/** `container` is a name as `drover targets` shows it, or the begin of an id. `newIdOf`: of a container that is made for an execution. */
export function over(backend: Backend, newIdOf?: (exec: string) => string): Engine {
  return {
    tellsWhenItRuns: false,
    async *exec({ where, command, exec, stdin, lastsMs, signal, onTarget, onContainer }) {
      const text = stdin === undefined ? undefined : await textOf(stdin)
      const target = 'image' in where ? targetFor(backend, where) : await find(backend, where.container, signal)
      onTarget(target)
      if (!target.creates) onContainer(target.engineId ?? target.native)
      const whole = { ...command, ...(text === undefined ? {} : { stdin: text }) }
      for await (const event of backend.exec(target, whole, exec, signal, undefined, lastsMs)) {
        if (event.type === 'started' && target.creates && newIdOf) onContainer(newIdOf(exec))
        yield event
      }
    },
    kill: (target, handle, signal) => backend.kill(target, handle, signal),
  }
}

function targetFor(backend: Backend, { image, network, memoryBytes, cpus, ...more }: NewContainer): Target {
  if (!backend.newContainer) throw unsupported(`No new container is made by ${backend.kind} here.`, 'Name one that runs.')
  const docker = ['pull', 'processes', 'mounts', 'readOnly', 'capabilities']
  const [other] = Object.keys(more).filter((key) => docker.includes(key))
  if (other !== undefined) throw unsupported(`Only a Docker Engine takes ${other}.`, 'Leave it out.')
  const limits = Object.entries({ network, memoryBytes, cpus }).filter(([, value]) => value !== undefined)
  return backend.newContainer({ image, ...Object.fromEntries(limits) })
}

async function find(backend: Backend, container: string, signal: AbortSignal): Promise<Target> {
  const all = await backend.list({}, signal)
  const named = all.filter(({ name }) => name === container)
  const [target, ...more] =
    named.length > 0 ? named : all.filter(({ native, engineId }) => native === container || engineId?.startsWith(container))
  const no = (code: 'no_targets' | 'ambiguous', message: string) => new BackendError({ code, message }, { ran: 'no' })
  if (!target) throw no('no_targets', `No container that runs is called ${container}.`)
  if (more.length > 0) throw no('ambiguous', `${more.length + 1} containers are called ${container}.`)
  return target
}

async function textOf(stdin: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let text = ''
  try {
    for await (const data of stdin) {
      text += decoder.decode(data, { stream: true })
      if (text.length > MAX_STDIN) throw unsupported('Only a Docker Engine takes more than 1 MiB of stdin.', 'Send less.')
    }
    return text + decoder.decode()
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw unsupported('Only a Docker Engine takes stdin that is not UTF-8 text.', 'Encode it.')
  }
}

const unsupported = (message: string, next: string) => new BackendError({ code: 'unsupported', message, next }, { ran: 'no' })
