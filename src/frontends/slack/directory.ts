/** Facts about people and channels, read from Slack by id; what Slack cannot tell is a no. */

import * as z from 'zod'
import { DroverError } from '../../core/errors.ts'
import type { Actor, Place } from '../../core/model.ts'
import type { Directory, Facts } from '../../core/ports.ts'
import { SlackCallError, type SlackClient, WILL_RETRY } from './client.ts'

export type SlackDirectoryOptions = {
  /** The workspace the bot is installed in. */
  readonly teamId: string
  readonly allowGuests?: boolean
  /** Other workspaces whose members may be judged by the rules at all. */
  readonly allowTeams?: readonly string[]
  /** How long facts are believed; default 2 minutes. */
  readonly cacheMs?: number
  readonly now?: () => number
}

const userSchema = z.looseObject({
  user: z.looseObject({
    id: z.string(),
    team_id: z.string().optional(),
    deleted: z.boolean().optional(),
    is_bot: z.boolean().optional(),
    is_restricted: z.boolean().optional(),
    is_ultra_restricted: z.boolean().optional(),
    is_stranger: z.boolean().optional(),
  }),
})
const channelSchema = z.looseObject({
  channel: z.looseObject({
    id: z.string(),
    is_archived: z.boolean().optional(),
    is_im: z.boolean().optional(),
    is_mpim: z.boolean().optional(),
    is_ext_shared: z.boolean().optional(),
    is_pending_ext_shared: z.boolean().optional(),
    connected_team_ids: z.array(z.string()).optional(),
    is_member: z.boolean().optional(),
    name: z.string().optional(),
  }),
})
export type SlackChannel = z.infer<typeof channelSchema>['channel']
const membersSchema = z.looseObject({ users: z.array(z.string()) })

const MAX_CACHED = 10_000

export function createSlackDirectory(client: SlackClient, options: SlackDirectoryOptions): Directory {
  const now = options.now ?? Date.now
  const cacheMs = options.cacheMs ?? 120_000
  const teams = new Set([options.teamId, ...(options.allowTeams ?? [])])
  const cache = new Map<string, { readonly until: number; readonly value: unknown }>()

  async function remembered<T>(key: string, read: () => Promise<T>): Promise<T> {
    const known = cache.get(key)
    if (known !== undefined && known.until > now()) return known.value as T
    const value = await read()
    if (cache.size >= MAX_CACHED) cache.clear()
    cache.set(key, { until: now() + cacheMs, value })
    return value
  }

  async function refusal(
    actor: Actor & { kind: 'slack-user' },
    place: Place,
    signal: AbortSignal,
  ): Promise<DroverError | undefined> {
    if (!teams.has(actor.team)) return outsider('You belong to another workspace')
    const { user } = await remembered(`user ${actor.team} ${actor.user}`, async () =>
      userSchema.parse(await client.call('users.info', { user: actor.user }, signal)),
    )
    if (user.id !== actor.user) return outsider('Slack answered about somebody else')
    if (user.deleted === true) return outsider('This account is deactivated')
    if (user.is_bot !== false) return outsider('This account is a bot, or Slack does not say that it is not')
    if (user.team_id === undefined || !teams.has(user.team_id)) return outsider('You belong to another workspace')
    // `is_stranger` is only sent in shared channels, for people of workspaces that are not ours.
    if (user.is_stranger === true && !(options.allowTeams ?? []).includes(user.team_id)) {
      return outsider('You belong to another workspace')
    }
    const guest = user.is_restricted === true || user.is_ultra_restricted === true
    if (options.allowGuests !== true) {
      if (guest) return outsider('You are a guest in this workspace')
      if (user.is_restricted === undefined && !(options.allowTeams ?? []).includes(user.team_id)) {
        return outsider('Slack does not say whether you are a guest')
      }
    }
    return place.kind === 'slack' ? channelRefusal(place, signal) : undefined
  }

  async function channelRefusal(
    { channel: id }: Place & { kind: 'slack' },
    signal: AbortSignal,
  ): Promise<DroverError | undefined> {
    const channel = await remembered(`channel ${id}`, () => readChannel(client, id, signal))
    return refusalOf(channel, id, teams)
  }

  /** `group` is `<team>/<usergroup>`. An error of Slack is thrown: nobody is in a group that could not be read. */
  async function isMember(group: string, actor: Actor & { kind: 'slack-user' }, signal: AbortSignal): Promise<boolean> {
    const [team, usergroup] = group.split('/')
    if (team === undefined || usergroup === undefined || team !== options.teamId) return false
    const { users } = await remembered(`group ${group}`, async () =>
      membersSchema.parse(await client.call('usergroups.users.list', { usergroup, team_id: team }, signal)),
    )
    return actor.team === team && users.includes(actor.user)
  }

  return {
    async facts(actor, place, groups, signal): Promise<Facts> {
      try {
        if (actor.kind !== 'slack-user') {
          // A hook is nobody in Slack, but its answer is read by whoever is in the channel.
          const refuse = place.kind === 'slack' ? await channelRefusal(place, signal) : undefined
          return { groups: [], ...(refuse ? { refuse } : {}) }
        }
        const refuse = await refusal(actor, place, signal)
        if (refuse !== undefined) return { groups: [], refuse }
        const member = await Promise.all(groups.map(async (group) => ((await isMember(group, actor, signal)) ? [group] : [])))
        return { groups: member.flat() }
      } catch (cause) {
        throw unavailable(cause, actor)
      }
    },
  }
}

/** Throws SlackCallError when Slack does not show it. */
export async function readChannel(client: SlackClient, id: string, signal: AbortSignal): Promise<SlackChannel> {
  return channelSchema.parse(await client.call('conversations.info', { channel: id }, signal)).channel
}

/** Why nothing may be asked or answered in a channel, whoever asks. `teams`: whose members may read along. */
export function refusalOf(channel: SlackChannel, id: string, teams: ReadonlySet<string>): DroverError | undefined {
  if (channel.id !== id) return refusedPlace('Slack answered about another channel', 'Ask again in a moment.')
  if (channel.is_archived === true) return refusedPlace('This channel is archived', 'Ask in an active channel.')
  if (channel.is_im === true) return undefined
  const foreign = (channel.connected_team_ids ?? []).some((team) => !teams.has(team))
  const external = channel.is_ext_shared === true || channel.is_pending_ext_shared === true
  const known = external && (channel.connected_team_ids ?? []).length > 0 && !foreign
  if (foreign || (external && !known)) {
    return refusedPlace('This channel is shared with another company', 'Ask in a channel of this workspace only.')
  }
  if (channel.is_ext_shared === undefined && channel.is_mpim !== true) {
    return refusedPlace('Slack does not say whether this channel is shared with others', 'Ask in another channel.')
  }
  return undefined
}

function unavailable(cause: unknown, actor: Actor): DroverError {
  const next = cause instanceof SlackCallError && cause.next !== WILL_RETRY ? cause.next : undefined
  return new DroverError(
    {
      code: 'facts_unavailable',
      message:
        actor.kind === 'slack-user'
          ? 'Slack did not say who you are, which groups you are in, or what this channel is.'
          : 'Slack did not say what the channel of this hook is.',
      next: next ?? 'Ask again in a moment.',
    },
    { cause },
  )
}

function outsider(what: string): DroverError {
  return new DroverError({ code: 'identity', message: `${what}.`, next: 'Ask a full member of this workspace to run it.' })
}

function refusedPlace(what: string, next: string): DroverError {
  return new DroverError({ code: 'identity', message: `${what}.`, next })
}
