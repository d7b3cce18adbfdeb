/** Commands in containers for programs, in the manner of Go's os/exec: made, started, waited for, and always cleaned up after. */

import { BackendError, DroverError } from '../core/errors.ts'
import { within } from '../core/fan-out.ts'
import type { Argv, ExecHandle, Target } from '../core/model.ts'
import type { KillResult } from '../core/ports.ts'
import type { Command, ExecOptions } from './command.ts'
import { docker, type Engine } from './engines.ts'
import { ExitError, type Left, StartError, StoppedError, type StopReason, UnknownError, UsageError } from './errors.ts'
import { type Bytes, buffer, bytesOf, type Input, pipe, type Sink, sinkTo, tail } from './streams.ts'

const HOUR_MS = 3_600_000
const MAX_MS = 24 * HOUR_MS
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024
const KILL_MS = 20_000
/** After a proved kill: for the last words. */
const GRACE_MS = 1_500

const nothing = (): void => undefined
const discard: Sink = { async write() {}, async end() {} }

export function exec(argv: Argv, options: ExecOptions): Command {
  return new Execution(argv, options)
}

class Execution implements Command {
  readonly argv: Argv
  containerId: string | undefined
  readonly #options: ExecOptions
  readonly #engine: Engine
  readonly #connection = new AbortController()
  readonly #lastWords = tail()
  #stdout: Sink | undefined
  #stderr: Sink | undefined
  #stdin: Input | undefined
  #target: Target | undefined
  #handle: ExecHandle | undefined
  readonly #exec = crypto.randomUUID().replaceAll('-', '')
  #begun = Promise.withResolvers<void>()
  /** Settles with how it ended, when everything is cleaned up. */
  #done: Promise<void> | undefined
  /** Settles when the engine's last answer was taken, and with it the container. */
  #cleaned: Promise<void> = Promise.resolve()
  readonly #streamEnded = Promise.withResolvers<void>()
  #stopped: { readonly reason: StopReason; readonly cause: unknown; readonly killed: Promise<KillResult> } | undefined
  #hasBegun = false
  #hasEnded = false

  constructor(argv: Argv, options: ExecOptions) {
    const { timeoutMs = HOUR_MS, stdout, stderr } = options
    if (!(timeoutMs > 0 && timeoutMs <= MAX_MS)) throw new UsageError('timeoutMs is more than 0 and at most 24 hours')
    this.argv = argv
    this.#options = options
    this.#engine = options.on ?? docker()
    this.#stdin = options.stdin
    this.#stdout = stdout && sinkTo(stdout, { isOurs: false })
    this.#stderr = stderr && sinkTo(stderr, { isOurs: false })
    this.#begun.promise.catch(() => undefined)
  }

  start(): Promise<void> {
    this.#mustBeNew('start')
    this.#done = this.#perform()
    this.#done.catch(() => undefined)
    return Promise.race([this.#begun.promise, this.#done])
  }

  async wait(): Promise<void> {
    if (!this.#done) throw new UsageError('wait() comes after start()')
    await this.#done
  }

  async run(): Promise<void> {
    await this.start()
    await this.wait()
  }

  async output(): Promise<Bytes> {
    const { sink, bytes } = this.#buffer()
    this.#stdout = this.#unused(this.#stdout, 'output() is stdout; it cannot go anywhere else', sink)
    await this.run()
    return bytes()
  }

  async text(): Promise<string> {
    return new TextDecoder().decode(await this.output())
  }

  async combinedOutput(): Promise<Bytes> {
    const { sink, bytes } = this.#buffer()
    const message = 'combinedOutput() is both outputs; they cannot go anywhere else'
    this.#stdout = this.#unused(this.#stdout, message, sink)
    this.#stderr = this.#unused(this.#stderr, message, sink)
    await this.run()
    return bytes()
  }

  stdinPipe(): WritableStream<Uint8Array | string> {
    this.#mustBeNew('stdinPipe')
    if (this.#stdin !== undefined) throw new UsageError('there is a stdin already')
    const { readable, writable } = new TransformStream<Uint8Array | string, Uint8Array | string>()
    this.#stdin = readable
    return writable
  }

  stdoutPipe(): ReadableStream<Bytes> {
    this.#mustBeNew('stdoutPipe')
    const { sink, readable } = pipe()
    this.#stdout = this.#unused(this.#stdout, 'stdout goes somewhere already', sink)
    return readable
  }

  stderrPipe(): ReadableStream<Bytes> {
    this.#mustBeNew('stderrPipe')
    const { sink, readable } = pipe()
    this.#stderr = this.#unused(this.#stderr, 'stderr goes somewhere already', sink)
    return readable
  }

  async kill(): Promise<KillResult> {
    if (!this.#done) throw new UsageError('kill() comes after start()')
    this.#stop('kill')
    const failure = await this.#done.then(nothing, (error: unknown) => error)
    const killed = await this.#stopped?.killed
    // Also where nobody stopped it: when its outcome is unknown it may still run.
    const isOver = failure === undefined || failure instanceof ExitError || failure instanceof StartError
    if (killed?.result === 'gone' || (killed === undefined && isOver)) return { result: 'gone' }
    return await this.#killAndProve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#done) await this.kill()
  }

  #mustBeNew(what: string): void {
    if (this.#done) throw new UsageError(`${what}() comes before the start, and a command is started once`)
  }

  #unused(present: Sink | undefined, message: string, sink: Sink): Sink {
    this.#mustBeNew('output')
    if (present) throw new UsageError(message)
    return sink
  }

  #buffer() {
    const { maxOutputBytes = MAX_OUTPUT_BYTES } = this.#options
    return buffer(maxOutputBytes, () => this.#stop('output'))
  }

  /** From the start to the end of everything. The first cause wins, whatever the stream says while it dies. */
  async #perform(): Promise<void> {
    const { signal, timeoutMs = HOUR_MS } = this.#options
    const timer = setTimeout(() => this.#stop('timeout'), timeoutMs)
    const abort = () => this.#stop('signal', signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted) abort()
    let failure: unknown
    try {
      failure = await this.#consumed(timeoutMs)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      this.#hasEnded = true
      this.#streamEnded.resolve()
    }
    if (this.#stopped) failure = await this.#wasStopped(failure)
    this.#connection.abort()
    const isCut = failure !== undefined && !(failure instanceof ExitError)
    await Promise.all([this.#stdout, this.#stderr].map((sink) => sink?.end(isCut ? failure : undefined)))
    // What is still being made is removed as soon as it is there.
    await this.#within(KILL_MS, this.#cleaned)
    if (failure !== undefined) throw failure
  }

  /** Undefined, or what `wait` throws. */
  async #consumed(timeoutMs: number): Promise<unknown> {
    const [program] = this.argv
    let inputFailure: { readonly error: unknown } | undefined
    const onFailure = (error: unknown) => {
      inputFailure = { error }
      this.#stop('kill')
    }
    const aborted = Promise.withResolvers<never>()
    aborted.promise.catch(() => undefined)
    const { signal } = this.#connection
    const giveUp = () =>
      aborted.reject(new BackendError({ code: 'stream_broken', message: 'drover closed the connection.' }, { ran: 'maybe' }))
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      // Raced, so that a reader that stands still cannot hold what was stopped.
      const events = this.#events(timeoutMs, onFailure)
      this.#cleaned = events.then(nothing, nothing)
      const code = await Promise.race([events, aborted.promise])
      if (inputFailure) return inputFailure.error
      return code === 0 ? undefined : new ExitError(program, code, this.#lastWords.text())
    } catch (error) {
      return inputFailure ? inputFailure.error : told(error, this.#options)
    }
  }

  async #events(timeoutMs: number, onFailure: (error: unknown) => void): Promise<number> {
    const { env, dir, user, tty, onProgress } = this.#options
    const stdin = this.#stdin === undefined ? undefined : bytesOf(this.#stdin, { ended: this.#streamEnded.promise, onFailure })
    const events = this.#engine.exec({
      where: this.#options,
      command: { argv: this.argv, ...present({ env, dir, user, tty }) },
      exec: this.#exec,
      stdin,
      lastsMs: timeoutMs,
      signal: this.#connection.signal,
      onTarget: (target) => {
        this.#target = target
      },
      onContainer: (id) => {
        this.containerId = id
      },
    })
    // Aborted before the first request: there is nothing to ask for.
    if (this.#connection.signal.aborted)
      throw new BackendError({ code: 'not_started', message: 'It was stopped before its start.' }, { ran: 'no' })
    let code: number | undefined
    for await (const event of events) {
      if (event.type === 'progress') onProgress?.(event.text)
      else if (event.type === 'started') {
        this.#hasBegun = true
        this.#handle = event.handle
        // In a container of its own the engine has yet to start it.
        if (!('image' in this.#options && this.#engine.tellsWhenItRuns)) this.#begun.resolve()
      } else if (event.type === 'connected') this.#begun.resolve()
      else if (event.type === 'exit') code = event.code
      else if (event.type === 'exit-unknown') throw new DroverError(event.error)
      else {
        this.#begun.resolve()
        if (event.stream === 'stderr') this.#lastWords.write(event.data)
        await ((event.stream === 'stdout' ? this.#stdout : this.#stderr) ?? discard).write(event.data)
      }
    }
    if (code === undefined) throw new DroverError({ code: 'backend_protocol', message: 'The engine did not say how it ended.' })
    return code
  }

  #stop(reason: StopReason, cause?: unknown): void {
    if (this.#stopped || this.#hasEnded) return
    // Before its first word nothing is there to be killed: give the connection up first, so that nothing begins after the proof.
    if (!this.#hasBegun) this.#connection.abort()
    const killed = this.#killAndProve().finally(async () => {
      await this.#within(GRACE_MS, this.#streamEnded.promise)
      this.#connection.abort()
    })
    this.#stopped = { reason, cause, killed }
  }

  async #within(ms: number, work: Promise<void>): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
    })
    await Promise.race([work, late])
    clearTimeout(timer)
  }

  async #killAndProve(): Promise<KillResult> {
    const target = this.#target
    if (target === undefined) return { result: 'gone' }
    const handle = this.#handle ?? { target: target.id, exec: this.#exec }
    try {
      return await within(KILL_MS, 'The kill', (signal) => this.#engine.kill(target, handle, signal))
    } catch {
      return { result: 'left', ...present({ pid: handle.pid }) }
    }
  }

  /** Whatever the stream said: but for what was not stopped at all, because it never ran or had ended by itself. */
  async #wasStopped(failure: unknown): Promise<unknown> {
    const stopped = this.#stopped
    if (!stopped) return failure
    const killed = await stopped.killed
    if (
      failure !== undefined &&
      !(failure instanceof ExitError || failure instanceof UnknownError || failure instanceof StartError)
    )
      return failure
    const left: Left | undefined = killed.result === 'left' ? present({ pid: killed.pid }) : undefined
    const { timeoutMs = HOUR_MS, maxOutputBytes = MAX_OUTPUT_BYTES } = this.#options
    const why = {
      timeout: `took longer than ${timeoutMs / 1000} s`,
      signal: 'was aborted',
      kill: 'was killed',
      output: `wrote more than ${maxOutputBytes} bytes`,
    }
    return new StoppedError(`${this.argv[0]} ${why[stopped.reason]}`, stopped.reason, left, stopped.cause)
  }
}

function told(error: unknown, options: ExecOptions): unknown {
  if (!(error instanceof DroverError)) return error
  // What the backend says is meant for who has a drover.yaml.
  const isImageMissing = 'image' in options && error.code === 'backend_not_found'
  const next = isImageMissing ? 'Pull it there first, or let the command do so with pull: true.' : error.next
  const about = { code: error.code, next, cause: error.cause ?? error }
  return error instanceof BackendError && error.ran === 'no'
    ? new StartError(error.message, about)
    : new UnknownError(error.message, about)
}

function present<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
