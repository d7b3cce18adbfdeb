/** drover.yaml: each mistake is named with its path and the fix, and no secret is ever printed. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { parseConfig, policyOf, secretsOf } from '../src/config.ts'
import { DroverError } from '../src/core/errors.ts'
import { Secret } from '../src/core/secret.ts'
import { readConfig } from '../src/local.ts'

const example = readFileSync(new URL('../drover.example.yaml', import.meta.url), 'utf8')
const env = {
  SLACK_SIGNING_SECRET: '8f742231b10e8888abcd99yyyzzz85a5',
  SLACK_BOT_TOKEN: 'xoxb-1-abcdef',
  CATTLE_ACCESS_KEY: 'A98CA41B63C13D27C506',
  CATTLE_SECRET_KEY: 'Yykp-uvXPtUY5PILvVqn6qz3bxPhHrGfaaGdBwam',
  HOOK_DISK_ALERT: '0123456789abcdef0123456789abcdef',
}

function mistake(text: string, variables: Record<string, string> = env): DroverError {
  try {
    parseConfig(text, 'drover.yaml', variables)
  } catch (error) {
    if (error instanceof DroverError) return error
    throw error
  }
  throw new Error('it was accepted')
}

describe('drover.yaml', () => {
  it('the example is a valid configuration', async () => {
    const config = parseConfig(example, 'drover.example.yaml', env)
    expect(config.limits.timeout).toBe(60_000)
    const policy = await policyOf(config)
    expect(policy.rules.map((rule) => rule.id)).toEqual(['not-by-hand', 'oncall', 'deployers', 'developers-look', 'disk-alert'])
    expect(policy.rules[2]?.rollouts?.slice(0, 3)).toEqual([
      ['image', 'api=registry.example.com/shop/*'],
      ['restart'],
      ['undo', '...'],
    ])
    expect(policy.rules[2]).not.toHaveProperty('commands')
    expect(policy.rules[3]?.targets?.labels).toEqual([{ op: 'ne', key: 'tier', value: 'db' }])
    expect(policy.rules[3]?.commands?.[1]).toEqual(['df', '...'])
  })

  it('[default-deny] S14 an empty file gives a policy without rules', async () => {
    expect((await policyOf(parseConfig('', 'drover.yaml', {}))).rules).toEqual([])
  })

  it.each([
    ['S14 an unknown key', 'rule: []', /unknown key rule/],
    [
      'S14 an unknown key in a rule',
      'rules: [{ id: a, effect: allow, who: { cli: true }, commands: [x], channnels: [] }]',
      /rule 1 \(a\): unknown key channnels; did you mean channels\?/,
    ],
    ['an allow rule without who', 'rules: [{ id: a, effect: allow, commands: [x] }]', /rule 1 \(a\), who: .*has to say who/],
    [
      'S14 a deny rule for an empty list, which would deny nobody',
      'rules: [{ id: a, effect: deny, who: { users: [] } }]',
      /rule 1 \(a\), who\.users/,
    ],
    ['an allow rule without commands', 'rules: [{ id: a, effect: allow, who: { cli: true } }]', /rule 1 \(a\), commands/],
    [
      'S14 a rollout that there is not',
      "rules: [{ id: a, effect: allow, who: { cli: true }, rollouts: ['imgae main=x'] }]",
      /rule 1 \(a\), rollouts, item 1.*begins with one of image/,
    ],
    ['an empty list of rollouts', 'rules: [{ id: a, effect: deny, rollouts: [] }]', /rule 1 \(a\), rollouts/],
    [
      'one name for both commands',
      'slack: { signingSecret: { env: SLACK_SIGNING_SECRET }, botToken: { env: SLACK_BOT_TOKEN }, team: T1, rolloutCommand: /exec }',
      /slack.*the same/,
    ],
    [
      'S10 a name instead of an id',
      'rules: [{ id: a, effect: allow, who: { users: [alice] }, commands: [x] }]',
      /ids, not names/,
    ],
    [
      'S12 a channel name',
      "rules: [{ id: a, effect: allow, who: { cli: true }, channels: ['#ops'], commands: [x] }]",
      /ids, not names/,
    ],
    [
      'a rule for a hook that is not there',
      'rules: [{ id: a, effect: allow, who: { webhooks: [x] }, commands: [x] }]',
      /no hook called x/,
    ],
    ['two rules of one id', 'rules: [{ id: a, effect: deny }, { id: a, effect: deny }]', /rule 2 \(a\), id: rule 1 has this id/],
    [
      'a secret in the file',
      'backends: { b: { kind: rancher1, url: http://r, accessKey: abc, secretKey: { env: CATTLE_SECRET_KEY } } }',
      /backends\.b\.accessKey.*env/,
    ],
    ['a broken quote', 'rules: ["', /drover\.yaml/],
    ['a label that does not parse', 'rules: [{ id: a, effect: deny, targets: { labels: "a b c" } }]', /targets\.labels/],
    ['a time without a unit', 'limits: { timeout: "20" }', /limits\.timeout.*20s/],
    [
      'S30 an alias bomb',
      `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c]`,
      /drover\.yaml/,
    ],
  ])('%s stops the start, and says where', (_, text, message) => {
    const error = mistake(text)
    expect(error.code).toBe('config')
    expect(error.message).toMatch(message)
    expect(error.next).toBeTruthy()
  })

  it('a file that cannot be read says why', () => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-config-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    expect(() => readConfig(join(folder, 'x.yaml'), {})).toThrow('x.yaml cannot be read: there is no such file.')
    expect(() => readConfig(folder, {})).toThrow(`${folder} cannot be read: it is a folder.`)
  })

  it('names that every object has are names like any other', () => {
    const rule = 'rules: [{ id: a, effect: allow, who: { webhooks: [constructor] }, commands: [uptime] }]'
    expect(mistake(rule).message).toMatch(/no hook called constructor/)
    const { backends } = parseConfig("backends: { constructor: { kind: docker, host: 'unix:///a' } }", 'drover.yaml', {})
    expect(backends.constructor).not.toHaveProperty('through')
  })

  it('S31 a variable that is not set, too short, or known to everybody stops the start', () => {
    const { CATTLE_SECRET_KEY: _, ...without } = env
    expect(mistake(example, without).message).toMatch(/backends\.prod\.secretKey.*CATTLE_SECRET_KEY is not set/)
    expect(mistake(example, { ...env, CATTLE_SECRET_KEY: 'changeme' }).message).toMatch(/everybody knows/)
    expect(mistake(example, { ...env, HOOK_DISK_ALERT: 'short' }).message).toMatch(/shorter than 16/)
  })

  it('[no-secret-shown] S33 S34 no way of printing a configuration shows a secret', () => {
    const config = parseConfig(example, 'drover.example.yaml', env)
    const printed = [
      JSON.stringify(config),
      inspect(config, { depth: 20, showHidden: true }),
      String(config.slack?.botToken),
      `${new Secret('x1y2z3')}`,
    ].join()
    for (const value of Object.values(env)) expect(printed).not.toContain(value)
    expect(secretsOf(config)).toEqual(expect.arrayContaining(Object.values(env)))
  })
})
