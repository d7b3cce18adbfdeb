/**
 * What a refusal says: which rule came nearest, and what it lacks. Nobody learns more from it than their own rights: it speaks only of
 * rules that name the asker, by their ids, and quotes only what was typed, never what a rule would take instead.
 */

import type { Actor, Decision, RunRequest, Target } from './model.ts'
import { rolloutArgv } from './rollout.ts'
import {
  allowsImage,
  gives,
  isMeant,
  isPlace,
  isTrigger,
  matchesTarget,
  matchesWhat,
  matchesWords,
  type Policy,
  type Question,
  type Right,
  type Rule,
  rightsNeeded,
  strangeMounts,
} from './rule.ts'
import { matchesGlob } from './selector.ts'

type Denied = Extract<Decision, { effect: 'deny' }>

export function forbidden({ id, reason }: Rule, target: Target | undefined): Denied {
  const message = `The rule ${id} forbids it${reason ? `: ${reason}` : ''}.${target ? ` Target: ${calledHere(target)}.` : ''}`
  const next = 'It holds for everybody it names; whoever runs drover can change it.'
  return { effect: 'deny', failure: { code: 'denied', message, next }, rule: id }
}

export function notAllowed(policy: Policy, question: Question, target: Target | undefined): Denied {
  const { actor, rollout, newContainer } = question.request
  const isPerson = actor.kind === 'slack-user'
  const allowedFor = whoElse(policy, question, target)
  const nearest = nearestRule(policy, question, target)
  const ask = `ask ${allowedFor.length > 0 ? 'someone who may, or ' : ''}whoever runs drover`
  const made = newContainer && !target ? ` in a new container of ${clip(newContainer.image)}` : ''
  const where = target ? ` ${target.creates ? 'in a' : 'on'} ${calledHere(target)} (${target.backend})` : made
  const no = `No rule allows ${whoOf(actor)} to ${rollout ? 'roll this out' : 'run this'}${where} here`
  const say = (message: string, tip: string, takes: string): Denied => {
    const [first = '', ...rest] = isPerson ? `${ask}: it takes ${takes}.` : `it takes ${takes}, in drover.yaml.`
    const or = isPerson ? ', or' : '; otherwise'
    const next = tip === '' ? first.toUpperCase() + rest.join('') : `Leave out ${tip}${or} ${first}${rest.join('')}`
    return { effect: 'deny', failure: { code: 'denied', message, next }, allowedFor }
  }
  if (!nearest)
    return isPerson
      ? say(`${no}: none names you or a group of yours.`, '', 'a rule that names you')
      : say(`${no}: none names ${whoOf(actor)}.`, '', `a rule with ${naming(actor)}`)
  const { lacks, rule } = nearest
  const lacking = lacks.map(({ said }) => said).join(' or ')
  const message = lacks.every(({ part }) => part === 'rights')
    ? `The rule ${rule.id} allows this, but not ${lacking}${where}.`
    : `${no}. The nearest rule, ${rule.id}, has ${whatIsThere(lacks, question, target)}, but not ${lacking}.`
  const takes = `${lacks.map((one) => one.takes).join(' and ')} in the rule ${rule.id}, or a rule of its own`
  const isAvoidable = lacks.every(({ leave }) => leave !== undefined)
  return say(message, isAvoidable ? lacks.flatMap(({ leave }) => leave || []).join(' and ') : '', takes)
}

// ---- the nearest rule ------------------------------------------------------------------------

/** One thing that a rule does not have. */
type Lack = {
  readonly part: 'place' | 'trigger' | 'what' | 'image' | 'mounts' | 'target' | 'rights'
  readonly said: string
  /** What would have to stand in the rule, in the words of drover.yaml. */
  readonly takes: string
  /** What the asker could leave out instead; empty where another lack says it. */
  readonly leave?: string | undefined
}

/** Of the rules that name the asker the one that lacks least, and of equals the first; what lacks nothing but rights is nearest. */
function nearestRule({ rules }: Policy, question: Question, target: Target | undefined) {
  const { actor } = question.request
  const far = (lacks: readonly Lack[]) => lacks.reduce((sum, { part }) => sum + (part === 'rights' ? 1 : 2), 0)
  return rules
    .filter((rule) => rule.effect === 'allow' && isMeant(rule, actor, question.groups))
    .map((rule) => ({ rule, lacks: lacksOf(rule, question, target) }))
    .reduce<{ rule: Rule; lacks: readonly Lack[] } | undefined>(
      (best, one) => (best && far(best.lacks) <= far(one.lacks) ? best : one),
      undefined,
    )
}

function lacksOf(rule: Rule, question: Question, target: Target | undefined): readonly Lack[] {
  const { actor, place, trigger, rollout, newContainer } = question.request
  const lacks: Lack[] = []
  if (!isPlace(rule, actor, place))
    lacks.push(
      place.kind === 'slack'
        ? { part: 'place', said: 'this channel', takes: 'this place in channels:' }
        : { part: 'place', said: 'a terminal', takes: 'no channels: (a terminal is in none)' },
    )
  if (!isTrigger(rule, trigger))
    lacks.push({ part: 'trigger', said: `a ${triggered[trigger.kind]}`, takes: `triggers: [${trigger.kind}]` })
  if (!matchesWords(rule, question.request))
    lacks.push({ part: 'what', ...(rollout ? lackOfRollout(rule, rollout) : lackOfCommand(rule, question.request)) })
  if (newContainer) {
    const image = clip(newContainer.image)
    const mounts = strangeMounts(rule, newContainer).join(', ')
    if (!allowsImage(rule, newContainer.image))
      lacks.push({ part: 'image', said: rule.images ? `the image ${image}` : 'new containers', takes: `images: ['${image}']` })
    if (mounts !== '')
      lacks.push({ part: 'mounts', said: `mounts=${mounts}`, takes: `mounts: [${mounts}]`, leave: `mounts=${mounts}` })
  }
  if (target && !matchesTarget(rule, target))
    lacks.push({ part: 'target', said: thing(target), takes: `${thing(target)} in targets:` })
  // What a target takes is told where all else is allowed; until then only what was typed.
  const missing = rightsNeeded(question, lacks.length === 0 ? target : undefined).filter((right) => !gives(rule, [right]))
  if (missing.length > 0) {
    const leave = missing.map((right) => avoidance(right, question.request))
    lacks.push({
      part: 'rights',
      said: missing.map((right) => rightNames[right]).join(' or '),
      takes: `rights: [${missing.join(', ')}]`,
      leave: leave.includes(undefined) ? undefined : leave.join(' and '),
    })
  }
  return lacks
}

function lackOfCommand({ commands }: Rule, request: Question['request']): Omit<Lack, 'part'> {
  return {
    said: commands ? 'this command' : 'commands',
    takes: 'a pattern of this command in commands:',
    // Text for a shell is one argument, which few patterns take.
    leave: isWrapped(request) ? '' : undefined,
  }
}

function lackOfRollout({ rollouts }: Rule, rollout: NonNullable<RunRequest['rollout']>): Omit<Lack, 'part'> {
  const words = clip(rolloutArgv(rollout).slice(1).join(' '))
  const hasVerb = rollouts?.some(([verb = '']) => verb === '...' || matchesGlob(verb, rollout.verb))
  return {
    said: rollouts ? `rollout ${hasVerb ? words : rollout.verb}` : 'rollouts',
    takes: `rollouts: ['${words}']`,
  }
}

function whatIsThere(lacks: readonly Lack[], { request }: Question, target: Target | undefined): string {
  const { actor, place, rollout, newContainer } = request
  const has = (part: Lack['part'], said: string) => (lacks.some((lack) => lack.part === part) ? [] : [said])
  return [
    whoOf(actor),
    ...(place.kind === 'slack' ? has('place', 'this channel') : []),
    ...has('what', rollout ? 'this rollout' : 'this command'),
    ...(newContainer ? has('image', 'this image') : []),
    ...(target ? has('target', thing(target)) : []),
  ]
    .join(', ')
    .replace(/, ([^,]*)$/, ' and $1')
}

// ---- words -----------------------------------------------------------------------------------

const rightNames: Readonly<Record<Right, string>> = {
  shell: 'a shell (sh -c, pipes, $variables, globs)',
  env: 'a chosen env=',
  all: 'all=',
  system: 'the platform’s own containers',
  privileged: 'privileged containers',
  user: 'a chosen user=',
}

const triggered: Readonly<Record<Question['request']['trigger']['kind'], string>> = {
  slash: 'slash command',
  mention: 'mention',
  button: 'button',
  webhook: 'webhook',
  api: 'call of the API',
  cli: 'command on a terminal',
}

function avoidance(right: Right, request: Question['request']): string | undefined {
  if (right === 'shell')
    return isWrapped(request) ? 'what only a shell understands (pipes, $variables, globs, redirections)' : undefined
  if (right === 'privileged') return undefined
  return right === 'system' ? 'system=1' : `${right}=`
}

function whoOf({ kind }: Actor): string {
  return kind === 'slack-user' || kind === 'cli' ? 'you' : 'this caller'
}

/** Who the caller is to a rule, in the words of drover.yaml. */
function naming(actor: Actor): string {
  if (actor.kind === 'cli') return 'who: { cli: true }'
  return actor.kind === 'webhook' ? `who: { webhooks: [${actor.name}] }` : `a who: that names ${whoOf(actor)}`
}

/** How a text that needs a shell becomes an argv. */
function isWrapped({ command: { argv } }: Question['request']): boolean {
  return argv.length === 3 && argv[0] === '/bin/sh' && argv[1] === '-c'
}

function thing({ creates, backend, name, facets: { workload, container } }: Target): string {
  if (creates) return `the engine ${backend}`
  return name === workload && container === undefined ? 'this workload' : 'this container'
}

/** A workload with the container that the decision was about. */
function calledHere({ name, facets: { workload, container } }: Target): string {
  return name === workload && container !== undefined ? `${name}, container ${container}` : name
}

const clip = (text: string) => (text.length > 150 ? `${text.slice(0, 150)}…` : text)

/** Ids of the people and groups that some rule would let run this here: what a refusal can point at. */
function whoElse(policy: Policy, question: Question, target: Target | undefined): readonly string[] {
  const { place, trigger } = question.request
  const needed = rightsNeeded(question, target)
  const found = policy.rules.flatMap((rule) => {
    if (rule.effect !== 'allow' || !gives(rule, needed) || (target && !matchesTarget(rule, target))) return []
    if (rule.channels && !(place.kind === 'slack' && rule.channels.includes(`${place.team}/${place.channel}`))) return []
    if (!isTrigger(rule, trigger) || !matchesWhat(rule, question.request)) return []
    return [...(rule.who.users ?? []), ...(rule.who.groups ?? [])]
  })
  return [...new Set(found)]
}
