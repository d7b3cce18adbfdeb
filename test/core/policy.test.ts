/** Who may run what, where: denied by default, any deny wins, and rights that no pattern gives. */

import { describe, expect, it } from 'vitest'
import type { Argv, Place, Target } from '../../src/core/model.ts'
import { decide, groupsNamed, mayReach } from '../../src/core/policy.ts'
import { matchesArgv, type Right, type Rule } from '../../src/core/rule.ts'
import { usesShell } from '../../src/core/shells.ts'
import { type Asked, allow, ann, asks, effect, forbid, ops, policy, target, web } from './policy-words.ts'

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
    [['/opt/busybox-x86_64', 'ls']],
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
