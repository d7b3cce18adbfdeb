/** What containerd refuses, in words a person can act on. */

import { BackendError, type Failure } from '../../core/errors.ts'
import { EngineError } from './engine.ts'

const failure = (ran: 'no' | 'maybe', code: Failure['code'], message: string, next: string, cause?: unknown) =>
  new BackendError({ code, message, next }, { ran, cause })

/** A call that starts nothing. */
export function refusal(error: unknown, what: { readonly address: string; readonly about: string }): unknown {
  if (!(error instanceof EngineError)) return error
  const { code, message } = error
  const no = (reason: Failure['code'], text: string, next: string) => failure('no', reason, text, next, error)
  if (code === 'CANCELLED') return no('stream_broken', 'drover stopped waiting for containerd.', 'Ask again.')
  if (code === 'DEADLINE_EXCEEDED')
    return no('timeout', `containerd did not answer about ${what.about} in time.`, 'Check whether its machine is overloaded.')
  if (code === 'NOT_FOUND')
    return no(
      'backend_not_found',
      `containerd does not know ${what.about}.`,
      'It may have been removed since it was listed: ask again.',
    )
  if (code === 'UNAVAILABLE') return unreachable(error, what.address)
  if (code === 'UNIMPLEMENTED')
    return no(
      'backend_protocol',
      'What answers on this socket is not containerd, or one older than 1.3.',
      'Check `address` of this backend.',
    )
  if (code === 'PERMISSION_DENIED')
    return no(
      'backend_forbidden',
      `containerd does not allow it: ${words(message)}`,
      'See docs/backends/containerd.md for the rights.',
    )
  return no(
    'backend_protocol',
    `containerd answered ${what.about} with ${code}: ${words(message)}`,
    'Look into containerd’s log.',
  )
}

function unreachable(error: EngineError, address: string): BackendError {
  const no = (code: Failure['code'], message: string, next: string) => failure('no', code, message, next, error)
  if (/EACCES|EPERM/.test(error.message))
    return no(
      'backend_forbidden',
      `drover’s user may not open containerd’s socket ${address}.`,
      'It belongs to root; who may open it owns the machine. See docs/backends/containerd.md.',
    )
  if (/ENOENT/.test(error.message))
    return no('backend_unavailable', `There is no socket at ${address}.`, 'Start containerd, or set `address` of this backend.')
  return no(
    'backend_unavailable',
    `containerd cannot be reached at ${address}: ${words(error.message)}`,
    'Check whether it is running: `systemctl status containerd`.',
  )
}

/** Tasks.Exec makes the process known, and runs nothing yet. */
export function notMade(error: unknown, name: string, address: string): unknown {
  if (!(error instanceof EngineError)) return error
  const why = state(error, name)
  return why ?? refusal(error, { address, about: `a process in ${name}` })
}

/** The states of a container in which nothing can be run. The texts: containerd's pkg/process and runc's `exec`. */
function state(error: EngineError, name: string): BackendError | undefined {
  const not = (how: string, next: string) => failure('no', 'not_running', `The container ${name} ${how}.`, next, error)
  if (error.code === 'NOT_FOUND' || /in a (stopped|deleted) state|cannot exec in a stopped container/.test(error.message))
    return not('is not running', 'Start it, or choose one that runs.')
  if (/in a paus(ed|ing) state|cannot exec in a paused container/.test(error.message))
    return not('is paused', 'Let it go on, or choose one that runs.')
  return undefined
}

/** Tasks.Start: what the runtime says of a program it could not start is no output and no exit code. */
export function notStarted(
  error: unknown,
  command: { readonly argv: readonly string[]; readonly dir?: string },
  name: string,
): unknown {
  if (!(error instanceof EngineError)) return error
  const { code, message } = error
  if (code === 'CANCELLED') return givenUp('maybe', error)
  if (code === 'DEADLINE_EXCEEDED') {
    const next = 'Its machine may be overloaded. Look before you run it again.'
    return failure('maybe', 'timeout', 'The container did not begin the command in time.', next, error)
  }
  if (!isVerdict(message)) return (code === 'NOT_FOUND' ? state(error, name) : undefined) ?? lost(error)
  return toldNo(error, command) ?? state(error, name) ?? refusedToStart(error)
}

/** Tasks.Create of a new container: its first process is there, and none of the command's own has begun. */
export function notCreated(error: unknown, command: { readonly argv: readonly string[]; readonly dir?: string }): unknown {
  if (!(error instanceof EngineError)) return error
  if (error.code === 'DEADLINE_EXCEEDED') {
    const next = 'Its machine may be overloaded: look there, or try again.'
    return failure('no', 'timeout', 'The container was not made in time; the command was not begun.', next, error)
  }
  return toldNo(error, command) ?? refusedToStart(error)
}

/** What is wrong with the command, where the runtime says so. */
function toldNo(
  error: EngineError,
  command: { readonly argv: readonly string[]; readonly dir?: string },
): BackendError | undefined {
  const no = (reason: Failure['code'], text: string, next: string) => failure('no', reason, text, next, error)
  // Names of programs and folders stand in quotes, and may read like anything.
  const said = error.message.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""')
  const [program = ''] = command.argv
  // Nothing that the command could have caused.
  if (/error mounting/.test(said)) return undefined
  if (/chdir to cwd|: mkdir .{0,4096}: not a directory/.test(said))
    return no(
      'command_not_found',
      `The directory ${command.dir ?? 'that the container starts in'} is not there, or may not be entered, so the command was not started.`,
      'Check dir= against the files of the container.',
    )
  if (/not found in \$PATH|no such file or directory/i.test(said))
    return no('command_not_found', `There is no ${program} in the container.`, 'Use a program that the image has.')
  const [why] = /permission denied|is a directory|exec format error/i.exec(said) ?? []
  if (why)
    return no(
      'command_not_found',
      `${program} is in the container, but cannot be run there: ${why}.`,
      'Check its rights, and what system it was made for.',
    )
  return undefined
}

function refusedToStart(error: EngineError): BackendError {
  return failure(
    'no',
    'backend_unavailable',
    `The container’s runtime could not start it: ${words(error.message)}`,
    'Look at the container on its machine.',
    error,
  )
}

/** The runtime's own word that nothing has begun. One that was killed itself has none to give. */
function isVerdict(message: string): boolean {
  return /^OCI runtime exec failed/.test(message) && !/did not terminate|unable to retrieve OCI runtime error/.test(message)
}

/** After the begin, the engine that can no longer be asked proves nothing (S41). */
export function lost(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error
  return failure(
    'maybe',
    'stream_broken',
    `The connection to containerd ended before it told how the command did (${words(error.message)}); it may still run.`,
    'Look at the container and at containerd, then decide whether to run it again.',
    error,
  )
}

export function givenUp(ran: 'no' | 'maybe', cause?: unknown): BackendError {
  return new BackendError(
    { code: 'stream_broken', message: 'drover closed the connection before the command ended.' },
    { ran, cause },
  )
}

/** An engine's words on one line, and not too many. */
function words(text: string): string {
  return text
    .replaceAll(/[\x00-\x1f\x7f]+/g, ' ')
    .trim()
    .slice(0, 300)
}
