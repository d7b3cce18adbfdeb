/** Ends what a temporary service started, by another one with the same rights, and proves it: the service going is no proof. */

import type { ExecHandle } from '../../core/model.ts'
import { pause } from '../../core/pause.ts'
import type { KillResult } from '../../core/ports.ts'
import { givenUp } from '../docker/exec.ts'
import { killCommand, killResult } from '../wire/kill.ts'
import { type Node, nameOf } from './cluster.ts'
import { type Live, readHandle } from './exec.ts'
import { look, type Place } from './look.ts'
import { standingOf } from './states.ts'
import { endedBeforeItBegan, remove, serviceName, type Temporary, tasksOf } from './temporary.ts'

/** A service that was asked for and then given up may still come. */
const MAY_COME_MS = 1_500
/** From the last process gone to the end of the client that watched it. */
const RECORD_MS = 4_000
const LOOKS = 2

export async function killByService(
  temporary: Temporary,
  live: Live,
  place: Place,
  handle: ExecHandle,
  signal: AbortSignal,
): Promise<KillResult> {
  const told = readHandle(handle.exec)
  const { exec } = told
  const known = live.get(exec)
  const user = told.user ?? known?.user
  // Whose service it is removes it, when it has read its log.
  const isForeign = known === undefined
  try {
    // One that is still being asked for has nothing to be found yet, and comes all the same.
    const made = known && (await unlessAborted(known.made, signal))
    if (made === 'gone') return { result: 'gone' }
    const mayComeMs = made === undefined && handle.way === undefined ? MAY_COME_MS : 0
    if (await endedBeforeItBegan(temporary, { exec, node: place.node }, mayComeMs, signal)) return { result: 'gone' }
    for (let looks = 1; ; looks += 1) {
      const { code, said, isGone } = await look(temporary, place, killCommand(exec, undefined), user, signal)
      if (isGone) return { result: 'gone' }
      const result = code === 0 ? killResult(said, handle) : ({ result: 'left' } as const)
      if (result.result !== 'gone') return result
      // What was only just beginning may have borne no mark yet, and what wiped it off bears none: its client still waits for it.
      if (await hasEnded(temporary, place.node, exec, signal)) return result
      if (looks >= LOOKS) return { result: 'left' }
    }
  } finally {
    if (isForeign) await remove(temporary.api, serviceName(exec))
  }
}

/** Undefined: nobody can say what came of it. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(givenUp(signal))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    return work.then(resolve, () => resolve(undefined)).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** The client ends when nothing holds the command's output any more. */
async function hasEnded({ api }: Temporary, node: Node, exec: string, signal: AbortSignal): Promise<boolean> {
  for (let waited = 0; waited < RECORD_MS && !signal.aborted; waited += 100) {
    const [task] = (await tasksOf(api, exec, signal)) ?? []
    if (task === undefined || standingOf(task, nameOf(node)).status !== 'running') return true
    await pause(100, signal)
  }
  return false
}
