/** Ends all that an execution started in a container, and proves it with the container's own words and with containerd's. */

import { BackendError } from '../../core/errors.ts'
import type { ExecHandle, Target } from '../../core/model.ts'
import type { KillResult } from '../../core/ports.ts'
import { KILL_WORDS_BYTES, killCommand, killResult } from '../wire/kill.ts'
import { type Engine, EngineError, type ProcessState } from './engine.ts'
import { refusal } from './errors.ts'
import { type Connection, execIdOf, execute } from './exec.ts'
import { isOf } from './pid.ts'
import type { Slots } from './slots.ts'

/** For the shim to hear of a death that the container has seen already. */
const SETTLE_MS = 2_000
const LOOK_MS = 50
const FORGET_MS = 5_000

export async function kill(
  connection: Connection,
  slots: Slots,
  target: Target,
  handle: ExecHandle,
  signal: AbortSignal,
): Promise<KillResult> {
  const { engine, address, live } = connection
  const [exec = '', user] = handle.exec.split('@')
  const leader = { containerId: target.native, execId: execIdOf(exec) }
  const left: KillResult = handle.pid === undefined ? { result: 'left' } : { result: 'left', pid: handle.pid }
  try {
    if (await isDown(connection, target.native, signal)) return { result: 'gone' }
    // Known and not begun: forgotten, it never will.
    if ((await engine.state(leader, signal)) === 'created') await engine.forget(leader, signal).catch(() => {})
    const before = await engine.state(leader, signal)
    const inside = await killInside(connection, slots, {
      target,
      exec,
      user,
      pid: handle.pid,
      isLeader: before === 'running',
      signal,
    })
    if (inside !== 'no shell' && inside.result === 'left') return inside
    const result = await settled(engine, leader, inside === 'no shell' ? 'no shell' : 'gone', signal)
    if (result === 'left') return left
    // Whoever reads it here will see its end; else nobody will.
    if (!live.has(exec)) await engine.forget(leader, AbortSignal.any([signal, AbortSignal.timeout(FORGET_MS)])).catch(() => {})
    return { result: 'gone' }
  } catch (error) {
    throw refusal(error, { address, about: `the container ${target.name}` })
  }
}

type Inside = {
  readonly target: Target
  readonly exec: string
  readonly user: string | undefined
  readonly pid: number | undefined
  /** The pid is that of the leader, which is alive. */
  readonly isLeader: boolean
  readonly signal: AbortSignal
}

async function killInside(connection: Connection, slots: Slots, one: Inside): Promise<KillResult | 'no shell'> {
  const { target, exec, user, pid, signal } = one
  const command = { ...killCommand(exec, pid, one.isLeader), dir: '/', ...(user === undefined ? {} : { user }) }
  const decoder = new TextDecoder()
  let said = ''
  try {
    const events = execute(connection, { target, command, exec: crypto.randomUUID().replaceAll('-', ''), signal, slots })
    for await (const event of events) {
      if (event.type === 'output' && event.stream === 'stdout')
        said = (said + decoder.decode(event.data, { stream: true })).slice(0, KILL_WORDS_BYTES)
    }
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    if (error.code === 'command_not_found') return 'no shell'
    if (await isDown(connection, target.native, signal)) return { result: 'gone' }
    throw error
  }
  return killResult(said, { target: target.id, exec, ...(pid === undefined ? {} : { pid }) })
}

/**
 * With its main process every process of a container ends: the kernel's doing, or the shim's where they share the host's pids.
 * That containerd has no task, though, may also mean that its shim is dead and what that held is about to be ended: there the
 * machine's /proc is asked, and where that cannot be seen, whether the container as such is gone.
 */
export async function isDown({ engine, readCgroups }: Connection, containerId: string, signal: AbortSignal): Promise<boolean> {
  for (const until = Date.now() + SETTLE_MS; ; await pause()) {
    const state = await engine.state({ containerId, execId: '' }, signal)
    if (state !== 'absent' && state !== 'stopped') return false
    const cgroups = await readCgroups()
    if (cgroups === undefined) return state === 'stopped' || (await isUnknown(engine, containerId, signal))
    if (![...cgroups.values()].some((one) => isOf(one, containerId))) return true
    if (Date.now() > until) return false
  }
}

async function isUnknown(engine: Engine, containerId: string, signal: AbortSignal): Promise<boolean> {
  try {
    await engine.container(containerId, signal)
    return false
  } catch (error) {
    if (error instanceof EngineError && error.code === 'NOT_FOUND') return true
    throw error
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, LOOK_MS))

/**
 * What containerd says of it. A leader that still runs when the container has found nothing was not to be known from inside
 * (`env -i`), so its children were not either, and nothing is proved. Without a shell to look with, it is proved when nothing is
 * left in the container but its main process and other executions.
 */
async function settled(
  engine: Engine,
  leader: { readonly containerId: string; readonly execId: string },
  inside: 'gone' | 'no shell',
  signal: AbortSignal,
): Promise<'gone' | 'left'> {
  if (inside === 'gone' && (await isEnded(engine, leader, signal))) return 'gone'
  await engine.end(leader, signal).catch(() => {})
  if (!(await isEnded(engine, leader, signal)) || inside === 'gone') return 'left'
  const others = await engine.pids(leader.containerId, signal)
  const main = await engine.mainPid(leader.containerId, signal)
  return others.every(({ pid, isExec }) => isExec || pid === main) ? 'gone' : 'left'
}

async function isEnded(engine: Engine, leader: { readonly containerId: string; readonly execId: string }, signal: AbortSignal) {
  const ended: readonly ProcessState[] = ['absent', 'stopped']
  for (const until = Date.now() + SETTLE_MS; ; ) {
    if (ended.includes(await engine.state(leader, signal))) return true
    if (Date.now() > until) return false
    await pause()
  }
}
