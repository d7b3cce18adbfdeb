/** A backend whose work is done by an agent beside its engine: the gateway says what, in drover's own words, and hears how it went. */

import * as z from 'zod'
import { dockerFrames, NotFrames } from '../backends/docker/frames.ts'
import { type Transport, TransportError } from '../backends/transport.ts'
import { type Bounds, newTarget } from '../backends/wire/new-container.ts'
import { BackendError } from '../core/errors.ts'
import type { BackendKind, ExecEvent, Selector, Stream, Target, TargetId } from '../core/model.ts'
import type { Backend, KillResult, Workloads } from '../core/ports.ts'
import { Checked, FoundTargets, Killed, ORDERS, type Order, Planned, readTold, type Told } from './order.ts'

/** A question; the agent has deadlines of its own for what it asks in turn. */
const ASK_MS = 90_000
/** A list, which is the longest of all words. */
const MOST_WORDS_BYTES = 16 * 1024 * 1024

type Named = { readonly name: string; readonly kind: BackendKind }
type Output = { readonly type: 'output'; readonly stream: Stream; readonly data: Uint8Array }

export function backendByOrder(
  { name, kind, hasUser, bounds }: Named & { readonly hasUser: boolean; readonly bounds?: Bounds | undefined },
  way: Transport,
): Backend {
  const of = { name, kind }
  return {
    ...of,
    traits: { exitCode: true, separateStderr: true, stdin: true, env: true, dir: true, user: hasUser, tty: true, kill: true },
    list: (selector, signal) => found(of, way, 'list', selector, signal),
    exec: (target, command, exec, signal, _by, timeoutMs) =>
      events(way, 'exec', { ...meant(target), command, exec, timeoutMs }, target, signal),
    kill: async (target, { exec, pid, way: by }, signal) =>
      (await answer(way, 'kill', { ...meant(target), handle: { exec, pid, way: by } }, Killed, signal)) as KillResult,
    check: checkByOrder(way),
    ...(bounds && {
      newContainer: (wanted) => newTarget({ backend: name, kind }, bounds, wanted),
      sweep: async (signal) => void (await answer(way, 'sweep', {}, z.unknown(), signal)),
    }),
  }
}

export const checkByOrder =
  (way: Transport): Backend['check'] =>
  (signal) =>
    answer(way, 'check', {}, Checked, signal)

export function workloadsByOrder(of: Named, verbs: Workloads['verbs'], way: Transport): Workloads {
  return {
    verbs,
    list: (selector, signal) => found(of, way, 'workloads', selector, signal),
    plan: (target, rollout, signal) => answer(way, 'plan', { ...meant(target), rollout }, Planned, signal),
    apply: (target, rollout, plan, exec, signal) =>
      events(way, 'apply', { ...meant(target), rollout, plan, exec }, target, signal),
  }
}

const meant = ({ native, uid, facets, creates }: Target) => (creates ? { creates } : { target: { native, uid, facets } })

async function found(
  { name, kind }: Named,
  way: Transport,
  order: Order,
  { on: _, ...selector }: Selector,
  signal: AbortSignal,
): Promise<readonly Target[]> {
  const targets = await answer(way, order, { selector }, FoundTargets, signal)
  return targets.map((one) => ({ ...one, id: `${name}/${one.id}` as TargetId, backend: name, kind }))
}

async function answer<T>(way: Transport, order: Order, body: object, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
  for await (const told of say(way, order, body, AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]), 'no')) {
    const read = told.type === 'answer' ? schema.safeParse(told.value) : undefined
    if (read?.success) return read.data
    break
  }
  throw broken('What the agent answered cannot be read.', 'no')
}

async function* events(
  way: Transport,
  order: Order,
  body: object,
  { id }: Target,
  signal: AbortSignal,
): AsyncGenerator<ExecEvent> {
  if (signal.aborted) throw broken('It was given up before it was sent.', 'no')
  for await (const told of say(way, order, body, signal, 'maybe')) {
    if (told.type === 'dropped') yield { type: 'output', stream: told.stream, data: new Uint8Array(), dropped: told.bytes }
    else if (told.type === 'started') yield { type: 'started', handle: { ...told.handle, target: id } }
    else if (told.type !== 'answer') yield told
    if (told.type === 'exit' || told.type === 'exit-unknown') return
  }
  throw broken('The agent did not tell how the command ended; it may still run.', 'maybe')
}

/** `ran`: what is known of it where the connection breaks. */
async function* say(
  way: Transport,
  order: Order,
  body: object,
  signal: AbortSignal,
  ran: 'no' | 'maybe',
): AsyncGenerator<Exclude<Told, { type: 'failed' }> | Output> {
  let isTaken = false
  const frames = dockerFrames()
  let words: Uint8Array[] = []
  let bytes = 0
  try {
    const sent = { method: 'POST', url: `https://agent${ORDERS}${order}`, body: JSON.stringify(body), signal } as const
    const response = await way.stream(sent)
    isTaken = true
    for await (const data of response.body)
      for (const piece of frames.write(data)) {
        if (piece.stream !== 'engine') {
          yield { type: 'output', stream: piece.stream, data: piece.data }
          continue
        }
        words.push(piece.data)
        bytes += piece.data.byteLength
        if (bytes > MOST_WORDS_BYTES) throw new NotFrames('too much')
        if (!piece.ends) continue
        const told = readTold(await new Blob(words as BlobPart[]).text())
        words = []
        bytes = 0
        if (told.type === 'failed') throw new BackendError(told.error, { ran: told.ran })
        yield told
      }
  } catch (error) {
    if (error instanceof BackendError) throw error
    if (!(error instanceof TransportError)) throw broken('What the agent said cannot be read.', ran, error)
    // What the agent itself turned away it has not begun; a link that went may have carried it there.
    const isOpen = isTaken || error.reason === 'reset' || error.reason === 'aborted'
    throw broken(`${error.message}.`, isOpen ? ran : 'no', error)
  }
}

function broken(message: string, ran: 'no' | 'maybe', cause?: unknown): BackendError {
  const code = ran === 'no' ? 'backend_unavailable' : 'stream_broken'
  const next = ran === 'no' ? 'Try again; the agent’s own output says more.' : 'Look there before you run it again.'
  return new BackendError({ code, message, next }, { ran, cause })
}
