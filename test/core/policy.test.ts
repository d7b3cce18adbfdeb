/** Who may run what, where: every refusal of the policy, and the properties that hold for any set of rules. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCommandLine } from '../../src/core/command-line.ts'
import type { Actor, Argv, Place, Selector, Target, TargetId } from '../../src/core/model.ts'
import { decide, groupsNamed, mayReach } from '../../src/core/policy.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import { matchesArgv, type Policy, type Question, type Right, type Rule } from '../../src/core/rule.ts'
import { usesShell } from '../../src/core/shells.ts'

const ann: Actor = { kind: 'slack-user', team: 'T1', user: 'U1' }
const ops: Place = { kind: 'slack', team: 'T1', channel: 'C1' }
const policy = (...rules: readonly Rule[]): Policy => ({ rules, version: 'test' })
const allow = (more: Partial<Rule> = {}): Rule => ({
  id: 'ops',
  effect: 'allow',
  who: { users: ['T1/U1'] },
  commands: [['...']],
  ...more,
})
const forbid = (more: Partial<Rule> = {}): Rule => ({ id: 'no', effect: 'deny', who: {}, ...more })

type Asked = { actor?: Actor; place?: Place; groups?: readonly string[]; argv?: Argv; selector?: Selector; user?: string }
function asks({
  actor = ann,
  place = ops,
  groups = [],
  argv = ['uptime'],
  selector = { name: 'web' },
  user,
}: Asked = {}): Question {
  const command = { argv, ...(user === undefined ? {} : { user }) }
  return { request: { actor, place, selector, command, trigger: { kind: 'slash', delivery: 'd' } }, groups }
}

function target(native: string, more: Partial<Target> = {}): Target {
  const base = { backend: 'prod', kind: 'rancher1', native, name: native, labels: {}, facets: {} } as const
  return { ...base, id: `prod/${native}` as TargetId, ...more }
}

const web = target('web-1', { labels: { app: 'web' }, facets: { namespace: 'shop' } })
const effect = (rules: readonly Rule[], question: Question = asks(), targets: readonly Target[] = [web]) =>
  decide(policy(...rules), question, targets).effect

describe('[default-deny] what no rule allows', () => {
  it.each<[string, readonly Rule[], Asked]>([
    ['S14 no rules at all', [], {}],
    ['an allow rule for nobody', [allow({ who: {} })], {}],
    ['an allow rule with empty lists', [allow({ who: { users: [], groups: [], teams: [], webhooks: [], cli: false } })], {}],
    ['an allow rule without commands', [{ id: 'x', effect: 'allow', who: { users: ['T1/U1'] } }], {}],
    ['an allow rule with no command in its list', [allow({ commands: [] })], {}],
    ['another user', [allow()], { actor: { ...ann, user: 'U2' } }],
    ['S10 the same user id in another team', [allow()], { actor: { ...ann, team: 'T2' } }],
    ['S12 another channel', [allow({ channels: ['T1/C1'] })], { place: { ...ops, channel: 'C2' } }],
    ['S12 the same channel id in another team', [allow({ channels: ['T1/C1'] })], { place: { ...ops, team: 'T2' } }],
    ['S13 a channel of a foreign team, when no channel is named', [allow()], { place: { ...ops, team: 'T2' } }],
    ['a terminal, when channels are named', [allow({ channels: ['T1/C1'] })], { place: { kind: 'terminal' } }],
    ['another trigger', [allow({ triggers: ['webhook'] })], {}],
    ['another command', [allow({ commands: [['df', '-h']] })], {}],
    ['more arguments than the pattern', [allow({ commands: [['uptime']] })], { argv: ['uptime', '-p'] }],
    [
      'S07 a shell around an allowed command',
      [allow({ commands: [['uptime'], ['/bin/sh', '-c', '*']] })],
      { argv: ['/bin/sh', '-c', 'uptime'] },
    ],
    ['S45 a chosen user', [allow()], { user: 'root' }],
    ['S44 all=', [allow()], { selector: { all: 1 } }],
    ['the platform’s own', [allow()], { selector: { name: 'x', system: true } }],
    ['a group that the directory did not confirm', [allow({ who: { groups: ['T1/S1'] } })], { groups: ['T1/S2'] }],
    [
      'a command-line user',
      [allow({ who: { users: ['T1/U1'] } })],
      { actor: { kind: 'cli', user: 'U1' }, place: { kind: 'terminal' } },
    ],
    ['an api key', [allow({ who: { webhooks: ['k'], cli: true } })], { actor: { kind: 'api-key', name: 'k' } }],
    ['a schedule', [allow({ who: { webhooks: ['k'], cli: true } })], { actor: { kind: 'schedule', name: 'k' } }],
  ])('%s', (_, rules, asked) => {
    expect(effect(rules, asks(asked))).toBe('deny')
    expect(decide(policy(...rules), asks(asked), undefined).effect).toBe('deny')
  })

  it('no target at all', () => expect(effect([allow()], asks(), [])).toBe('deny'))

  it.each<[string, Rule, Asked]>([
    ['a user', allow(), {}],
    ['a team', allow({ who: { teams: ['T1'] } }), {}],
    ['a group', allow({ who: { groups: ['T1/S1'] } }), { groups: ['T1/S1'] }],
    ['a hook', allow({ who: { webhooks: ['alerts'] } }), { actor: { kind: 'webhook', name: 'alerts' } }],
    ['the terminal', allow({ who: { cli: true } }), { actor: { kind: 'cli', user: 'me' }, place: { kind: 'terminal' } }],
    ['a channel', allow({ channels: ['T1/C1'] }), {}],
    ['a foreign team’s channel that is named', allow({ channels: ['T2/C1'] }), { place: { ...ops, team: 'T2' } }],
    ['a trigger', allow({ triggers: ['slash'] }), {}],
    ['a command', allow({ commands: [['up*']] }), {}],
  ])('and what a rule does allow: %s', (_, rule, asked) => expect(effect([rule], asks(asked))).toBe('allow'))
})

describe('rights that no pattern gives by itself', () => {
  it.each<[Right, Asked, Partial<Target>]>([
    ['shell', { argv: ['bash'] }, {}],
    ['all', { selector: { all: 1 } }, {}],
    ['user', { user: 'root' }, {}],
    ['system', { selector: { name: 'x', system: true } }, {}],
    ['system', {}, { system: true }],
    ['privileged', {}, { privileged: true }],
  ])('S45 %s', (right, asked, more) => {
    const on = [{ ...web, ...more }]
    expect(decide(policy(allow()), asks(asked), on)).toMatchObject({
      effect: 'deny',
      failure: { code: 'denied', message: expect.stringContaining('but not') },
    })
    expect(effect([allow({ rights: [right] })], asks(asked), on)).toBe('allow')
  })

  it.each<[Argv]>([
    [['sh', '-c', 'x']],
    [['/bin/bash']],
    [['/usr/bin/busybox', 'ash']],
    [['BASH', '-c', 'x']],
    [['env', 'A=1', 'sh', '-c', 'x']],
    [['/proc/self/exe', '-c', 'id']],
    [['env', '-Ssh -c id']],
    [['flock', '/tmp/f', '-c', 'a;b']],
    [['sudo', '-s']],
    [['nsenter', '-t', '1']],
    [['strace', '-o', '|id', 'true']],
    [['/lib64/ld-linux-x86-64.so.2', '/bin/sh']],
    [['/bin/bash-static']],
    [['busybox.static', 'ls']],
    [['sudo', '-u', 'x', '/bin/dash']],
    [['nohup', 'zsh']],
    [['xargs', '-I{}', 'sh', '-c', '{}']],
    [['find', '.', '-exec', 'sh', '-c', 'x', ';']],
    [['env', '-S', 'sh -c id']],
    [['su', '-c', 'x']],
    [['timeout', '5', 'bash', '-c', 'x']],
    [['C:\\Windows\\System32\\cmd.exe', '/c', 'x']],
    [['powershell.exe']],
    [['watch', 'id']],
    [['/bin/rbash']],
    [['env', '--split', '"s"h -c id']],
    [['env', '--split-s=${SHELL} -c id']],
    [['flock', '/tmp/f', '--comm', 'a;b']],
    [['/bin/zsh5', '-c', 'x']],
    [['ksh93', '-c', 'x']],
    [['bash-5.2']],
    [['timeout', '5', '/opt/busybox-x86_64', 'sh']],
  ])('S07 %j is a shell', (argv) => expect(usesShell(argv)).toBe(true))

  it.each<[Argv]>([
    [['uptime']],
    [['ls', '/bin/sh']],
    [['which', 'bash']],
    [['env']],
    [['env', 'A=1', 'printenv']],
    [['sh.txt']],
    [['finish', 'sh']],
    [['cat', '-c', 'sh']],
    [['env', '--ignore-environment', 'printenv']],
    [['timeout', '--kill-after=5', '5', 'python3.12']],
  ])('%j is none', (argv) => expect(usesShell(argv)).toBe(false))

  it('S28 no rule lends its right, its command or its place to another', () => {
    const rules = [
      allow({ id: 'commands', commands: [['sh', '...']] }),
      allow({ id: 'rights', commands: [['uptime']], rights: ['shell', 'user', 'all', 'system', 'privileged'] }),
      allow({ id: 'someone', who: { users: ['T1/U9'] }, rights: ['shell'] }),
      allow({ id: 'elsewhere', channels: ['T1/C9'], rights: ['shell'] }),
      allow({ id: 'hook', who: { webhooks: ['U1', 'T1/U1'] }, rights: ['shell'] }),
      allow({ id: 'other-target', targets: { on: ['test'] }, rights: ['shell'] }),
    ]
    expect(effect(rules, asks({ argv: ['sh', '-c', 'id'] }))).toBe('deny')
  })
})

describe('deciding', () => {
  it('a deny rule wins wherever it stands, and says why', () => {
    for (const rules of [
      [forbid({ reason: 'frozen' }), allow()],
      [allow(), forbid({ reason: 'frozen' })],
    ]) {
      expect(decide(policy(...rules), asks(), [web])).toMatchObject({
        effect: 'deny',
        rule: 'no',
        failure: { message: expect.stringContaining('frozen') },
      })
    }
  })

  it('before targets are known, only a deny rule that names none is final', () => {
    const named = [allow(), forbid({ targets: { name: ['web-1'] } })]
    expect(decide(policy(...named), asks(), undefined).effect).toBe('allow')
    expect([effect(named, asks(), [web]), effect(named, asks(), [target('db')])]).toEqual(['deny', 'allow'])
    expect(decide(policy(allow(), forbid()), asks(), undefined).effect).toBe('deny')
  })

  it('one target that no rule allows refuses the whole run and is named; the others are counted', () => {
    const rule = allow({ targets: { labels: [{ op: 'eq', key: 'app', value: 'web' }] } })
    const decision = decide(policy(rule), asks(), [web, target('db-1'), { ...web, name: 'web-2' }])
    expect(decision).toMatchObject({
      effect: 'deny',
      failure: {
        message: expect.stringMatching(/db-1.*the other 2 of 3 would be allowed\. Nothing ran/),
        next: expect.stringMatching(
          /^Narrow the selector to leave it out\. Ask whoever runs drover: it takes this container in targets:/,
        ),
      },
    })
  })

  it('the first rule that allows gives the limits of a target; the lowest of all targets holds', () => {
    const rules = [
      allow({ id: 'a', targets: { name: ['web-1'] }, limits: { maxTargets: 5, timeoutMs: 9_000 } }),
      allow({ id: 'b', limits: { maxTargets: 50, timeoutMs: 1_000 } }),
    ]
    expect(decide(policy(...rules), asks(), [web])).toEqual({
      effect: 'allow',
      rule: 'a',
      limits: { maxTargets: 5, timeoutMs: 9_000 },
    })
    expect(decide(policy(...rules), asks(), [web, target('x')])).toEqual({
      effect: 'allow',
      rule: 'a, b',
      limits: { maxTargets: 5, timeoutMs: 1_000 },
    })
  })

  it('a refusal names by id who could run it here, and only them', () => {
    const rules = [
      allow({ who: { users: ['T1/U7'], groups: ['T1/S1'] } }),
      allow({ who: { users: ['T1/U8'] }, channels: ['T1/C9'] }),
      allow({ who: { users: ['T1/U9'] }, commands: [['df']] }),
    ]
    expect(decide(policy(...rules), asks(), [web])).toMatchObject({ allowedFor: ['T1/U7', 'T1/S1'] })
    expect(groupsNamed(policy(...rules))).toEqual(['T1/S1'])
  })

  it('[ids-not-names] S10 S11 S12 a rule holds ids: names and e-mail addresses of people, names of channels and groups match nothing', () => {
    const names = allow({
      who: {
        users: ['ann', 'T1/ann', '@ann', 'U1', 'ann@example.com', 'T1/ann@example.com'],
        groups: ['ops', '@ops'],
        teams: ['Acme'],
      },
      channels: ['#ops', 'ops', 'C1'],
    })
    expect(effect([names], asks({ groups: ['T1/S1'] }))).toBe('deny')
    expect(effect([{ ...names, channels: ['T1/C1'] }], asks({ groups: ['T1/S1'] }))).toBe('deny')
  })

  it('a facet that a target lacks is not allowed by a rule that names it', () => {
    const rule = allow({ targets: { facets: { namespace: ['*'] } } })
    expect(effect([rule], asks(), [web])).toBe('allow')
    expect(effect([rule], asks(), [target('x')])).toBe('deny')
  })

  it.each<[readonly string[], Argv, boolean]>([
    [['...'], ['x'], true],
    [['df', '...'], ['df'], true],
    [['df', '...'], ['df', '-h', '/'], true],
    [['df', '*'], ['df'], false],
    [['df', '*'], ['df', ''], true],
    [['df', '*'], ['df', '-h', '/'], false],
    [['df', '-?'], ['df', '-h'], true],
    [[], ['df'], false],
    [['...', 'x'], ['df', 'x'], false],
    [['kubectl', 'get', '...'], ['kubectl', '-n', 'x', 'delete', 'get'], false],
  ])('the pattern %j on %j: %s', (pattern, argv, expected) => expect(matchesArgv(pattern, argv)).toBe(expected))
})

describe('what `targets` may show', () => {
  const sees = (rule: Rule, place: Place = ops, on: Target = web) => mayReach(policy(rule), { actor: ann, place, groups: [] }, on)

  it('is what some rule would let this actor use from here, and no deny rule shows anything', () => {
    expect(sees(allow())).toBe(true)
    expect(sees(allow({ commands: [['df']] }))).toBe(true)
    expect(sees(allow({ who: { users: ['T1/U2'] } }))).toBe(false)
    expect(sees(allow({ targets: { name: ['db'] } }))).toBe(false)
    expect(sees(allow({ channels: ['T1/C9'] }))).toBe(false)
    expect(sees(allow(), { ...ops, team: 'T2' })).toBe(false)
    expect(sees(forbid())).toBe(false)
  })

  it('S45 holds the platform’s own and privileged containers back without the right', () => {
    for (const right of ['system', 'privileged'] as const) {
      expect(sees(allow(), ops, { ...web, [right]: true })).toBe(false)
      expect(sees(allow({ rights: [right] }), ops, { ...web, [right]: true })).toBe(true)
    }
  })
})

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
