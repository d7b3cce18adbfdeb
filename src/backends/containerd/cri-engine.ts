/** What drover asks of a node's runtime service (CRI), typed, with its containers in the words of containerd's own. */

import * as z from 'zod'
import { fanOut } from '../../core/fan-out.ts'
import { KUBE } from './container.ts'
import { CONTAINER_RUNNING } from './cri-protocol.ts'
import { type Container, type EngineClient, EngineError } from './engine.ts'

const Labels = z.record(z.string(), z.string())
const Version = z.object({ runtimeName: z.string(), runtimeVersion: z.string() })
const ListedContainers = z.object({
  containers: z.array(z.object({ id: z.string(), podSandboxId: z.string(), state: z.number(), labels: Labels })),
})
const ListedPodSandboxes = z.object({ items: z.array(z.object({ id: z.string(), labels: Labels })) })
const ContainerStatus = z.object({
  status: z.object({ state: z.number(), image: z.object({ image: z.string() }).nullable() }).nullable(),
  info: Labels,
})
const PodSandboxStatus = z.object({ info: Labels })
const ExecAnswer = z.object({ url: z.string() })
/** What containerd and CRI-O put under `info` when they are asked for all they know. */
const Info = z.object({ runtimeSpec: z.unknown().optional() })

const ms = { ask: 15_000, list: 30_000 }
/** Questions about single containers at a time. */
const PARALLEL = 8

export type CriContainer = Container & { readonly pod: string }
export type Cri = ReturnType<typeof criOf>

export function criOf(address: string) {
  let loading: Promise<EngineClient> | undefined
  const call = async <T>(method: string, request: object, answer: z.ZodType<T>, limits: { signal: AbortSignal; ms: number }) => {
    // It knows no namespaces, and passes over what it does not know.
    loading ??= import('./client.ts').then(({ engineClient }) => engineClient(address, 'k8s.io'))
    return (await loading).call(`RuntimeService.${method}`, request, answer, limits)
  }
  const statusOf = (containerId: string, signal: AbortSignal, verbose = true) =>
    call('ContainerStatus', { containerId, verbose }, ContainerStatus, { signal, ms: ms.ask })

  return {
    version: (signal: AbortSignal) => call('Version', { version: 'v1' }, Version, { signal, ms: ms.ask }),
    /** What runs, and the sandboxes of all pods; neither with a runtime spec yet. */
    async running(
      signal: AbortSignal,
    ): Promise<{ readonly containers: readonly CriContainer[]; readonly sandboxes: readonly Container[] }> {
      const filter = { state: { state: CONTAINER_RUNNING } }
      const [{ containers }, { items }] = await Promise.all([
        call('ListContainers', { filter }, ListedContainers, { signal, ms: ms.list }),
        call('ListPodSandbox', {}, ListedPodSandboxes, { signal, ms: ms.list }),
      ])
      return {
        containers: containers
          .filter(({ state }) => state === CONTAINER_RUNNING)
          .map(({ id, labels, podSandboxId }) => ({ id, labels, image: '', spec: null, pod: podSandboxId })),
        sandboxes: items.map(({ id, labels }) => ({
          id,
          labels: { ...labels, [KUBE.kind]: 'sandbox' },
          image: '',
          spec: null,
        })),
      }
    },
    /** The same with their images and runtime specs; without those that have gone meanwhile. */
    async inspected(containers: readonly CriContainer[], signal: AbortSignal): Promise<readonly CriContainer[]> {
      return await each(containers, async (one) => {
        const { status, info } = await statusOf(one.id, signal)
        return status?.state === CONTAINER_RUNNING ? { ...one, image: status.image?.image ?? '', spec: specIn(info) } : undefined
      })
    },
    async inspectedSandboxes(sandboxes: readonly Container[], signal: AbortSignal): Promise<readonly Container[]> {
      return await each(sandboxes, async (one) => {
        const request = { podSandboxId: one.id, verbose: true }
        const { info } = await call('PodSandboxStatus', request, PodSandboxStatus, { signal, ms: ms.ask })
        return { ...one, spec: specIn(info) }
      })
    },
    /** With its container every process of it ends. */
    async isRunning(containerId: string, signal: AbortSignal): Promise<boolean> {
      try {
        return (await statusOf(containerId, signal, false)).status?.state === CONTAINER_RUNNING
      } catch (error) {
        if (error instanceof EngineError && error.code === 'NOT_FOUND') return false
        throw error
      }
    },
    /** Where a websocket will start it: good once, and for a minute. Nothing runs before. */
    async exec(
      request: {
        readonly containerId: string
        readonly cmd: readonly string[]
        readonly tty: boolean
        readonly stdin: boolean
        readonly stdout: boolean
        readonly stderr: boolean
      },
      signal: AbortSignal,
    ): Promise<string> {
      return (await call('Exec', request, ExecAnswer, { signal, ms: ms.ask })).url
    },
  }
}

async function each<A, B>(all: readonly A[], ask: (one: A) => Promise<B | undefined>): Promise<readonly B[]> {
  const found: B[] = []
  let failure: { readonly error: unknown } | undefined
  await fanOut(all, PARALLEL, async (one) => {
    if (failure) return
    try {
      const answer = await ask(one)
      if (answer !== undefined) found.push(answer)
    } catch (error) {
      // It has gone since it was listed.
      if (!(error instanceof EngineError && error.code === 'NOT_FOUND')) failure ??= { error }
    }
  })
  if (failure) throw failure.error
  return found
}

/** Null: it tells none, so that the container counts as privileged. */
function specIn(info: Readonly<Record<string, string>>): Container['spec'] {
  try {
    const { runtimeSpec } = Info.parse(JSON.parse(info.info ?? ''))
    return runtimeSpec ? { typeUrl: '', value: new TextEncoder().encode(JSON.stringify(runtimeSpec)) } : null
  } catch {
    return null
  }
}
