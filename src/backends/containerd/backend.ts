/** containerd as a backend: containers and processes by its gRPC interface, streams by named pipes. */

import type { Selector, Target } from '../../core/model.ts'
import type { Backend } from '../../core/ports.ts'
import type { Machine, MakePipes, ReadCgroups } from '../machine.ts'
import type { Transports } from '../transport.ts'
import { newTarget } from '../wire/new-container.ts'
import { everyTrait } from '../wire/traits.ts'
import { check } from './check.ts'
import { filtersOf, targetsOf } from './container.ts'
import { criBackend } from './cri.ts'
import { type Container, type Engine, engineOf } from './engine.ts'
import { refusal } from './errors.ts'
import { type Connection, execute } from './exec.ts'
import { imagesOf } from './image.ts'
import { kill } from './kill.ts'
import { executeNew, killNew, type Maker, swept } from './new-container.ts'
import { pidInside } from './pid.ts'
import type { ContainerdSettings } from './settings.ts'
import { createSlots } from './slots.ts'
import { confinementOf } from './spec.ts'

export type ContainerdOptions = Pick<ContainerdSettings, 'address' | 'parallel'> & {
  /** `on=<name>`. */
  readonly name: string
  readonly api?: ContainerdSettings['api']
  readonly namespace?: string | undefined
  readonly fifoDirectory?: string | undefined
  readonly newContainers?: ContainerdSettings['newContainers']
}

/** How long a command waits for a place in its container. */
const TURN_MS = 30_000
/** A kill does not wait for what it is to end, so it has places of its own. */
const KILLS = 4

/** What the machine offers that containerd runs on, too. */
export type Beside = {
  readonly transport: Transports
  readonly machine: Machine
  readonly makePipes: MakePipes
  readonly readCgroups: ReadCgroups
}

export function containerd(options: ContainerdOptions, { transport, machine, makePipes, readCgroups }: Beside): Backend {
  const { name, address, namespace = 'k8s.io', parallel, fifoDirectory, newContainers: bounds } = options
  const slots = createSlots(parallel, TURN_MS)
  const killSlots = createSlots(KILLS, TURN_MS)
  if (options.api === 'cri') return criBackend({ name, address }, { transport: transport({}), slots, killSlots })
  const engine = engineOf(address, namespace)
  const connection: Connection = {
    engine,
    address,
    makePipes,
    readCgroups,
    fifoDirectory,
    pidInside: (pid, container) => pidInside(machine, pid, container),
    live: new Set(),
    making: new Map(),
  }
  const maker: Maker | undefined = bounds && {
    bounds,
    namespace,
    snapshotter: bounds.snapshotter,
    images: imagesOf(engine, { namespace, address, snapshotter: bounds.snapshotter }),
    confinement: (network) => confinementOf(machine, network),
  }
  const found: Backend['list'] = (selector, signal) => list(engine, { name, address, namespace }, selector, signal)
  return {
    name,
    kind: 'containerd',
    traits: everyTrait,
    list: found,
    exec: (target, command, exec, signal, _by, lastsMs) =>
      target.creates
        ? executeNew(connection, maker, { target, creates: target.creates, command, exec, signal, lastsMs })
        : execute(connection, { target, command, exec, signal, slots }),
    kill: (target, handle, signal) =>
      target.creates ? killNew(connection, maker, handle, signal) : kill(connection, killSlots, target, handle, signal),
    check: (signal) =>
      check(connection, { namespace, parallel, snapshotter: bounds?.snapshotter, found: (until) => found({}, until) }, signal),
    ...(bounds === undefined
      ? {}
      : {
          newContainer: (wanted) => newTarget({ backend: name, kind: 'containerd' }, bounds, wanted),
          sweep: (signal) => swept(engine, address, signal),
        }),
  }
}

async function list(
  engine: Engine,
  { name, address, namespace }: { readonly name: string; readonly address: string; readonly namespace: string },
  selector: Selector,
  signal: AbortSignal,
): Promise<readonly Target[]> {
  try {
    const filters = filtersOf(selector, namespace)
    const everything = filters.length === 0 ? engine.running(signal) : undefined
    everything?.catch(() => {})
    const containers = await engine.containers(filters, signal)
    return targetsOf(containers, await (everything ?? runningOf(engine, containers, signal)), name)
  } catch (error) {
    throw refusal(error, { address, about: `the containers in ${namespace}` })
  }
}

/** Of a few it is asked one by one: the list asks the shim of every container there is. */
async function runningOf(engine: Engine, containers: readonly Container[], signal: AbortSignal): Promise<ReadonlySet<string>> {
  if (containers.length > FEW) return await engine.running(signal)
  const states = await Promise.all(containers.map(({ id }) => engine.isRunning(id, signal)))
  return new Set(containers.filter((_, at) => states[at]).map(({ id }) => id))
}
const FEW = 8
