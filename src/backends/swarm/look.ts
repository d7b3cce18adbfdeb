/** A look into a container on a far node: a program of drover's own, by a temporary service with the rights of the command it is about. */

import { BackendError } from '../../core/errors.ts'
import type { Command, Target } from '../../core/model.ts'
import { givenUp } from '../docker/exec.ts'
import { KILL_WORDS_BYTES } from '../wire/kill.ts'
import { clientArgs, clientFailure } from './client.ts'
import type { Node } from './cluster.ts'
import { logOf } from './logs.ts'
import { make, remove, serviceName, type Temporary, watch } from './temporary.ts'

const LOOK_MS = 30_000

export type Place = { readonly target: Pick<Target, 'id' | 'name'>; readonly container: string; readonly node: Node }
/** `isGone`: the container itself is, and with it every process of it. */
export type Looked = { readonly code: number; readonly said: string; readonly isGone: boolean }

export async function look(
  temporary: Temporary,
  { node, container, target }: Place,
  program: Command,
  user: string | undefined,
  signal: AbortSignal,
): Promise<Looked> {
  const exec = crypto.randomUUID().replaceAll('-', '')
  const command = { ...program, ...(user === undefined ? {} : { user }) }
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
    // The engine's own words: a paused container is refused as one that does not run, and its processes are all there.
    const isPaused = /\bpaused\b/i.test(said.stdout + said.stderr)
    const isGone = failure?.code === 'backend_not_found' || (failure?.code === 'not_running' && !isPaused)
    return { code: failure ? -1 : code, said: said.stdout, isGone }
  } finally {
    await remove(temporary.api, serviceName(exec))
  }
}

/*
 * Arguments: the two halves of the exec id, apart, so that this program does not find itself. As the kill: `read` drops NULs in every
 * shell, so no other program is needed. It ends nothing.
 */
const ALIVE = `LC_ALL=C; i=$1$2
for d in /proc/[0-9]*; do [ "\${d#/proc/}" = $$ ] && continue
while IFS= read -r l || [ -n "$l" ]; do case $l in *"$i"*) echo alive; exit;; esac; done <$d/environ
done 2>/dev/null
echo none`

/** Whether nothing that bears the execution's mark is left in the container. False also where nobody can tell. */
export async function hasNone(
  temporary: Temporary,
  place: Place,
  execution: { readonly exec: string; readonly user: string | undefined },
  signal: AbortSignal,
): Promise<boolean> {
  const { exec, user } = execution
  const middle = Math.ceil(exec.length / 2)
  const argv = ['/bin/sh', '-c', ALIVE, 'drover-look', exec.slice(0, middle), exec.slice(middle)] as const
  try {
    const { code, said } = await look(temporary, place, { argv }, user, signal)
    return code === 0 && said.trim() === 'none'
  } catch (error) {
    if (signal.aborted) throw givenUp(signal)
    if (error instanceof BackendError) return false
    throw error
  }
}
