/** Who may run what, where: deny by default, any matching deny wins, the first matching allow gives the limits. */

import type { Actor, Decision, Limits, Place, Target } from './model.ts'
import { forbidden, notAllowed } from './refusal.ts'
import {
  gives,
  isMeant,
  isPlace,
  matchesRequest,
  matchesTarget,
  type Policy,
  type Question,
  type Rule,
  rightsNeeded,
} from './rule.ts'
import { names } from './selector.ts'

/** Groups that some rule names; the only ones whose members are ever asked for. */
export function groupsNamed(policy: Policy): readonly string[] {
  return [...new Set(policy.rules.flatMap((rule) => rule.who.groups ?? []))]
}

/**
 * Judges a request on all of its targets, or with `targets` undefined on what can be known before anything is listed: a
 * denial then is final, an allow only means "some target might be allowed".
 */
export function decide(policy: Policy, question: Question, targets: readonly Target[] | undefined): Decision {
  if (targets === undefined) return decideOne(policy, question, undefined)
  if (targets.length === 0) return nothingMeant
  const decisions = targets.map((target) => decideWhole(policy, question, target))
  const denied = decisions.findIndex((decision) => decision.effect === 'deny')
  if (denied >= 0) {
    const refused = targets.filter((_, i) => decisions[i]?.effect === 'deny')
    const count = refused.length
    const decision = decisions[denied]!
    const nothing = question.request.rollout ? 'Nothing was changed.' : 'Nothing ran.'
    if (decision.effect === 'deny' && count < targets.length) {
      const failure = {
        ...decision.failure,
        message: `${decision.failure.message} Refused: ${names(refused)}; the other ${targets.length - count} of ${targets.length} would be allowed. ${nothing}`,
        next: `Narrow the selector to leave ${count === 1 ? 'it' : 'them'} out. ${decision.failure.next ?? ''}`.trimEnd(),
      }
      return { ...decision, failure }
    }
    return decision
  }
  return allOf(decisions.flatMap((decision) => (decision.effect === 'allow' ? [decision] : [])))
}

const nothingMeant: Decision = {
  effect: 'deny',
  failure: {
    code: 'denied',
    message: 'There is no target, so there is nothing to allow.',
    next: 'Say which containers are meant.',
  },
}

type Allowed = Extract<Decision, { effect: 'allow' }>

/** What several rules allow together. */
function allOf(allowed: readonly Allowed[]): Allowed {
  const lowest = (key: keyof Limits) => {
    const values = allowed.flatMap((decision) => decision.limits[key] ?? [])
    return values.length > 0 ? { [key]: Math.min(...values) } : {}
  }
  const rule = [...new Set(allowed.flatMap((decision) => decision.rule.split(', ')))].join(', ')
  return { effect: 'allow', rule, limits: { ...lowest('maxTargets'), ...lowest('timeoutMs') } }
}

/** A change of a workload touches every container of it: all have to be allowed, and what forbids one of them forbids the change. */
function decideWhole(policy: Policy, question: Question, target: Target): Decision {
  const { parts = [], ...whole } = target
  if (parts.length === 0) return decideOne(policy, question, target)
  const decisions = parts.map(({ labels, facets }) =>
    decideOne(policy, question, { ...whole, labels, facets: { ...whole.facets, ...facets } }),
  )
  const denied = decisions.filter((decision) => decision.effect === 'deny')
  const allowed = decisions.filter((decision) => decision.effect === 'allow')
  return denied.find(({ rule }) => rule !== undefined) ?? denied[0] ?? allOf(allowed)
}

function decideOne(policy: Policy, question: Question, target: Target | undefined): Decision {
  const needed = rightsNeeded(question, target)
  let allowedBy: Rule | undefined
  for (const rule of policy.rules) {
    if (!matchesRequest(rule, question)) continue
    if (target && !matchesTarget(rule, target)) continue
    if (rule.effect === 'allow') {
      if (gives(rule, needed)) allowedBy ??= rule
      // Before targets are known, a deny rule counts only when it names none.
    } else if (target || !rule.targets) return forbidden(rule, target)
  }
  return allowedBy
    ? { effect: 'allow', rule: allowedBy.id, limits: allowedBy.limits ?? {} }
    : notAllowed(policy, question, target)
}

/** Whether some rule lets this actor run anything at all on this target from here: what `targets` may show. Rollouts run nothing in it. */
export function mayReach(
  policy: Policy,
  asker: { readonly actor: Actor; readonly place: Place; readonly groups: readonly string[] },
  target: Target,
): boolean {
  const { actor, groups } = asker
  const closed = policy.rules.some(
    (rule) =>
      rule.effect === 'deny' &&
      !rule.commands &&
      !rule.rollouts &&
      !rule.images &&
      !rule.mounts &&
      !rule.triggers &&
      (Object.keys(rule.who).length === 0 || isMeant(rule, actor, groups)) &&
      isPlace(rule, actor, asker.place) &&
      matchesTarget(rule, target),
  )
  if (closed) return false
  return policy.rules.some((rule) => {
    if (rule.effect !== 'allow' || !isMeant(rule, asker.actor, asker.groups) || !matchesTarget(rule, target)) return false
    if (!rule.commands) return false
    if (!isPlace(rule, asker.actor, asker.place)) return false
    return (!target.system || gives(rule, ['system'])) && (!target.privileged || gives(rule, ['privileged']))
  })
}
