/** What a Docker engine says when it could not start an executable: through Rancher 1.x it arrives as ordinary output. */

import { BackendError } from '../../core/errors.ts'

/** Docker 20.10 says `OCI runtime exec failed: exec failed: …`, and `exec /bin/sh: argument list too long` (both recorded); 1.12 to 17 `rpc error: code = 2 desc = oci runtime error: exec failed: …`. */
const ENGINE =
  /^(OCI runtime exec failed|rpc error: code|oci runtime error|exec failed|container_linux\.go|exec \S+: argument list too long)/i
const NOT_FOUND = /executable file not found|no such file or directory|permission denied|exec format error|is a directory/i

/** Undefined: these are no words of an engine about `executable`, or not all of them yet. */
export function engineSays(data: Uint8Array, executable: string): 'not-found' | BackendError | undefined {
  const text = new TextDecoder().decode(data).trimStart()
  // The text ends its line: before that, the decisive words may still be to come.
  if (!ENGINE.test(text) || !/\r?\n$/.test(text)) return undefined
  if (NOT_FOUND.test(text) && text.includes(executable)) return 'not-found'
  if (/argument list too long/i.test(text))
    return new BackendError(
      {
        code: 'unsupported',
        message: 'The command is longer than the container’s system takes (128 KiB for one argument).',
        next: 'Make it shorter.',
      },
      { ran: 'no' },
    )
  return new BackendError(
    {
      code: 'backend_unavailable',
      message: `The container’s engine could not start it: ${text.trim().slice(0, 300)}`,
      next: 'Look at the container on its host.',
    },
    { ran: 'no' },
  )
}
