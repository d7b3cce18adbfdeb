/** What holds for any rules whatever, and what a rule's patterns take and do not take. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCommandLine } from '../../src/core/command-line.ts'
import type { Actor, Argv, Place, Selector } from '../../src/core/model.ts'
import { decide, mayReach } from '../../src/core/policy.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import type { Question, Rule } from '../../src/core/rule.ts'
import { allow, ann, asks, effect, forbid, ops, policy, target, web } from './policy-words.ts'

describe('for any rules', () => {
  const some = <T>(...values: T[]) => fc.subarray(values, { minLength: 1 })
  const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
  const parts = {
    id: fc.constantFrom('a', 'b'),
    who: fc.record(
      {
        users: some('T1/U1', 'T1/U2', 'T2/U1'),
        groups: some('T1/S1', 'T1/S2'),
        teams: some('T1', 'T2'),
        webhooks: some('h'),
        cli: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
    channels: maybe(some('T1/C1', 'T1/C2', 'T2/C1')),
    triggers: maybe(some('slash' as const, 'webhook' as const)),
    commands: maybe(some(['...'], ['uptime'], ['sh', '...'], ['up*'])),
    rights: maybe(some('shell' as const, 'all' as const, 'system' as const, 'privileged' as const, 'user' as const)),
    targets: maybe(fc.record({ on: some('prod', 'te*'), name: some('web-*', 'db') }, { requiredKeys: [] })),
  }
  const clean = (rule: object) => JSON.parse(JSON.stringify(rule)) as Rule
  const anyRule = fc.record({ ...parts, effect: fc.constantFrom('allow' as const, 'deny' as const) }).map(clean)
  const denyRule = fc.record({ ...parts, effect: fc.constant('deny' as const) }).map(clean)
  const question = fc
    .record({
      actor: fc.constantFrom<Actor>(
        ann,
        { ...ann, user: 'U2' },
        { ...ann, team: 'T2' },
        { kind: 'webhook', name: 'h' },
        { kind: 'cli', user: 'x' },
      ),
      place: fc.constantFrom<Place>(ops, { ...ops, channel: 'C2' }, { kind: 'terminal' }),
      groups: fc.subarray(['T1/S1', 'T1/S2']),
      argv: fc.constantFrom<Argv>(['uptime'], ['sh', '-c', 'x'], ['df']),
      selector: fc.constantFrom<Selector>({ name: 'a' }, { all: 1 }, { name: 'a', system: true }),
    })
    .map(asks)
  const targets = fc.subarray([
    web,
    target('db'),
    target('web-2', { backend: 'test', privileged: true }),
    target('web-3', { system: true }),
  ])

  it('S15 one more deny rule, anywhere, never allows more', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 6 }), denyRule, fc.nat(6), question, targets, (rules, added, at, asked, on) => {
        const more = [...rules.slice(0, at), added, ...rules.slice(at)]
        if (effect(rules, asked, on) === 'deny') expect(effect(more, asked, on)).toBe('deny')
      }),
      { numRuns: 3_000 },
    )
  })

  it('S28 the decision does not change with rules that name only other principals', () => {
    const others = fc
      .record({
        ...parts,
        effect: fc.constantFrom('allow' as const, 'deny' as const),
        who: fc.constantFrom(
          { users: ['T1/U99'] },
          { groups: ['T1/S99'] },
          { webhooks: ['other'] },
          { teams: ['T9'] },
          { cli: false },
        ),
      })
      .map(clean)
    fc.assert(
      fc.property(
        fc.array(anyRule, { maxLength: 4 }),
        fc.array(others, { maxLength: 4 }),
        question,
        targets,
        (rules, foreign, asked, on) => {
          expect(effect([...foreign, ...rules, ...foreign], asked, on)).toBe(effect(rules, asked, on))
        },
      ),
      { numRuns: 3_000 },
    )
  })

  it('an early denial is final, and more targets never allow more', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 6 }), question, targets, (rules, asked, on) => {
        if (decide(policy(...rules), asked, undefined).effect === 'deny') expect(effect(rules, asked, on)).toBe('deny')
        if (on.some((one) => effect(rules, asked, [one]) === 'deny')) expect(effect(rules, asked, on)).toBe('deny')
      }),
      { numRuns: 3_000 },
    )
  })

  it('S06 policy judges the array that was parsed, argument for argument', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('ls', '-l', '"a b"', "'*'", '\\ ', 'x;y', '$z'), { minLength: 1, maxLength: 5 }),
        (words) => {
          const text = `name=a -- ${words.join(' ')}`
          const parsed = parseCommandLine(text)
          if (parsed.verb !== 'exec') throw new Error('not exec')
          const exact = parsed.command.argv.map((arg) => arg.replaceAll(/[*?]/g, '?'))
          expect(effect([allow({ commands: [exact], rights: ['shell'] })], asks({ argv: parsed.command.argv }))).toBe('allow')
          expect(effect([allow({ commands: [[...exact, '*']], rights: ['shell'] })], asks({ argv: parsed.command.argv }))).toBe(
            'deny',
          )
        },
      ),
    )
  })
})

describe('what a rule says of rollouts', () => {
  const rolls = (image: string, container?: string): Question => {
    const rollout = { verb: 'image', image, ...(container === undefined ? {} : { container }) } as const
    return { ...asks(), request: { ...asks().request, rollout, command: { argv: rolloutArgv(rollout) } } }
  }
  const pay = target('shop/deployment/pay', {
    name: 'deployment/pay',
    facets: { workload: 'deployment/pay', service: 'pay' },
  })

  it.each<[string, string, string | undefined, 'allow' | 'deny']>([
    ['alpine:*', 'alpine:3', undefined, 'allow'],
    ['alpine:*', 'alpine:5000/evil/x', undefined, 'deny'],
    ['main=alpine:*', 'alpine:5000/evil/x', 'main', 'deny'],
    ['main=registry.example.com/*', 'registry.example.com/shop/api:2', 'main', 'allow'],
    ['main=registry.example.com/shop/*', 'registry.example.com/other:2', 'main', 'deny'],
    ['main=*', 'registry.example.com/shop/api:2', 'main', 'allow'],
    ['*', 'registry.example.com/shop/api:2', undefined, 'allow'],
    ['...', 'registry.example.com/shop/api:2', 'main', 'allow'],
  ])('image %s and the image %s of %s: %s', (glob, image, container, wanted) => {
    expect(effect([allow({ rollouts: [['image', glob]] })], rolls(image, container), [pay])).toBe(wanted)
  })

  it('a deny rule names a workload with or without its kind; an allow rule by its whole name', () => {
    const open = allow({ rollouts: [['...']] })
    const question = rolls('alpine:3')
    expect(effect([forbid({ targets: { name: ['pay*'] } }), open], question, [pay])).toBe('deny')
    expect(effect([forbid({ targets: { name: ['deployment/pay'] } }), open], question, [pay])).toBe('deny')
    expect(effect([forbid({ targets: { name: ['web*'] } }), open], question, [pay])).toBe('allow')
    expect(effect([allow({ rollouts: [['...']], targets: { name: ['pay'] } })], question, [pay])).toBe('deny')
  })
})

describe('what a pattern does not let through', () => {
  it('S07 a folder in a pattern is not left by ..', () => {
    const rule = allow({ commands: [['tail', '-n', '*', '/var/log/*']] })
    const run = (argv: Argv) => decide(policy(rule), asks({ argv }), [web]).effect
    expect(run(['tail', '-n', '5', '/var/log/syslog'])).toBe('allow')
    expect(run(['tail', '-n', '5', '/var/log/../../etc/passwd'])).toBe('deny')
    expect(run(['tail', '-n', '5', '/var/log/..'])).toBe('deny')
  })

  it('S07 a deny rule for a program means it wherever it lies', () => {
    const rules = [{ id: 'no-rm', effect: 'deny' as const, who: {}, commands: [['rm', '...']] }, allow({ commands: [['...']] })]
    const run = (argv: Argv) => decide(policy(...rules), asks({ argv }), [web]).effect
    expect([run(['rm', '-rf', '/']), run(['/bin/rm', '-rf', '/']), run(['ls'])]).toEqual(['deny', 'deny', 'allow'])
  })

  it('S46 a chosen environment is a right of its own: BASH_ENV runs what nobody judged', () => {
    const plain = asks({ argv: ['/app/status'] })
    const question = {
      ...plain,
      request: { ...plain.request, command: { ...plain.request.command, env: { BASH_ENV: '$(id)' } } },
    }
    expect(decide(policy(allow({ commands: [['/app/status']] })), question, [web]).effect).toBe('deny')
    expect(decide(policy(allow({ commands: [['/app/status']], rights: ['env'] })), question, [web]).effect).toBe('allow')
  })

  it('targets shows nothing of what a deny rule closes to somebody', () => {
    const closed = { id: 'closed', effect: 'deny' as const, who: {}, targets: { name: ['db-*'] } }
    const asker = { actor: asks().request.actor, place: asks().request.place, groups: [] }
    const seen = [web, target('db-1')].filter((one) => mayReach(policy(closed, allow({})), asker, one))
    expect(seen).toEqual([web])
  })
})
