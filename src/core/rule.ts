/** What a rule says, and whether each of its parts holds for a request and a target. */

import { coversImage, isId, meansImage, reaches, spellings } from './images.ts'
import type { Actor, Argv, Facet, LabelTerm, Limits, NewContainer, Place, Rollout, RunRequest, Target, Trigger } from './model.ts'
import { rolloutArgv } from './rollout.ts'
import { matchesGlob, matchesLabels, namesOf } from './selector.ts'
import { usesShell } from './shells.ts'

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

/** What policy judges: the request, the groups its actor is in, and one target or none yet. */
export type Question = {
  readonly request: Pick<RunRequest, 'actor' | 'trigger' | 'place' | 'selector' | 'command' | 'rollout' | 'newContainer'>
  readonly groups: readonly string[]
}

export function rightsNeeded({ request }: Question, target: Target | undefined): readonly Right[] {
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

export function isMeant(rule: Rule, actor: Actor, groups: readonly string[]): boolean {
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
export function isPlace(rule: Rule, actor: Actor, place: Place): boolean {
  if (rule.channels) return place.kind === 'slack' && rule.channels.includes(`${place.team}/${place.channel}`)
  return rule.effect === 'deny' || actor.kind !== 'slack-user' || place.kind !== 'slack' || place.team === actor.team
}

export function isTrigger({ triggers }: Rule, { kind }: Trigger): boolean {
  return triggers?.includes(kind) ?? true
}

/** On a deny rule an absent part matches everything; on an allow rule the who and the commands or rollouts must be said. */
export function matchesRequest(rule: Rule, { request, groups }: Question): boolean {
  const deny = rule.effect === 'deny'
  const { actor, place, trigger } = request
  const nobody = Object.keys(rule.who).length === 0
  if (!(deny && nobody) && !isMeant(rule, actor, groups)) return false
  if (!isPlace(rule, actor, place)) return false
  if (!isTrigger(rule, trigger)) return false
  // A deny rule that lists neither means both; one that lists either leaves the other alone.
  if (!rule.commands && !rule.rollouts) return deny && matchesImage(rule, request.newContainer)
  return matchesWhat(rule, request)
}

/** A rollout is matched by `rollouts` alone and a command by `commands` alone, whatever words the other is made of. */
export function matchesWhat(rule: Rule, request: Question['request']): boolean {
  return matchesImage(rule, request.newContainer) && matchesWords(rule, request)
}

export function matchesWords(rule: Rule, { command, rollout }: Pick<Question['request'], 'command' | 'rollout'>): boolean {
  const deny = rule.effect === 'deny'
  if (rollout === undefined)
    return rule.commands?.some((pattern) => (deny ? isDenied : matchesArgv)(pattern, command.argv)) ?? false
  return rule.rollouts?.some((pattern) => (deny ? isRolloutDenied(pattern, rollout) : matchesRollout(pattern, rollout))) ?? false
}

/** An allow rule without images makes no container; a deny rule with images, or with mounts, is about new containers with those alone. */
function matchesImage(rule: Rule, newContainer: NewContainer | undefined): boolean {
  const { effect, images, mounts } = rule
  if (newContainer === undefined) return effect === 'allow' || (images === undefined && mounts === undefined)
  const strange = strangeMounts(rule, newContainer)
  if (effect === 'allow') return allowsImage(rule, newContainer.image) && strange.length === 0
  if (images !== undefined && !images.some((glob) => meansImage(glob, newContainer.image))) return false
  return mounts === undefined || strange.length < (newContainer.mounts ?? []).length
}

export function allowsImage({ images }: Rule, image: string): boolean {
  return images?.some((glob) => coversImage(glob, image)) ?? false
}

/** Mounts that are asked for and that the rule does not name. */
export function strangeMounts({ mounts }: Rule, newContainer: NewContainer): readonly string[] {
  return (newContainer.mounts ?? []).filter((mount) => !mounts?.some((glob) => matchesGlob(glob, mount)))
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

export function matchesTarget(rule: Rule, target: Target): boolean {
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
    if (rule.effect === 'allow' || facet !== 'image') return false
    // Known by its id alone, it may be any image.
    return isId(value) || spellings(value).some((one) => globs.some((glob) => matchesGlob(glob, one)))
  })
}

export function gives(rule: Rule, needed: readonly Right[]): boolean {
  return needed.every((right) => rule.rights?.includes(right))
}
