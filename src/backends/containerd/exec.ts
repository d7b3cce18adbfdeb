/** One command through containerd: a process document, named pipes, and the calls in the order that loses nothing. */

import { BackendError, DroverError } from '../../core/errors.ts'
import type { Command, ExecEvent, Stream, Target } from '../../core/model.ts'
import type { MakePipes, NamedPipes, PipeWriter, ReadCgroups } from '../machine.ts'
import { specOf } from './container.ts'
import { type Engine, EngineError } from './engine.ts'
import { givenUp, lost, notMade, notStarted, refusal } from './errors.ts'
import { type Arriving, together } from './output.ts'
import { type Ids, idsFrom, idsIn, processOf, refuseUnsupported } from './process.ts'
import type { Slots } from './slots.ts'

export type Connection = {
  readonly engine: Engine
  readonly address: string
  readonly makePipes: MakePipes
  readonly readCgroups: ReadCgroups
  readonly fifoDirectory: string | undefined
  /** The pid inside the container of a process whose pid out here is known. */
  pidInside(pid: number, container: string): Promise<number | undefined>
  /** Executions that are read here and now. */
  readonly live: Set<string>
  /** Of containers that are being made here and now: settles when theirs runs, or is removed again. */
  readonly making: Map<string, Promise<unknown>>
}
export type What = {
  readonly target: Target
  readonly command: Command
  readonly exec: string
  readonly signal: AbortSignal
  readonly slots: Slots
}

/** A process document of the runtime spec (typeurl of containerd, `specs.Process`). */
const PROCESS_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process'
/** For the shim to open its end of a command's stdin, once it has started it. */
const OPEN_MS = 10_000
/** How long a process that nobody waits for any more is watched, so that containerd may forget it. */
const REAP_MS = 5_000
/** After the exit code, for the rest of the output, which a background child may hold open (dockerd gives it 2 s as well). */
const REST_MS = 2_000
const PASSWD_BYTES = 1024 * 1024
/** Ends a line of a terminal's input that is empty: end of file. */
export const END_OF_INPUT = new Uint8Array([4])

export async function* execute(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  refuseUnsupported(what.command)
  if (what.signal.aborted) throw givenUp('no', what.signal.reason)
  const leave = await what.slots.enter(what.target.native, what.signal)
  try {
    yield* executeInPlace(connection, what)
  } finally {
    leave()
  }
}

/**
 * The id by which containerd knows it: the letters of drover's own, backwards. runc has it among its arguments, and in a
 * container that sees the host's processes the kill would take runc for one of the command's.
 */
export function execIdOf(exec: string): string {
  return `drover-${[...exec].toReversed().join('')}`
}

/** What the kill needs besides the id is the user, for only the same user may see a process's environment. */
export function handleOf(exec: string, ids: Ids | undefined): string {
  return ids === undefined ? exec : `${exec}@${ids.uid}:${ids.gid}`
}

async function* executeInPlace(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  const { engine, address } = connection
  const { target, command, exec, signal } = what
  const about = `the container ${target.name}`
  const input = command.tty ? END_OF_INPUT : command.stdin ? new TextEncoder().encode(command.stdin) : undefined
  const outputs: readonly Stream[] = command.tty ? ['stdout'] : ['stdout', 'stderr']
  const [{ document, ids }, pipes] = await both(
    described(connection, what),
    pipesFor(connection, [...outputs, ...(input ? ['stdin'] : [])], signal),
    (unused) => unused.close(),
  )
  const id = { containerId: target.native, execId: execIdOf(exec) }
  const waiting = new AbortController()
  let asked = false
  let starting: Promise<{ readonly pid: number }> | undefined
  let waited: Promise<number> | undefined
  let isOver = false

  try {
    const sources = await Promise.all(
      outputs.map(async (stream): Promise<Arriving> => ({ stream, data: await pipes.read(stream, signal) })),
    )
    if (signal.aborted) throw givenUp('no', signal.reason)
    asked = true
    await engine
      .exec(
        {
          ...id,
          stdin: input ? pipes.path('stdin') : '',
          stdout: pipes.path('stdout'),
          stderr: command.tty ? '' : pipes.path('stderr'),
          terminal: command.tty ?? false,
          spec: { typeUrl: PROCESS_TYPE, value: document },
        },
        signal,
      )
      .catch((error: unknown) => {
        throw signal.aborted ? givenUp('no', error) : notMade(error, target.name, address)
      })
    if (signal.aborted) throw givenUp('no', signal.reason)
    waited = engine.wait(id, waiting.signal)
    waited.catch(() => {})
    // Not under `signal`: a start that is under way is not taken back by looking away.
    starting = engine.start(id, waiting.signal)
    const { pid } = await unlessAborted(starting, signal).catch((error: unknown) => {
      throw notStarted(error, command, target.name)
    })
    const stdin = input && (await stdinOf(pipes, signal))
    pipes.handedOver()
    connection.live.add(exec)
    const inside = await connection.pidInside(pid, target.native)
    yield {
      type: 'started',
      handle: { target: target.id, exec: handleOf(exec, ids), ...(inside === undefined ? {} : { pid: inside }) },
    }
    if (stdin && command.tty) void stdin.send(input)
    else if (stdin) feed(engine, id, stdin, input, signal)
    const { code, isWhole } = yield* together(sources, { exit: waited, signal, restMs: REST_MS })
    isOver = true
    pipes.close()
    const forgotten = forget(engine, id)
    // Where a child holds the output, the shim gives it 2 s more, for which the answer does not wait.
    if (isWhole) await forgotten
    yield { type: 'exit', code }
  } catch (error) {
    if (error instanceof BackendError) {
      // Not begun, and never to begin: nothing is left to be waited for.
      if (asked && error.ran === 'no') await forget(engine, id)
      isOver = error.ran === 'no'
      throw error
    }
    if (signal.aborted) throw givenUp(starting ? 'maybe' : 'no', error)
    throw starting ? lost(error) : refusal(error, { address, about })
  } finally {
    pipes.close()
    connection.live.delete(exec)
    if (asked && !isOver) void reap(engine, id, { starting, waited, waiting })
    else waiting.abort()
  }
}

async function described(connection: Connection, what: What): Promise<{ document: Uint8Array; ids: Ids | undefined }> {
  const { command, exec } = what
  const base = await processDocument(connection, what)
  const ids = command.user === undefined ? undefined : (idsIn(command.user) ?? (await lookedUp(connection, what, command.user)))
  return { document: new TextEncoder().encode(JSON.stringify(processOf(base, command, exec, ids))), ids }
}

/** The container's own, which says what its processes may do. */
async function processDocument({ engine, address }: Connection, { target, signal }: What) {
  const container = await engine.container(target.native, signal).catch((error: unknown) => {
    throw refusal(error, { address, about: `the container ${target.name}` })
  })
  const document = specOf(container)?.process
  if (document === undefined)
    throw new BackendError(
      {
        code: 'unsupported',
        message: `The container ${target.name} has no runtime spec that drover can read, so no process can be described for it.`,
        next: 'Only containers of Linux can be used.',
      },
      { ran: 'no' },
    )
  return document
}

/** Names are the container's own: its files say what they mean. */
async function lookedUp(connection: Connection, what: What, user: string): Promise<Ids> {
  const run = (command: Command, exec: string) => executeInPlace(connection, { ...what, command, exec })
  return idsFrom(await userFiles(run, { name: what.target.name, user }), user)
}

/** /etc/passwd and /etc/group, one behind the other, as a command in the container prints them. */
export async function userFiles(
  run: (command: Command, exec: string) => AsyncIterable<ExecEvent>,
  about: { readonly name: string; readonly user: string },
): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  try {
    const look: Command = { argv: ['cat', '/etc/passwd', '/etc/group'], dir: '/' }
    for await (const event of run(look, crypto.randomUUID().replaceAll('-', ''))) {
      if (event.type === 'output' && event.stream === 'stdout') text += decoder.decode(event.data, { stream: true })
      if (text.length > PASSWD_BYTES) break
    }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    const { code, message, next } = error
    if (code === 'command_not_found')
      throw new BackendError(
        {
          code: 'unsupported',
          message: `There is no cat in the container ${about.name}, so what user=${about.user} means cannot be read there.`,
          next: 'Give numbers: user=1000:1000.',
        },
        { ran: 'no', cause: error },
      )
    // Whatever became of the look, the command itself has not begun.
    throw new BackendError({ code, message, ...(next ? { next } : {}) }, { ran: 'no', cause: error })
  }
  return text
}

export async function pipesFor(
  { makePipes, fifoDirectory }: Connection,
  names: readonly string[],
  signal: AbortSignal,
): Promise<NamedPipes> {
  try {
    return await makePipes(names, fifoDirectory, signal)
  } catch (error) {
    if (signal.aborted) throw givenUp('no', error)
    if (!(error instanceof DroverError)) throw error
    throw new BackendError(error.toFailure(), { ran: 'no', cause: error })
  }
}

export async function stdinOf(pipes: NamedPipes, signal: AbortSignal): Promise<PipeWriter> {
  const deadline = AbortSignal.timeout(OPEN_MS)
  try {
    return await pipes.write('stdin', AbortSignal.any([signal, deadline]))
  } catch (error) {
    throw deadline.aborted ? new EngineError('DEADLINE_EXCEEDED', 'its stdin was not opened', { cause: error }) : error
  }
}

type ExecId = { readonly containerId: string; readonly execId: string }

/**
 * In the background; what goes wrong shows in how the command ends. Without CloseIO the command never reads the end (shim v2).
 * A terminal's input stays open instead: at its end the shim shuts the whole terminal, and output is lost (pkg/process, console).
 */
export function feed(engine: Engine, id: ExecId, stdin: PipeWriter, input: Uint8Array, signal: AbortSignal): void {
  stdin
    .send(input)
    .then(() => stdin.end())
    .then(() => engine.closeStdin(id, signal))
    .catch(() => {})
}

/** After the end, or before the begin; a process that containerd does not know any more is as good as forgotten. */
async function forget(engine: Engine, id: ExecId): Promise<void> {
  await engine.forget(id, AbortSignal.timeout(REAP_MS)).catch(() => {})
}

/** Of what is given up: containerd forgets the process if it ends soon; else that is for the kill. */
async function reap(
  engine: Engine,
  id: ExecId,
  {
    starting,
    waited,
    waiting,
  }: {
    readonly starting: Promise<unknown> | undefined
    readonly waited: Promise<number> | undefined
    readonly waiting: AbortController
  },
): Promise<void> {
  const timer = setTimeout(() => waiting.abort(), REAP_MS)
  try {
    await starting
    await waited
  } catch {
    // Containerd is gone, or it never began, or it goes on.
  } finally {
    clearTimeout(timer)
    waiting.abort()
    await forget(engine, id)
  }
}

/** Rejects at once when `signal` aborts; `work` goes on. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new EngineError('CANCELLED', 'given up while it started'))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Both, or what the first that fails throws, when both have settled; then what the other one made is let go. */
export async function both<A, B>(first: Promise<A>, second: Promise<B>, letGo: (unused: B) => void): Promise<readonly [A, B]> {
  const [a, b] = await Promise.allSettled([first, second])
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value]
  if (b.status === 'fulfilled') letGo(b.value)
  throw a.status === 'rejected' ? a.reason : (b as PromiseRejectedResult).reason
}
