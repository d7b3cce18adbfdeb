/** What `drover check` says of a swarm: the manager, the way to each node, and what a temporary service is allowed and able to. */

import * as z from 'zod'
import { counted } from '../../core/counted.ts'
import { BackendError, DroverError } from '../../core/errors.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { CheckLine } from '../../core/ports.ts'
import { hostnameOf, Info, nameOf, read, Task } from './cluster.ts'
import type { Temporary } from './temporary.ts'
import type { Engine, Way, Ways } from './ways.ts'

type Checked = {
  readonly manager: Engine
  readonly map: ReadonlyMap<string, Engine>
  readonly ways: Ways
  readonly temporary: Temporary | undefined
}

/** Engines asked at a time. */
const PARALLEL = 8

export async function check({ manager, map, ways, temporary }: Checked, signal: AbortSignal): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  try {
    const { endpoint, server, version } = await manager.api.engine(signal)
    lines.push({ ok: true, what: `a container engine answers at ${endpoint.address}`, detail: `${server}, API ${version}` })
    if (endpoint.plaintext)
      lines.push({
        ok: 'warn',
        what: 'the connection is not encrypted and asks for no credentials',
        next: 'Whoever reaches this port owns every node of the swarm: use tcp:// with tls:, or ssh://.',
      })
    const nodes = await ways.all()
    lines.push({
      ok: true,
      what: `it is a manager of a swarm of ${counted(nodes.length, 'node')}`,
      detail: 'who may use this connection is root on every node: a service can mount any path of any of them',
    })
    const tasks = await read(manager.api, '/tasks', z.array(Task), signal, { 'desired-state': ['running'] })
    const running = tasks.filter(({ Status, Spec }) => Status.State === 'running' && Spec.ContainerSpec).length
    lines.push({ ok: running > 0 ? true : 'warn', what: `${counted(running, 'running task is', 'running tasks are')} visible` })
    const found = new Map<string, CheckLine>()
    await fanOut(nodes, PARALLEL, async ({ node, way }) => {
      found.set(node.ID, await wayLine(nameOf(node), node.ID, way, signal))
    })
    lines.push(...nodes.flatMap(({ node }) => found.get(node.ID) ?? []))
    const strangers = [...map.keys()].filter((key) => !nodes.some(({ node }) => node.ID === key || hostnameOf(node) === key))
    if (strangers.length > 0)
      lines.push({
        ok: 'warn',
        what: `nodes: names what is not a node of this swarm: ${strangers.join(', ')}`,
        next: 'Look at `docker node ls`.',
      })
    lines.push(...(await temporaryLines(temporary, nodes, signal)))
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    lines.push({ ok: false, what: error.message, ...(error.next ? { next: error.next } : {}) })
  }
  return lines
}

/** What a mistake in the map would show only when a command fails. */
async function wayLine(name: string, id: string, way: Way | BackendError, signal: AbortSignal): Promise<CheckLine> {
  if (way instanceof BackendError) return { ok: 'warn', what: way.message, ...(way.next ? { next: way.next } : {}) }
  if (way.kind === 'service') return { ok: true, what: `${name}: through ${way.says}` }
  try {
    const { endpoint } = await way.engine.api.engine(signal)
    const info = await read(way.engine.api, '/info', Info, signal)
    if (info.Swarm?.NodeID !== id)
      return {
        ok: false,
        what: `${name}: the engine at ${endpoint.address} is another (${info.Swarm?.NodeID || 'in no swarm'})`,
        next: 'Correct its entry in nodes:.',
      }
    return { ok: true, what: `${name}: through ${way.says}`, detail: endpoint.address }
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    return { ok: false, what: `${name}: ${error.message}`, ...(error.next ? { next: error.next } : {}) }
  }
}

async function temporaryLines(
  temporary: Temporary | undefined,
  nodes: Awaited<ReturnType<Ways['all']>>,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  if (!temporary) return [{ ok: true, what: 'no temporary service is ever made (temporaryService: is not set)' }]
  const lines: CheckLine[] = [
    {
      ok: 'warn',
      what: 'temporary services are allowed',
      detail:
        'drover starts containers that hold the engine’s socket of a node; commands, their environment and stdin stand in the specification for as long as they run',
      next: 'With an entry in nodes: for each node none is needed.',
    },
  ]
  // Elsewhere it is not to be seen from here: what is missing there is told by the command that finds out.
  for (const { node, way } of nodes) {
    if (way instanceof BackendError || way.kind !== 'engine') continue
    const path = `/images/${encodeURIComponent(temporary.image)}/json`
    const { status } = await way.engine.api.request({ method: 'GET', path, signal })
    lines.push(
      status === 200
        ? { ok: true, what: `the image of the temporary service is on ${nameOf(node)}` }
        : {
            ok: 'warn',
            what: `the image of the temporary service is not on ${nameOf(node)}`,
            next: 'Pull it there by its digest.',
          },
    )
  }
  const unseen = nodes
    .filter(({ way }) => !(way instanceof BackendError) && way.kind === 'service')
    .map(({ node }) => nameOf(node))
  if (unseen.length > 0)
    lines.push({
      ok: true,
      what: `whether it is on ${unseen.join(', ')} cannot be seen from here`,
      detail: 'a first `drover exec` there tells',
    })
  return lines
}
