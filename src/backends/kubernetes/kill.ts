/** Ends what an execution started in a container, by a look inside over the same exec protocol. */

import { BackendError } from '../../core/errors.ts'
import type { ExecHandle, Target } from '../../core/model.ts'
import type { KillResult } from '../../core/ports.ts'
import { KILL_WORDS_BYTES, killCommand, killResult } from '../wire/kill.ts'
import { type Connection, executeBare } from './exec.ts'

/** `isGone`: whether the container itself has ended. */
export async function killBy(
  connection: Connection,
  isGone: (signal: AbortSignal) => Promise<boolean>,
  { target, handle, signal }: { readonly target: Target; readonly handle: ExecHandle; readonly signal: AbortSignal },
): Promise<KillResult> {
  const decoder = new TextDecoder()
  const exec = crypto.randomUUID().replaceAll('-', '')
  const command = killCommand(handle.exec, handle.pid)
  let said = ''
  try {
    for await (const event of executeBare(connection, { target, command, exec, signal })) {
      if (event.type === 'output' && event.stream === 'stdout')
        said = (said + decoder.decode(event.data, { stream: true })).slice(0, KILL_WORDS_BYTES)
    }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    // No shell to look with, so there is no proof.
    if (error.code === 'command_not_found') return killResult('', handle)
    if ((error.code === 'backend_not_found' || error.code === 'not_running') && (await isGone(signal))) return { result: 'gone' }
    throw error
  }
  return killResult(said, handle)
}
