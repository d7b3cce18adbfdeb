/** Ends what a temporary service started, by another one with the same rights, and proves it: the service going is no proof. */

import type { ExecHandle, Target } from '../../core/model.ts'
import { pause } from '../../core/pause.ts'
import type { KillResult } from '../../core/ports.ts'
import { givenUp } from '../docker/exec.ts'
import { KILL_WORDS_BYTES, killCommand, killResult } from '../wire/kill.ts'
import { clientArgs, clientFailure } from './client.ts'
import { type Node, nameOf } from './cluster.ts'
import { type Live, readHandle } from './exec.ts'
import { logOf } from './logs.ts'
import { standingOf } from './states.ts'
import { endedBeforeItBegan, make, remove, serviceName, type Temporary, tasksOf, watch } from './temporary.ts'

/** A service that was asked for and then given up may still come. */
const MAY_COME_MS = 1_500
/** From the last process gone to the end of the client that watched it. */
const RECORD_MS = 4_000
const LOOK_MS = 30_000
const LOOKS = 2

export type Place = { readonly target: Pick<Target, 'id' | 'name'>; readonly container: string; readonly node: Node }

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
      const { code, said, isGone } = await look(temporary, place, exec, user, signal)
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

type Looked = { readonly code: number; readonly said: string; readonly isGone: boolean }

async function look(
  temporary: Temporary,
  { node, container, target }: Place,
  marker: string,
  user: string | undefined,
  signal: AbortSignal,
): Promise<Looked> {
  const exec = crypto.randomUUID().replaceAll('-', '')
  const command = { ...killCommand(marker, undefined), ...(user === undefined ? {} : { user }) }
  try {
    await make(temporary, { exec, node, args: clientArgs(command, exec, container), timeoutMs: LOOK_MS })
    const code = await watch(temporary, { exec, node, begun: () => undefined }, signal)
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() }
    const said = { stdout: '', stderr: '' }
    for await (const { stream, data } of logOf(temporary.api, exec).rest(signal))
      said[stream] = (said[stream] + decoders[stream].decode(data, { stream: true })).slice(0, KILL_WORDS_BYTES)
    const failure = clientFailure(
      { code, all: said.stdout + said.stderr, tail: said.stderr },
      { command, exec, name: target.name },
    )
    // With its container every process of it ends.
    const isGone =
      failure?.code === 'backend_not_found' || (failure?.code === 'not_running' && !failure.message.startsWith('It is paused'))
    return { code: failure ? -1 : code, said: said.stdout, isGone }
  } finally {
    await remove(temporary.api, serviceName(exec))
  }
}
