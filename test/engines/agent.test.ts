/** The backend contract on a real Docker Engine that is reached through an agent. */

import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { type DockerOptions, docker as dockerBackend } from '../../src/backends/docker/backend.ts'
import type { Target } from '../../src/core/model.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { dockerBeside } from '../agent/docker.ts'
import { startLink, until } from '../agent/link.ts'
import { backendContract, failureOf, newExec, runOn } from '../contract/backend.ts'
import { dockerFixture } from './docker-fixture.ts'
import { bareImage, docker, dockerWorld, image, named, processesIn } from './docker-world.ts'

backendContract('Docker Engine through an agent', () =>
  dockerFixture(async (port) => {
    const link = await startLink({ beside: breakable(port) })
    const backend = dockerBackend({ name: 'engine', host: 'https://lab.agent' }, { transport: () => link.transport })
    return { backend, close: () => link.close() }
  }),
)

describe('a real Docker Engine behind an agent and its list', () => {
  const world = dockerWorld()
  const soon = () => AbortSignal.timeout(120_000)
  async function behind(allow: Readonly<Record<string, unknown>>, options: Partial<DockerOptions> = {}) {
    const link = await startLink({ beside: dockerBeside(allow) })
    onTestFinished(() => link.close())
    return dockerBackend({ name: 'engine', host: 'https://lab.agent', ...options }, { transport: () => link.transport })
  }
  afterAll(() => world.tearDown())

  it('[bounded] 200 commands at a time each get their own output and exit code', async () => {
    const backend = await behind({})
    const target = await named(backend, world.run('many'))
    const all = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const ran = await runOn(backend, target, { argv: ['sh', '-c', `echo ${n}; exit ${n % 100}`] }, soon())
        return [`${ran.out}`.trim(), ran.code]
      }),
    )
    expect(all).toEqual(Array.from({ length: 200 }, (_, n) => [`${n}`, n % 100]))
  }, 180_000)

  it('[gone-is-gone] S42 the helper that its list names ends what runs in a container without a shell', async () => {
    const backend = await behind({ helperImage: image }, { helperImage: image })
    const target = await named(backend, world.run('bare', [], bareImage()))
    const connection = new AbortController()
    const exec = newExec()
    const events = backend.exec(target, { argv: ['sleep', '543210'] }, exec, connection.signal)[Symbol.asyncIterator]()
    const { value } = await events.next()
    if (value?.type !== 'started') throw new Error('it did not begin')
    await until(() => processesIn(target.name, '543210').length > 0)
    connection.abort()
    await events.next().catch(() => undefined)
    expect(await backend.kill(target, value.handle, soon())).toEqual({ result: 'gone' })
    expect(processesIn(target.name, '543210')).toEqual([])
    expect(docker('ps', '-aq', '--filter', 'label=drover.helper')).toBe('')
  })

  it('S45 a privileged container, and one that is not on its list, are refused by name', async () => {
    const direct = dockerBackend({ name: 'direct', fromEnvironment: true }, { transport: nodeTransport, machine: nodeMachine() })
    const strong = await named(direct, world.run('strong', ['--pid', 'host']))
    const other = await named(direct, world.run('other'))
    const backend = await behind({ names: ['strong-*'] })
    const refused = async (target: Target) => await failureOf(runOn(backend, target, { argv: ['true'] }))
    expect((await refused(strong)).message).toMatch(/^The agent lab refused it: the container "strong-.*" is privileged/)
    expect((await refused(other)).message).toMatch(/^The agent lab refused it: the container "other-.*" is not on its list/)
    expect((await refused(other)).ran).toBe('no')
    expect((await backend.list({}, soon())).map(({ name }) => name)).toEqual([strong.name])
  })
})

/** What lasts goes through the relay, which can break it; the questions of the agent's own list do not. */
function breakable(port: number): NonNullable<Parameters<typeof startLink>[0]['beside']> {
  const { engine, fence } = dockerBeside({})
  const relayed = nodeTransport()
  return {
    fence,
    engine: async (signal) => {
      const { transport, headers } = await engine(signal)
      return { headers, base: `http://127.0.0.1:${port}`, transport: { ...relayed, http: transport.http } }
    },
  }
}
