/** What an agent does of what it is asked in drover's own words, and what it refuses: a gateway may be in the wrong hands. */

import { describe, expect, it, onTestFinished } from 'vitest'
import { backendByOrder, workloadsByOrder } from '../../src/agent/by-order.ts'
import { type Call, Refusal } from '../../src/agent/fence.ts'
import { type ExecAllowed, ordersFence, type RolloutAllowed } from '../../src/agent/fence-orders.ts'
import { type Transport, TransportError } from '../../src/backends/transport.ts'
import { parseConfig } from '../../src/config.ts'
import type { ExecEvent, Target } from '../../src/core/model.ts'
import { createBackends } from '../../src/rooms.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, newExec, runOn } from '../contract/backend.ts'
import { startLink } from './link.ts'
import { aTarget, plainBackend } from './plain-backend.ts'

const targets = () => [
  aTarget('web-1', { labels: { app: 'web' } }),
  aTarget('web-10', { labels: { app: 'web' }, uid: 'second' }),
  aTarget('db-1', { labels: { app: 'db' } }),
  aTarget('strong', { labels: { app: 'web' }, privileged: true }),
]
const soon = () => AbortSignal.timeout(5_000)

function asking(allowed: ExecAllowed, rollout?: RolloutAllowed, found: Target[] = targets()) {
  const { backend, workloads, done } = plainBackend(found)
  const fence = ordersFence({
    check: backend.check,
    exec: { backend, allowed },
    ...(rollout ? { rollout: { workloads, allowed: rollout } } : {}),
  })
  const ask = async (order: string, body: unknown, more: Partial<Call> = {}): Promise<string> => {
    const call = {
      kind: 'http',
      method: 'POST',
      path: `/drover/v1/${order}`,
      headers: {},
      body: JSON.stringify(body),
      ...more,
    } as const
    try {
      const fill = await fence(call, soon())
      if (!fill) return 'it is none of these calls'
      const parts: Uint8Array[] = []
      for await (const part of fill(soon())) parts.push(part)
      return `passed: ${Buffer.concat(parts).toString()}`
    } catch (error) {
      if (error instanceof Refusal) return error.message
      throw error
    }
  }
  return { ask, done, backend }
}

const on = (native: string, more: object = {}) => ({
  target: { native, facets: {} },
  exec: newExec(),
  command: { argv: ['id'] },
  ...more,
})

describe('what an agent is asked in drover’s own words', () => {
  it('[default-deny] only these few are known, and only written so', async () => {
    const { ask, done } = asking({})
    const { backend } = plainBackend([])
    expect(await ask('list', { selector: {} })).toMatch(/^passed/)
    expect(await ask('shell', {})).toBe('POST "/drover/v1/shell" is not on its list')
    expect(await ask('constructor', {})).toMatch(/is not on its list/)
    expect(await ask('__proto__', {})).toMatch(/is not on its list/)
    expect(await ask('exec/more', on('web-1'))).toMatch(/is not on its list/)
    expect(await ask('exec/../exec', on('web-1'))).toMatch(/not written plainly/)
    expect(await ask('list?all=1', { selector: {} })).toMatch(/"all" is not on its list/)
    for (const more of [{ kind: 'socket' }, { kind: 'upgrade' }, { method: 'GET' }, { method: 'DELETE' }] as const)
      expect(await ask('exec', on('web-1'), more)).toMatch(/is not on its list/)
    expect(done).toEqual([])
    const other = { kind: 'http', method: 'GET', path: '/drover/v2/x', headers: {}, body: '' } as const
    expect(await ordersFence({ exec: { backend, allowed: {} } })(other, soon())).toBeUndefined()
  })

  it('a body with anything that is not known is refused whole, and says what', async () => {
    const { ask, done } = asking({})
    const cases: [string, unknown, string][] = [
      ['exec', on('web-1', { privileged: true }), '"privileged" of exec'],
      ['exec', on('web-1', { command: { argv: ['id'], capabilities: ['CAP_SYS_ADMIN'] } }), '"capabilities" of exec'],
      ['exec', on('web-1', { command: { argv: [] } }), '"command.argv" of exec'],
      ['exec', on('web-1', { command: { argv: ['id'], stdout: '/run/other/fifo' } }), '"stdout" of exec'],
      ['exec', on('web-1', { target: { native: 'web-1', facets: {}, namespace: 'k8s.io' } }), '"namespace" of exec'],
      ['exec', on('web-1', { exec: '../../other' }), '"exec" of exec'],
      ['exec', on('web-1', { exec: 'A'.repeat(32) }), '"exec" of exec'],
      ['exec', on('web-1', { target: { native: '', facets: {} } }), '"target.native" of exec'],
      ['list', { selector: { on: 'x' } }, '"on" of list'],
      ['list', { selector: {}, namespace: 'moby' }, '"namespace" of list'],
      ['kill', { target: { native: 'web-1' }, handle: { exec: 'noitcudorp-tnega' } }, '"handle.exec" of kill'],
      ['kill', { target: { native: 'web-1' }, handle: { exec: newExec(), pid: -1 } }, '"handle.pid" of kill'],
      ['check', { fix: true }, '"fix" of check'],
      ['exec', null, '"the body" of exec'],
    ]
    for (const [order, body, words] of cases)
      expect([words, await ask(order, body)]).toEqual([words, `${words} is not on its list`])
    expect(await ask('exec', '', { body: '{' })).toBe('"the body" of exec is not on its list')
    expect(done).toEqual([])
  })

  it('[default-deny] S45 what the list does not name is neither shown nor run in, and what is privileged is not run in', async () => {
    const { ask, done } = asking({ labels: [{ op: 'eq', key: 'app', value: 'web' }], names: ['web-*', 'strong', 'db-*'] })
    const told = await ask('list', { selector: {} })
    expect(['web-1', 'web-10', 'strong', 'db-1'].map((name) => told.includes(`"native":"${name}"`))).toEqual([
      true,
      true,
      true,
      false,
    ])
    expect(told).not.toContain('own')
    expect(await ask('exec', on('db-1'))).toBe('"db-1" is not on its list')
    expect(await ask('kill', { target: { native: 'db-1' }, handle: { exec: newExec() } })).toBe('"db-1" is not on its list')
    expect(await ask('exec', on('strong'))).toBe('"strong" is privileged, and its list does not say privileged: true')
    expect(await asking({ names: ['web-1'] }).ask('exec', on('web-10'))).toBe('"web-10" is not on its list')
    expect(await asking({ names: ['db-1'], labels: [{ op: 'eq', key: 'app', value: 'web' }] }).ask('exec', on('db-1'))).toMatch(
      /not on/,
    )
    expect(done).toEqual([])
    expect(await asking({ privileged: true }).ask('exec', on('strong'))).toMatch(/^passed/)
  })

  it('the target is the one that is found here: of the gateway’s words about it nothing is taken but its id', async () => {
    const { ask, done } = asking({})
    expect(await ask('exec', on('web-1', { timeoutMs: 5000 }))).toMatch(/^passed.*"exit"/)
    expect(done).toEqual([{ did: 'exec', on: targets()[0], command: { argv: ['id'] }, timeoutMs: 5000 }])
    expect(await ask('exec', on('web'))).toMatch(/"code":"not_running".*"ran":"no"/)
    const other = { target: { native: 'web-10', uid: 'first', facets: {} } }
    expect(await ask('exec', on('', other))).toMatch(/"code":"not_running".*"ran":"no"/)
    expect(done).toHaveLength(1)
  })

  it('[gone-is-gone] what is listed no more can still be asked about; it is the one that ran here, or nothing is known of it but its name', async () => {
    const found = targets()
    const { ask, done, backend } = asking({}, undefined, found)
    const exec = newExec()
    await ask('exec', on('web-1', { exec }))
    const [web] = found.splice(0, 1)
    const kill = async (handle: string) => {
      await ask('kill', { target: { native: 'web-1' }, handle: { exec: handle, pid: 7 } })
      const last = done.at(-1)
      return last?.did === 'kill' ? last.on : undefined
    }
    expect(await kill(`${exec}@1000:1000`)).toEqual(web)
    expect(await kill(newExec())).toEqual(aTarget('web-1'))
    expect(done.at(-1)).toMatchObject({ handle: { target: 'own/web-1', pid: 7 } })
    expect(backend.name).toBe('own')
  })

  it('[default-deny] new containers are made of the images that its list names and within its own bounds, and of no others', async () => {
    const made = (creates: object) => ({ creates, exec: newExec(), command: { argv: ['id'] } })
    const none = asking({})
    expect(await none.ask('exec', made({ image: 'busybox' }))).toBe('new containers of "busybox" are not on its list (images:)')
    const { ask, done } = asking({ images: ['busybox:*'] })
    expect(await ask('exec', made({ image: 'busybox:5000/evil' }))).toMatch(/are not on its list/)
    expect(await ask('exec', made({ image: 'busybox:1', memoryBytes: 1e12 }))).toBe('memory= may be 256m at most on own.')
    expect(await ask('exec', made({ image: 'busybox:1', mounts: ['root'] }))).toBe(
      'There is no mount root for new containers on own.',
    )
    expect(await ask('exec', made({ image: 'busybox:1', network: 'host' }))).toMatch(/is privileged/)
    expect(await ask('exec', made({ image: 'busybox:1', network: 'bridge' }))).toMatch(/The network bridge is not one/)
    expect(done).toEqual([])
    expect(await ask('exec', made({ image: 'busybox:1' }))).toMatch(/^passed/)
    expect(done).toMatchObject([{ did: 'exec', on: { native: 'new', creates: { image: 'busybox:1', network: 'none' } } }])
  })
})

describe('rollouts through an agent', () => {
  const deployments = () => [
    aTarget('shop/deployment/web', {
      name: 'deployment/web',
      uid: 'one',
      facets: { namespace: 'shop', workload: 'deployment/web' },
    }),
    aTarget('shop/deployment/agent', { name: 'deployment/agent', privileged: true }),
    aTarget('shop/deployment/db', { name: 'deployment/db', labels: { tier: 'data' } }),
  ]
  const target = { native: 'shop/deployment/web', uid: 'one', facets: { namespace: 'shop', image: 'web:1' } }
  const behind = (rollout: RolloutAllowed) => asking({}, rollout, deployments())

  it('[default-deny] none passes where its file says nothing of rollouts', async () => {
    const { ask } = asking({}, undefined, deployments())
    for (const order of ['workloads', 'plan', 'apply'])
      expect(await ask(order, { selector: {} })).toBe('rollouts are not on its list (allow: { rollout: … })')
    const call = { kind: 'http', method: 'POST', path: '/drover/v1/exec', headers: {}, body: '{}' } as const
    await expect(ordersFence({})(call, soon())).rejects.toThrow('"/drover/v1/exec" is not on its list')
  })

  it('[default-deny] only the verbs, workloads and images that its file names', async () => {
    const all = behind({ verbs: ['image', 'restart'], images: ['web:*'], names: ['deployment/*'] })
    const plan = (rollout: object, of: object = target) => all.ask('plan', { target: of, rollout })
    expect(await plan({ verb: 'restart' })).toMatch(/^passed.*"seal"/)
    expect(await plan({ verb: 'image', image: 'web:2' })).toMatch(/^passed/)
    expect(await plan({ verb: 'scale', replicas: 0 })).toBe('rollout scale is not on its list')
    expect(await plan({ verb: 'image', image: 'evil:1' })).toBe('the image "evil:1" is not on its list (rollout.images:)')
    expect(await plan({ verb: 'image', image: 'web:2', template: {} })).toMatch(/"template"|"rollout" of plan is not on its list/)
    expect(await plan({ verb: 'image', image: 'web:2' }, { native: 'shop/deployment/agent' })).toMatch(/is privileged/)
    expect(await plan({ verb: 'restart' }, { native: 'shop/deployment/agent' })).toMatch(/^passed/)
    expect(await plan({ verb: 'restart' }, { native: 'other/deployment/web' })).toMatch(/"code":"backend_not_found".*"ran":"no"/)
    expect(await plan({ verb: 'restart' }, { ...target, uid: 'another' })).toMatch(/"code":"backend_not_found"/)
    const some = behind({ verbs: ['restart'], labels: [{ op: 'eq', key: 'tier', value: 'data' }] })
    expect(await some.ask('plan', { target, rollout: { verb: 'restart' } })).toBe('"deployment/web" is not on its list')
    expect(await some.ask('workloads', { selector: {} })).not.toContain('deployment/web')
    expect(all.done).toEqual([])
  })

  it('[default-deny] what is refused to be planned is refused to be applied, and a plan of other words is refused', async () => {
    const { ask, done } = behind({ verbs: ['restart'] })
    const plan = { facts: [], change: '', seal: 'a seal' }
    const apply = (more: object) => ask('apply', { target, rollout: { verb: 'restart' }, plan, exec: newExec(), ...more })
    expect(await apply({ rollout: { verb: 'scale', replicas: 0 } })).toBe('rollout scale is not on its list')
    expect(await apply({ plan: { ...plan, body: {} } })).toBe('"body" of apply is not on its list')
    expect(await apply({ plan: { ...plan, seal: 'another' } })).toMatch(/"code":"changed".*"ran":"no"/)
    expect(done).toEqual([])
    expect(await apply({})).toMatch(/^passed.*"exit"/)
    expect(done).toMatchObject([{ did: 'apply', rollout: { verb: 'restart' } }])
  })
})

describe('the gateway’s end', () => {
  async function linked(events: readonly ExecEvent[]) {
    const { backend, workloads, done } = plainBackend([aTarget('web-1')], events)
    const engine = async (): Promise<never> => {
      throw new Error('no call passes')
    }
    const orders = ordersFence({
      check: backend.check,
      exec: { backend, allowed: {} },
      rollout: { workloads, allowed: { verbs: ['restart'] } },
    })
    const fence = async (): Promise<never> => {
      throw new Refusal('no call passes')
    }
    const link = await startLink({ beside: { engine, fence, orders } })
    onTestFinished(() => link.close())
    return { link, done, far: backendByOrder({ name: 'here', kind: 'containerd', hasUser: true }, link.transport) }
  }

  it('targets, handles and rollouts have the names that this gateway gives them', async () => {
    const { far, link, done } = await linked([{ type: 'exit', code: 3 }])
    const [target] = await far.list({ on: 'here' }, soon())
    expect(target).toEqual({ ...aTarget('web-1'), id: 'here/web-1', backend: 'here' })
    const ran = await runOn(far, target!, { argv: ['id'], env: { A: 'b' }, stdin: 'x', tty: true })
    expect([ran.code, ran.handle?.target]).toEqual([3, 'here/web-1'])
    expect(done).toMatchObject([{ did: 'exec', command: { argv: ['id'], env: { A: 'b' }, stdin: 'x', tty: true } }])
    const workloads = workloadsByOrder({ name: 'here', kind: 'containerd' }, ['restart'], link.transport)
    const plan = await workloads.plan(target!, { verb: 'restart' }, soon())
    const events: ExecEvent[] = []
    for await (const event of workloads.apply(target!, { verb: 'restart' }, plan, newExec(), soon())) events.push(event)
    expect(events).toMatchObject([
      { type: 'started', handle: { target: 'here/web-1' } },
      { type: 'exit', code: 0 },
    ])
  })

  it('of drover.yaml it is made without anything of the engine’s kind, which no Worker holds', async () => {
    const { link, done } = await linked([{ type: 'exit', code: 0 }])
    const text = `agents: { lab: { key: '${link.publicKey}' } }
backends:
  node: { kind: containerd, through: lab, newContainers: { networks: [host] } }
  pods: { kind: containerd, through: lab, api: cri }
  fleet: { kind: swarm, through: lab }`
    const outside = { transport: nodeTransport, kinds: {}, agents: () => link.transport }
    const [node, pods, fleet] = createBackends(parseConfig(text, 'drover.yaml', {}), outside)
    const of = (one = node) => [one?.name, one?.kind, one?.traits.user, one?.newContainer !== undefined, one?.sweep !== undefined]
    expect([of(), of(pods), of(fleet)]).toEqual([
      ['node', 'containerd', true, true, true],
      ['pods', 'containerd', false, false, false],
      ['fleet', 'swarm', true, false, false],
    ])
    await node?.sweep?.(soon())
    expect(done).toEqual([{ did: 'sweep' }])
    expect((await fleet!.list({}, soon())).map(({ id, kind }) => [id, kind])).toEqual([['fleet/web-1', 'swarm']])
    expect(await fleet!.check(soon())).toEqual([{ ok: true, what: 'it answers' }])
    expect(node!.newContainer!({ image: 'busybox' }).id).toBe('node/new/busybox')
    expect(() =>
      createBackends(parseConfig(text.replace(', through: lab }', ', host: unix:///x }'), 'drover.yaml', {}), outside),
    ).toThrow('does not work on Workers')
  })

  it('what was dropped at the far side is counted here', async () => {
    const data = new TextEncoder().encode('some')
    const { far } = await linked([
      { type: 'output', stream: 'stderr', data, dropped: 7 },
      { type: 'exit', code: 0 },
    ])
    const [target] = await far.list({}, soon())
    const { events } = await runOn(far, target!, { argv: ['id'] })
    expect(events.filter((one) => one.type === 'output').map((one) => ({ ...one, data: Uint8Array.from(one.data) }))).toEqual([
      { type: 'output', stream: 'stderr', data },
      { type: 'output', stream: 'stderr', data: new Uint8Array(), dropped: 7 },
    ])
  })

  it('[true-ending] S41 an agent that ends without an exit, or answers with something else, is no success', async () => {
    const { far } = await linked([])
    const [target] = await far.list({}, soon())
    const silent = await failureOf(runOn(far, target!, { argv: ['id'] }))
    expect([silent.code, silent.ran]).toEqual(['stream_broken', 'maybe'])
    const word = (text: string): Uint8Array => {
      const bytes = new TextEncoder().encode(text)
      return Uint8Array.from([3, 0, 0, 0, 0, 0, 0, bytes.byteLength, ...bytes])
    }
    const says = (...parts: Uint8Array[]): Pick<Transport, 'stream'> => ({
      stream: async () => ({
        status: 200,
        headers: new Headers(),
        body: (async function* () {
          yield* parts
        })(),
      }),
    })
    const lies = [
      [word('{"type":"exit","code":"0"}')],
      [word('{"type":"exit"}')],
      [word('{"type":"well"}')],
      [word('no json')],
      [Uint8Array.from([9, 9, 9, 9, 0, 0, 0, 0])],
      [word('{"type":"exit","code":0}').subarray(0, 20)],
      [word('{"type":"answer","value":{"type":"exit","code":0}}')],
    ]
    for (const parts of lies) {
      const way = says(...parts) as Transport
      const error = await failureOf(
        runOn(backendByOrder({ name: 'x', kind: 'containerd', hasUser: true }, way), target!, { argv: ['id'] }),
      )
      expect([error.code, error.ran]).toEqual(['stream_broken', 'maybe'])
    }
    const left = await failureOf(
      backendByOrder(
        { name: 'x', kind: 'containerd', hasUser: true },
        says(word('{"type":"answer","value":{"result":"surely"}}')) as Transport,
      ).kill(target!, { target: target!.id, exec: newExec() }, soon()),
    )
    expect(left.code).toBe('backend_unavailable')
  })

  it('[true-ending] S41 a link that goes before the answer has begun may have carried the command there; what was turned away was not begun', async () => {
    const target = aTarget('web-1')
    const ranAfter = async (reason: TransportError['reason'], begun = false): Promise<unknown> => {
      const error = new TransportError(reason, 'the agent lab: gone')
      const body = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) }
      const stream = async () => (begun ? { status: 200, headers: new Headers(), body } : await Promise.reject(error))
      const way = { stream } as unknown as Transport
      const far = backendByOrder({ name: 'x', kind: 'containerd', hasUser: true }, way)
      return (await failureOf(runOn(far, target, { argv: ['id'] }))).ran
    }
    expect([await ranAfter('reset'), await ranAfter('aborted')]).toEqual(['maybe', 'maybe'])
    expect([await ranAfter('other'), await ranAfter('too_large'), await ranAfter('refused')]).toEqual(['no', 'no', 'no'])
    expect(await ranAfter('other', true)).toBe('maybe')
  })

  it('[bounded] a request larger than an agent takes is refused before anything runs', async () => {
    const { far, done } = await linked([{ type: 'exit', code: 0 }])
    const [target] = await far.list({}, soon())
    const error = await failureOf(runOn(far, target!, { argv: ['cat'], stdin: 'x'.repeat(9 * 1024 * 1024) }))
    expect([error.ran, error.message]).toEqual(['no', expect.stringContaining('larger than an agent takes')])
    expect(done).toEqual([])
  })

  it('[default-deny] a refusal of the agent is told as its own, and did not run', async () => {
    const { far } = await linked([{ type: 'exit', code: 0 }])
    const [target] = await far.list({}, soon())
    const error = await failureOf(runOn(far, { ...target!, creates: { image: 'evil' } }, { argv: ['id'] }))
    expect([error.code, error.ran]).toEqual(['backend_forbidden', 'no'])
    expect(error.message).toBe('The agent lab refused it: new containers of "evil" are not on its list (images:)')
  })
})
