/** A Docker Swarm as a backend: tasks by its manager, commands by the engine of each task's node or by a service made for them. */

import { createGate } from '../../core/fan-out.ts'
import type { ExecEvent, Target } from '../../core/model.ts'
import type { Backend } from '../../core/ports.ts'
import { dockerApi, protocol } from '../docker/api.ts'
import { endpointOf, refuseWithoutMachine } from '../docker/endpoint.ts'
import { execute } from '../docker/exec.ts'
import { kill } from '../docker/kill.ts'
import type { EngineSettings } from '../docker/settings.ts'
import type { Machine } from '../machine.ts'
import type { Transports } from '../transport.ts'
import { everyTrait } from '../wire/traits.ts'
import { check } from './check.ts'
import { executeByService, type Live, readHandle, SERVICE_WAY } from './exec.ts'
import { killByService } from './kill.ts'
import type { SwarmSettings } from './settings.ts'
import { list, NODE_LABEL } from './task.ts'
import { sweep, type Temporary } from './temporary.ts'
import { createWays, type Engine } from './ways.ts'

export type SwarmOptions = Omit<SwarmSettings, 'kind'> & {
  /** `on=<name>`. */
  readonly name: string
  /** One HTTP request; default 60 s. */
  readonly requestTimeoutMs?: number
}

/** By a temporary service stdin is small and comes by a shell: refused there, in words. */
/** Temporary services that are being started at a time: twenty at once take a manager seven seconds. */
const STARTING = 16
/** Before a new one, and not for each of a fan-out. */
const SWEEP_MS = 30_000

/** Throws DroverError `config` for what this runtime cannot reach. */
export function swarm(
  options: SwarmOptions,
  outside: { readonly transport: Transports; readonly machine?: Machine | undefined },
): Backend {
  const engineOf = ({ helperImage, ...settings }: EngineSettings): Engine => {
    refuseWithoutMachine(settings, outside.machine)
    const api = dockerApi({
      endpoint: () => endpointOf(settings, outside.machine),
      transports: outside.transport,
      ...(options.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: options.requestTimeoutMs }),
    })
    return { api, begun: new Map(), ...(helperImage === undefined ? {} : { helperImage }) }
  }
  const { name, nodes = {}, temporaryService, requestTimeoutMs: _, ...settings } = options
  const manager = engineOf(settings)
  const map = new Map(Object.entries(nodes).map(([node, engine]) => [node, engineOf(engine)]))
  const ways = createWays(manager, map, { hasTemporary: temporaryService !== undefined })
  const temporary: Temporary | undefined = temporaryService && {
    ...temporaryService,
    api: manager.api,
    gate: createGate(STARTING),
  }
  const live: Live = new Map()
  let sweptAt = 0

  async function* exec(...[target, command, id, signal, , timeoutMs]: Parameters<Backend['exec']>): AsyncGenerator<ExecEvent> {
    const { node, container } = placeOf(target)
    const way = await ways.to(node)
    if (way.kind === 'service') {
      if (!temporary) throw protocol('There is no temporary service here.')
      if (Date.now() - sweptAt > SWEEP_MS) {
        sweptAt = Date.now()
        await sweep(manager.api, signal).catch(() => undefined)
      }
      return yield* executeByService(temporary, live, { target, container, node: way.node, command, exec: id, signal, timeoutMs })
    }
    const onEngine = { id: target.id, name: target.name, native: container }
    for await (const event of execute(way.engine, { target: onEngine, command, exec: id, signal }))
      yield event.type === 'started' ? { ...event, handle: { ...event.handle, way: way.says } } : event
    return undefined
  }

  return {
    name,
    kind: 'swarm',
    traits: { ...everyTrait, stdin: 'upgrade' in outside.transport({}) },
    list: (selector, signal) => list(manager.api, name, selector, signal),
    exec,
    async kill(target, handle, signal) {
      const { node, container } = placeOf(target)
      const way = await ways.to(node, handle.way)
      if (way.kind === 'engine') {
        const { exec: marker, user } = readHandle(handle.exec)
        // As root it would not find what another user runs, and take that for nothing.
        if (handle.way === SERVICE_WAY && user !== undefined) return { result: 'left' }
        const own = handle.way === SERVICE_WAY ? { ...handle, exec: marker } : handle
        return kill(way.engine, { ...target, native: container }, own, signal)
      }
      if (!temporary) return { result: 'left' }
      return killByService(temporary, live, { target, container, node: way.node }, handle, signal)
    },
    check: (signal) => check({ manager, ways, map, temporary }, signal),
    ...(temporary ? { sweep: (signal: AbortSignal) => sweep(manager.api, signal) } : {}),
  }
}

function placeOf({ engineId, labels }: Target): { readonly node: string; readonly container: string } {
  const node = labels[NODE_LABEL]
  if (engineId === undefined || node === undefined) throw protocol('This is no task of a swarm.')
  return { node, container: engineId }
}
