/** Who may roll out what, where: `rollouts` in rules, apart from `commands` both ways. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Actor, Argv, Place, Rollout, Target, TargetId } from '../../src/core/model.ts'
import { decide, mayReach } from '../../src/core/policy.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import type { Policy, Question, Rule } from '../../src/core/rule.ts'

const ann: Actor = { kind: 'slack-user', team: 'T1', user: 'U1' }
const ops: Place = { kind: 'slack', team: 'T1', channel: 'C1' }
const policy = (...rules: readonly Rule[]): Policy => ({ rules, version: 'test' })
const rule = (more: Partial<Rule> = {}): Rule => ({ id: 'ops', effect: 'allow', who: { users: ['T1/U1'] }, ...more })
const forbid = (more: Partial<Rule> = {}): Rule => ({ id: 'no', effect: 'deny', who: {}, ...more })
const words = (text: string) => text.split(' ')

const base: Omit<Question['request'], 'command'> = {
  actor: ann,
  place: ops,
  selector: { name: 'api' },
  trigger: { kind: 'slash', delivery: 'd' },
}
const rolls = (rollout: Rollout, more: Partial<Question['request']> = {}): Question => ({
  request: { ...base, command: { argv: rolloutArgv(rollout) }, rollout, ...more },
  groups: [],
})
const runs = (argv: Argv): Question => ({ request: { ...base, command: { argv } }, groups: [] })

const api: Target = {
  id: 'kube/shop:api' as TargetId,
  backend: 'kube',
  kind: 'kubernetes',
  native: 'shop:api',
  name: 'deployment/api',
  labels: {},
  facets: { workload: 'deployment/api', service: 'api', namespace: 'shop' },
}
const effect = (rules: readonly Rule[], question: Question, target = api) => decide(policy(...rules), question, [target]).effect
const image: Rollout = { verb: 'image', container: 'main', image: 'r.example.com/shop/api:2' }

describe('[default-deny] patterns', () => {
  it.each<[string, Rollout, boolean]>([
    ['image main=r.example.com/shop/*', image, true],
    ['image main=r.example.com/shop/*', { verb: 'image', image: 'r.example.com/shop/api:2' }, false],
    ['image main=r.example.com/shop/*', { ...image, image: 'evil.example.com/shop/api:2' }, false],
    ['image main=r.example.com/shop/*', { ...image, image: 'r.example.com/shop/../evil:2' }, false],
    ['image main=r.example.com/shop/api:2*', { ...image, image: 'r.example.com/shop/api:2@sha256:0123' }, false],
    ['image main=r.example.com/shop/*', { ...image, image: 'r.example.com/shop/api:2@sha256:0123' }, true],
    ['image main=r.example.com/shop/*', { ...image, container: 'side' }, false],
    ['image *', image, true],
    ['image', image, false],
    ['restart', { verb: 'restart' }, true],
    ['restart', { verb: 'undo' }, false],
    ['scale ...', { verb: 'scale', replicas: 0 }, true],
    ['scale ?', { verb: 'scale', replicas: 30 }, false],
    ['undo', { verb: 'undo' }, true],
    ['undo', { verb: 'undo', to: '3' }, false],
    ['undo ...', { verb: 'undo', to: '3' }, true],
    ['...', image, true],
    ['rollout ...', image, false],
  ])('%j and %j: %j', (pattern, rollout, allowed) => {
    expect(effect([rule({ rollouts: [words(pattern)] })], rolls(rollout))).toBe(allowed ? 'allow' : 'deny')
  })

  it('a rule without rollouts never allows one, and commands do not cover them, however they are written', () => {
    const commands = [['...'], ['rollout', '...'], [...rolloutArgv(image)]]
    expect(effect([rule({ commands })], rolls(image))).toBe('deny')
    expect(effect([rule()], rolls(image))).toBe('deny')
  })

  it('[exact-argv] a command that begins with the word rollout is a command, and rollouts do not cover it', () => {
    const rollouts = [['...'], ['image', '...']]
    expect(effect([rule({ rollouts })], runs(['rollout', 'image', 'main=x']))).toBe('deny')
    expect(effect([rule({ rollouts })], runs(rolloutArgv(image)))).toBe('deny')
    expect(effect([rule({ commands: [['rollout', '...']] })], runs(rolloutArgv(image)))).toBe('allow')
  })

  it('[exact-argv] what is judged is the rollout that the backend gets, whatever words stand beside it', () => {
    const question = rolls(image, { command: { argv: ['rollout', 'status'] } })
    expect(effect([rule({ rollouts: [['status']] })], question)).toBe('deny')
  })

  it('a rollout needs no right to a shell, and the other rights as before', () => {
    const rollouts = [['...']]
    expect(effect([rule({ rollouts })], rolls(image))).toBe('allow')
    expect(effect([rule({ rollouts })], rolls(image, { selector: { all: 3 } }))).toBe('deny')
    expect(effect([rule({ rollouts, rights: ['all'] })], rolls(image, { selector: { all: 3 } }))).toBe('allow')
    expect(effect([rule({ rollouts })], rolls(image), { ...api, system: true })).toBe('deny')
    expect(effect([rule({ rollouts, rights: ['system'] })], rolls(image), { ...api, system: true })).toBe('allow')
  })

  it('targets, triggers and limits hold as for commands; the answer names the rule', () => {
    const narrow = rule({
      id: 'narrow',
      rollouts: [['...']],
      targets: { facets: { workload: ['deployment/*'] } },
      limits: { maxTargets: 1 },
    })
    expect(decide(policy(narrow), rolls(image), [api])).toEqual({ effect: 'allow', rule: 'narrow', limits: { maxTargets: 1 } })
    expect(effect([narrow], rolls(image), { ...api, facets: { workload: 'statefulset/api' } })).toBe('deny')
    expect(effect([rule({ rollouts: [['...']], triggers: ['mention'] })], rolls(image))).toBe('deny')
    const denied = decide(policy(narrow), rolls(image, { actor: { ...ann, user: 'U2' } }), [api])
    expect(denied).toMatchObject({ effect: 'deny', allowedFor: ['T1/U1'] })
    expect(denied.effect === 'deny' && denied.failure.message).toContain('to roll this out on deployment/api (kube)')
  })
})

describe('deny rules', () => {
  const all = rule({ commands: [['...']], rollouts: [['...']], rights: ['shell'] })
  it('one that lists neither forbids both, one that lists either leaves the other alone', () => {
    expect([effect([all, forbid()], rolls(image)), effect([all, forbid()], runs(['id']))]).toEqual(['deny', 'deny'])
    const noCommands = forbid({ commands: [['...']] })
    expect([effect([all, noCommands], rolls(image)), effect([all, noCommands], runs(['id']))]).toEqual(['allow', 'deny'])
    const noRollouts = forbid({ rollouts: [['...']] })
    expect([effect([all, noRollouts], rolls(image)), effect([all, noRollouts], runs(['id']))]).toEqual(['deny', 'allow'])
  })

  it.each<[string, Rollout, boolean]>([
    ['image main=evil/*', { verb: 'image', container: 'main', image: 'evil/x:1' }, true],
    ['image main=evil/*', { verb: 'image', image: 'evil/x:1' }, true],
    ['image main=evil/*', { verb: 'image', container: 'side', image: 'evil/x:1' }, false],
    ['image evil/*', { verb: 'image', container: 'side', image: 'evil/x:1' }, true],
    ['image evil/*', { verb: 'image', image: 'good/x:1' }, false],
    ['scale 0', { verb: 'scale', replicas: 0 }, true],
    ['scale 0', { verb: 'scale', replicas: 10 }, false],
    ['image main=evil/*', { verb: 'image', container: 'main', image: 'docker.io/evil/x:1' }, true],
    ['image evil/app:1', { verb: 'image', container: 'side', image: 'evil/app@sha256:0123' }, true],
    ['image evil/app:1 ...', { verb: 'image', image: 'EVIL/app:1' }, true],
    ['* main=alpine:*', { verb: 'image', image: 'alpine' }, true],
    ['restart alpine', { verb: 'image', image: 'alpine' }, false],
    ['image main=alpine:*', { verb: 'image', container: 'side', image: 'docker.io/library/alpine:1' }, false],
    ['image evil/app:1', { verb: 'image', image: 'evil/app:2' }, false],
  ])(
    'S15 %j stops %j: %j; neither leaving out the container nor another name is a way around it',
    (pattern, rollout, stopped) => {
      expect(effect([all, forbid({ rollouts: [words(pattern)] })], rolls(rollout))).toBe(stopped ? 'deny' : 'allow')
    },
  )
})

describe('[default-deny] a workload of several containers', () => {
  const part = (container: string, labels: Target['labels'] = {}) => ({
    labels,
    facets: { container, image: `shop/${container}:1` },
  })
  const pair: Target = { ...api, parts: [part('main', { app: 'api' }), part('proxy', { tier: 'vault' })] }
  const all = rule({ rollouts: [['...']] })
  const naming = (facets: NonNullable<Rule['targets']>['facets'], more: Partial<Rule> = {}) =>
    rule({ rollouts: [['...']], targets: { facets: facets! }, ...more })

  it('a deny rule that means one of them stops every rollout of it, and the answer names the container', () => {
    for (const targets of [
      { facets: { container: ['proxy'] } },
      { facets: { image: ['shop/proxy:*'] } },
      { labels: [{ op: 'exists' as const, key: 'tier' }] },
    ]) {
      const denied = decide(policy(all, forbid({ targets })), rolls(image), [pair])
      expect(denied).toMatchObject({ effect: 'deny', rule: 'no' })
      expect(denied.effect === 'deny' && denied.failure.message).toContain('deployment/api, container proxy')
    }
    expect(effect([all, forbid({ targets: { facets: { container: ['other'] } } })], rolls(image), pair)).toBe('allow')
  })

  it('an allow rule has to mean all of them, alone or with another; the narrowest limits hold', () => {
    expect(effect([naming({ container: ['main'] })], rolls(image), pair)).toBe('deny')
    expect(effect([naming({ container: ['main', 'proxy'] })], rolls(image), pair)).toBe('allow')
    expect(effect([naming({ namespace: ['shop'] })], rolls(image), pair)).toBe('allow')
    const both = [
      naming({ container: ['main'] }, { id: 'one', limits: { maxTargets: 5 } }),
      naming({ container: ['proxy'] }, { id: 'other', limits: { maxTargets: 2, timeoutMs: 9 } }),
    ]
    const limits = { maxTargets: 2, timeoutMs: 9 }
    expect(decide(policy(...both), rolls(image), [pair])).toEqual({ effect: 'allow', rule: 'one, other', limits })
  })

  it('a rule that forbids is told before one that is missing', () => {
    const denied = decide(
      policy(naming({ container: ['main'] }), forbid({ targets: { facets: { container: ['main'] } } })),
      rolls(image),
      [{ ...pair, parts: [...pair.parts!].reverse() }],
    )
    expect(denied).toMatchObject({ effect: 'deny', rule: 'no' })
  })
})

describe('what may be seen', () => {
  const asker = { actor: ann, place: ops, groups: [] }
  it('a rule for rollouts alone shows no container: it lets nobody run anything in it', () => {
    expect(mayReach(policy(rule({ rollouts: [['...']] })), asker, api)).toBe(false)
    expect(mayReach(policy(rule({ commands: [['...']] })), asker, api)).toBe(true)
  })

  it('a deny rule for rollouts alone hides no container', () => {
    const rules = policy(rule({ commands: [['...']] }), forbid({ rollouts: [['...']] }))
    expect(mayReach(rules, asker, api)).toBe(true)
    expect(mayReach(policy(rule({ commands: [['...']] }), forbid()), asker, api)).toBe(false)
  })
})

describe('for any rules', () => {
  const part = fc.constantFrom('...', '*', 'image', 'rollout', 'restart', 'scale', 'main=*', '3')
  const patterns = fc.option(fc.array(fc.array(part, { minLength: 1, maxLength: 3 }), { maxLength: 3 }), { nil: undefined })
  const rules = fc.array(
    fc.record({ effect: fc.constantFrom('allow' as const, 'deny' as const), commands: patterns, rollouts: patterns }),
    { maxLength: 4 },
  )
  const toRules = (
    drafts: readonly { effect: 'allow' | 'deny'; commands: string[][] | undefined; rollouts: string[][] | undefined }[],
  ) =>
    drafts.map(({ effect: kind, commands, rollouts }, i): Rule => {
      const what = { ...(commands ? { commands } : {}), ...(rollouts ? { rollouts } : {}) }
      return { id: `r${i}`, effect: kind, who: kind === 'allow' ? { users: ['T1/U1'] } : {}, ...what }
    })
  const asked = fc.constantFrom<Rollout>(
    image,
    { verb: 'restart' },
    { verb: 'scale', replicas: 3 },
    { verb: 'image', image: 'x' },
  )

  it('what rules say of commands never decides a rollout, and the other way round', () => {
    fc.assert(
      fc.property(rules, asked, (drafts, rollout) => {
        const without = drafts.map((one) => ({ ...one, commands: one.commands && one.rollouts ? [['never']] : one.commands }))
        expect(effect(toRules(drafts), rolls(rollout))).toBe(effect(toRules(without), rolls(rollout)))
        const others = drafts.map((one) => ({ ...one, rollouts: one.commands && one.rollouts ? [['never']] : one.rollouts }))
        expect(effect(toRules(drafts), runs(rolloutArgv(rollout)))).toBe(effect(toRules(others), runs(rolloutArgv(rollout))))
      }),
      { numRuns: 2_000 },
    )
  })

  it('a rollout that is allowed was named by rollouts of some rule', () => {
    fc.assert(
      fc.property(rules, asked, (drafts, rollout) => {
        const made = toRules(drafts)
        if (effect(made, rolls(rollout)) === 'deny') return
        expect(made.some((one) => one.effect === 'allow' && (one.rollouts?.length ?? 0) > 0)).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })
})
