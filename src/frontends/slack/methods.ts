/** Every Web API method drover calls, with what it needs: the manifest, the client and the documentation read this one table. */

/** Scopes of the bot token; rate limits as docs.slack.dev names them; `repeat`: calling it twice does what once does. */
export const SLACK_METHODS = {
  'chat.postMessage': { scopes: ['chat:write'], limit: '1/s per channel', body: 'json', repeat: false },
  'chat.update': { scopes: ['chat:write'], limit: 'tier 3', body: 'json', repeat: true },
  'chat.postEphemeral': { scopes: ['chat:write'], limit: 'tier 4', body: 'json', repeat: false },
  'chat.getPermalink': { scopes: [], limit: 'special', body: 'form', repeat: true },
  'conversations.open': { scopes: ['im:write'], limit: 'tier 3', body: 'json', repeat: true },
  'conversations.info': {
    scopes: ['channels:read', 'groups:read', 'im:read'],
    limit: 'tier 3',
    body: 'form',
    repeat: true,
  },
  'files.getUploadURLExternal': { scopes: ['files:write'], limit: 'tier 4', body: 'form', repeat: true },
  'files.completeUploadExternal': { scopes: ['files:write'], limit: 'tier 4', body: 'json', repeat: false },
  'usergroups.users.list': { scopes: ['usergroups:read'], limit: 'tier 2', body: 'form', repeat: true },
  'users.info': { scopes: ['users:read'], limit: 'tier 4', body: 'form', repeat: true },
  'views.open': { scopes: [], limit: 'tier 4', body: 'json', repeat: false },
} as const satisfies Readonly<Record<string, MethodFacts>>

type MethodFacts = {
  readonly scopes: readonly string[]
  readonly limit: string
  /** Methods that read take a form only. */
  readonly body: 'json' | 'form'
  readonly repeat: boolean
}

export type SlackMethod = keyof typeof SLACK_METHODS

/** What Slack sends us needs these, whatever we call. */
export const EVENT_SCOPES = ['commands', 'app_mentions:read'] as const
