/** How a command may fail for a program that runs it: it ended badly, it never ran, it was stopped, or nobody can tell. */

import type { ErrorCode } from '../core/errors.ts'

/** What could not be proved gone; `pid` as the engine's host counts, where it is known. */
export type Left = { readonly pid?: number }

/** It ran to its end and said no. */
export class ExitError extends Error {
  override readonly name = 'ExitError'
  readonly exitCode: number
  /** The last 32 KiB of what it wrote to stderr, wherever else that went. */
  readonly stderr: string
  constructor(program: string, exitCode: number, stderr: string) {
    const last = stderr.trimEnd().split('\n').at(-1)?.slice(0, 300)
    super(`${program} ended with exit code ${exitCode}${last ? `: ${last}` : ''}`)
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

type Told = { readonly code: ErrorCode; readonly next: string | undefined; readonly cause: unknown }

/** It could not be started: nothing ran. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly code: ErrorCode
  /** What can be done about it. */
  readonly next: string | undefined
  constructor(message: string, { code, next, cause }: Told) {
    super(message, { cause })
    this.code = code
    this.next = next
  }
}

/** The connection was lost, or the engine cannot say: it may have run, and may still run. */
export class UnknownError extends Error {
  override readonly name = 'UnknownError'
  readonly code: ErrorCode
  readonly next: string | undefined
  constructor(message: string, { code, next, cause }: Told) {
    super(message, { cause })
    this.code = code
    this.next = next
  }
}

const NAMES = { timeout: 'TimeoutError', signal: 'AbortError', kill: 'KilledError', output: 'OutputLimitError' } as const
export type StopReason = keyof typeof NAMES

/** It was ended from here. `name` says by what: `TimeoutError`, `AbortError`, `KilledError` or `OutputLimitError`. */
export class StoppedError extends Error {
  override readonly name: (typeof NAMES)[StopReason]
  readonly reason: StopReason
  /** Absent: it is proved gone. */
  readonly left: Left | undefined
  constructor(message: string, reason: StopReason, left: Left | undefined, cause?: unknown) {
    super(`${message}${left ? `; it could not be proved gone${left.pid === undefined ? '' : ` (pid ${left.pid})`}` : ''}`, {
      cause,
    })
    this.name = NAMES[reason]
    this.reason = reason
    this.left = left
  }
}

/** A mistake of the program: a second start, a pipe asked for too late. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
