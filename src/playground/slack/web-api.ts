/** The methods of Slack's Web API that a command gateway uses, with Slack's own refusals. */

import { blockProblems, type Json, withBlockIds } from './block-rules.ts'
import {
  type Context,
  channelJson,
  checkedThread,
  personJson,
  readableChannel,
  visibleChannel,
  writableChannel,
} from './places.ts'
import { refuse } from './refusal.ts'
import type { PeerMessage, Store } from './store.ts'
import { openView, pushView, updateView } from './view-api.ts'
import { appId, botId, botUserId } from './workplace.ts'

/** `token`: the kind it takes; a bot token unless said. */
type Method = { readonly token?: 'app'; readonly scope?: string; readonly run: (args: Json, context: Context) => Json }

/** All methods the peer knows; what is not here is `unknown_method`. */
export const methods: Readonly<Record<string, Method>> = {
  'auth.test': {
    run: (_, { store, baseUrl }) => ({
      url: `${baseUrl}/`,
      team: store.workplace.teamName,
      user: 'drover',
      team_id: store.workplace.teamId,
      user_id: botUserId,
      bot_id: botId,
      is_enterprise_install: false,
    }),
  },
  'apps.connections.open': {
    token: 'app',
    scope: 'connections:write',
    run: (_, { socketUrl }) => ({ url: socketUrl() }),
  },
  'chat.postMessage': { scope: 'chat:write', run: postMessage },
  'chat.update': { scope: 'chat:write', run: updateMessage },
  'chat.postEphemeral': { scope: 'chat:write', run: postEphemeral },
  'chat.delete': { scope: 'chat:write', run: deleteMessage },
  'chat.getPermalink': { run: getPermalink },
  'conversations.info': {
    run: (args, context) => ({ channel: channelJson(readableChannel(args.channel, context)) }),
  },
  'conversations.list': {
    scope: 'channels:read',
    run: (args, { store }) => {
      const types = new Set(String(args.types ?? 'public_channel').split(','))
      const kept = store.workplace.channels.filter((one) =>
        one.isPrivate ? types.has('private_channel') && one.members.includes(botUserId) : types.has('public_channel'),
      )
      return { channels: kept.map(channelJson), response_metadata: { next_cursor: '' } }
    },
  },
  'conversations.members': {
    run: (args, context) => ({ members: readableChannel(args.channel, context).members, response_metadata: { next_cursor: '' } }),
  },
  'conversations.open': {
    scope: 'im:write',
    run: (args, { store }) => {
      const user = store.workplace.people.find((one) => one.id === args.users && !one.isBot)
      return { channel: { id: store.imOf(user?.id ?? refuse('user_not_found')) } }
    },
  },
  'users.info': {
    scope: 'users:read',
    run: (args, { store }) => ({
      user: personJson(store.workplace.people.find((one) => one.id === args.user) ?? refuse('user_not_found')),
    }),
  },
  'usergroups.list': {
    scope: 'usergroups:read',
    run: (_, { store }) => ({
      usergroups: store.workplace.groups.map(({ id, handle, name, users }) => {
        return { id, handle, name, team_id: store.workplace.teamId, is_usergroup: true, date_delete: 0, user_count: users.length }
      }),
    }),
  },
  'usergroups.users.list': {
    scope: 'usergroups:read',
    run: (args, { store }) => ({
      users: (store.workplace.groups.find((one) => one.id === args.usergroup) ?? refuse('no_such_subteam')).users,
    }),
  },
  'files.getUploadURLExternal': { scope: 'files:write', run: getUploadUrl },
  'files.completeUploadExternal': { scope: 'files:write', run: completeUpload },
  'views.open': { run: openView },
  'views.push': { run: pushView },
  'views.update': { run: updateView },
}

// ---- messages --------------------------------------------------------------------------------

export type Content = { readonly text: string; readonly blocks?: readonly Json[]; readonly warning?: string }

/** Text and blocks of a message, or Slack's refusal. */
export function checkedContent(args: Json): Content {
  const blocks = args.blocks === undefined ? [] : args.blocks
  if (!Array.isArray(blocks)) refuse('invalid_blocks_format')
  const problems = blockProblems(blocks)
  if (problems.length > 0) refuse('invalid_blocks', problems)
  if (args.markdown_text !== undefined && (args.text !== undefined || blocks.length > 0)) refuse('markdown_text_conflict')
  if (typeof args.markdown_text === 'string' && [...args.markdown_text].length > 12_000) refuse('msg_too_long')
  const text = String(args.text ?? args.markdown_text ?? '')
  if (text === '' && blocks.length === 0) refuse('no_text')
  const characters = [...text]
  return {
    text: characters.length > 40_000 ? characters.slice(0, 40_000).join('') : text,
    ...(blocks.length > 0 ? { blocks: withBlockIds(blocks) } : {}),
    ...(characters.length > 40_000 ? { warning: 'message_truncated' } : {}),
  }
}

function warned({ warning }: Content): Json {
  return warning === undefined ? {} : { warning, response_metadata: { warnings: [warning] } }
}

export function messageJson(message: PeerMessage, store: Store): Json {
  const replies = message.threadTs === undefined ? store.messages().filter((one) => one.threadTs === message.ts) : []
  return {
    type: 'message',
    user: message.user,
    ts: message.ts,
    text: message.text,
    team: store.workplace.teamId,
    ...(message.botId === undefined ? {} : { bot_id: message.botId, app_id: appId }),
    ...(message.blocks === undefined ? {} : { blocks: message.blocks }),
    ...(message.threadTs === undefined ? {} : { thread_ts: message.threadTs }),
    ...(replies.length > 0 ? { thread_ts: message.ts, reply_count: replies.length } : {}),
    ...(message.edited ? { edited: { user: message.user, ts: message.ts } } : {}),
    ...(message.metadata === undefined ? {} : { metadata: message.metadata }),
    ...(message.files === undefined
      ? {}
      : { files: message.files.map(({ id, name, title, size }) => ({ id, name, title, size })) }),
  }
}

function postMessage(args: Json, context: Context): Json {
  const channel = writableChannel(args.channel, context)
  const content = checkedContent(args)
  const threadTs = checkedThread(args.thread_ts, channel.id, context.store)
  const { warning: _, ...kept } = content
  const message = context.store.post({
    ...kept,
    channel: channel.id,
    user: botUserId,
    botId,
    ...(threadTs === undefined ? {} : { threadTs }),
    ...(isTrue(args.reply_broadcast) && threadTs !== undefined ? { broadcast: true } : {}),
    ...(typeof args.metadata === 'object' && args.metadata !== null ? { metadata: args.metadata as Json } : {}),
  })
  return { channel: channel.id, ts: message.ts, message: messageJson(message, context.store), ...warned(content) }
}

function isTrue(value: unknown): boolean {
  return value === true || value === 'true' || value === '1' || value === 1
}

function ownMessage(args: Json, context: Context, foreign: string): PeerMessage {
  const channel = visibleChannel(args.channel, context)
  const message = context.store.find(channel.id, String(args.ts))
  if (!message || message.onlyFor !== undefined) refuse('message_not_found')
  if (message.botId !== botId) refuse(foreign)
  return message
}

function updateMessage(args: Json, context: Context): Json {
  const old = ownMessage(args, context, 'cant_update_message')
  // Unlike a new message, an edit is not cut but refused, and earlier.
  if (args.blocks === undefined && [...String(args.text ?? '')].length > 4000) refuse('msg_too_long')
  const content = checkedContent(args)
  const { warning: _, ...kept } = content
  // `text` without `blocks` removes the old blocks, and only then is the message marked as edited.
  const { blocks: _old, edited: _edited, ...rest } = old
  const message = context.store.replace(old, { ...rest, ...kept, ...(kept.blocks ? {} : { edited: true }) })
  return {
    channel: message.channel,
    ts: message.ts,
    text: message.text,
    message: messageJson(message, context.store),
    ...warned(content),
  }
}

function postEphemeral(args: Json, context: Context): Json {
  const channel = writableChannel(args.channel, context)
  if (typeof args.user !== 'string' || !channel.members.includes(args.user)) refuse('user_not_in_channel')
  const { warning: _, ...kept } = checkedContent(args)
  const threadTs = checkedThread(args.thread_ts, channel.id, context.store)
  const message = context.store.post({
    ...kept,
    channel: channel.id,
    user: botUserId,
    botId,
    onlyFor: args.user,
    ...(threadTs === undefined ? {} : { threadTs }),
  })
  return { message_ts: message.ts }
}

function deleteMessage(args: Json, context: Context): Json {
  const message = ownMessage(args, context, 'cant_delete_message')
  context.store.remove(message)
  return { channel: message.channel, ts: message.ts }
}

function getPermalink(args: Json, context: Context): Json {
  const channel = visibleChannel(args.channel, context)
  const message = context.store.find(channel.id, String(args.message_ts)) ?? refuse('message_not_found')
  const thread = message.threadTs === undefined ? '' : `?thread_ts=${message.threadTs}&cid=${channel.id}`
  const permalink = `${context.baseUrl}/archives/${channel.id}/p${message.ts.replace('.', '')}${thread}`
  return { channel: channel.id, permalink }
}

// ---- files -----------------------------------------------------------------------------------

function getUploadUrl(args: Json, { store, baseUrl }: Context): Json {
  const length = Number(args.length)
  const missing = [
    ...(typeof args.filename === 'string' && args.filename !== '' ? [] : ['filename']),
    ...(Number.isInteger(length) && length > 0 ? [] : ['length']),
  ]
  if (missing.length > 0)
    refuse(
      'missing_argument',
      missing.map((name) => `[ERROR] missing required field: ${name}`),
    )
  if (args.snippet_type !== undefined && length > 1024 * 1024) refuse('snippet_too_large')
  const id = store.newId('F')
  const secret = store.secret()
  store.uploads.set(secret, { id, name: String(args.filename), length, user: botUserId })
  return { upload_url: `${baseUrl}/upload/v1/${secret}`, file_id: id }
}

function completeUpload(args: Json, context: Context): Json {
  const { store } = context
  const wanted = Array.isArray(args.files) ? (args.files as readonly Json[]) : []
  if (wanted.length === 0) refuse('invalid_arguments', ['[ERROR] missing required field: files'])
  const uploads = wanted.map(({ id }) => [...store.uploads].find(([, upload]) => upload.id === id) ?? refuse('file_not_found'))
  const channel = args.channel_id === undefined ? undefined : writableChannel(args.channel_id, context)
  const threadTs = channel && checkedThread(args.thread_ts, channel.id, store)
  const ts = store.nextTs()
  const files = uploads.map(([secret, upload], index) => {
    if (upload.content === undefined) refuse('file_not_found')
    store.uploads.delete(secret)
    const place = channel && { shared: { channel: channel.id, ts, ...(threadTs === undefined ? {} : { threadTs }) } }
    const title = String(wanted[index]?.title ?? upload.name)
    return { id: upload.id, name: upload.name, title, size: upload.length, content: upload.content, ...place }
  })
  store.files.push(...files)
  if (channel) {
    const comment = args.blocks === undefined ? {} : checkedContent(args)
    store.post({
      ts,
      channel: channel.id,
      user: botUserId,
      botId,
      text: String(args.initial_comment ?? ''),
      ...comment,
      files,
      ...(threadTs === undefined ? {} : { threadTs }),
    })
  }
  return { files: files.map(({ id, title }) => ({ id, title })) }
}
