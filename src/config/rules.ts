/** `rules:` of drover.yaml, and the policy that they are to the core. */

import * as z from 'zod'
import { DroverError } from '../core/errors.ts'
import { isRolloutVerb, rolloutVerbs } from '../core/rollout.ts'
import { type Policy, type Rule, rights } from '../core/rule.ts'
import { facetNames, parseLabels } from '../core/selector.ts'
import { splitWords } from '../core/words.ts'
import { channel, duration, id, name, team } from './words.ts'

const globs = z.array(z.string().min(1)).min(1)

export const labels = z.string().transform((text, context) => {
  try {
    return parseLabels(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: saidBy(error) })
    return []
  }
})

/** What a parser of core threw, with what it says to do. */
const saidBy = (error: unknown): string =>
  error instanceof DroverError ? [error.message, ...(error.next === undefined ? [] : [error.next])].join(' ') : String(error)

const command = z.string().transform((text, context) => {
  try {
    const words = splitWords(text).map((word) => word.text)
    if (words.length > 0) return words
    context.addIssue({ code: 'custom', message: 'a command pattern needs at least one word; "..." alone means any command' })
  } catch (error) {
    context.addIssue({ code: 'custom', message: saidBy(error) })
  }
  return []
})

/** What follows the word `rollout`; a verb that there is not would be a rule that never holds. */
const rollout = command.refine(([verb = '']) => verb === '...' || /[*?]/.test(verb) || isRolloutVerb(verb), {
  error: `begins with one of ${rolloutVerbs.join(', ')}; "..." alone means any`,
})

const who = z.strictObject({
  users: z.array(id(/^[TE][A-Z0-9]+\/[UW][A-Z0-9]+$/, 'T0123ABC/U0123ABC (team/user)')).min(1),
  groups: z.array(id(/^[TE][A-Z0-9]+\/S[A-Z0-9]+$/, 'T0123ABC/S0123ABC (team/user group)')).min(1),
  teams: z.array(team).min(1),
  webhooks: z.array(name).min(1),
  cli: z.literal(true),
})

export const rule = z
  .strictObject({
    id: name,
    effect: z.enum(['allow', 'deny']),
    who: who.partial().default({}),
    channels: z.array(channel).min(1).optional(),
    triggers: z
      .array(z.enum(['slash', 'mention', 'button', 'webhook', 'api', 'cli']))
      .min(1)
      .optional(),
    targets: z
      .strictObject({ on: globs, name: globs, labels, ...Object.fromEntries(facetNames.map((facet) => [facet, globs])) })
      .partial()
      .optional(),
    commands: z.array(command).min(1).optional(),
    rollouts: z.array(rollout).min(1).optional(),
    /** New containers may be made from these: globs, in which a star reaches over `/` only as a last part of its own. */
    images: z
      .array(z.string().regex(/^[A-Za-z0-9*?._:/@-]+$/, 'an image or a glob, like alpine:3 or registry.example.com/tools/*'))
      .min(1)
      .optional(),
    /** Mounts of new containers, as `newContainers.mounts` of a backend names them. */
    mounts: z
      .array(z.string().regex(/^[a-z0-9*?_-]+$/, 'the name of a mount, or a glob'))
      .min(1)
      .optional(),
    rights: z.array(z.enum(rights)).optional(),
    limits: z
      .strictObject({ targets: z.int().min(1), timeout: duration })
      .partial()
      .optional(),
    reason: z.string().max(300).optional(),
  })
  .superRefine((value, context) => {
    const say = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if (value.effect === 'deny') return
    if (Object.values(value.who).every((part) => !part))
      say(
        'who',
        'an allow rule has to say who: users, groups, teams, webhooks, or cli: true (whoever is at a terminal of this machine)',
      )
    if (!value.commands && !value.rollouts)
      say('commands', 'an allow rule has to say which commands, or which rollouts; "..." means any')
    else if (value.images && !value.commands) say('images', 'images says where commands may run; say commands too')
    if (value.mounts && !value.images) say('mounts', 'mounts are those of new containers; say images too')
  })

/** The rules as the core judges them, with the version that decisions are recorded under. */
export async function policyOf({ rules: written }: { readonly rules: readonly z.output<typeof rule>[] }): Promise<Policy> {
  const rules = written.map(({ targets, limits, who, ...rest }): Rule => {
    const { on, name: names, labels: terms, ...facets } = targets ?? {}
    return compact({
      ...rest,
      who: compact(who),
      targets: targets && compact({ on, name: names, labels: terms, facets: compact(facets) }),
      limits: limits && compact({ maxTargets: limits.targets, timeoutMs: limits.timeout }),
    }) as Rule
  })
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(JSON.stringify(rules))))
  return { rules, version: Array.from(digest.slice(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join('') }
}

function compact(object: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
}
