/** The page's machine room over HTTP: what a run did on the wires, faults to switch on, and what there is to complete. */

import type { HttpBindings } from '@hono/node-server'
import type { Hono } from 'hono'
import type { Faults } from './faults.ts'
import type { Protocol } from './protocol.ts'

/** A container as the composer may offer it. */
export type Offered = {
  readonly name: string
  readonly backend: string
  readonly labels: Readonly<Record<string, string>>
  readonly stack?: string
  readonly service?: string
  readonly namespace?: string
  /** `deployment/api`. */
  readonly workload?: string
  readonly container?: string
}

export type Bench = {
  readonly protocol?: Protocol
  readonly faults?: Faults
  /** What drover would tell this person there; empty when nothing. */
  readonly targets?: (user: string, team: string, channel: string) => Promise<readonly Offered[]>
  /** Images that a rollout may name here. */
  readonly images?: readonly string[]
}

const MAX_OFFERED = 200
/** Someone who types asks at every letter; the answer may be this old. */
const OFFER_MS = 3000

export type BenchRoutes = {
  /** Tells one browser what is new. Returns how to stop. */
  follow(tell: (event: 'protocol' | 'faults', data: unknown) => void): () => void
}

type Post = (path: string, handle: (body: Readonly<Record<string, unknown>>) => Promise<unknown>) => void
type Person = { readonly id: string; readonly teamId: string }

export function benchRoutes(
  app: Hono<{ Bindings: Partial<HttpBindings> }>,
  post: Post,
  bench: Bench,
  place: (query: { readonly user?: string; readonly channel?: string }) => { readonly person: Person; readonly channel: string },
): BenchRoutes {
  const followers = new Set<() => void>()
  const offers = new Map<string, { readonly until: number; readonly answer: Promise<unknown> }>()

  app.get('/api/protocol', (c) => {
    const runs = bench.protocol?.runs() ?? []
    const run = c.req.query('run')
    return c.json({ runs, entries: run === undefined ? [] : (bench.protocol?.entries(run) ?? []) })
  })

  app.get('/api/complete', async (c) => {
    const { person, channel } = place(c.req.query())
    const key = `${person.id} ${channel}`
    const known = offers.get(key)
    const fresh =
      known !== undefined && known.until > Date.now() ? known : { until: Date.now() + OFFER_MS, answer: offer(person, channel) }
    offers.set(key, fresh)
    return c.json(await fresh.answer)
  })

  app.get('/api/faults', (c) => c.json(bench.faults?.list() ?? []))
  post('/api/faults', async (body) => {
    if (body.heal === true) bench.faults?.heal()
    else if (typeof body.id === 'string' && typeof body.on === 'boolean') bench.faults?.set(body.id, body.on)
    else throw new Error('missing: id and on, or heal')
    for (const follower of followers) follower()
    return bench.faults?.list() ?? []
  })

  async function offer(person: Person, channel: string) {
    const targets = (await bench.targets?.(person.id, person.teamId, channel)) ?? []
    const all = (values: readonly (string | undefined)[]) =>
      [...new Set(values.filter((one): one is string => one !== undefined && one !== ''))].sort().slice(0, MAX_OFFERED)
    return {
      names: all(targets.map(({ name }) => name)),
      stacks: all(targets.map(({ stack }) => stack)),
      services: all(targets.map(({ service }) => service)),
      backends: all(targets.map(({ backend }) => backend)),
      namespaces: all(targets.map(({ namespace }) => namespace)),
      deployments: all(targets.map(({ workload }) => /^deployment\/(.*)$/.exec(workload ?? '')?.[1])),
      containers: all(targets.filter(({ workload }) => workload !== undefined).map(({ container }) => container)),
      images: bench.images ?? [],
      // The platform's own labels come last: nobody types them.
      labels: platformLast(all(targets.flatMap(({ labels }) => Object.entries(labels).map(([key, value]) => `${key}=${value}`)))),
    }
  }

  return {
    follow(tell) {
      const told = () => tell('faults', bench.faults?.list() ?? [])
      followers.add(told)
      const stop = bench.protocol?.listen((news) => tell('protocol', news))
      return () => {
        followers.delete(told)
        stop?.()
      }
    },
  }
}

function platformLast(labels: readonly string[]): readonly string[] {
  return [...labels].sort((a, b) => Number(a.startsWith('io.')) - Number(b.startsWith('io.')))
}
