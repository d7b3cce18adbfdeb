/** What `rollout` does to Deployments, StatefulSets and DaemonSets: one patch, locked to what was looked at, and the watching after it (kubernetes.md §12). */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { BackendKind, ExecEvent, Selector, Target } from '../../core/model.ts'
import type { Workloads } from '../../core/ports.ts'
import { TransportError } from '../transport.ts'
import {
  type Applying,
  type Asked,
  changed,
  pace as defaultPace,
  maybe,
  type Pace,
  sealOf,
  wait,
  watch,
} from '../wire/rollout.ts'
import { type Api, surelyUnsent } from './api.ts'
import type { KubernetesOptions } from './backend.ts'
import { namespacesFor } from './pod.ts'
import { imagesIn, KINDS, listQuery, pathOf, Workload, workloadTarget } from './workload.ts'
import { draft, type Patch, planOf } from './workload-plan.ts'
import { lastWords, lookAt, type PodTrouble, troublesOf } from './workload-status.ts'

export type WorkloadsOptions = {
  readonly name: string
  readonly kind: BackendKind
  readonly scope: (signal: AbortSignal) => Promise<readonly string[] | 'all'>
  readonly pace?: Pace | undefined
  readonly headersFor?: KubernetesOptions['headersFor'] | undefined
}

export function kubernetesWorkloads(api: Api, options: WorkloadsOptions): Workloads {
  return {
    verbs: ['image', 'restart', 'pause', 'resume', 'undo', 'scale', 'status'],
    list: (selector, signal) => listWorkloads(api, options, selector, signal),
    plan: async (target, rollout, signal) => planOf(await draft(api, target, rollout, new Date().toISOString(), signal)),
    apply: (target, rollout, plan, exec, signal, by) => apply(api, options, { target, rollout, plan, exec, signal, by }),
  }
}

export async function listWorkloads(
  api: Api,
  options: Omit<WorkloadsOptions, 'pace'>,
  selector: Selector,
  signal: AbortSignal,
): Promise<readonly Target[]> {
  const namespaces = namespacesFor(selector, await options.scope(signal))
  const { kinds, query } = listQuery(selector)
  const places = namespaces === 'all' ? [''] : namespaces.map((one) => `/namespaces/${encodeURIComponent(one)}`)
  const targets: Target[] = []
  // One after the other: a list that could not be read whole is no list.
  for (const place of places) {
    for (const kind of kinds) {
      const what = `the ${KINDS[kind]} of ${place === '' ? 'all namespaces' : `namespace ${place.split('/')[2]}`}`
      const found = await api.list(`/apis/apps/v1${place}/${KINDS[kind]}`, Workload, { what, query, signal })
      targets.push(...found.map((one) => workloadTarget(one, kind, options)))
    }
  }
  return [...new Map(targets.map((one) => [one.id, one])).values()]
}

async function* apply(api: Api, options: WorkloadsOptions, applying: Applying): AsyncGenerator<ExecEvent> {
  const pace = options.pace ?? defaultPace
  const { target, rollout, exec, signal } = applying
  const started: ExecEvent = { type: 'started', handle: { target: target.id, exec } }
  if (rollout.verb === 'status') {
    yield started
    yield* watchWorkload(api, pace, target, signal, { rollout })
    return
  }
  const taken = await send(api, options, applying)
  yield started
  yield* watchWorkload(api, pace, target, signal, { rollout, ...taken })
}

const Answer = z.object({ spec: z.object({ template: z.unknown() }) })
/** Only while the workload is still as it was planned for: what moved is its status, which is no one's change. */
const MAX_CONFLICTS = 8

/** One patch that is taken, locked to the object that was looked at. Returns its template as it is now, and whether it was paused before. */
async function send(
  api: Api,
  { headersFor }: WorkloadsOptions,
  { target, rollout, plan, signal, by }: Applying,
): Promise<{ readonly template: unknown; readonly wasPaused: boolean }> {
  const marked = plan.facts.find(({ name }) => name === 'restarted')?.after ?? ''
  for (let conflicts = 0; ; conflicts += 1) {
    const now = await draft(api, target, rollout, marked, signal).catch((error: unknown) => {
      // It could be planned a moment ago, so someone has been there.
      throw error instanceof BackendError && error.code === 'unsupported' ? changed(target.name) : error
    })
    const { patch } = now
    if (patch === undefined || (await planOf(now)).seal !== plan.seal) throw changed(target.name)
    try {
      const response = await api.request('PATCH', now.path, {
        what: target.name,
        query: { fieldManager: 'drover' },
        body: locked(patch, now.workload.metadata.resourceVersion),
        contentType: patch.contentType,
        // The change goes out in the person's name; looking is drover's own.
        headers: headersFor?.(by) ?? {},
        signal,
      })
      return { template: templateOf(response.body), wasPaused: now.workload.spec.paused === true }
    } catch (error) {
      if (!(error instanceof BackendError)) throw maybe(error, signal)
      // `changed` is HTTP 409: it was not taken.
      if (error.code === 'changed' && error.ran === 'no' && conflicts < MAX_CONFLICTS) await wait(50 * 2 ** conflicts, signal)
      else throw isOpen(error) ? maybe(error, signal) : error
    }
  }
}

/** Taken it is in any case: an answer that cannot be read only tells less. */
function templateOf(body: string): unknown {
  try {
    return Answer.parse(JSON.parse(body)).spec.template
  } catch {
    return undefined
  }
}

/** No answer, or one from something that stands before Kubernetes: then it may have been taken. */
function isOpen(error: BackendError): boolean {
  if (error.cause instanceof TransportError && surelyUnsent(error.cause)) return false
  return ['backend_unavailable', 'timeout', 'backend_protocol'].includes(error.code)
}

/** 409 when anything, its status too, was written since. */
function locked({ body }: Patch, resourceVersion: string): unknown {
  if (Array.isArray(body)) return [{ op: 'replace', path: '/metadata/resourceVersion', value: resourceVersion }, ...body]
  const given = body as { readonly metadata?: object }
  return { ...given, metadata: { ...given.metadata, resourceVersion } }
}

/** Also for ways to a workload that are not Kubernetes' own. */
export async function* watchWorkload(
  api: Api,
  pace: Pace,
  target: Target,
  signal: AbortSignal,
  asked: Asked & { readonly template?: unknown },
): AsyncGenerator<ExecEvent> {
  const { kind, path } = pathOf(target)
  let seen: readonly PodTrouble[] = []
  yield* watch({
    verb: asked.rollout.verb,
    pace,
    signal,
    async look(within) {
      const workload = await api.read('GET', path, Workload, { what: target.name, signal: within })
      const wasReplaced =
        asked.template !== undefined && (await sealOf(workload.spec.template)) !== (await sealOf(asked.template))
      if (wasReplaced)
        return {
          status: 'stuck',
          why: `someone else has changed it meanwhile, to ${imagesIn(workload.spec.template)}`,
          troubles: [],
        }
      const quick = lookAt(kind, workload, [], asked)
      if (quick.status === 'done') return quick
      seen = await troublesOf(api, workload, within)
      const look = lookAt(kind, workload, seen, asked)
      if (asked.rollout.verb !== 'status' || look.status !== 'going') return look
      // A look at how it stands waits for nothing.
      return look.troubles.length > 0 ? { ...look, status: 'stuck', why: look.text } : { ...look, status: 'done' }
    },
    logs: (_, within) => lastWords(api, seen, within),
  })
}
