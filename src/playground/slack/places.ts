/** Who and where: channels and people by id, as an app may see, read and write them. */

import type { Json } from './block-rules.ts'
import { Refusal, refuse } from './refusal.ts'
import type { Store } from './store.ts'
import { botUserId, type Channel, type Person } from './workplace.ts'

export type Context = {
  readonly store: Store
  readonly baseUrl: string
  readonly scopes: ReadonlySet<string>
  /** Milliseconds a trigger id lives. */
  readonly triggerMs: number
  /** A new URL for one Socket Mode connection. */
  readonly socketUrl: () => string
}

/** Ids only; a private channel without the bot looks like none at all. */
export function visibleChannel(id: unknown, { store }: Context): Channel {
  if (typeof id !== 'string') refuse('channel_not_found')
  const imWith = store.imUser(id)
  if (imWith !== undefined) return { id, name: imWith, topic: '', imWith, members: [imWith, botUserId] }
  const channel = store.workplace.channels.find((one) => one.id === id)
  if (!channel || (channel.isPrivate && !channel.members.includes(botUserId))) refuse('channel_not_found')
  return channel
}

/** Each kind of conversation has its own scope for reading about it. */
export function readableChannel(id: unknown, context: Context): Channel {
  const channel = visibleChannel(id, context)
  const needed = channel.imWith !== undefined ? 'im:read' : channel.isPrivate ? 'groups:read' : 'channels:read'
  if (!context.scopes.has(needed)) throw new Refusal('missing_scope', { needed, provided: [...context.scopes].join(',') })
  return channel
}

export function writableChannel(id: unknown, context: Context): Channel {
  const person = context.store.workplace.people.find((one) => one.id === id && !one.isBot)
  const channel = visibleChannel(person ? context.store.imOf(person.id) : id, context)
  if (channel.isArchived) refuse('is_archived')
  if (!channel.members.includes(botUserId) && !context.scopes.has('chat:write.public')) refuse('not_in_channel')
  return channel
}

/** A thread is named by its parent's ts, never by a reply's. */
export function checkedThread(value: unknown, channel: string, store: Store): string | undefined {
  if (value === undefined || value === '') return undefined
  if (typeof value !== 'string' || !/^\d{10}\.\d{6}$/.test(value)) refuse('invalid_thread_ts')
  const parent = store.find(channel, value)
  if (!parent || parent.onlyFor !== undefined) refuse('thread_not_found')
  if (parent.threadTs !== undefined && parent.threadTs !== parent.ts) refuse('cannot_reply_to_message')
  return value
}

export function channelJson(channel: Channel): Json {
  return {
    id: channel.id,
    ...(channel.imWith === undefined ? { name: channel.name } : { user: channel.imWith }),
    is_channel: channel.imWith === undefined && !channel.isPrivate,
    is_group: channel.isPrivate === true,
    is_im: channel.imWith !== undefined,
    is_mpim: false,
    is_private: channel.isPrivate === true || channel.imWith !== undefined,
    is_archived: channel.isArchived === true,
    is_member: channel.members.includes(botUserId),
    is_shared: channel.isExtShared === true,
    is_ext_shared: channel.isExtShared === true,
    is_org_shared: false,
    is_pending_ext_shared: false,
    topic: { value: channel.topic },
    num_members: channel.members.length,
  }
}

export function personJson(person: Person): Json {
  return {
    id: person.id,
    team_id: person.teamId,
    name: person.name,
    real_name: person.realName,
    deleted: person.deleted === true,
    is_bot: person.isBot === true,
    is_app_user: false,
    is_admin: false,
    is_owner: false,
    is_restricted: person.isRestricted === true,
    is_ultra_restricted: person.isUltraRestricted === true,
    ...(person.isStranger === true ? { is_stranger: true } : {}),
    profile: { real_name: person.realName, display_name: person.name, title: person.title },
  }
}
