/** Every way drover says no or reports a failure: a code, a sentence for the reader, and what to do next. */

export type ErrorCode =
  // The words that were typed.
  | 'usage' // the text does not parse; `position` points at the first bad character
  | 'mangled_text' // chat software changed the text and it cannot be restored with certainty
  | 'empty_selector' // the selector is empty, blank or unresolved: it would mean "everything"
  // What was found.
  | 'no_targets' // nothing matches the selector
  | 'too_many_targets' // more matches than the rule or the site allows
  | 'too_many_runs' // the actor has as many runs going on as one may have
  | 'ambiguous' // an id prefix that matches more than one container
  | 'count_mismatch' // `all=N` was typed and N is not what was found
  // Who may.
  | 'denied' // no rule allows it, or a rule denies it
  | 'identity' // the actor could not be established, or is an outsider, a guest or deactivated
  | 'facts_unavailable' // group membership or channel facts could not be read: denied
  | 'not_found' // no such run, hook, file or channel for this actor
  // The way to the container.
  | 'backend_unauthorized' // the backend refused the credentials
  | 'backend_forbidden' // the credentials are good but lack the right
  | 'backend_not_found' // the container or project is gone, or hidden from this key
  | 'backend_unavailable' // no connection, TLS failure, 5xx, 429
  | 'backend_protocol' // the answer is not what this system sends
  | 'not_running' // the container is there but does not run
  | 'command_not_found' // the engine could not start the executable
  | 'changed' // what was shown is no longer what would be done: nothing was sent
  | 'unsupported' // this backend cannot do what the request asks (stdin, user, …)
  // How it ended.
  | 'stream_broken' // the connection ended before the command said how it ended
  | 'exit_code_unknown' // it ended, but nothing could tell the exit code (no shell in the container)
  | 'timeout' // drover's own deadline for a step (not for the command) passed
  | 'interrupted' // drover stopped while this was running
  | 'not_started' // never left drover: cancelled, refused or interrupted before its turn
  // drover itself.
  | 'config' // a mistake in drover.yaml or the environment
  | 'ledger_unavailable' // the record could not be written: nothing runs
  | 'reply_failed' // the answer could not be delivered
  | 'internal' // a bug; `reference` is in the log

/** What a person is told: plain JSON, safe to show, safe to store. */
export type Failure = {
  readonly code: ErrorCode
  /** One sentence: what happened. No secret, no stack. */
  readonly message: string
  /** What the reader can do next. */
  readonly next?: string
  /** Offset in the typed text, in UTF-16 units; only with `usage` and `mangled_text`. */
  readonly position?: number
}

/** A failure on its way up. `cause` is for the log, never for the thread. */
export class DroverError extends Error {
  override readonly name: string = 'DroverError'
  readonly code: ErrorCode
  readonly next: string | undefined
  readonly position: number | undefined

  constructor(failure: Failure, options?: { cause?: unknown }) {
    super(failure.message, options)
    this.code = failure.code
    this.next = failure.next
    this.position = failure.position
  }

  toFailure(): Failure {
    return {
      code: this.code,
      message: this.message,
      ...(this.next === undefined ? {} : { next: this.next }),
      ...(this.position === undefined ? {} : { position: this.position }),
    }
  }
}

/** Thrown by a backend. `ran` decides between `failed` (it did not run) and `unknown` (it may have). */
export class BackendError extends DroverError {
  override readonly name: string = 'BackendError'
  readonly ran: 'no' | 'maybe'

  constructor(failure: Failure, options: { ran: 'no' | 'maybe'; cause?: unknown }) {
    super(failure, options)
    this.ran = options.ran
  }
}

/** Any thrown thing as a Failure. What is not a DroverError is a bug: `log` gets it whole, the reader a reference. */
export function failureOf(error: unknown, log: (reference: string, error: unknown) => void): Failure {
  if (error instanceof DroverError) return error.toFailure()
  const reference = crypto.randomUUID().slice(0, 8)
  log(reference, error)
  return {
    code: 'internal',
    message: `drover ran into a bug of its own (reference ${reference}).`,
    next: 'Look for the reference in drover’s log and report it.',
  }
}
