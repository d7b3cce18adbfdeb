/** The backend contract on a real swarm of two that is reached through an agent beside its manager. */

import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { backendByOrder } from '../../src/agent/by-order.ts'
import type { Target } from '../../src/core/model.ts'
import { startLink } from '../agent/link.ts'
import { backendContract, failureOf, runOn } from '../contract/backend.ts'
import { swarmFixture } from './swarm-fixture.ts'
import { managerHost, services, shopOf, soon, swarmWorld, temporaryService, workerHost } from './swarm-world.ts'

/** `engine:` and `allow:` of the agent's file. */
async function behind(engine: object, allow: object = {}) {
  const link = await startLink({
    file: `engine: ${JSON.stringify({ kind: 'swarm', ...engine })}\nallow: ${JSON.stringify(allow)}`,
  })
  return { link, backend: backendByOrder({ name: 'fleet', kind: 'swarm', hasUser: true }, link.transport) }
}

backendContract('Docker Swarm through an agent, by its nodes map', () =>
  swarmFixture('map', async (engine) => {
    const { link, backend } = await behind(engine)
    return { backend, close: () => link.close() }
  }),
)

describe('a real swarm behind an agent and its list', () => {
  const world = swarmWorld()
  let web: Target
  beforeAll(async () => {
    web = (await shopOf(world)).web
  }, 60_000)
  afterAll(() => world.tearDown())

  it('a temporary service is made only where the agent’s own file lets it, and is gone afterwards', async () => {
    const without = await behind({ host: managerHost })
    onTestFinished(() => without.link.close())
    const error = await failureOf(runOn(without.backend, web, { argv: ['true'] }, soon()))
    expect(error.ran).toBe('no')
    const { link, backend } = await behind({ host: managerHost, temporaryService })
    onTestFinished(() => link.close())
    const ran = await runOn(backend, web, { argv: ['sh', '-c', 'echo out; echo err >&2; exit 3'] }, soon())
    expect([`${ran.out}`, `${ran.err}`, ran.code, ran.handle?.way]).toEqual(['out\n', 'err\n', 3, 'a temporary service'])
    await expect.poll(services).toEqual([])
  }, 120_000)

  it('[default-deny] S45 tasks that its list does not name are not there and not run in', async () => {
    const { link, backend } = await behind(
      { host: managerHost, nodes: { 'drover-worker': { host: workerHost } } },
      { labels: 'app=api' },
    )
    onTestFinished(() => link.close())
    expect(await backend.list({}, soon())).toEqual([])
    const error = await failureOf(runOn(backend, web, { argv: ['true'] }, soon()))
    expect([error.code, error.ran]).toEqual(['backend_forbidden', 'no'])
    expect(error.message).toMatch(/^The agent lab refused it: "shop-.*" is not on its list/)
  })
})
