/** One command through a temporary service: made, its log as events, its task's end as the command's, and removed whatever happens. */

import type { Command, ExecEvent, Target } from '../../core/model.ts'
import { givenUp, type Output } from '../docker/exec.ts'
import { readHandle as readDockerHandle } from '../docker/handle.ts'
import { clientArgs, clientFailure, mayBeRefusal, REFUSAL_BYTES } from './client.ts'
import type { Node } from './cluster.ts'
import { logOf } from './logs.ts'
import { hasNone } from './look.ts'
import { lost } from './states.ts'
import { LONGEST_MS, type Made, makeUnlessGivenUp, remove, serviceName, type Temporary, watch } from './temporary.ts'

export const SERVICE_WAY = 'a temporary service'

/** Reading the log of a command that has ended must not make it one that timed out. */
const SPARE_MS = 2_000
const LEAST_MS = 1_000
/** 128 and SIGKILL. */
const KILLED = 137

/** Executions of this process, whose service is for `executeByService` to remove, with the user of each. */
export type Live = Map<string, { readonly user: string | undefined; readonly made: Promise<Made> }>

export type What = {
  readonly target: Pick<Target, 'id' | 'name'>
  /** The engine's id of it. */
  readonly container: string
  readonly node: Node
  readonly command: Command
  readonly exec: string
  readonly signal: AbortSignal
  readonly timeoutMs?: number | undefined
}

export async function* executeByService(temporary: Temporary, live: Live, what: What): AsyncGenerator<ExecEvent> {
  const { command, exec, node, container } = what
  const start = Date.now()
  const args = clientArgs(command, exec, container)
  const left = new AbortController()
  const signal = AbortSignal.any([what.signal, left.signal])
  const leave = await temporary.gate.enter()
  let isAsked = false
  let isMade = false
  const removal = () => remove(temporary.api, serviceName(exec))
  // Also where nobody asks for more after giving up.
  const onAbort = () => isMade && void removal()
  what.signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) throw givenUp(signal, 'no')
    isAsked = true
    const making = makeUnlessGivenUp(temporary, { exec, node, args, timeoutMs: what.timeoutMs }, signal)
    making.catch(() => undefined)
    live.set(exec, { user: command.user, made: making })
    const made = await making
    if (made !== 'made') throw givenUp(signal, made === 'gone' ? 'no' : 'maybe')
    isMade = true
    yield {
      type: 'started',
      handle: { target: what.target.id, exec: handleText(exec, command.user), way: SERVICE_WAY },
    }
    yield* followed(temporary, what, signal, { begun: leave, untilMs: start + (what.timeoutMs ?? LONGEST_MS) - SPARE_MS })
  } finally {
    leave()
    left.abort()
    what.signal.removeEventListener('abort', onAbort)
    if (isAsked) await removal()
    live.delete(exec)
  }
}

async function* followed(
  temporary: Temporary,
  { target, container, command, exec, node }: What,
  signal: AbortSignal,
  { begun, untilMs }: { begun(): void; readonly untilMs: number },
): AsyncGenerator<ExecEvent> {
  const log = logOf(temporary.api, exec)
  const over = new AbortController()
  const ending = watch(temporary, { exec, node, begun }, signal)
    .then(
      (code) => ({ code }),
      (error: unknown) => ({ error }),
    )
    .finally(() => over.abort())
  const first = heldBack()
  for await (const event of log.live(AbortSignal.any([signal, over.signal]))) yield* first.write(event)
  const end = await ending
  if ('error' in end) {
    // What was held back came from the command or tells why; it is output either way.
    yield* first.release()
    throw end.error
  }
  for await (const event of log.rest(signal, Math.max(LEAST_MS, untilMs - Date.now()))) yield* first.write(event)
  // The command's own, or that of a client which was ended from outside: then the command goes on.
  if (end.code === KILLED && !(await hasNone(temporary, { target, container, node }, { exec, user: command.user }, signal))) {
    yield* first.release()
    throw lost('Its temporary service, or the command itself, was killed from outside, and nobody can say which.')
  }
  const failure = clientFailure({ code: end.code, ...first.said() }, { command, exec, name: target.name })
  if (failure?.ran === 'no') throw failure
  yield* first.release()
  if (failure) throw failure
  yield { type: 'exit', code: end.code }
}

const TAIL_CHARS = 300

/** The first words, as long as they may be the client's instead of the command's; and the last ones of stderr. */
function heldBack() {
  const decoders = { all: new TextDecoder(), tail: new TextDecoder() }
  let held: Output[] | undefined = []
  let all = ''
  let tail = ''
  return {
    *write(event: Output): Generator<Output> {
      if (event.stream === 'stderr')
        tail = (tail + decoders.tail.decode(event.data.subarray(-2 * TAIL_CHARS), { stream: true })).slice(-TAIL_CHARS)
      if (held === undefined) return yield event
      held.push(event)
      all += decoders.all.decode(event.data.subarray(0, REFUSAL_BYTES), { stream: true })
      if (all.length < REFUSAL_BYTES && mayBeRefusal(all)) return undefined
      return yield* this.release()
    },
    *release(): Generator<Output> {
      const events = held ?? []
      held = undefined
      yield* events
    },
    said: () => ({ all: held === undefined ? undefined : all, tail }),
  }
}

/** All that a kill in another process needs: the marker and the user, who may be the only one that can look. */
export function handleText(exec: string, user: string | undefined): string {
  return user === undefined ? exec : `${exec}/${user}`
}

/** Of either way: the nodes map may have changed since. */
export function readHandle(text: string): { readonly exec: string; readonly user?: string } {
  const [, exec, user] = /^([^./]*)\/([\s\S]*)$/.exec(text) ?? []
  return exec === undefined || user === undefined ? readDockerHandle(text) : { exec, user }
}
