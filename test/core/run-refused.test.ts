/** A run that may not or cannot be: nothing of it leaves, and its asker is told what is missing. */

import { describe, expect, it } from 'vitest'
import { everyTrait } from '../../src/backends/wire/traits.ts'
import { BackendError, DroverError } from '../../src/core/errors.ts'
import type { RunId, RunRequest, Target } from '../../src/core/model.ts'
import type { Facts } from '../../src/core/ports.ts'
import { work } from '../../src/core/run.ts'
import { asked, backendOf, everything, exits, house, play, type Setting, stateOf, targetOf, typesOf } from './house.ts'

describe('[default-deny] a run that is refused', () => {
  const two = () => backendOf('prod', [targetOf('web-1'), targetOf('web-2', 'prod', { labels: { app: 'web', tier: 'x' } })])
  const unreadable = new BackendError(
    { code: 'backend_unauthorized', message: 'The key is refused.', next: 'Renew it.' },
    { ran: 'no' },
  )

  it.each<[string, Setting, Partial<RunRequest>, string]>([
    ['no rule allows it', { rules: [] }, {}, 'denied'],
    ['one of its targets is not allowed', { rules: [{ ...everything, targets: { name: ['web-1'] } }] }, {}, 'denied'],
    [
      'S14 the group cannot be read',
      {
        rules: [{ ...everything, who: { groups: ['T1/S1'] } }],
        facts: async () => {
          throw new DroverError({ code: 'facts_unavailable', message: 'Slack does not answer.' })
        },
      },
      {},
      'facts_unavailable',
    ],
    [
      'S14 reading the group breaks down',
      {
        facts: async () => {
          throw new TypeError('fetch failed')
        },
      },
      {},
      'internal',
    ],
    [
      'S13 the actor is a stranger',
      { facts: async (): Promise<Facts> => ({ groups: [], refuse: new DroverError({ code: 'identity', message: 'A guest.' }) }) },
      {},
      'identity',
    ],
    ['nothing matches', {}, { selector: { name: 'nope' } }, 'no_targets'],
    ['S44 the selector is blank', {}, { selector: { name: ' ' } }, 'empty_selector'],
    ['S44 the selector is missing', {}, { selector: {} }, 'empty_selector'],
    ['no backend is meant', {}, { selector: { on: 'elsewhere', name: 'web-1' } }, 'no_targets'],
    ['more match than the site allows', { targets: 1 }, {}, 'too_many_targets'],
    ['more match than the rule allows', { rules: [{ ...everything, limits: { maxTargets: 1 } }] }, {}, 'too_many_targets'],
    ['it may take longer than a run may here', { runMs: 20_000, parallel: 1 }, {}, 'too_many_targets'],
    ['S44 all= is not the number', { rules: [{ ...everything, rights: ['all'] }] }, { selector: { all: 3 } }, 'count_mismatch'],
  ])('%s: nothing runs, the reason is recorded and delivered', async (_, setting, more, code) => {
    const { backend, ran } = two()
    const { state, delivered, real, request } = await play({ backends: [backend], ...setting }, more)
    expect(ran).toEqual([])
    expect(state.outcome).toMatchObject({ status: 'refused', failure: { code } })
    expect(state.decision).toMatchObject({ effect: 'deny', failure: { code } })
    expect(delivered).toHaveLength(1)
    expect(await typesOf(real, request.id)).toEqual(['accepted', 'decided', 'finished', 'delivered'])
  })

  it('what no backend that is meant can have is named, instead of a spelling to check', async () => {
    const said = async (selector: RunRequest['selector'], ...kinds: readonly Target['kind'][]) => {
      const backends = (kinds.length > 0 ? kinds : ['docker' as const]).map((kind) => ({ ...two().backend, kind }))
      const { state } = await play({ backends }, { selector })
      return state.outcome?.status === 'refused' ? state.outcome.failure.message : undefined
    }
    expect(await said({ facets: { workload: 'deployment/api' } })).toBe('Nothing has a deployment on prod (docker).')
    expect(await said({ facets: { namespace: 'shop' } })).toBe('Nothing has a namespace on prod (docker).')
    expect(await said({ facets: { task: 'x7' } })).toBe('Nothing has a task on prod (docker).')
    for (const [facet, kind] of [
      ['workload', 'kubernetes'],
      ['namespace', 'containerd'],
      ['task', 'swarm'],
      ['stack', 'docker'],
    ] as const)
      for (const kinds of [[kind], ['rancher1', kind]] as const)
        expect(await said({ facets: { [facet]: 'deployment/none' } }, ...kinds)).toBe('No running container matches.')
  })

  it('what the nearest rule lacks is in the record of the decision and in the answer, masked like any output', async () => {
    const rules = [{ ...everything, commands: [['uptime']], images: ['busybox:1'] }]
    const { state, real, request } = await play(
      { backends: [two().backend], rules, secrets: ['hunter2secret'] },
      { selector: {}, newContainer: { image: 'registry.example.com/hunter2secret:1' } },
    )
    const decided = (await real.read(request.id)).map(({ event }) => event).find(({ type }) => type === 'decided')
    const [told] = state.outcome?.status === 'refused' ? [state.outcome.failure] : []
    expect(decided).toMatchObject({ decision: { effect: 'deny', failure: told } })
    expect(told?.message).toMatch(/The nearest rule, ops, has you.*, but not the image registry\.example\.com\/.+1\.$/)
    expect(JSON.stringify(decided)).not.toContain('hunter2secret')
  })

  it('a limit of a rule says whose it is, one of the site does not', async () => {
    const limited = await play({ backends: [two().backend], rules: [{ ...everything, limits: { maxTargets: 1 } }] })
    const site = await play({ backends: [two().backend], targets: 1 })
    const said = [limited, site].map(({ state }) => state.outcome?.status === 'refused' && state.outcome.failure.message)
    expect(said).toEqual([
      '2 containers match, and at most 1 may be used at once, says the rule ops: web-1, web-2.',
      '2 containers match, and at most 1 may be used at once: web-1, web-2.',
    ])
  })

  it('no backend at all is not a name that is spelt wrong', async () => {
    const said = async (setting: Setting, selector: RunRequest['selector']) => {
      const { state } = await play(setting, { selector })
      return state.outcome?.status === 'refused' ? `${state.outcome.failure.message} ${state.outcome.failure.next}` : ''
    }
    expect(await said({}, { name: 'web-1' })).toMatch(/^No backend is configured\. Whoever runs drover can add one/)
    expect(await said({ backends: [two().backend] }, { on: 'elsewhere', name: 'a' })).toMatch(
      /^No backend is called elsewhere\. Backends: \w+\.$/,
    )
  })

  it('[bounded] one actor’s runs over the limit are refused, another’s go on, and an ended one makes room', async () => {
    const { backend, ran } = two()
    const { house: it, real } = await house({
      backends: [backend],
      rules: [{ ...everything, who: { teams: ['T1'] } }],
      runsPerActor: 1,
    })
    const held = await it.turns.enter({ kind: 'slack-user', team: 'T1', user: 'U1' }, 'held' as RunId)
    const [mine, theirs, later] = [
      await asked(),
      await asked({ actor: { kind: 'slack-user', team: 'T1', user: 'U2' } }),
      await asked(),
    ]
    for (const request of [mine, theirs, later]) await real.accept(request)
    await work(mine.id, it, new AbortController().signal)
    expect((await stateOf(real, mine.id)).outcome).toMatchObject({ status: 'refused', failure: { code: 'too_many_runs' } })
    expect(ran).toEqual([])
    await work(theirs.id, it, new AbortController().signal)
    expect((await stateOf(real, theirs.id)).outcome).toEqual({ status: 'done' })
    if ('leave' in held) held.leave()
    await work(later.id, it, new AbortController().signal)
    expect((await stateOf(real, later.id)).outcome).toEqual({ status: 'done' })
  })

  it('names the target that no rule allows, once, for the whole run', async () => {
    const { backend } = two()
    const { state } = await play({ backends: [backend], rules: [{ ...everything, targets: { name: ['web-1'] } }] })
    expect(state.outcome).toMatchObject({
      failure: { message: expect.stringMatching(/web-2.*the other 1 of 2 would be allowed\. Nothing ran/) },
    })
  })

  it('one backend that cannot be listed refuses the whole: a shorter list would be a lie', async () => {
    const good = backendOf('prod', [targetOf('web-1')])
    const bad = backendOf('test', [], exits, { list: async () => Promise.reject(unreadable) })
    const { state } = await play({ backends: [good.backend, bad.backend] })
    expect([good.ran, bad.ran]).toEqual([[], []])
    expect(state.outcome).toMatchObject({
      failure: { code: 'backend_unauthorized', message: expect.stringContaining('test: '), next: expect.stringContaining('on=') },
    })
  })

  it('what a backend cannot do is refused before anything leaves', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1')], exits, { traits: { ...everyTrait, stdin: false } })
    const { state } = await play({ backends: [backend] }, { command: { argv: ['cat'], stdin: 'x' } })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { failure: { code: 'unsupported', message: expect.stringContaining('stdin=') } },
    ])
  })

  it('[no-secret-shown] S35 the refused command is shown without its token', async () => {
    const token = `ghp_${'a1B2'.repeat(9)}`
    const { backend } = two()
    const { state, delivered } = await play(
      { backends: [backend], rules: [], secrets: ['known-secret'] },
      { command: { argv: ['curl', '-H', `Authorization: ${token}`, 'known-secret'] } },
    )
    expect(JSON.stringify([state.outcome, state.decision, delivered])).not.toMatch(/a1B2a1B2|known-secret/)
    expect(state.outcome).toMatchObject({ failure: { code: 'denied' } })
  })
})
