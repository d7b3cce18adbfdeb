/** What the state of a temporary service's task means for the command that it was made to start. */

import { BackendError, type Failure } from '../../core/errors.ts'
import type { Task } from './cluster.ts'

/** swarmkit api/types.proto, TaskState, in this order: nothing of it has been started in the first of them. */
const BEFORE_START = ['new', 'allocated', 'pending', 'assigned', 'accepted', 'preparing', 'ready']

export type Standing =
  /** `isTouched`: its container may have been started. */
  | { readonly status: 'waiting'; readonly isTouched: boolean }
  | { readonly status: 'running' }
  | { readonly status: 'exited'; readonly code: number }
  | { readonly status: 'failed'; readonly error: BackendError }

export function standingOf(task: Task, node: string): Standing {
  const { State: state, Err, ContainerStatus: container } = task.Status
  if (BEFORE_START.includes(state)) return { status: 'waiting', isTouched: false }
  switch (state) {
    case 'starting':
      return { status: 'waiting', isTouched: true }
    case 'running':
      return { status: 'running' }
    case 'complete':
      return { status: 'exited', code: container?.ExitCode ?? 0 }
    case 'failed': {
      // swarmkit agent/exec/errors.go: what the client passed on of the command.
      const code = /^task: non-zero exit \((\d+)\)/.exec(Err ?? '')?.[1]
      if (code !== undefined) return { status: 'exited', code: Number(code) }
      return {
        status: 'failed',
        error: notStarted(said(task), node, /^starting container failed/.test(Err ?? '') ? 'no' : 'maybe'),
      }
    }
    case 'rejected':
      return { status: 'failed', error: notStarted(said(task), node, 'no') }
    default:
      return {
        status: 'failed',
        error: lost(`Its temporary service was ended from outside (${state}${said(task) ? `: ${said(task)}` : ''}).`),
      }
  }
}

function said({ Status: { Err, Message } }: Task): string {
  return (Err || Message || '')
    .replaceAll(/[\x00-\x20]+/g, ' ')
    .trim()
    .slice(0, 300)
}

function notStarted(why: string, node: string, ran: 'no' | 'maybe'): BackendError {
  const failure = (code: Failure['code'], message: string, next: string) => new BackendError({ code, message, next }, { ran })
  if (/bind source path does not exist|invalid mount config/i.test(why))
    return failure(
      'config',
      `The node ${node} has no engine’s socket where temporaryService says: ${why}.`,
      'Whoever runs drover can set temporaryService.socket to where it is on the nodes.',
    )
  if (/no such image|image.*(not found|does not exist)|pull access denied|manifest unknown|reference does not exist/i.test(why))
    return failure(
      'config',
      `The image of the temporary service is not on the node ${node}: ${why}.`,
      'Pull it there, or load it where it is named by its id alone.',
    )
  if (/executable file not found|no such file or directory/i.test(why))
    return failure(
      'config',
      `The image of the temporary service has no /bin/sh: ${why}.`,
      'Whoever runs drover can name one that has it and a docker client, such as that of docker:cli, by its digest.',
    )
  return failure(
    'backend_unavailable',
    `No temporary service could be started on the node ${node}${why ? `: ${why}` : ''}.`,
    '`docker node ls` and the log of that node’s engine tell more.',
  )
}

/** It waited as long as may be, and its service has been removed. */
export function tooLate(task: Task | undefined, node: string, ran: 'no' | 'maybe'): BackendError {
  const state = task?.Status.State
  const why = task ? said(task) : ''
  if (state === 'preparing')
    return new BackendError(
      {
        code: 'timeout',
        message: `The node ${node} was still fetching the image of the temporary service.`,
        next: 'Pull it there by its digest before it is needed.',
      },
      { ran },
    )
  return new BackendError(
    {
      code: 'timeout',
      message: `The temporary service was not started on the node ${node} in time (${state ?? 'no task was made'}${why ? `: ${why}` : ''}).`,
      next: '`docker node ls` says whether the node is ready and active; whoever runs drover can give it a way of its own there (nodes:).',
    },
    { ran },
  )
}

/** Whether it goes on nobody can say. */
export function lost(message: string, cause?: unknown): BackendError {
  return new BackendError(
    { code: 'stream_broken', message, next: 'Look at the container and its node, then decide whether to run it again.' },
    { ran: 'maybe', cause },
  )
}
