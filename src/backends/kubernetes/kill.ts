/** Ends what an execution started in a container, by a look inside over the same exec protocol. */

import type { ExecHandle, Target } from '../../core/model.ts'
import type { KillResult } from '../../core/ports.ts'
import { killThroughExec } from '../wire/kill.ts'
import { type Connection, executeBare } from './exec.ts'

/** `isGone`: whether the container itself has ended. */
export function killBy(
  connection: Connection,
  isGone: (signal: AbortSignal) => Promise<boolean>,
  { target, handle, signal }: { readonly target: Target; readonly handle: ExecHandle; readonly signal: AbortSignal },
): Promise<KillResult> {
  return killThroughExec({
    handle,
    run: (command, exec) => executeBare(connection, { target, command, exec, signal }),
    isDead: () => isGone(signal),
  })
}
