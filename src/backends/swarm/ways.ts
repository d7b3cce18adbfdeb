/** By which way drover reaches a node: the manager that it speaks to, an engine of the nodes map, or a temporary service. */

import * as z from 'zod'
import { BackendError, type Failure } from '../../core/errors.ts'
import type { Connection } from '../docker/exec.ts'
import { hostnameOf, Info, Node, nameOf, read } from './cluster.ts'
import { SERVICE_WAY } from './exec.ts'

export type Engine = Connection & { readonly helperImage?: string }

export type Way =
  | { readonly kind: 'engine'; readonly says: string; readonly engine: Engine }
  | { readonly kind: 'service'; readonly says: string; readonly node: Node }

export type Ways = {
  /** Throws BackendError where there is none. `by`: what began by this way ends by it, as long as it is allowed. */
  to(node: string, by?: string): Promise<Way>
  /** Of all nodes, for a check. */
  all(): Promise<readonly { readonly node: Node; readonly way: Way | BackendError }[]>
}

/** How long what a manager said of its nodes is good for: a fan-out asks for each of its targets. */
const RECENT_MS = 5_000
const ASK_MS = 10_000

export function createWays(manager: Engine, map: ReadonlyMap<string, Engine>, options: { readonly hasTemporary: boolean }): Ways {
  const recent = createRecent(async (signal) => {
    const [info, nodes] = await Promise.all([
      read(manager.api, '/info', Info, signal),
      read(manager.api, '/nodes', z.array(Node), signal),
    ])
    return { own: info.Swarm?.NodeID, nodes }
  })

  type Known = { readonly own: string | null | undefined; readonly nodes: readonly Node[] }
  function way(node: Node, { own, nodes }: Known, by?: string): Way {
    if (by === SERVICE_WAY && options.hasTemporary) return { kind: 'service', says: SERVICE_WAY, node }
    if (node.ID === own) return { kind: 'engine', says: 'the manager’s engine', engine: manager }
    const engine = map.get(node.ID) ?? byName(node, nodes, map)
    if (engine) return { kind: 'engine', says: 'the nodes map', engine }
    if (!options.hasTemporary)
      throw no(
        'config',
        `drover has no way to the node ${nameOf(node)}: it is not the manager that drover speaks to, and not in nodes:.`,
        'Whoever runs drover can add its engine to nodes:, or allow temporaryService:.',
      )
    const availability = node.Spec?.Availability
    if (node.Status?.State === 'down') throw no('backend_unavailable', `The node ${nameOf(node)} is down.`, 'Look at its engine.')
    if (availability === 'drain' || availability === 'pause')
      throw no(
        'backend_unavailable',
        `The node ${nameOf(node)} takes nothing new (${availability}), so no temporary service either.`,
        'Make it active again; whoever runs drover can add its engine to nodes:.',
      )
    return { kind: 'service', says: SERVICE_WAY, node }
  }

  return {
    async to(id, by) {
      const known = await recent()
      const node = known.nodes.find(({ ID }) => ID === id)
      if (node === undefined)
        throw no('backend_not_found', `The node ${id} is not in the swarm any more.`, 'Ask again: its tasks have moved.')
      return way(node, known, by)
    },
    async all() {
      const known = await recent()
      return known.nodes.map((node) => {
        try {
          return { node, way: way(node, known) }
        } catch (error) {
          if (error instanceof BackendError) return { node, way: error }
          throw error
        }
      })
    },
  }
}

/** A node that was made anew leaves its old name behind, on one that is down: that takes no name from the living. */
function byName(node: Node, nodes: readonly Node[], map: ReadonlyMap<string, Engine>): Engine | undefined {
  const hostname = hostnameOf(node)
  const engine = map.get(hostname)
  if (engine === undefined) return undefined
  const twin = nodes.find((other) => other.ID !== node.ID && hostnameOf(other) === hostname && other.Status?.State !== 'down')
  if (!twin) return engine
  throw no(
    'config',
    `Two nodes are called ${hostname}: ${node.ID} and ${twin.ID}.`,
    'Whoever runs drover can name them by their ids in nodes:.',
  )
}

/** One question for all who ask at a time, so none of them may end it for the others. */
function createRecent<T>(ask: (signal: AbortSignal) => Promise<T>): () => Promise<T> {
  let last: { readonly at: number; readonly value: Promise<T> } | undefined
  return () => {
    if (last && Date.now() - last.at <= RECENT_MS) return last.value
    const one = { at: Date.now(), value: ask(AbortSignal.timeout(ASK_MS)) }
    last = one
    one.value.catch(() => {
      if (last === one) last = undefined
    })
    return one.value
  }
}

const no = (code: Failure['code'], message: string, next: string) => new BackendError({ code, message, next }, { ran: 'no' })
