/** How an execution over Kubernetes' exec protocol can fail, in words a person can act on. */

import { BackendError, type Failure } from '../../core/errors.ts'
import type { SocketEnd } from '../transport.ts'
import type { HowEnded } from './channels.ts'
import { oneLine } from './start-failure.ts'

export function unsupported(message: string, next: string): BackendError {
  return new BackendError({ code: 'unsupported', message, next }, { ran: 'no' })
}

export function noDirectory(dir: string | undefined): BackendError {
  return new BackendError(
    {
      code: 'command_not_found',
      message: `The directory ${dir} is not there, or may not be entered, so the command was not started.`,
      next: 'Check dir= against the files of the container.',
    },
    { ran: 'no' },
  )
}

export function commandNotFound(executable: string): BackendError {
  return new BackendError(
    {
      code: 'command_not_found',
      message: `The container has neither ${executable}, as something that can be run, nor a shell.`,
      next: 'Use a program that the image has.',
    },
    { ran: 'no' },
  )
}

export function notBegun(how: HowEnded): BackendError {
  const said = how.type === 'exited' ? `its /bin/sh ended with exit code ${how.code}` : oneLine(how.message)
  return new BackendError(
    {
      code: 'backend_unavailable',
      message: `The container did not begin the command: ${said}`,
      next: 'Look at the pod; it may just have been stopped or replaced.',
    },
    { ran: 'no' },
  )
}

export function notStarted(ms: number): BackendError {
  return new BackendError(
    {
      code: 'timeout',
      message: `The container was not ready for the command within ${ms / 1000} s; it was not begun.`,
      next: 'Its node may be overloaded: look there, or try again.',
    },
    { ran: 'no' },
  )
}

export function givenUp(signal: AbortSignal, ran: 'no' | 'maybe' = 'maybe'): BackendError {
  return new BackendError(
    { code: 'stream_broken', message: 'drover closed the connection before the command ended.' },
    { ran, cause: signal.reason },
  )
}

export function streamFailed(message: string): BackendError {
  return new BackendError(
    {
      code: 'stream_broken',
      message: `Kubernetes lost the command before it said how it ended: ${oneLine(message)}`,
      next: 'It may still run. Look at the pod and its node, then decide whether to run it again.',
    },
    { ran: 'maybe' },
  )
}

/** Without a status nothing is proved, however politely the connection was closed (S41, kubernetes#73056). */
export function broken(end: SocketEnd, began: boolean): BackendError {
  const how = end.clean ? `close ${end.code}` : `no close frame: ${end.reason || end.code}`
  return new BackendError(
    {
      code: 'stream_broken',
      message: began
        ? `The connection ended (${how}) before the command said how it ended; it may still run.`
        : `The connection ended (${how}) before the command began: the pod may just have been replaced, or its node is gone.`,
      next: began ? 'Look at the pod and its node, then decide whether to run it again.' : 'Look at the pod and its node.',
    },
    { ran: began ? 'maybe' : 'no' },
  )
}

export const notProved: Failure = {
  code: 'exit_code_unknown',
  message:
    'Kubernetes reports success, but with stdin it also does so after losing the node, and without a shell in the container nothing else tells the two apart.',
  next: 'Judge by the output, or run it without stdin.',
}
