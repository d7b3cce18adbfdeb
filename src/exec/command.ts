/** A command as a program sees it: what it can be given, and what can be done with it. */

import type { Argv } from '../core/model.ts'
import type { KillResult } from '../core/ports.ts'
import type { Engine, Where } from './engines.ts'
import type { Bytes, Input } from './streams.ts'

export type ExecOptions = Where & {
  /** Default: the Docker Engine that the docker client would use. */
  readonly on?: Engine
  /** Besides what the container has. */
  readonly env?: Readonly<Record<string, string>>
  /** Absolute. Default: the container's own. */
  readonly dir?: string
  readonly user?: string
  readonly tty?: boolean
  /** Default: empty. */
  readonly stdin?: Input
  /** Where output goes; default: nowhere. It is not closed. */
  readonly stdout?: WritableStream<Uint8Array>
  readonly stderr?: WritableStream<Uint8Array>
  /** From the start, fetching the image included; then it is killed. Default one hour, at most 24. */
  readonly timeoutMs?: number
  /** Aborted: it is killed. */
  readonly signal?: AbortSignal
  /** What `output`, `text` and `combinedOutput` hold at most; default 64 MiB. */
  readonly maxOutputBytes?: number
  /** How far the image is, when it has to be fetched. */
  readonly onProgress?: (text: string) => void
}

export interface Command extends AsyncDisposable {
  readonly argv: Argv
  /** From the moment that it is known. */
  readonly containerId: string | undefined
  /** Settles when the engine has taken it: a program that is not there may be told by `wait`. Throws StartError, UnknownError, StoppedError. */
  start(): Promise<void>
  /** Settles when it ended with 0, its output was taken and its container is removed. Throws ExitError, StartError, UnknownError, StoppedError. */
  wait(): Promise<void>
  /** `start` and `wait`. */
  run(): Promise<void>
  /** What it wrote to stdout; an ExitError has the end of what it wrote to stderr. */
  output(): Promise<Bytes>
  /** `output`, as text. */
  text(): Promise<string>
  /** Both outputs, in the order in which they came. */
  combinedOutput(): Promise<Bytes>
  /** Before the start. To be closed by the caller: until then the command may wait for more. */
  stdinPipe(): WritableStream<Uint8Array | string>
  /** Before the start. To be read, beside a pending `wait` or before it: what is not read makes the command wait. */
  stdoutPipe(): ReadableStream<Bytes>
  stderrPipe(): ReadableStream<Bytes>
  /** Ends it with all that it started, and looks whether it is gone. `wait` then throws StoppedError. */
  kill(): Promise<KillResult>
}
