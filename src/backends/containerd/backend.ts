/** containerd as a backend: containers and processes by its gRPC interface, streams by named pipes. */

import type { Selector, Target, Traits } from '../../core/model.ts'
import type { Backend } from '../../core/ports.ts'
import type { Machine, MakePipes, ReadCgroups } from '../machine.ts'
import { check } from './check.ts'
import { filtersOf, targetsOf } from './container.ts'
import { type Engine, engineOf } from './engine.ts'
import { refusal } from './errors.ts'
import { type Connection, execute } from './exec.ts'
import { kill } from './kill.ts'
import { pidInside } from './pid.ts'
import type { ContainerdSettings } from './settings.ts'
import { createSlots } from './slots.ts'

export type ContainerdOptions = Omit<ContainerdSettings, 'kind' | 'fifoDirectory'> & {
  /** `on=<name>`. */
  readonly name: string
  readonly fifoDirectory?: string | undefined
}

const traits: Traits = {
  exitCode: true,
  separateStderr: true,
  stdin: true,
  env: true,
  dir: true,
  user: true,
  tty: true,
  kill: true,
}

/** How long a command waits for a place in its container. */
const TURN_MS = 30_000
/** A kill does not wait for what it is to end, so it has places of its own. */
const KILLS = 4

/** What the machine offers that containerd runs on, too. */
export type Beside = { readonly machine: Machine; readonly makePipes: MakePipes; readonly readCgroups: ReadCgroups }

export function containerd(options: ContainerdOptions, { machine, makePipes, readCgroups }: Beside): Backend {
  const { name, address, namespace, parallel, fifoDirectory } = options
  const engine = engineOf(address, namespace)
  const connection: Connection = {
    engine,
    address,
    makePipes,
    readCgroups,
    fifoDirectory,
    pidInside: (pid, container) => pidInside(machine, pid, container),
    live: new Set(),
  }
  const slots = createSlots(parallel, TURN_MS)
  const killSlots = createSlots(KILLS, TURN_MS)
  const found: Backend['list'] = (selector, signal) => list(engine, options, selector, signal)
  return {
    name,
    kind: 'containerd',
    traits,
    list: found,
    exec: (target, command, exec, signal) => execute(connection, { target, command, exec, signal, slots }),
    kill: (target, handle, signal) => kill(connection, killSlots, target, handle, signal),
    check: (signal) => check(connection, { namespace, parallel, found: (until) => found({}, until) }, signal),
  }
}

async function list(
  engine: Engine,
  { name, address, namespace }: ContainerdOptions,
  selector: Selector,
  signal: AbortSignal,
): Promise<readonly Target[]> {
  try {
    const [containers, running] = await Promise.all([
      engine.containers(filtersOf(selector, namespace), signal),
      engine.running(signal),
    ])
    return targetsOf(containers, running, name)
  } catch (error) {
    throw refusal(error, { address, about: `the containers in ${namespace}` })
  }
}
