/** Kubernetes as a backend: pods by the API, commands by its exec over websockets and a wrapper that knows what exec does not. */

import { BackendError } from '../../core/errors.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { Actor, BackendKind, Selector, Target, Traits } from '../../core/model.ts'
import type { Backend } from '../../core/ports.ts'
import type { Fields } from '../transport.ts'
import type { Pace } from '../wire/rollout.ts'
import { everyTrait } from '../wire/traits.ts'
import { type Api, type Connect, type Connecting, kubernetesApi } from './api.ts'
import { check } from './check.ts'
import { dialing, execPath } from './dial.ts'
import { type Connection, execute } from './exec.ts'
import { killBy } from './kill.ts'
import { namespacesFor, Pod, podQuery, runningIn, targetsOf } from './pod.ts'
import { kubernetesWorkloads } from './workloads.ts'

export type KubernetesOptions = {
  /** `on=<name>`. */
  readonly name: string
  /** Default `kubernetes`. */
  readonly kind?: BackendKind
  /** Which namespaces are in scope; absent: the connection's own, else `default`. */
  readonly namespaces?: readonly string[] | 'all'
  /** Further headers for the command of this person. */
  readonly headersFor?: (by: Actor | undefined) => Fields
  /** One HTTP request; default 30 s. */
  readonly requestTimeoutMs?: number
  /** The websocket's handshake; default 15 s. */
  readonly connectTimeoutMs?: number
  /** The command's begin after that; default 30 s. */
  readonly startTimeoutMs?: number
  /** Between keep-alive messages; default 20 s. */
  readonly keepAliveIntervalMs?: number
  /** How a rollout is watched. */
  readonly pace?: Pace
  /** Further lines of `check`, before those of Kubernetes. */
  readonly checkFirst?: Backend['check']
}

export const kubernetesTraits: Traits = { ...everyTrait, user: false }

/** Lists of several namespaces at a time. */
const PARALLEL_LISTS = 4

/** Any way to a Kubernetes API as a backend. */
export function kubernetesOver(connect: Connect | Connecting, options: KubernetesOptions): Backend {
  const connecting: Connecting = typeof connect === 'function' ? connect : async () => connect
  const api = kubernetesApi(connecting, options)
  const connection: Connection = {
    dial: dialing(api, options.headersFor ?? (() => ({}))),
    refusal: api.refusal,
    times: {
      connectMs: options.connectTimeoutMs ?? 15_000,
      startMs: options.startTimeoutMs ?? 30_000,
      keepAliveMs: options.keepAliveIntervalMs ?? 20_000,
    },
  }
  // In drover's own name, whoever asks: what has run out of time is ended for nobody in particular.
  const ownName: Connection = { ...connection, dial: dialing(api, () => ({})) }
  const scope = (signal: AbortSignal) => scopeOf(api, options.namespaces, signal)
  const of = { name: options.name, kind: options.kind ?? 'kubernetes' }
  return {
    ...of,
    traits: kubernetesTraits,
    list: (selector, signal) => list(api, { ...of, namespaces: options.namespaces }, selector, signal),
    exec: (target, command, exec, signal, by) => execute(connection, { target, command, exec, signal, by }),
    kill: (target, handle, signal) => killBy(ownName, (until) => isDead(api, target, until), { target, handle, signal }),
    isStill: (target, signal) => isStill(api, target, signal),
    workloads: kubernetesWorkloads(api, { ...of, pace: options.pace, headersFor: options.headersFor, scope }),
    async check(signal) {
      return [...((await options.checkFirst?.(signal)) ?? []), ...(await check(api, scope, signal))]
    },
  }
}

/** The namespaces that this backend may look into. */
export async function scopeOf(
  api: Api,
  namespaces: KubernetesOptions['namespaces'],
  signal: AbortSignal,
): Promise<readonly string[] | 'all'> {
  return namespaces ?? [(await api.connect(signal)).namespace ?? 'default']
}

async function list(
  api: Api,
  of: { readonly name: string; readonly kind: BackendKind; readonly namespaces: KubernetesOptions['namespaces'] },
  selector: Selector,
  signal: AbortSignal,
): Promise<readonly Target[]> {
  const namespaces = namespacesFor(selector, await scopeOf(api, of.namespaces, signal))
  const query = podQuery(selector)
  const listIn = (namespace: string) =>
    api.list(`/api/v1/namespaces/${namespace}/pods`, Pod, { what: `the pods of namespace ${namespace}`, query, signal })
  const pods: Pod[] = []
  if (namespaces === 'all')
    pods.push(...(await api.list('/api/v1/pods', Pod, { what: 'the pods of all namespaces', query, signal })))
  else {
    let failure: { readonly error: unknown } | undefined
    await fanOut(namespaces, PARALLEL_LISTS, async (namespace) => {
      if (failure) return
      await listIn(namespace).then(
        (found) => void pods.push(...found),
        (error: unknown) => {
          failure ??= { error }
        },
      )
    })
    // A list that could not be read whole is no list.
    if (failure) throw failure.error
  }
  // By id, for a pod that moved while pages were read comes twice.
  return [...new Map(pods.flatMap((pod) => targetsOf(pod, selector, of)).map((target) => [target.id, target])).values()]
}

/** A pod of a StatefulSet comes again by the same name. */
async function isStill(api: Api, target: Target, signal: AbortSignal): Promise<boolean> {
  const found = await api.read('GET', execPath(target).pod, Pod, { what: `the pod of ${target.name}`, signal })
  return target.uid === undefined || found.metadata.uid === target.uid
}

/** With its container every process of it ends. One that has started again is another container. */
async function isDead(api: Api, target: Target, signal: AbortSignal): Promise<boolean> {
  const { pod, container } = execPath(target)
  try {
    const found = await api.read('GET', pod, Pod, { what: `the pod of ${target.name}`, signal })
    const running = runningIn(found)
    return !running.has(container) || (target.engineId !== undefined && running.get(container) !== target.engineId)
  } catch (error) {
    if (error instanceof BackendError && error.code === 'backend_not_found') return true
    throw error
  }
}
