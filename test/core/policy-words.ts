/** Rules, questions and targets for the tests of policy, each with what most of them have. */

import type { Actor, Argv, Place, Selector, Target, TargetId } from '../../src/core/model.ts'
import { decide } from '../../src/core/policy.ts'
import type { Policy, Question, Rule } from '../../src/core/rule.ts'

export const ann = { kind: 'slack-user', team: 'T1', user: 'U1' } as const satisfies Actor

export const ops = { kind: 'slack', team: 'T1', channel: 'C1' } as const satisfies Place

export const policy = (...rules: readonly Rule[]): Policy => ({ rules, version: 'test' })

export const allow = (more: Partial<Rule> = {}): Rule => ({
  id: 'ops',
  effect: 'allow',
  who: { users: ['T1/U1'] },
  commands: [['...']],
  ...more,
})

export const forbid = (more: Partial<Rule> = {}): Rule => ({ id: 'no', effect: 'deny', who: {}, ...more })

export type Asked = { actor?: Actor; place?: Place; groups?: readonly string[]; argv?: Argv; selector?: Selector; user?: string }

export function asks({
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

export function target(native: string, more: Partial<Target> = {}): Target {
  const base = { backend: 'prod', kind: 'rancher1', native, name: native, labels: {}, facets: {} } as const
  return { ...base, id: `prod/${native}` as TargetId, ...more }
}

export const web = target('web-1', { labels: { app: 'web' }, facets: { namespace: 'shop' } })

export const effect = (rules: readonly Rule[], question: Question = asks(), targets: readonly Target[] = [web]) =>
  decide(policy(...rules), question, targets).effect
