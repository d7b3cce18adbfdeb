/** What a refusal says: what is missing and which rule came nearest, and nothing about anybody else's rights. */

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCommandLine } from '../../src/core/command-line.ts'
import type { Actor, Place, Rollout, Target, TargetId } from '../../src/core/model.ts'
import { decide } from '../../src/core/policy.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import type { Question, Rule } from '../../src/core/rule.ts'

const ann: Actor = { kind: 'slack-user', team: 'T1', user: 'U1' }
const ops: Place = { kind: 'slack', team: 'T1', channel: 'C1' }
const cli: Partial<Question['request']> = {
  actor: { kind: 'cli', user: 'me' },
  place: { kind: 'terminal' },
  trigger: { kind: 'cli', delivery: 'd' },
}
const mine = (more: Partial<Rule> = {}): Rule => ({
  id: 'mine',
  effect: 'allow',
  who: { users: ['T1/U1'], cli: true },
  commands: [['uptime'], ['df', '...']],
  ...more,
})

/** What is typed behind `/exec`. */
function typed(text: string, more: Partial<Question['request']> = {}): Question {
  const line = parseCommandLine(text)
  if (line.verb !== 'exec' && line.verb !== 'rollout') throw new Error(`${text} runs nothing`)
  const { selector, command } = line
  const { rollout, newContainer } = { rollout: undefined, newContainer: undefined, ...line }
  return {
    request: {
      actor: ann,
      place: ops,
      trigger: { kind: 'slash', delivery: 'd' },
      selector,
      command,
      ...(rollout ? { rollout } : {}),
      ...(newContainer ? { newContainer } : {}),
      ...more,
    },
    groups: [],
  }
}

const web: Target = {
  id: 'prod/web-1' as TargetId,
  backend: 'prod',
  kind: 'docker',
  native: 'web-1',
  name: 'web-1',
  labels: { app: 'web' },
  facets: { stack: 'shop' },
}
const api: Target = { ...web, name: 'deployment/api', facets: { workload: 'deployment/api', service: 'api' } }

function refused(rules: readonly Rule[], question: Question, ...targets: readonly Target[]) {
  const decision = decide({ rules, version: 'test' }, question, targets.length > 0 ? targets : undefined)
  if (decision.effect !== 'deny') throw new Error('it is allowed')
  return { message: decision.failure.message, next: decision.failure.next ?? '' }
}
const said = (...of: Parameters<typeof refused>) => Object.values(refused(...of)).join('\n')

describe('what the nearest rule lacks is named', () => {
  it.each<[string, { [K in keyof Rule]?: Rule[K] | undefined }, string, Partial<Question['request']>, string, string]>([
    ['the command', {}, 'name=web cmd="ps"', {}, 'this command', 'a pattern of this command in commands:'],
    [
      'a rule of rollouts',
      { commands: undefined, rollouts: [['...']] },
      'name=web cmd="ps"',
      {},
      'commands',
      'a pattern of this',
    ],
    ['the channel', { channels: ['T1/C9'] }, 'name=web cmd="uptime"', {}, 'this channel', 'this place in channels:'],
    ['the terminal', { channels: ['T1/C9'] }, 'name=web cmd="uptime"', cli, 'a terminal', 'no channels: (a terminal is in none)'],
    ['the trigger', { triggers: ['mention'] }, 'name=web cmd="uptime"', {}, 'a slash command', 'triggers: [slash]'],
    ['new containers', {}, 'image=alpine:3 cmd="uptime"', {}, 'new containers', "images: ['alpine:3']"],
    ['an image', { images: ['busybox:*'] }, 'image=alpine:3 cmd="uptime"', {}, 'the image alpine:3', "images: ['alpine:3']"],
    [
      'a mount',
      { images: ['alpine:3'], mounts: ['cache'] },
      'image=alpine:3 mounts=src,cache,log cmd="uptime"',
      {},
      'mounts=src, log',
      'mounts: [src, log]',
    ],
    ['rollouts at all', {}, 'rollout restart deployment=api', {}, 'rollouts', "rollouts: ['restart']"],
    [
      'a verb',
      { rollouts: [['restart']] },
      'rollout scale deployment=api replicas=5',
      {},
      'rollout scale',
      "rollouts: ['scale 5']",
    ],
    [
      'a number',
      { rollouts: [['scale', '?']] },
      'rollout scale deployment=api replicas=50',
      {},
      'rollout scale 50',
      "['scale 50']",
    ],
    [
      'the image of a rollout',
      { rollouts: [['image', 'main=r.example.com/*']] },
      'rollout image deployment=api container=main image=evil.example.com/x:1',
      {},
      'rollout image main=evil.example.com/x:1',
      "rollouts: ['image main=evil.example.com/x:1']",
    ],
  ])('%s', (_, more, text, request, missing, takes) => {
    const rule = Object.fromEntries(Object.entries({ ...mine(), ...more }).filter(([, value]) => value !== undefined)) as Rule
    const { message, next } = refused([rule], typed(text, request))
    expect(message).toMatch(/^No rule allows you to /)
    expect(message).toContain('The nearest rule, mine, has ')
    expect(message).toContain(`, but not ${missing}.`)
    expect(next).toContain(takes)
    expect(next).toContain(' in the rule mine, or a rule of its own')
  })

  it.each<[string, string, Partial<Target>, string, string]>([
    ['shell', 'name=web cmd="df -h | head"', {}, 'a shell (sh -c, pipes, $variables, globs)', 'what only a shell understands'],
    ['shell', 'name=web -- bash', {}, 'a shell (sh -c, pipes, $variables, globs)', ''],
    ['user', 'name=web user=root cmd="uptime"', {}, 'a chosen user=', 'user='],
    ['env', 'name=web env=A=1 cmd="uptime"', {}, 'a chosen env=', 'env='],
    ['all', 'all=1 cmd="uptime"', {}, 'all=', 'all='],
    ['system', 'name=web system=1 cmd="uptime"', {}, 'the platform’s own containers', 'system=1'],
    ['privileged', 'name=web cmd="uptime"', { privileged: true }, 'privileged containers', ''],
  ])('S45 the right %s, for %s', (right, text, more, name, leave) => {
    const { message, next } = refused([mine({ commands: [['...']] })], typed(text), { ...web, ...more })
    expect(message).toBe(`The rule mine allows this, but not ${name} on web-1 (prod).`)
    const takes = `sk whoever runs drover: it takes rights: [${right}] in the rule mine, or a rule of its own.`
    if (leave === '') expect(next).toBe(`A${takes}`)
    else expect(next).toMatch(new RegExp(`^Leave out ${leave}.*, or a`))
    expect(next.endsWith(takes)).toBe(true)
  })

  it('what can be left out is only proposed where leaving it out may be enough', () => {
    const both = refused([mine()], typed('name=web user=root env=A=1 cmd="uptime"'))
    expect(both.message).toBe('The rule mine allows this, but not a chosen env= or a chosen user=.')
    expect(both.next).toMatch(/^Leave out env= and user=, or ask .* rights: \[env, user\] in the rule mine/)
    // A text for a shell fits few patterns, and its plain words may fit one.
    const piped = refused([mine()], typed('name=web cmd="df -h | head"'))
    expect(piped.message).toContain('but not this command or a shell (')
    expect(piped.next).toMatch(/^Leave out what only a shell understands \(pipes, \$variables, globs, redirections\), or ask/)
    expect(refused([mine()], typed('name=web user=root cmd="ps"')).next).toMatch(/^Ask whoever/)
    expect(refused([mine()], typed('name=web user=root -- bash')).next).toMatch(/^Ask whoever/)
    expect(refused([mine()], typed('name=web user=root cmd="uptime"'), { ...web, privileged: true }).next).toMatch(/^Ask whoever/)
  })

  it('and what it does have', () => {
    expect(refused([mine({ targets: { name: ['db'] } })], typed('name=web cmd="uptime"'), web).message).toBe(
      'No rule allows you to run this on web-1 (prod) here. The nearest rule, mine, has you, this channel and this command, but not this container.',
    )
    const rollout = mine({ rollouts: [['restart']], targets: { name: ['db'] } })
    expect(refused([rollout], typed('rollout restart deployment=api'), api).message).toBe(
      'No rule allows you to roll this out on deployment/api (prod) here. The nearest rule, mine, has you, this channel and this rollout, but not this workload.',
    )
    const parts = [{ labels: {}, facets: { container: 'side' } }]
    expect(refused([rollout], typed('rollout restart deployment=api'), { ...api, parts }).message).toMatch(
      /on deployment\/api, container side \(prod\) here\. .* but not this container\.$/,
    )
    const creates = { image: 'alpine:3' }
    const made = { ...web, name: 'new container of alpine:3', creates }
    const elsewhere = mine({ images: ['*'], targets: { on: ['test'] } })
    expect(refused([elsewhere], typed('image=alpine:3 cmd="uptime"'), made).message).toBe(
      'No rule allows you to run this in a new container of alpine:3 (prod) here. The nearest rule, mine, has you, this channel, this command and this image, but not the engine prod.',
    )
    expect(refused([mine()], typed('image=alpine:3 cmd="uptime"')).message).toMatch(/ in a new container of alpine:3 here\. /)
  })
})

describe('which rule is the nearest', () => {
  const rules = [
    mine({ id: 'far', channels: ['T1/C9'], commands: [['ps']], targets: { name: ['db'] } }),
    mine({ id: 'near', targets: { name: ['db'] } }),
    mine({ id: 'also-near', channels: ['T1/C9'] }),
    mine({ id: 'rights', commands: [['uptime'], ['bash']] }),
  ]
  it('the one that lacks least, and of equals the first', () => {
    expect(refused(rules.slice(0, 3), typed('name=web cmd="uptime"'), web).message).toContain('The nearest rule, near,')
    expect(refused(rules.slice(0, 3).reverse(), typed('name=web cmd="uptime"'), web).message).toContain('rule, also-near,')
  })
  it('one that lacks nothing but rights is nearer than any that lacks something else', () => {
    for (const list of [rules, [...rules].reverse()])
      expect(refused(list, typed('name=web user=x env=A=1 cmd="uptime"'), web).message).toMatch(
        /^The rule rights allows this, but not a chosen env= or/,
      )
  })
  it('and nearer than one that has those rights and lacks a single other thing, wherever they stand', () => {
    const two = [mine({ id: 'able', rights: ['user'], targets: { name: ['db'] } }), mine({ id: 'rights' })]
    for (const list of [two, [...two].reverse()])
      expect(refused(list, typed('name=web user=x cmd="uptime"'), web).message).toMatch(/^The rule rights allows this, but not/)
  })
  it('none, where no rule names the asker', () => {
    const others = [mine({ who: { users: ['T1/U2'] } })]
    expect(refused(others, typed('name=web cmd="uptime"'))).toEqual({
      message: 'No rule allows you to run this here: none names you or a group of yours.',
      next: 'Ask someone who may, or whoever runs drover: it takes a rule that names you.',
    })
    expect(refused([], typed('name=web cmd="uptime"')).next).toBe('Ask whoever runs drover: it takes a rule that names you.')
    expect(refused(others, typed('name=web cmd="uptime"', cli))).toEqual({
      message: 'No rule allows you to run this here: none names you.',
      next: 'It takes a rule with who: { cli: true }, in drover.yaml.',
    })
  })
  it('a terminal and a hook are told where it would have to stand', () => {
    expect(refused([mine()], typed('name=web user=root cmd="uptime"', cli)).next).toBe(
      'Leave out user=; otherwise it takes rights: [user] in the rule mine, or a rule of its own, in drover.yaml.',
    )
    const hook: Partial<Question['request']> = {
      actor: { kind: 'webhook', name: 'alerts' },
      trigger: { kind: 'webhook', delivery: 'd' },
    }
    expect(refused([mine()], typed('name=web cmd="uptime"', hook)).next).toBe(
      'It takes a rule with who: { webhooks: [alerts] }, in drover.yaml.',
    )
    const named = mine({ who: { webhooks: ['alerts'] } })
    expect(refused([named], typed('name=web cmd="ps"', hook)).message).toContain('has this caller and this channel, but not this')
  })
})

describe('what a refusal does not tell', () => {
  it('S35 the command is not quoted: it may hold what must not be shown', () => {
    const told = said([mine()], typed('name=web cmd="login --password hunter2"'), web)
    expect(told).not.toMatch(/login|hunter2/)
  })

  it('S45 whether a container is privileged is told where all else of a rule holds, as `targets` shows it to nobody else', () => {
    const question = typed('name=web cmd="ps"')
    const rules = [mine({ rights: ['shell'] }), mine({ id: 'other', commands: [['ps']], targets: { name: ['db'] } })]
    expect(said(rules, question, { ...web, privileged: true })).toBe(said(rules, question, web))
    expect(said(rules, question, { ...web, system: true })).toBe(said(rules, question, web))
  })

  it('a name that was typed long is cut', () => {
    const image = `registry.example.com/${'a'.repeat(400)}:1`
    expect(refused([mine({ images: ['x'] })], typed(`image=${image} cmd="uptime"`)).message.length).toBeLessThan(600)
    const rollout: Rollout = { verb: 'image', image }
    const question = typed('name=web cmd="uptime"', { rollout, command: { argv: rolloutArgv(rollout) } })
    expect(said([mine({ rollouts: [['image', 'x']] })], question).length).toBeLessThan(900)
  })

  const groups = fc.subarray(['T1/S1'])
  const who = fc.constantFrom<Rule['who']>({ users: ['T1/U1'] }, { groups: ['T1/S1'] }, { users: ['T1/U2'] }, { teams: ['T2'] })
  const parts = {
    who,
    effect: fc.constant('allow' as const),
    channels: fc.option(fc.constantFrom(['T1/C1'], ['T1/CSECRET']), { nil: undefined }),
    triggers: fc.option(fc.constantFrom(['slash' as const], ['mention' as const]), { nil: undefined }),
    commands: fc.option(fc.constantFrom([['uptime']], [['secretctl', '...']]), { nil: undefined }),
    rollouts: fc.option(fc.constantFrom([['restart']], [['image', 'secret.example.com/*']]), { nil: undefined }),
    images: fc.option(fc.constantFrom(['alpine:3'], ['secret.example.com/*']), { nil: undefined }),
    mounts: fc.option(fc.constantFrom(['src'], ['secretmount']), { nil: undefined }),
    targets: fc.option(fc.constantFrom({ name: ['web-1'] }, { name: ['secret-db'] }, { on: ['secret'] }), { nil: undefined }),
    rights: fc.option(fc.constantFrom(['shell' as const], ['user' as const]), { nil: undefined }),
    limits: fc.constant({ maxTargets: 7777 }),
    reason: fc.constant('secret reason'),
  }
  const rules = fc
    .array(fc.record(parts), { maxLength: 5 })
    .map((all) => all.map((one, i) => JSON.parse(JSON.stringify({ ...one, id: `rule-${i}` })) as Rule))
  const lines = fc.constantFrom(
    'name=web cmd="uptime"',
    'name=web cmd="ps | head"',
    'name=web user=root cmd="uptime"',
    'image=alpine:3 mounts=src,log cmd="uptime"',
    'rollout restart deployment=api',
    'rollout image deployment=api image=alpine:3',
  )

  it('nothing of a rule but its id, and no rule that does not name the asker', () => {
    fc.assert(
      fc.property(rules, lines, groups, fc.constantFrom([], [web]), (all, line, mineToo, targets) => {
        const question = { ...typed(line), groups: mineToo }
        const decision = decide({ rules: all, version: 'test' }, question, targets.length > 0 ? targets : undefined)
        if (decision.effect !== 'deny') return
        const text = `${decision.failure.message} ${decision.failure.next}`
        expect(text).not.toMatch(/secret|SECRET|7777|T1\/|T2|undefined|but not \.|has ,/)
        const named = all.filter(({ id }) => text.includes(id))
        const isMine = ({ who: { users = [], groups: of = [] } }: Rule) =>
          users.includes('T1/U1') || of.some((one) => mineToo.includes(one))
        expect(named.every(isMine)).toBe(true)
        // One of them, always, where there is one.
        expect(named.length).toBe(all.some(isMine) ? 1 : 0)
      }),
      { numRuns: 2_000 },
    )
  })

  it('another’s rule changes nothing in what is told, but whom to ask', () => {
    const question = typed('name=web cmd="ps"')
    const other = mine({ id: 'other', who: { users: ['T1/U2'] }, commands: [['ps']], targets: { name: ['db'] } })
    expect(said([mine(), other], question, web)).toBe(said([mine()], question, web))
    const able = { ...other, targets: { name: ['web-1'] } }
    expect(refused([mine(), able], question, web)).toEqual({
      message: refused([mine()], question, web).message,
      next: `Ask someone who may, or w${refused([mine()], question, web).next.slice('Ask w'.length)}`,
    })
  })
})

it('a run that is refused on some of its targets counts the others, in words for what it is', () => {
  const restart = typed('rollout restart deployment=api')
  const only = mine({ rollouts: [['restart']], targets: { name: ['deployment/api'] } })
  const other = { ...api, id: 'prod/x' as TargetId, name: 'deployment/x', facets: { workload: 'deployment/x' } }
  expect(refused([only], restart, api, other).message).toMatch(
    /Refused: deployment\/x; the other 1 of 2 would be allowed\. Nothing was changed\.$/,
  )
  const plain = mine({ targets: { name: ['web-1'] } })
  expect(refused([plain], typed('name=web cmd="uptime"'), web, { ...web, name: 'db' }).message).toMatch(/Nothing ran\.$/)
})
