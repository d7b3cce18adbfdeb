/** The life of a rollout over a real ledger: judged, planned, shown, sent once, and what of a plan may be seen. */

import { describe, expect, it } from 'vitest'
import { judge } from '../../src/core/judge.ts'
import type { Rollout, RunRequest, RunState } from '../../src/core/model.ts'
import type { Backend } from '../../src/core/ports.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import { worstExitCode } from '../../src/core/run-state.ts'
import { anything, asked, endingsOf, failureOf, house, image, play, type Setting } from './rollout-house.ts'
import { shelf, workload } from './shelf.ts'

describe('a rollout that is allowed', () => {
  it('[recorded-first] S21 is decided, planned and shown before the change leaves, and ends when the new state is reached', async () => {
    const shop = shelf([workload('api')])
    const shown: RunState[] = []
    const { real, request, state } = await play(shop, image, {
      reporter: {
        progress: async (now) => {
          if (shown.length === 0) expect(shop.sent).toEqual([])
          shown.push(now)
          return []
        },
      },
    })
    const types = (await real.read(request.id)).map(({ event }) => event.type)
    const first = [
      'accepted',
      'resolved',
      'decided',
      'planned',
      'started',
      'handle',
      'progressed',
      'ended',
      'finished',
      'delivered',
    ]
    expect(types).toEqual(first)
    expect(shown[0]?.executions[0]?.plan?.facts).toContainEqual({ name: 'image main', before: 'repo/app:1', after: 'repo/app:2' })
    expect(shop.workloads[0]?.template.images).toEqual({ main: 'repo/app:2' })
    expect(state.decision).toMatchObject({ effect: 'allow', rule: 'deployers' })
    expect(endingsOf(state)).toEqual(['rolled out'])
    expect(worstExitCode(state)).toBe(0)
    expect(await real.verify()).toMatchObject({ ok: true })
  })

  it('status looks and sends nothing; the facts are in the record', async () => {
    const shop = shelf([workload('api')])
    const { state } = await play(shop, { verb: 'status' })
    expect(shop.sent).toEqual([])
    expect(state.executions[0]?.plan).toMatchObject({ change: '', facts: [{ name: 'image main', before: 'repo/app:1' }, {}, {}] })
    expect(endingsOf(state)).toEqual(['as it stands now'])
  })

  it('undo returns to what the plan before said, as a run of its own', async () => {
    const shop = shelf([workload('api')])
    const { state } = await play(shop, image)
    const { to } = state.executions[0]!.plan!.undo!
    const back = await play(shop, { verb: 'undo', to })
    expect(endingsOf(back.state)).toEqual(['rolled back'])
    expect(shop.workloads[0]?.template.images).toEqual({ main: 'repo/app:1' })
  })

  it('goes to each workload that was named, with a plan for each; the short name is enough', async () => {
    const shop = shelf([workload('api'), workload('web')])
    const { state } = await play(shop, { verb: 'scale', replicas: 0 }, {}, { selector: { name: 'api' } })
    expect(state.executions.map(({ target }) => target.name)).toEqual(['deployment/api'])
    expect(endingsOf(state)).toEqual(['scaled to 0'])
    const both = await play(shop, { verb: 'restart' }, {}, { selector: { facets: { namespace: 'shop' } } })
    expect(both.state.executions.map(({ plan }) => plan?.change !== '')).toEqual([true, true])
    expect(shop.sent.map(({ verb }) => verb)).toEqual(['scale', 'restart', 'restart'])
  })
})

describe('[default-deny] what is refused, with nothing sent', () => {
  const cases: readonly [string, Rollout, Setting, Partial<RunRequest>, string][] = [
    ['a rollout that no rule names', image, { rules: [{ ...anything, rollouts: [['restart']] }] }, {}, 'denied'],
    [
      'a rollout under a rule for any command',
      image,
      { rules: [{ id: 'x', effect: 'allow', who: { users: ['T1/U1'] }, commands: [['...']] }] },
      {},
      'denied',
    ],
    [
      'more workloads than the site allows',
      { verb: 'restart' },
      { targets: 1 },
      { selector: { facets: { namespace: 'shop' } } },
      'too_many_targets',
    ],
    [
      'S44 nothing in particular',
      { verb: 'restart' },
      {},
      { selector: { facets: { workload: 'deployment/*' } } },
      'empty_selector',
    ],
    ['a random one', { verb: 'restart' }, {}, { selector: { name: 'api', any: 1 } }, 'usage'],
    ['a container that is not there', { ...image, container: 'mian' }, {}, {}, 'unsupported'],
    ['a verb that the backend lacks', { verb: 'finish' }, {}, {}, 'unsupported'],
    ['words that say something else', image, {}, { command: { argv: ['rollout', 'restart'] } }, 'usage'],
    ['[exact-argv] more than words', image, {}, { command: { argv: rolloutArgv(image), user: 'root' } }, 'usage'],
    ['[exact-argv] a rollout that makes a container as well', image, {}, { newContainer: { image: 'x' } }, 'usage'],
    ['an image with a wildcard', { verb: 'image', image: 'repo/*' }, {}, {}, 'usage'],
    ['no such workload', image, {}, { selector: { facets: { workload: 'deployment/none' } } }, 'no_targets'],
    ['no such backend', image, {}, { selector: { on: 'elsewhere', name: 'api' } }, 'no_targets'],
  ]
  it.each(cases)('%s', async (_, rollout, setting, more, code) => {
    const shop = shelf([workload('api'), workload('web')])
    const { state } = await play(shop, rollout, setting, more)
    expect(failureOf(state)?.code).toBe(code)
    expect(failureOf(state)?.next).toBeTruthy()
    expect(shop.sent).toEqual([])
  })

  it('a workload that cannot be planned refuses all of them and is named', async () => {
    const shop = shelf([workload('api'), workload('web')])
    await play(shop, image, {}, { selector: { facets: { service: 'api' } } })
    const { state } = await play(shop, { verb: 'undo' }, {}, { selector: { facets: { namespace: 'shop' } } })
    expect(failureOf(state)?.message).toContain('deployment/web (kube): There is nothing to go back to.')
    expect(shop.sent).toHaveLength(1)
  })

  it('a backend without workloads is left out, and said when nothing else is meant', async () => {
    const shop = shelf([workload('api')])
    const { workloads: _, ...bare } = shop.backend
    const plain: Backend = { ...bare, name: 'prod', kind: 'docker' }
    const both = await play(shop, image, { backends: [plain, shop.backend] })
    expect(endingsOf(both.state)).toEqual(['rolled out'])
    const alone = await play(shop, image, { backends: [plain, shop.backend] }, { selector: { on: 'prod', name: 'api' } })
    expect(failureOf(alone.state)).toMatchObject({ code: 'unsupported', message: 'Nothing can be rolled out on prod (docker).' })
  })

  it('why shows the plan, and nothing is sent or recorded', async () => {
    const shop = shelf([workload('api')])
    const made = await house({ backends: [shop.backend] })
    const judgement = await judge(await asked(image), made.house)
    expect(judgement.ok && Object.values(judgement.plans ?? {})[0]?.change).toContain('repo/app:2')
    expect(judgement.ok && judgement.timeoutMs).toBe(600_000)
    expect(shop.sent).toEqual([])
    expect(await made.real.list({ limit: 1 })).toEqual([])
  })
})

describe('[no-secret-shown] what a plan says', () => {
  it('S36 what a terminal would obey is shown and not obeyed', async () => {
    const shop = shelf([workload('api')])
    const obeyed = '\u001b]52;c;ZXZpbA==\u0007'
    shop.workloads[0]!.template = { images: { main: `repo/app:${obeyed}` }, stamp: 0 }
    const { state } = await play(shop, { verb: 'restart' })
    const { facts, change } = state.executions[0]!.plan!
    expect(JSON.stringify([facts, change])).toContain('␛]52')
    expect([...facts.flatMap(({ before, after }) => [before, after ?? '']), change].join('')).not.toContain('\u001b')
  })

  it('S35 is masked before it is recorded and shown; what is sent back is not touched', async () => {
    const secret = 'hunter2-hunter2'
    const shop = shelf([workload('api')])
    const rollout: Rollout = { verb: 'image', image: `repo/app:${secret}` }
    const { state, real, request } = await play(shop, rollout, { secrets: [secret] })
    expect(JSON.stringify(state.executions.map(({ plan }) => ({ ...plan, seal: '' })))).not.toContain(secret)
    expect(shop.workloads[0]?.template.images.main).toBe(`repo/app:${secret}`)
    expect((await real.read(request.id)).filter(({ event }) => event.type === 'planned')).toHaveLength(1)
  })
})
