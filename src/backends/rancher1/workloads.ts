/** What `rollout` does to services of Rancher 1.x: upgrade, finish or roll back, restart, scale; each waited for. */

import { BackendError } from '../../core/errors.ts'
import type { ExecEvent, Selector, Target } from '../../core/model.ts'
import type { Workloads } from '../../core/ports.ts'
import { type HttpResponse, type Transport, TransportError } from '../transport.ts'
import {
  type Applying,
  changed,
  pace as defaultPace,
  maybe,
  oneLine,
  outscaled,
  type Pace,
  stderr,
  watch,
} from '../wire/rollout.ts'
import { type Api, errorCode, refusal } from './api.ts'
import { lastLines } from './last-lines.ts'
import {
  configsOf,
  Instance,
  type InstanceTrouble,
  lookAt,
  previousOf,
  Service,
  Stack,
  targetOf,
  troublesOf,
  UPGRADABLE,
  versionOf,
} from './service.ts'
import { draft, imagesIn, planOf, read, type Step } from './workload-plan.ts'

type Way = { readonly api: Api; readonly transport: Transport }

const WATCHED: Readonly<Record<string, string>> = {
  upgrading: 'upgraded',
  upgraded: 'upgraded',
  'canceling-upgrade': 'canceled-upgrade',
}

export function rancher1Workloads({ api, transport }: Way, backend: string, pace: Pace = defaultPace): Workloads {
  return {
    verbs: ['image', 'restart', 'undo', 'scale', 'finish', 'status'],
    list: (selector, signal) => list(api, backend, selector, signal),
    plan: async (target, rollout, signal) => planOf(await draft(api, target, rollout, signal)),
    apply: (target, rollout, plan, exec, signal) => apply({ api, transport }, pace, { target, rollout, plan, exec, signal }),
  }
}

async function list(api: Api, backend: string, selector: Selector, signal: AbortSignal): Promise<readonly Target[]> {
  const services = await api.list('services', Service, signal)
  const stacks = await api.list(await api.stacks(signal), Stack, signal)
  const names = new Map(stacks.map((one) => [one.id, one.name || one.id]))
  const { name } = selector.facets?.service === undefined ? {} : { name: selector.facets.service }
  const targets = services
    .filter((one) => UPGRADABLE.includes(one.type) && one.launchConfig && !['removed', 'purged'].includes(one.state))
    .map((one) => targetOf(one, backend, names))
  // By id, for pages are row offsets and repeat a row when one before it goes.
  return [...new Map(targets.map((one) => [one.id, one])).values()].filter(
    (one) => name === undefined || /[*?]/.test(name) || one.facets.service === name,
  )
}

async function* apply(way: Way, pace: Pace, applying: Applying): AsyncGenerator<ExecEvent> {
  const { api } = way
  const { target, rollout, plan, exec, signal } = applying
  const now = await draft(api, target, rollout, signal).catch((error: unknown) => {
    // It could be planned a moment ago, so someone has been there.
    throw error instanceof BackendError && error.code === 'unsupported' ? changed(target.name) : error
  })
  const started: ExecEvent = { type: 'started', handle: { target: target.id, exec } }
  if (now.steps.length === 0) {
    yield started
    yield* watching(way, pace, now.service.state, applying, true)
    return
  }
  if ((await planOf(now)).seal !== plan.seal) throw changed(target.name)
  for (const [index, step] of now.steps.entries()) {
    const response = await sent(api, step, target, signal, index > 0)
    if (index === 0) yield started
    if (rollout.verb === 'image') yield* overtaken(response, now.service)
    if (!(yield* watching(way, pace, step.goal, applying, index === now.steps.length - 1))) return
  }
}

/** Once and never again: what happened to a request without an answer nobody knows. */
async function sent(api: Api, step: Step, target: Target, signal: AbortSignal, isLater: boolean): Promise<HttpResponse> {
  const response = await api.request(step.method, step.path, signal, step.body).catch((error: unknown) => {
    const { cause } = error instanceof BackendError ? error : {}
    throw !isLater && cause instanceof TransportError && UNSENT.includes(cause.reason) ? error : maybe(error, signal)
  })
  if (response.status < 300) return response
  const isGone = response.status === 422 && errorCode(response) === 'ActionNotAvailable'
  const error = isGone ? changed(target.name) : refusal(response, { what: `the service ${target.name}`, project: api.project })
  throw isLater || response.status >= 500 ? maybe(error, signal) : error
}

const UNSENT = ['refused', 'dns', 'tls']

/** The server writes down what it replaced: that tells whether someone came between the last look and the upgrade. */
function* overtaken(response: HttpResponse, before: Service): Generator<ExecEvent> {
  const after = Service.safeParse(jsonOf(response.body))
  const replaced = after.success ? previousOf(after.data) : undefined
  if (replaced !== undefined && versionOf(replaced) !== versionOf(configsOf(before)))
    yield stderr(
      `someone else’s upgrade to ${oneLine(imagesIn(replaced))} came in between and was replaced; rollout undo goes back to it`,
    )
}

/** Taken it is in any case: an answer that cannot be read only tells less. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Returns whether the goal was reached. */
async function* watching(
  { api, transport }: Way,
  pace: Pace,
  goal: string,
  applying: Applying,
  isLast: boolean,
): AsyncGenerator<ExecEvent, boolean> {
  const { target, rollout, signal } = applying
  const isLook = rollout.verb === 'status'
  const wanted = isLook ? (WATCHED[goal] ?? goal) : goal
  let seen: readonly InstanceTrouble[] = []
  const events = watch({
    verb: rollout.verb,
    pace,
    signal,
    async look(within) {
      const service = await read(api, target, within)
      const instances = await api.list(`services/${target.native}/instances`, Instance, within)
      seen = troublesOf(instances)
      const look = outscaled({ rollout }, service.scale) ?? lookAt(service, instances, wanted)
      if (look.status !== 'going') return look
      // Canceled, its containers may be in any health: the way back mends that.
      if (!isLast && service.state === goal) return { status: 'done', text: look.text }
      if (!isLook) return look
      // A look at how it stands waits for nothing.
      return look.troubles.length > 0 ? { ...look, status: 'stuck', why: look.text } : { ...look, status: 'done' }
    },
    logs: (_, within) => lastWords(api, transport, seen, within),
  })
  for await (const event of events) {
    if (event.type === 'exit' && event.code === 0 && !isLast) return true
    yield event
    if (event.type === 'exit') return event.code === 0
  }
  return false
}

const MAX_LOGS = 3

/** Of containers that have written something; one that never began has no log. */
async function lastWords(
  api: Api,
  transport: Transport,
  troubles: readonly InstanceTrouble[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const told: string[] = []
  for (const { id, who } of troubles.slice(0, MAX_LOGS)) {
    const text = await lastLines(api, transport, id, signal).catch((error: unknown) => {
      if (error instanceof BackendError && error.code === 'backend_protocol') return ''
      throw error
    })
    if (text.trim() !== '') told.push(`--- the last lines of ${who}`, text)
  }
  return told
}
