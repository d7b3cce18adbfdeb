/** What kubelets and container runtimes say when they could not start a command, and what it proves. */

import { BackendError, type Failure } from '../../core/errors.ts'

export type StartFailure =
  /** The executable is not there, or cannot be run: it never began. */
  { readonly type: 'not-found' } | { readonly type: 'error'; readonly error: BackendError }

/** containerd, CRI-O and Docker (cri-dockerd writes it to stdout); recorded ones in kubernetes.md §3 and §5. */
const NOT_FOUND =
  /executable file .*not found|no such file or directory|permission denied|exec format error|is a directory|not a directory/i
const NOT_RUNNING =
  /container not found|container .{0,200}is not running|not in running state|cannot exec in a (stopped|deleted|paused)|container is not created or running|no running task|task \S+ not found|no such container|pod does not exist/i
const TOO_LONG = /argument list too long/i
/** The way ended before the node: nothing was asked of it. */
const NO_WAY = /error dialing backend|unable to upgrade connection|proxy error from|no agent available|tunnel disconnect/i
const NOT_STARTED = /OCI runtime exec failed|failed to (start|create) exec|exec failed: (unable to|container_linux)|crun: /i

/** Undefined: these words do not prove that nothing ran. */
export function startFailure(text: string, executable: string): StartFailure | undefined {
  const no = (code: Failure['code'], message: string, next: string): StartFailure => ({
    type: 'error',
    error: new BackendError({ code, message, next }, { ran: 'no' }),
  })
  if (NOT_RUNNING.test(text))
    return no('not_running', 'The container does not run.', 'It may have ended or been replaced since it was listed: ask again.')
  if (TOO_LONG.test(text))
    return no(
      'unsupported',
      'The command is longer than the container’s system takes (128 KiB for one argument).',
      'Make it shorter.',
    )
  if (NOT_FOUND.test(text) && text.includes(executable)) return { type: 'not-found' }
  if (NO_WAY.test(text))
    return no(
      'backend_unavailable',
      `The API server cannot reach the container’s node: ${oneLine(text)}`,
      'Check whether the node is Ready and its kubelet answers.',
    )
  if (NOT_STARTED.test(text))
    return no(
      'backend_unavailable',
      `The container’s runtime could not start it: ${oneLine(text)}`,
      'Look at the pod on its node.',
    )
  return undefined
}

/** cri-dockerd tells a start that failed as an exit with 126 or 127 and the engine's words on stdout. */
export function toldAsExit(code: number, output: string, executable: string): StartFailure | undefined {
  return (code === 126 || code === 127) && /^OCI runtime exec failed/i.test(output.trimStart())
    ? startFailure(output, executable)
    : undefined
}

export function oneLine(text: string): string {
  return text.trim().replaceAll(/\s+/g, ' ').slice(0, 300)
}
