/** What an agent does of what it is asked in drover's own words: each request is read strictly, its target is looked up here, and the agent's own list decides. */

import { TransportError } from '../backends/transport.ts'
import { BackendError } from '../core/errors.ts'
import { coversImage } from '../core/images.ts'
import type { ExecEvent, LabelTerm, NewContainer, Rollout, Target, TargetId } from '../core/model.ts'
import type { Backend, Workloads } from '../core/ports.ts'
import { matches } from '../core/selector.ts'
import { type Orders, only, partsOf, quoted, Refusal, unknownCall } from './fence.ts'
import { ORDERS, type Order, type Told } from './order.ts'
import { isOrder, type Meant, read } from './order-bodies.ts'

/** What may be reached: where both are said, both have to hold. */
export type Which = {
  /** Globs. Absent: any name. */
  readonly names?: readonly string[] | undefined
  readonly labels?: readonly LabelTerm[] | undefined
  /** Those that are as good as root on the host, too. */
  readonly privileged?: true | undefined
}
export type ExecAllowed = Which & {
  /** Globs of the images that new containers may be made from. Absent: none is made. */
  readonly images?: readonly string[] | undefined
}
export type RolloutAllowed = Which & {
  readonly verbs: readonly Rollout['verb'][]
  /** Globs of the images that `image` may set. */
  readonly images?: readonly string[] | undefined
}

export type Serves = {
  /** Commands in what it finds. */
  readonly exec?: { readonly backend: Backend; readonly allowed: ExecAllowed }
  /** How its engine stands, as the agent itself finds it. */
  readonly check?: Backend['check']
  readonly rollout?: { readonly workloads: Workloads; readonly allowed: RolloutAllowed }
}

/** Targets of executions whose kill may come when they are listed no more. */
const MOST_REMEMBERED = 10_000

export function ordersFence(serves: Serves): Orders {
  const ofCheck = serves.check && checkOrders(serves.check)
  const ofExec = serves.exec && execOrders(serves.exec.backend, serves.exec.allowed)
  const ofRollout = serves.rollout && rolloutOrders(serves.rollout.workloads, serves.rollout.allowed)
  return async (call, signal) => {
    if (!call.path.startsWith(ORDERS)) return undefined
    const { segments, query } = partsOf(call.path)
    only(query, [])
    const order = segments[2] ?? ''
    if (call.kind !== 'http' || call.method !== 'POST' || segments.length !== 3 || !isOrder(order)) throw unknownCall(call)
    const isRollout = order === 'workloads' || order === 'plan' || order === 'apply'
    if (isRollout && !ofRollout) throw new Refusal('rollouts are not on its list (allow: { rollout: … })')
    const judged = await (isRollout ? ofRollout : order === 'check' ? ofCheck : ofExec)?.(order, call.body, signal)
    if (!judged) throw unknownCall(call)
    return (until) => framed(judged(until))
  }
}

type Happening = ExecEvent | Told
type Judged = (signal: AbortSignal) => AsyncIterable<Happening>

const checkOrders =
  (check: Backend['check']) =>
  (_: Order, body: string): Judged => {
    read('check', body)
    return async function* (until) {
      yield { type: 'answer', value: await check(until) }
    }
  }

function execOrders(backend: Backend, allowed: ExecAllowed) {
  const known = new Map<string, Target>()

  async function lookUp({ native, uid }: Meant, signal: AbortSignal): Promise<Target | undefined> {
    const found = (await asked(backend.list({ id: native }, signal))).find((one) => one.native === native)
    return found && (uid === undefined || found.uid === uid) ? found : undefined
  }

  function made(creates: NewContainer): Target {
    if (!backend.newContainer || !allowed.images?.some((glob) => coversImage(glob, creates.image)))
      throw new Refusal(`new containers of ${quoted(creates.image)} are not on its list (images:)`)
    try {
      return backend.newContainer(creates)
    } catch (error) {
      throw error instanceof BackendError ? new Refusal(error.message) : error
    }
  }

  async function judgeExec(body: string, signal: AbortSignal): Promise<Judged> {
    const { target, creates, command, exec, timeoutMs } = read('exec', body)
    const found = creates ? made(creates) : target && (await lookUp(target, signal))
    if (!found) return () => failing(notRunning(target?.native ?? 'What was meant'))
    if (!creates) refuseUnnamed(found, allowed)
    if (found.privileged && !allowed.privileged)
      throw new Refusal(`${quoted(found.name)} is privileged, and its list does not say privileged: true`)
    known.set(exec, found)
    const [oldest] = known.keys()
    if (known.size > MOST_REMEMBERED && oldest !== undefined) known.delete(oldest)
    return (until) => backend.exec(found, command, exec, until, undefined, timeoutMs)
  }

  async function judgeKill(body: string, signal: AbortSignal): Promise<Judged> {
    const { target, creates, handle } = read('kill', body)
    const native = target?.native ?? ''
    const before = known.get(handle.exec.slice(0, 32))
    const found = creates
      ? made(creates)
      : ((target && (await lookUp(target, signal))) ?? (before?.native === native ? before : undefined))
    if (found && !creates) refuseUnnamed(found, allowed)
    // Listed no more it has ended, or is about to: the backend finds out, and nothing can be run there.
    const of = found ?? unlisted(backend, native)
    const { pid, way } = handle
    const own = { target: of.id, exec: handle.exec, ...(pid === undefined ? {} : { pid }), ...(way === undefined ? {} : { way }) }
    return async function* (until) {
      yield { type: 'answer', value: await backend.kill(of, own, until) }
    }
  }

  return async (order: Order, body: string, signal: AbortSignal): Promise<Judged | undefined> => {
    switch (order) {
      case 'list': {
        const { selector } = read('list', body)
        return async function* (until) {
          const all = await backend.list(selector, until)
          yield { type: 'answer', value: all.filter((one) => isNamed(one, allowed)).map(outwards) }
        }
      }
      case 'exec':
        return await judgeExec(body, signal)
      case 'kill':
        return await judgeKill(body, signal)
      case 'sweep':
        read('sweep', body)
        return async function* (until) {
          await backend.sweep?.(until)
          yield { type: 'answer' }
        }
      default:
        return undefined
    }
  }
}

/** Facets of a workload that no rollout changes: with them less has to be listed. */
const LASTING = ['namespace', 'workload', 'service', 'stack']

/** Of the gateway's words about a change only the verb and its number or image are taken: what is sent is planned here. */
function rolloutOrders(workloads: Workloads, allowed: RolloutAllowed) {
  async function lookUp({ native, uid, facets: said = {} }: Meant, signal: AbortSignal): Promise<Target | undefined> {
    const near = Object.fromEntries(Object.entries(said).filter(([facet]) => LASTING.includes(facet)))
    const found = (await asked(workloads.list({ facets: near }, signal))).find((one) => one.native === native)
    return found && (uid === undefined || found.uid === uid) ? found : undefined
  }

  function refuse(found: Target, rollout: Rollout): void {
    const { verb } = rollout
    if (!allowed.verbs.includes(verb)) throw new Refusal(`rollout ${verb} is not on its list`)
    refuseUnnamed(found, allowed)
    if (verb !== 'image') return
    if (!allowed.images?.some((glob) => coversImage(glob, rollout.image)))
      throw new Refusal(`the image ${quoted(rollout.image)} is not on its list (rollout.images:)`)
    if (found.privileged && !allowed.privileged)
      throw new Refusal(`${quoted(found.name)} is privileged, and its list does not say privileged: true`)
  }

  return async (order: Order, body: string, signal: AbortSignal): Promise<Judged | undefined> => {
    if (order === 'workloads') {
      const { selector } = read('workloads', body)
      return async function* (until) {
        const all = await workloads.list(selector, until)
        yield { type: 'answer', value: all.filter((one) => isNamed(one, allowed)).map(outwards) }
      }
    }
    if (order === 'plan') {
      const { target, rollout } = read('plan', body)
      const found = await lookUp(target, signal)
      if (!found) return () => failing(gone(target.native))
      refuse(found, rollout)
      return async function* (until) {
        yield { type: 'answer', value: await workloads.plan(found, rollout, until) }
      }
    }
    if (order !== 'apply') return undefined
    const { target, rollout, plan, exec } = read('apply', body)
    const found = await lookUp(target, signal)
    if (!found) return () => failing(gone(target.native))
    refuse(found, rollout)
    return (until) => workloads.apply(found, rollout, plan, exec, until)
  }
}

const isNamed = (target: Target, { names, labels }: Which): boolean =>
  (names === undefined || names.some((name) => matches({ name }, target))) &&
  (labels === undefined || matches({ labels }, target))

function refuseUnnamed(target: Target, allowed: Which): void {
  if (!isNamed(target, allowed)) throw new Refusal(`${quoted(target.name)} is not on its list`)
}

/** Without what is the agent's own: the name of its backend, and its kind. */
function outwards({ backend, kind: _, id, ...target }: Target): object {
  return { ...target, id: id.slice(backend.length + 1) }
}

function unlisted({ name, kind }: Backend, native: string): Target {
  return { id: `${name}/${native}` as TargetId, backend: name, kind, native, name: native, labels: {}, facets: {} }
}

function notRunning(name: string): BackendError {
  return new BackendError(
    { code: 'not_running', message: `${name} is not running there.`, next: 'Start it, or choose one that runs.' },
    { ran: 'no' },
  )
}

function gone(native: string): BackendError {
  const next = 'Look what there is, with targets; it may have been removed or made anew.'
  return new BackendError(
    { code: 'backend_not_found', message: `There is no workload ${native} to be reached.`, next },
    { ran: 'no' },
  )
}

const failing = (error: Error): AsyncIterable<never> => ({
  [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
})

/** Before anything was let pass an engine that fails is told as a refusal is: nothing has begun. */
async function asked<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof BackendError) throw new TransportError('other', error.message, { cause: error })
    throw error
  }
}

/** Docker's frames: 1 and 2 are what a command writes, 3 is a word as JSON. */
async function* framed(events: AsyncIterable<Happening>): AsyncGenerator<Uint8Array> {
  const words = (told: object) => frameOf(3, new TextEncoder().encode(JSON.stringify(told)))
  try {
    for await (const event of events) {
      if (event.type !== 'output') yield words(event)
      else if (event.data.byteLength > 0) yield frameOf(event.stream === 'stdout' ? 1 : 2, event.data)
      if (event.type === 'output' && event.dropped !== undefined)
        yield words({ type: 'dropped', stream: event.stream, bytes: event.dropped })
    }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    yield words({ type: 'failed', error: error.toFailure(), ran: error.ran })
  }
}

function frameOf(kind: 1 | 2 | 3, data: Uint8Array): Uint8Array {
  const frame = new Uint8Array(8 + data.byteLength)
  frame[0] = kind
  new DataView(frame.buffer).setUint32(4, data.byteLength)
  frame.set(data, 8)
  return frame
}
