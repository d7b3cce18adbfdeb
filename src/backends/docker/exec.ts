/** One command through a Docker Engine: create, start, its frames as events, and how it ended by the engine's own record. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { Command, ExecEvent, Target } from '../../core/model.ts'
import { pause } from '../../core/pause.ts'
import { TransportError, UpgradeRefused } from '../transport.ts'
import { type Api, messageOf, parsed, protocol, refusal, unreachable } from './api.ts'
import { drainable } from './drain.ts'
import { dockerFrames, NotFrames, type Piece } from './frames.ts'
import { type Begun, type BegunExecs, handleText, remember } from './handle.ts'
import { feed, inputOf } from './input.ts'
import { ENGINE_TEXT_BYTES, mayBeEngine, startFailure } from './start-failure.ts'

export type Connection = { readonly api: Api; readonly begun: BegunExecs }
export type What = {
  readonly target: Pick<Target, 'id' | 'native' | 'name'>
  readonly command: Command
  /** Read to its end as the command takes it, in the place of `command.stdin`. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined
  readonly exec: string
  readonly signal: AbortSignal
}

export const MARKER = 'DROVER_EXEC'
/** MAX_ARG_STRLEN of Linux, with its NUL and a name before the value. What is longer would end as the command's own exit code 1. */
const MAX_WORD_BYTES = 131_072 - 256

const Created = z.object({ Id: z.string().regex(/^[0-9a-f]{64}$/) })

export const ExecRecord = z.object({
  Running: z.boolean(),
  ExitCode: z.number().int().nullish(),
  /** As the engine's host counts; 0 when there never was a process. Podman: 0 after the end. */
  Pid: z.number().int().nullish(),
})
export type ExecRecord = z.infer<typeof ExecRecord>

export async function* execute(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  const left = new AbortController()
  try {
    yield* run(connection, { ...what, signal: AbortSignal.any([what.signal, left.signal]) })
  } finally {
    // Who stops asking, wherever that is, leaves no connection open.
    left.abort()
  }
}

async function* run({ api, begun }: Connection, what: What): AsyncGenerator<ExecEvent> {
  const { command, target, exec, signal } = what
  const isFed = inputOf(what) !== undefined
  refuseUnsupported(command, isFed)
  const engine = await api.engine(signal)
  if (isFed && !engine.transport.upgrade)
    throw unsupported(
      'stdin= needs a raw connection to the engine, and this runtime has none.',
      'Run drover on Node or Deno, or run the command without stdin.',
    )
  const id = await create(api, what)
  const record: Begun = { id, user: command.user, asked: false }
  remember(begun, exec, record)
  const bytes = await start(api, id, what, record)
  yield { type: 'started', handle: { target: target.id, exec: handleText({ exec, id, user: command.user }) } }

  const isDocker = !/^libpod/i.test(engine.server)
  const first = heldBack()
  const { events, drain } = drainable(outputOf(bytes, { tty: command.tty ?? false, signal }))
  record.drain = drain
  try {
    for await (const event of events) yield* first.write(event)
  } catch (error) {
    // What was held back came from the command or tells why; it is output either way.
    yield* first.release()
    throw error
  }
  const { record: last, wasRunning } = await ended(api, id, signal, target)
  begun.delete(exec)
  const code = last.ExitCode
  if (typeof code !== 'number') throw brokenStream('The engine’s record of it holds no exit code.')
  const text = first.text()
  if (code !== 0 && last.Pid === 0 && (isDocker || text !== undefined)) {
    throw startFailure(text ?? '', {
      executable: command.argv[0],
      ...(command.dir === undefined ? {} : { dir: command.dir }),
      ...(command.user === undefined ? {} : { user: command.user }),
    })
  }
  yield* first.release()
  // Whatever it did afterwards was not seen; and of what has lost its reader the engine says 126, whatever it was [§2.3].
  if (wasRunning) throw brokenStream(`The connection ended before the command did; the engine says that it ended with ${code}.`)
  yield { type: 'exit', code }
}

export type Output = ExecEvent & { readonly type: 'output' }

/** What comes on a connection to a container, to its end; throws BackendError when it was cut. */
export async function* outputOf(
  bytes: AsyncIterable<Uint8Array>,
  { tty, signal }: { readonly tty: boolean; readonly signal: AbortSignal },
): AsyncGenerator<Output> {
  const frames = dockerFrames()
  try {
    for await (const data of bytes) {
      // Whether there are frames is said by what was asked, never by the answer's type [§2.3].
      const pieces: readonly Piece[] = tty ? [{ stream: 'stdout', data }] : frames.write(data)
      for (const { stream, data: piece } of pieces) {
        if (stream === 'engine') throw brokenStream(`The engine broke it off: ${new TextDecoder().decode(piece).slice(0, 300)}`)
        yield { type: 'output', stream, data: piece }
      }
    }
  } catch (error) {
    if (signal.aborted) throw givenUp(signal)
    if (error instanceof TransportError) throw brokenStream(`The connection broke: ${error.message}.`, error)
    if (error instanceof NotFrames)
      throw protocol('What came is not a Docker Engine’s output; something on the way changes it.', 'maybe', error)
    throw error
  }
  if (signal.aborted) throw givenUp(signal)
  if (!frames.isWhole()) throw brokenStream('The connection ended in the middle of the output.')
}

/** The first words, as long as they may be the engine's instead of the command's. */
function heldBack() {
  let held: Output[] | undefined = []
  let text = ''
  const decoder = new TextDecoder()
  return {
    *write(event: Output): Generator<Output> {
      if (held === undefined) return yield event
      held.push({ ...event, data: event.data.slice() })
      text += decoder.decode(event.data.subarray(0, ENGINE_TEXT_BYTES), { stream: true })
      if (text.length < ENGINE_TEXT_BYTES && mayBeEngine(text)) return undefined
      return yield* this.release()
    },
    *release(): Generator<Output> {
      const events = held ?? []
      held = undefined
      yield* events
    },
    /** Undefined: what came was not, or not only, an engine's words. */
    text: () => (held === undefined || held.length === 0 ? undefined : text),
  }
}

export function refuseUnsupported({ argv, dir, env, user, tty }: Command, isFed: boolean): void {
  const strings = [...argv, dir ?? '', user ?? '', ...Object.entries(env ?? {}).flat()]
  if (strings.some((one) => one.includes('\0'))) throw unsupported('A NUL byte cannot be part of a command.', 'Take it out.')
  if (strings.some((one) => new TextEncoder().encode(one).byteLength > MAX_WORD_BYTES))
    throw unsupported('One argument is longer than Linux takes (128 KiB).', 'Make it shorter, or send it by stdin=.')
  if (dir !== undefined && !dir.startsWith('/')) throw unsupported('The directory must be absolute.', 'Begin it with /.')
  if (env && MARKER in env) throw unsupported(`${MARKER} is how drover finds the command again.`, 'Use another name.')
  const name = Object.keys(env ?? {}).find((one) => one === '' || one.includes('='))
  if (name !== undefined)
    throw unsupported(`No variable can be named ${JSON.stringify(name)}.`, 'Use letters, digits and _ only.')
  if (tty && isFed)
    throw unsupported('A terminal has no end of input, so stdin= and tty=1 exclude each other.', 'Leave one of them out.')
}

async function create(api: Api, what: What): Promise<string> {
  const { command, target, exec, signal } = what
  if (!/^[0-9a-f]{64}$/.test(target.native)) throw protocol('This is not the id of a container.')
  const env = Object.entries({ ...command.env, [MARKER]: exec }).map(([name, value]) => `${name}=${value}`)
  const body = {
    AttachStdin: inputOf(what) !== undefined,
    AttachStdout: true,
    AttachStderr: true,
    Tty: command.tty ?? false,
    Cmd: command.argv,
    Env: env,
    ...(command.dir === undefined ? {} : { WorkingDir: command.dir }),
    ...(command.user === undefined ? {} : { User: command.user }),
  }
  const path = `/containers/${target.native}/exec`
  // One that is made twice and never started is forgotten.
  const response = await api.request({ method: 'POST', path, body, signal, isRepeatable: true })
  // From Engine 29 on: a user that is not there.
  if (response.status === 400 && /user|group/i.test(messageOf(response)) && command.user !== undefined)
    throw startFailure(messageOf(response), { executable: command.argv[0], user: command.user })
  return parsed(response, Created, `the container ${target.name}`).Id
}

/** One try and never a second: a start whose answer was lost may have started it. */
async function start(api: Api, id: string, what: What, record: Begun): Promise<AsyncIterable<Uint8Array>> {
  const { command, signal, target } = what
  const input = inputOf(what)
  const ask = { path: `/exec/${id}/start`, body: { Detach: false, Tty: command.tty ?? false }, signal }
  if (signal.aborted) throw givenUp(signal, 'no')
  record.asked = true
  try {
    if (input !== undefined) {
      const connection = await api.upgrade(ask)
      // A command that reads nothing may close its end first; that is no failure.
      void feed(connection, input).catch(() => undefined)
      return connection.incoming
    }
    const response = await api.stream(ask)
    if (response.status === 200) return response.body
    const failure = await refused(response.status, response.body, target)
    // Not the engine's word that it did not start, but perhaps a proxy's that it did not wait.
    throw response.status >= 500 ? new BackendError(failure.toFailure(), { ran: 'maybe' }) : failure
  } catch (error) {
    if (signal.aborted) throw givenUp(signal)
    if (error instanceof UpgradeRefused) {
      if (error.status < 300)
        throw brokenStream(
          'What stands before the engine does not pass upgrades on, so the command may run without its stdin.',
          error,
        )
      throw refusal(error, `the container ${target.name}`)
    }
    if (!(error instanceof TransportError)) throw error
    const failure = unreachable(error, (await api.engine(signal)).endpoint)
    const isUnsent = error.reason === 'refused' || error.reason === 'dns' || error.reason === 'tls'
    throw isUnsent ? failure : new BackendError(failure.toFailure(), { ran: 'maybe', cause: error })
  }
}

async function refused(status: number, body: AsyncIterable<Uint8Array>, target: What['target']): Promise<BackendError> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const data of body) {
    text += decoder.decode(data, { stream: true })
    if (text.length > ENGINE_TEXT_BYTES) break
  }
  return refusal({ status, body: text }, `the container ${target.name}`)
}

/** How often an engine that is being asked for the ending may fail to answer. */
const ENDING_TRIES = 3

/** The record is there at once nearly always; a busy engine may take this many looks, 5 to 50 ms apart. */
const QUICK_POLLS = 44

/** The end of a stream proves nothing: the record does. What has lost its reader may go on for long, and is waited for: it is not gone. */
async function ended(
  api: Api,
  id: string,
  signal: AbortSignal,
  target: What['target'],
): Promise<{ readonly record: ExecRecord; readonly wasRunning: boolean }> {
  for (let polls = 0, failures = 0; ; polls += 1) {
    let record: ExecRecord | undefined
    try {
      record = await recordOf(api, id, signal)
    } catch (error) {
      if (signal.aborted) throw givenUp(signal)
      failures += 1
      if (!(error instanceof BackendError) || failures >= ENDING_TRIES)
        throw brokenStream('The output ended, and the engine does not answer how the command did.', error)
      await pause(300 * failures, signal)
      continue
    }
    if (record === undefined) throw forgotten(target)
    if (!record.Running) return { record, wasRunning: polls > QUICK_POLLS }
    await pause(polls < QUICK_POLLS ? Math.min(50, 5 * 2 ** polls) : 1000, signal)
  }
}

/** Undefined: the engine has forgotten it, with its container or some minutes after its end. */
export async function recordOf(api: Api, id: string, signal: AbortSignal): Promise<ExecRecord | undefined> {
  const response = await api.request({ method: 'GET', path: `/exec/${id}/json`, signal })
  return response.status === 404 ? undefined : parsed(response, ExecRecord, 'the record of an exec')
}

const unsupported = (message: string, next: string) => new BackendError({ code: 'unsupported', message, next }, { ran: 'no' })

export function givenUp(signal: AbortSignal, ran: 'no' | 'maybe' = 'maybe'): BackendError {
  return new BackendError(
    { code: 'stream_broken', message: 'drover closed the connection before the command ended.' },
    { ran, cause: signal.reason },
  )
}

function forgotten({ name }: What['target']): BackendError {
  return new BackendError(
    {
      code: 'backend_not_found',
      message: `The container ${name} was removed, or its engine started anew, while the command ran; how it ended is not recorded.`,
      next: 'Look what replaced it, then decide whether to run it again.',
    },
    { ran: 'maybe' },
  )
}

export function brokenStream(message: string, cause?: unknown): BackendError {
  return new BackendError(
    { code: 'stream_broken', message, next: 'Look at the container and its host, then decide whether to run it again.' },
    { ran: 'maybe', cause },
  )
}
