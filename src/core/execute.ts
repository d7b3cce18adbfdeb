/** One command on one target to its end: deadline, cancel, caps, first cause wins, and the kill. */

import { BackendError, type Failure } from './errors.ts'
import { type Gate, within } from './fan-out.ts'
import type { Actor, Command, Ending, ExecEvent, ExecHandle, OutputChunk, OutputCount, Target } from './model.ts'
import { createCollector } from './output.ts'
import type { Backend } from './ports.ts'
import type { Redactor } from './redact.ts'

export type ExecuteOptions = {
  readonly backend: Pick<Backend, 'exec' | 'kill'>
  readonly target: Target
  readonly command: Command
  /** Who asked for it. */
  readonly by?: Actor
  /** From the moment it leaves drover to its end. */
  readonly timeoutMs: number
  readonly cancel: AbortSignal
  /** Bounds how many connections are being opened at a time. */
  readonly handshake: Gate
  readonly redactor: Redactor
  readonly maxBytes: number
  /** What it started does not run on in the target: a rollout. */
  readonly leavesNothing?: boolean
  /** Stores; a rejection ends the execution as a bug of ours would, never silently. What is read meanwhile does not wait for the handle. */
  onHandle(handle: ExecHandle): Promise<void>
  onOutput(chunks: readonly OutputChunk[]): Promise<void>
  onProgress?(text: string): Promise<void>
  failureOf(error: unknown): Failure
}

/** Output is stored when this much waits, or when this long has passed. */
const flushBytes = 65_536
const flushMs = 1_000
/** How long a kill and its proof may take. */
const killMs = 20_000
/** After a proved kill the stream gets this long to end by itself, so that its last words are kept. */
const graceMs = 1_500

export type Executed = {
  readonly ending: Ending
  readonly count: OutputCount
  /** What it wrote last and is not stored yet, so that it can be stored together with the ending. */
  readonly rest: readonly OutputChunk[]
}

/** Settles when all of it is stored but the last words and the handle, which may still be on its way. */
export async function execute(options: ExecuteOptions): Promise<Executed> {
  const { backend, target, command, cancel } = options
  const collector = createCollector({ redactor: options.redactor, maxBytes: options.maxBytes })
  const connection = new AbortController()
  let handle: ExecHandle = { target: target.id, exec: crypto.randomUUID().replaceAll('-', '') }
  let stoppedBy: 'timed_out' | 'cancelled' | undefined
  let streamEnded = (): void => {}
  const streamEnd = new Promise<void>((resolve) => {
    streamEnded = resolve
  })
  let kill: Promise<{ pid?: number } | undefined> | undefined
  let begun = false
  let hasStarted = false

  const stop = (cause: 'timed_out' | 'cancelled') => {
    if (stoppedBy) return
    stoppedBy = cause
    // Before its first word nothing is there to be killed: give the connection up first, so that nothing begins after the proof.
    if (!begun) connection.abort()
    kill = killAndProve().finally(async () => {
      await Promise.race([streamEnd, wait(graceMs)])
      connection.abort()
    })
    kill.catch(() => {})
  }

  /** Undefined when it is proved gone; otherwise what is known of the survivor. */
  async function killAndProve(): Promise<{ pid?: number } | undefined> {
    const known = handle.pid === undefined ? {} : { pid: handle.pid }
    try {
      const killed = await within(killMs, 'The kill', (signal) => backend.kill(target, handle, signal))
      if (killed.result === 'gone') return undefined
      return killed.pid === undefined ? known : { pid: killed.pid }
    } catch {
      return known
    }
  }

  const leave = await options.handshake.enter(cancel)
  if (cancel.aborted) {
    leave()
    const error: Failure = { code: 'not_started', message: 'It was cancelled before its turn.' }
    return { ending: { status: 'failed', error }, count: collector.count(), rest: [] }
  }
  const timer = setTimeout(() => stop('timed_out'), options.timeoutMs)
  const onCancel = () => stop('cancelled')
  cancel.addEventListener('abort', onCancel)

  let storing: { readonly error: unknown } | undefined
  let stored: Promise<void> = Promise.resolve()
  /** The first that fails ends the execution, for what cannot be recorded must not go on. */
  const unstored = (error: unknown): void => {
    storing ??= { error }
    stop('cancelled')
  }
  /** One after the other. */
  const store = (work: () => Promise<void>): Promise<void> => {
    stored = stored.then(work).catch(unstored)
    return stored
  }
  const flush = () =>
    store(async () => {
      const chunks = collector.take()
      if (chunks.length > 0) await options.onOutput(chunks)
    })
  const ticker = setInterval(() => void flush(), flushMs)

  let events: AsyncIterator<ExecEvent> | undefined
  async function consume(): Promise<Ending> {
    events = backend.exec(target, command, handle.exec, connection.signal, options.by, options.timeoutMs)[Symbol.asyncIterator]()
    for (;;) {
      const next = await events.next()
      leave()
      if (next.done || connection.signal.aborted) break
      const event = next.value
      if (event.type === 'connected') continue
      // What is only being prepared is not there to be killed.
      if (event.type !== 'progress') begun = true
      if (event.type === 'started') {
        handle = event.handle
        hasStarted = true
        options.onHandle(handle).catch(unstored)
      } else if (event.type === 'output') {
        if (event.dropped !== undefined) collector.skip(event.stream, event.dropped)
        collector.write(event.stream, event.data)
        if (collector.waiting >= flushBytes) await flush()
      } else if (event.type === 'progress') {
        await store(async () => options.onProgress?.(event.text))
      } else {
        return event.type === 'exit' ? { status: 'exited', code: event.code } : { status: 'unknown', error: event.error }
      }
    }
    const error: Failure = {
      code: 'backend_protocol',
      message: 'The backend stopped without saying how the command ended.',
      next: 'Look in the container before you run it again.',
    }
    return { status: 'unknown', error, ...leftBy(error) }
  }

  /** Of an end that nobody saw: what began may still run, and can be ended by its handle. With its container it is gone. */
  function leftBy({ code }: Failure): { left?: { pid?: number } } {
    if (!hasStarted || options.leavesNothing || code === 'backend_not_found') return {}
    return { left: handle.pid === undefined ? {} : { pid: handle.pid } }
  }

  let natural: Ending
  const aborted = rejectOn(connection.signal)
  try {
    // Raced as a whole, so that even a backend that never notices the abort cannot hold the run.
    natural = await Promise.race([consume(), aborted.promise])
  } catch (error) {
    const failure = options.failureOf(error)
    natural =
      error instanceof BackendError && error.ran === 'no'
        ? { status: 'failed', error: failure }
        : { status: 'unknown', error: failure, ...leftBy(failure) }
  } finally {
    leave()
    streamEnded()
    clearTimeout(timer)
    clearInterval(ticker)
    cancel.removeEventListener('abort', onCancel)
    aborted.release()
  }

  const left = await kill
  connection.abort(over)
  void Promise.resolve(events?.return?.()).catch(() => {})
  await stored
  if (storing) throw storing.error
  const rest = collector.end()
  return { ending: settle(natural, stoppedBy, left), count: collector.count(), rest }
}

/** One for all: each that an abort makes itself comes with a stack. */
const over = new Error('the execution is over')

/** The first cause wins: what was stopped stays stopped, whatever its stream said while it died. */
function settle(natural: Ending, stoppedBy: 'timed_out' | 'cancelled' | undefined, left: { pid?: number } | undefined): Ending {
  if (stoppedBy === undefined) return natural
  // It never began, so there is nothing to be gone: say that it did not run.
  if (natural.status === 'failed') return natural
  return { status: stoppedBy, ...(left ? { left } : {}) }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** A promise that rejects when the signal aborts, with a way to let go of it. */
function rejectOn(signal: AbortSignal): { readonly promise: Promise<never>; release(): void } {
  let listener = (): void => {}
  const promise = new Promise<never>((_, reject) => {
    listener = () =>
      reject(new BackendError({ code: 'stream_broken', message: 'drover closed the connection.' }, { ran: 'maybe' }))
    signal.addEventListener('abort', listener)
  })
  promise.catch(() => {})
  return { promise, release: () => signal.removeEventListener('abort', listener) }
}
