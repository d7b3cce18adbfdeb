/** Who may run what, where: deny by default, any matching deny wins, the first matching allow gives the limits. */

import type { Failure } from './errors.ts'
import { coversImage, meansImage, reaches, spellings } from './images.ts'
import type {
  Actor,
  Argv,
  Decision,
  Facet,
  LabelTerm,
  Limits,
  NewContainer,
  Place,
  Rollout,
  RunRequest,
  Target,
  Trigger,
} from './model.ts'
import { rolloutArgv } from './rollout.ts'
import { matchesGlob, matchesLabels, names, namesOf } from './selector.ts'

/** Rights that no command pattern gives by itself. */
export const rights = ['shell', 'env', 'all', 'system', 'privileged', 'user'] as const
export type Right = (typeof rights)[number]

/** One argument each, `*` and `?` as globs inside it; a last element `...` stands for any further arguments. */
export type ArgvPattern = readonly string[]

export type Rule = {
  readonly id: string
  readonly effect: 'allow' | 'deny'
  /** All ids: `<team>/<user>`, `<team>/<usergroup>`, `<team>`, names of hooks. Empty on an allow rule: nobody. */
  readonly who: {
    readonly users?: readonly string[]
    readonly groups?: readonly string[]
    readonly teams?: readonly string[]
    readonly webhooks?: readonly string[]
    readonly cli?: boolean
  }
  /** `<team>/<channel>`; absent: anywhere the actor's team is at home. */
  readonly channels?: readonly string[]
  readonly triggers?: readonly Trigger['kind'][]
  readonly targets?: {
    readonly on?: readonly string[]
    readonly name?: readonly string[]
    readonly labels?: readonly LabelTerm[]
    readonly facets?: Readonly<Partial<Record<Facet, readonly string[]>>>
  }
  readonly commands?: readonly ArgvPattern[]
  /** Patterns of what follows the word `rollout`: `image main=registry.example.com/*`, `restart`, `scale ...`. */
  readonly rollouts?: readonly ArgvPattern[]
  /** Globs of images that new containers may be made from, by name or digest. None: no new container. */
  readonly images?: readonly string[]
  /** Globs of mounts that new containers may have, by name. None: no mount. */
  readonly mounts?: readonly string[]
  readonly rights?: readonly Right[]
  readonly limits?: Limits
  readonly reason?: string
}

export type Policy = {
  readonly rules: readonly Rule[]
  /** First 12 hex digits of the SHA-256 of the rules: recorded with each decision. */
  readonly version: string
}

/** Groups that some rule names; the only ones whose members are ever asked for. */
export function groupsNamed(policy: Policy): readonly string[] {
  return [...new Set(policy.rules.flatMap((rule) => rule.who.groups ?? []))]
}

/** What policy judges: the request, the groups its actor is in, and one target or none yet. */
export type Question = {
  readonly request: Pick<RunRequest, 'actor' | 'trigger' | 'place' | 'selector' | 'command' | 'rollout' | 'newContainer'>
  readonly groups: readonly string[]
}

/** Programs that run text: shells, and those that hand their arguments to one. */
const shells = new Set(
  'sh ash bash dash zsh ksh mksh oksh posh rbash yash fish csh tcsh busybox toybox pwsh powershell cmd su runuser watch script parallel nsenter chroot unshare capsh strace ltrace setarch linux32 linux64 i386 x86_64'.split(
    ' ',
  ),
)
/** Programs that run the program named in their arguments. */
const launchers = new Set(
  'env nice ionice nohup timeout setsid stdbuf chrt taskset time command exec sudo doas gosu su-exec setpriv xargs find flock tini dumb-init s6-setuidgid start-stop-daemon'.split(
    ' ',
  ),
)

const program = (arg: string) => (/[^/\\]*$/.exec(arg)?.[0] ?? '').toLowerCase().replace(/\.exe$|[-.]static$/, '')

/**
 * The argv hands text to a shell, or is one: `["/bin/sh","-c",…]` and its like, also behind `env`, `sudo`, `xargs`.
 * Interpreters of other languages are not looked for: a rule that allows `python` allows what python can do.
 */
export function usesShell(argv: Argv): boolean {
  const [first, ...rest] = argv
  // `/proc/self/exe` is drover's own wrapper shell; `/proc/1/exe` is whatever runs there; a loader runs any program.
  if (shells.has(program(first)) || first.startsWith('/proc/') || /^ld(-linux|-musl|\.so|64)/.test(program(first))) return true
  // Options by which a launcher takes text for a shell, or starts one of its own: `env -S…`, `flock -c`, `sudo -s`.
  if (launchers.has(program(first)) && rest.some((arg) => /^-[a-zA-Z]*[Scsi]|^--(split-string|command|shell|login)/.test(arg)))
    return true
  // `env -S` takes one text and splits it itself.
  return launchers.has(program(first)) && rest.some((arg) => arg.split(/[\s=]+/).some((word) => shells.has(program(word))))
}

function rightsNeeded({ request }: Question, target: Target | undefined): readonly Right[] {
  return [
    ...(request.rollout === undefined && usesShell(request.command.argv) ? ['shell' as const] : []),
    // BASH_ENV, PERL5OPT, LD_PRELOAD, PATH…: who chooses the environment chooses what runs.
    ...(request.command.env !== undefined ? ['env' as const] : []),
    ...(request.selector.all !== undefined ? ['all' as const] : []),
    ...(request.command.user !== undefined ? ['user' as const] : []),
    ...(request.selector.system || target?.system ? ['system' as const] : []),
    ...(target?.privileged ? ['privileged' as const] : []),
  ]
}

function isMeant(rule: Rule, actor: Actor, groups: readonly string[]): boolean {
  switch (actor.kind) {
    case 'slack-user':
      return (
        (rule.who.users?.includes(`${actor.team}/${actor.user}`) ?? false) ||
        (rule.who.teams?.includes(actor.team) ?? false) ||
        (rule.who.groups?.some((group) => groups.includes(group)) ?? false)
      )
    case 'webhook':
      return rule.who.webhooks?.includes(actor.name) ?? false
    case 'cli':
      return rule.who.cli ?? false
    case 'api-key':
    case 'schedule':
      return false
    default:
      return actor satisfies never
  }
}

/** Without channels a deny rule holds everywhere, and an allow rule reaches no further than the actor's own team. */
function isPlace(rule: Rule, actor: Actor, place: Place): boolean {
  if (rule.channels) return place.kind === 'slack' && rule.channels.includes(`${place.team}/${place.channel}`)
  return rule.effect === 'deny' || actor.kind !== 'slack-user' || place.kind !== 'slack' || place.team === actor.team
}

/** On a deny rule an absent part matches everything; on an allow rule the who and the commands or rollouts must be said. */
function matchesRequest(rule: Rule, { request, groups }: Question): boolean {
  const deny = rule.effect === 'deny'
  const { actor, place, trigger } = request
  const nobody = Object.keys(rule.who).length === 0
  if (!(deny && nobody) && !isMeant(rule, actor, groups)) return false
  if (!isPlace(rule, actor, place)) return false
  if (rule.triggers && !rule.triggers.includes(trigger.kind)) return false
  // A deny rule that lists neither means both; one that lists either leaves the other alone.
  if (!rule.commands && !rule.rollouts) return deny && matchesImage(rule, request.newContainer)
  return matchesWhat(rule, request)
}

/** A rollout is matched by `rollouts` alone and a command by `commands` alone, whatever words the other is made of. */
function matchesWhat(rule: Rule, { command, rollout, newContainer }: Question['request']): boolean {
  const deny = rule.effect === 'deny'
  if (!matchesImage(rule, newContainer)) return false
  if (rollout === undefined)
    return rule.commands?.some((pattern) => (deny ? isDenied : matchesArgv)(pattern, command.argv)) ?? false
  return rule.rollouts?.some((pattern) => (deny ? isRolloutDenied(pattern, rollout) : matchesRollout(pattern, rollout))) ?? false
}

/** An allow rule without images makes no container; a deny rule with images, or with mounts, is about new containers with those alone. */
function matchesImage({ effect, images, mounts }: Rule, newContainer: NewContainer | undefined): boolean {
  if (newContainer === undefined) return effect === 'allow' || (images === undefined && mounts === undefined)
  const wanted = newContainer.mounts ?? []
  const isNamed = (mount: string) => mounts?.some((glob) => matchesGlob(glob, mount)) ?? false
  const matches = effect === 'allow' ? coversImage : meansImage
  if (images === undefined ? effect === 'allow' : !images.some((glob) => matches(glob, newContainer.image))) return false
  return effect === 'allow' ? wanted.every(isNamed) : mounts === undefined || wanted.some(isNamed)
}

function matchesRollout(pattern: ArgvPattern, rollout: Rollout): boolean {
  const [, ...words] = rolloutArgv(rollout)
  if (!matchesArgv(pattern, words as unknown as Argv)) return false
  const glob = pattern[1]
  // As in `images`: a glob must not reach into another registry.
  return rollout.verb !== 'image' || glob === undefined || glob === '...' || coversImage(glob, words[1] ?? '')
}

/** A deny rule for an image holds with and without the name of its container, which may be left out where there is one, and under every name of the image. */
function isRolloutDenied(pattern: ArgvPattern, rollout: Rollout): boolean {
  if (matchesRollout(pattern, rollout)) return true
  const [verb = '', glob, ...rest] = pattern
  if (rollout.verb !== 'image' || glob === undefined || glob === '...' || !matchesGlob(verb, 'image')) return false
  if (rest.length > 0 && rest[0] !== '...') return false
  const { image, container } = rollout
  const [, bare = glob] = container === undefined ? (/^[^=]*=(.*)$/.exec(glob) ?? []) : []
  return (
    meansImage(bare, image) ||
    (container !== undefined && meansImage(glob, image, (one, spelled) => reaches(one, `${container}=${spelled}`)))
  )
}

export function matchesArgv(pattern: ArgvPattern, argv: Argv): boolean {
  const open = pattern.at(-1) === '...'
  const fixed = open ? pattern.slice(0, -1) : pattern
  if (open ? argv.length < fixed.length : argv.length !== fixed.length) return false
  return fixed.every((glob, i) => matchesArgument(glob, argv[i]!))
}

/** A pattern that names a folder does not let `..` lead out of it. */
function matchesArgument(glob: string, arg: string): boolean {
  const climbs = glob !== arg && glob.includes('/') && /(^|\/)\.\.(\/|$)/.test(arg)
  return !climbs && matchesGlob(glob, arg)
}

/** A deny rule for `rm` means the program, wherever it lies: `/bin/rm` as well. */
function isDenied(pattern: ArgvPattern, argv: Argv): boolean {
  const [first, ...rest] = argv
  const bare = !pattern[0]?.includes('/') && first.includes('/')
  return matchesArgv(pattern, argv) || (bare && matchesArgv(pattern, [first.slice(first.lastIndexOf('/') + 1), ...rest]))
}

function matchesTarget(rule: Rule, target: Target): boolean {
  const { on, name, labels, facets } = rule.targets ?? {}
  if (on && !on.some((glob) => matchesGlob(glob, target.backend))) return false
  // A workload is `deployment/pay` and `pay` for short: a deny rule means it by either, an allow rule by its whole name.
  const called = rule.effect === 'deny' ? namesOf(target) : [target.name]
  if (name && !name.some((glob) => called.some((one) => matchesGlob(glob, one)))) return false
  if (labels && !matchesLabels(labels, target.labels)) return false
  return Object.entries(facets ?? {}).every(([facet, globs]) => {
    const value = target.facets[facet as Facet]
    if (value === undefined) return false
    if (globs.some((glob) => matchesGlob(glob, value))) return true
    return (
      rule.effect === 'deny' && facet === 'image' && spellings(value).some((one) => globs.some((glob) => matchesGlob(glob, one)))
    )
  })
}

function gives(rule: Rule, needed: readonly Right[]): boolean {
  return needed.every((right) => rule.rights?.includes(right))
}

/**
 * Judges a request on all of its targets, or with `targets` undefined on what can be known before anything is listed: a
 * denial then is final, an allow only means "some target might be allowed".
 */
export function decide(policy: Policy, question: Question, targets: readonly Target[] | undefined): Decision {
  if (targets === undefined) return decideOne(policy, question, undefined)
  if (targets.length === 0) return deny(question, undefined, { message: 'There is no target, so there is nothing to allow.' })
  const decisions = targets.map((target) => decideWhole(policy, question, target))
  const denied = decisions.findIndex((decision) => decision.effect === 'deny')
  if (denied >= 0) {
    const refused = targets.filter((_, i) => decisions[i]?.effect === 'deny')
    const count = refused.length
    const decision = decisions[denied]!
    if (decision.effect === 'deny' && count < targets.length) {
      const failure = {
        ...decision.failure,
        message: `${decision.failure.message} Refused: ${names(refused)}; the other ${targets.length - count} of ${targets.length} would be allowed. Nothing ran.`,
        next: `Narrow the selector to leave ${count === 1 ? 'it' : 'them'} out. ${decision.failure.next ?? ''}`.trimEnd(),
      }
      return { ...decision, failure }
    }
    return decision
  }
  return allOf(decisions.flatMap((decision) => (decision.effect === 'allow' ? [decision] : [])))
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
  let shortOfRights: { rule: Rule; missing: readonly Right[] } | undefined
  let allowedBy: Rule | undefined
  for (const rule of policy.rules) {
    if (!matchesRequest(rule, question)) continue
    if (target && !matchesTarget(rule, target)) continue
    if (rule.effect === 'deny') {
      // Before targets are known, a deny rule counts only when it names none.
      if (!target && rule.targets) continue
      return deny(question, target, {
        rule: rule.id,
        message: rule.reason ? `The rule ${rule.id} forbids it: ${rule.reason}.` : `The rule ${rule.id} forbids it.`,
      })
    }
    if (gives(rule, needed)) allowedBy ??= rule
    else shortOfRights ??= { rule, missing: needed.filter((right) => !rule.rights?.includes(right)) }
  }
  if (allowedBy) return { effect: 'allow', rule: allowedBy.id, limits: allowedBy.limits ?? {} }
  // The command itself is not quoted: it may hold what must not be shown, and the reader has just typed it.
  const isPerson = question.request.actor.kind === 'slack-user'
  const where = target ? ` on ${calledHere(target)} (${target.backend})` : ''
  const message = shortOfRights
    ? `The rule ${shortOfRights.rule.id} allows this, but not ${shortOfRights.missing.map(rightName).join(' and ')}${where}.`
    : `No rule allows ${isPerson ? 'you' : 'this caller'} to ${question.request.rollout ? 'roll this out' : question.request.newContainer ? `run this in a new container of that image${question.request.newContainer.mounts ? ' with these mounts' : ''}` : 'run this'}${where} here${needed.includes('shell') ? '; it needs a shell (pipes, globs, $variables), which is a right of its own' : ''}.`
  return { ...deny(question, target, { message }), allowedFor: whoElse(policy, question, target, needed) } as Decision
}

function deny(
  question: Question,
  target: Target | undefined,
  said: { rule?: string; message: string },
): Extract<Decision, { effect: 'deny' }> {
  const where = target && said.rule ? ` Target: ${calledHere(target)}.` : ''
  const failure: Failure = {
    code: 'denied',
    message: said.message + where,
    next: said.rule
      ? 'It holds for everybody it names; whoever runs drover can change it.'
      : question.request.actor.kind === 'slack-user'
        ? 'Ask someone who may, or ask whoever runs drover for a rule.'
        : `A rule in drover.yaml has to name this caller, this ${question.request.rollout ? 'rollout and these workloads' : 'command and these containers'}, and the rights, images and mounts that it takes.`,
  }
  return { effect: 'deny', failure, ...(said.rule === undefined ? {} : { rule: said.rule }) }
}

/** A workload with the container that the decision was about. */
function calledHere({ name, facets: { workload, container } }: Target): string {
  return name === workload && container !== undefined ? `${name}, container ${container}` : name
}

function rightName(right: Right): string {
  const said: Record<Right, string> = {
    shell: 'a shell (sh -c, pipes, $variables, globs)',
    env: 'a chosen env=',
    all: 'all=',
    system: 'the platform’s own containers',
    privileged: 'privileged containers',
    user: 'a chosen user=',
  }
  return said[right]
}

/** Ids of the people and groups that some rule would let run this here: what a refusal can point at. */
function whoElse(policy: Policy, question: Question, target: Target | undefined, needed: readonly Right[]): readonly string[] {
  const { place, trigger } = question.request
  const found = policy.rules.flatMap((rule) => {
    if (rule.effect !== 'allow' || !gives(rule, needed) || (target && !matchesTarget(rule, target))) return []
    if (rule.channels && !(place.kind === 'slack' && rule.channels.includes(`${place.team}/${place.channel}`))) return []
    if (rule.triggers && !rule.triggers.includes(trigger.kind)) return []
    if (!matchesWhat(rule, question.request)) return []
    return [...(rule.who.users ?? []), ...(rule.who.groups ?? [])]
  })
  return [...new Set(found)]
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
