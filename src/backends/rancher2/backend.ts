/** Rancher 2.x as a backend: it finds clusters and projects, and hands everything else to Kubernetes through its proxy. */

import { DroverError } from '../../core/errors.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { ExecEvent, Selector, Target, TargetId } from '../../core/model.ts'
import type { Backend, Workloads } from '../../core/ports.ts'
import { type Connect, kubernetesApi } from '../kubernetes/api.ts'
import { type KubernetesOptions, kubernetesOver, kubernetesTraits } from '../kubernetes/backend.ts'
import { readAddress } from './address.ts'
import { rancherApi } from './api.ts'
import { check } from './check.ts'
import { inRancherWords, no, refusal } from './errors.ts'
import { type Trust, type Ways, wayTo } from './reach.ts'
import { clustersOf, namespacesOf, type Place, projectsOf } from './scope.ts'
import { v3Workloads } from './workloads-v3.ts'

export type Rancher2Options = Trust &
  Pick<KubernetesOptions, 'connectTimeoutMs' | 'startTimeoutMs' | 'keepAliveIntervalMs' | 'pace'> & {
    /** `on=<name>`. */
    readonly name: string
    /** `https://rancher.example.com`, or the address of one of its pages: a cluster's, a project's. */
    readonly url: string
    /** `token-xxxxx:secret`. */
    readonly token: string
    /** `c-abc12`; absent: all active ones that the key sees. */
    readonly cluster?: string | undefined
    /** `p-def34`, with or without its cluster. */
    readonly project?: string | undefined
    readonly namespaces?: readonly string[] | undefined
    /** How rollouts are done: `proxy`, by Kubernetes' own API, or `v3`, by Rancher's. Default `proxy`. */
    readonly mode?: 'proxy' | 'v3' | undefined
  }

/** What one server has to answer at a time. */
const PARALLEL_CLUSTERS = 4

export function rancher2(options: Rancher2Options, ways: Ways): Backend {
  const { name } = options
  const address = readAddress(options)
  if ('problem' in address)
    throw new DroverError({
      code: 'config',
      message: `${address.where} of ${name}: ${address.problem}.`,
      next: 'Correct drover.yaml.',
    })
  const place: Place = { ...address, namespaces: options.namespaces }
  const transport = wayTo(address.base, options, ways)
  const rancher = rancherApi(address.base, options.token, transport)

  const connectTo = (cluster: string): Connect => ({
    server: `${rancher.base}/k8s/clusters/${cluster}`,
    headers: async () => rancher.credentials,
    transport,
    refusal: (answer, { ran }) => refusal(answer, { cluster, ran }),
  })
  const { connectTimeoutMs, startTimeoutMs, keepAliveIntervalMs, pace } = options
  const given = Object.fromEntries(
    Object.entries({ connectTimeoutMs, startTimeoutMs, keepAliveIntervalMs, pace }).filter(([, value]) => value !== undefined),
  )
  const over = (cluster: string, namespaces: readonly string[] | 'all'): Backend =>
    kubernetesOver(connectTo(cluster), { name, kind: 'rancher2', namespaces, ...given })
  const scopeIn = (cluster: string, signal: AbortSignal) =>
    namespacesOf(
      rancher,
      kubernetesApi(async () => connectTo(cluster)),
      { ...place, cluster },
      signal,
    )

  const workloadsIn = (cluster: string, backend: Backend): Workloads =>
    options.mode === 'v3'
      ? v3Workloads({
          ...{ rancher, name, pace, clusterId: cluster, namespaces: place.namespaces },
          cluster: kubernetesApi(async () => connectTo(cluster)),
          projects: async (signal) => {
            if (place.project !== undefined) return [place.project]
            const seen = await projectsOf(rancher, cluster, signal)
            if (seen !== undefined) return seen
            throw no(
              'backend_unauthorized',
              'Rancher does not let a key of one cluster near its own workload API.',
              'Leave mode: v3 out, or use a key without a scope.',
            )
          },
        })
      : workloadsOf(backend)

  /** A refusal as the reader needs it: with the person's name, and with Rancher's own remedy. */
  const told = (error: unknown): Promise<unknown> => inRancherWords(error, rancher)

  /** Of every cluster that is meant; a list that could not be read whole is no list. */
  async function listWith(list: List, selector: Selector, signal: AbortSignal): Promise<readonly Target[]> {
    const targets: Target[] = []
    let failure: { readonly error: unknown } | undefined
    const look = async (cluster: string) => {
      const inside = withinCluster(selector, cluster)
      if (failure || inside === undefined) return
      const found = await list(over(cluster, await scopeIn(cluster, signal)), inside, cluster)
      targets.push(...found.map((one) => outer(one, cluster)))
    }
    try {
      await fanOut(await clustersOf(rancher, place, selector, signal), PARALLEL_CLUSTERS, (cluster) =>
        look(cluster).catch((error: unknown) => {
          failure ??= { error }
        }),
      )
      if (failure) throw failure.error
      return targets
    } catch (error) {
      throw await told(error)
    }
  }

  async function* eventsOf(
    target: Target,
    run: (backend: Backend, inside: Target, cluster: string) => AsyncIterable<ExecEvent>,
  ): AsyncGenerator<ExecEvent> {
    const { cluster, inside } = inner(target)
    try {
      for await (const event of run(over(cluster, []), inside, cluster))
        yield event.type === 'started' ? { ...event, handle: { ...event.handle, target: target.id } } : event
    } catch (error) {
      throw await told(error)
    }
  }

  async function answerOf<T>(target: Target, ask: (backend: Backend, inside: Target, cluster: string) => Promise<T>): Promise<T> {
    const { cluster, inside } = inner(target)
    try {
      return await ask(over(cluster, []), inside, cluster)
    } catch (error) {
      throw await told(error)
    }
  }

  return {
    name,
    kind: 'rancher2',
    traits: kubernetesTraits,
    list: (selector, signal) => listWith((backend, inside) => backend.list(inside, signal), selector, signal),
    exec: (target, command, exec, signal, by) =>
      eventsOf(target, (backend, inside) => backend.exec(inside, command, exec, signal, by)),
    kill: (target, handle, signal) =>
      answerOf(target, (backend, inside) => backend.kill(inside, { ...handle, target: inside.id }, signal)),
    isStill: (target, signal) => answerOf(target, async (backend, inside) => (await backend.isStill?.(inside, signal)) ?? true),
    check: (signal) => check({ rancher, place, options, scopeIn, over }, signal),
    workloads: {
      verbs: workloadsIn('local', over('local', [])).verbs,
      list: (selector, signal) =>
        listWith((backend, inside, cluster) => workloadsIn(cluster, backend).list(inside, signal), selector, signal),
      plan: (target, rollout, signal) =>
        answerOf(target, (backend, inside, cluster) => workloadsIn(cluster, backend).plan(inside, rollout, signal)),
      apply: (target, rollout, plan, exec, signal) =>
        eventsOf(target, (backend, inside, cluster) => workloadsIn(cluster, backend).apply(inside, rollout, plan, exec, signal)),
    },
  }
}

type List = (backend: Backend, selector: Selector, cluster: string) => Promise<readonly Target[]>

function workloadsOf({ workloads }: Backend): Workloads {
  if (!workloads) throw no('unsupported', 'This kind of backend has no workloads.', 'Use drover exec.')
  return workloads
}

/** `c-abc12/namespace/pod/container`: with the cluster always, for the same names are in many. */
function outer(target: Target, cluster: string): Target {
  const native = `${cluster}/${target.native}`
  return { ...target, id: `${target.backend}/${native}` as TargetId, native, facets: { ...target.facets, stack: cluster } }
}

function inner(target: Target): { readonly cluster: string; readonly inside: Target } {
  const [, cluster, native] = /^([a-z0-9-]+)\/(.+)$/.exec(target.native) ?? []
  if (!cluster || !native) throw no('backend_protocol', 'This is not the id of a container in Rancher 2.', 'List them again.')
  return { cluster, inside: { ...target, id: `${target.backend}/${native}` as TargetId, native } }
}

/** The selector as the cluster's own names have it; undefined: what it means is in another cluster. */
function withinCluster({ id, facets, ...selector }: Selector, cluster: string): Selector | undefined {
  const { stack: _, ...rest } = facets ?? {}
  const narrowed = { ...selector, ...(facets === undefined ? {} : { facets: rest }) }
  if (id === undefined || `${cluster}/`.startsWith(id)) return narrowed
  if (id.startsWith(`${cluster}/`)) return { ...narrowed, id: id.slice(cluster.length + 1) }
  // An engine's id begins with no cluster's.
  return /^[0-9a-f]+$/.test(id) ? { ...narrowed, id } : undefined
}
