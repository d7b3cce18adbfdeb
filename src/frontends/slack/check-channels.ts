/** Whether the channels that drover.yaml names for answers can take them: for `drover check`. */

import { counted } from '../../core/counted.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { CheckLine } from '../../core/ports.ts'
import { createSlackClient, SlackCallError, type SlackClient } from './client.ts'
import { readChannel, refusalOf, type SlackChannel } from './directory.ts'

/** Each channel is one line, however often it is named. */
export type NamedChannels = {
  /** `<team>/<channel>` of each hook, by the hook's name. */
  readonly hooks: Readonly<Record<string, string>>
  /** Ids of channels. */
  readonly shareTo: readonly string[]
  /** Besides the bot's own: those of `slack.allowTeams`. */
  readonly allowTeams: readonly string[]
}

const requestMs = 10_000
const allMs = 60_000
/** `conversations.info` takes about fifty a minute (tier 3). */
const mostChannels = 50

/** `granted`: the bot token's scopes. */
export async function checkChannels(
  { hooks, shareTo, allowTeams }: NamedChannels,
  bot: { readonly apiUrl: string; readonly token: string; readonly team: string; readonly granted: readonly string[] },
): Promise<readonly CheckLine[]> {
  const uses = new Map<string, { readonly team: string; readonly by: string[] }>()
  const name = (channel: string, team: string, by: string) => {
    const key = `${team}/${channel}`
    const known = uses.get(key)
    if (known) known.by.push(by)
    else uses.set(key, { team, by: [by] })
  }
  for (const [hook, place] of Object.entries(hooks)) {
    const [team = '', channel = ''] = place.split('/')
    name(channel, team, `hooks.${hook}`)
  }
  for (const channel of new Set(shareTo)) name(channel, bot.team, 'slack.shareTo')

  const client = createSlackClient({ ...bot, requestTimeoutMs: requestMs, callTimeoutMs: allMs })
  const signal = AbortSignal.timeout(allMs)
  const teams = new Set([bot.team, ...allowTeams])
  const lines = new Map<string, CheckLine>()
  const named = [...uses].map(([key, use]) => ({ ...use, key, id: key.slice(key.indexOf('/') + 1) }))
  await fanOut(named.slice(0, mostChannels), 4, async ({ key, id, team, by }) => {
    const found = teams.has(team) ? await look(client, id, teams, bot.granted, signal) : otherTeam(team, bot.team)
    const { title, ...line } = found
    const detail = [[title, `for ${by.join(', ')}`].filter(Boolean).join(' '), line.detail].filter(Boolean).join(': ')
    lines.set(key, { ...line, what: `slack channel ${id}`, detail })
  })
  const left = named.length - Math.min(named.length, mostChannels)
  return [
    ...named.flatMap(({ key }) => lines.get(key) ?? []),
    ...(left > 0
      ? [
          {
            ok: 'warn' as const,
            what: 'slack channels',
            detail: `${counted(left, 'more is named and was', 'more are named and were')} not looked at`,
          },
        ]
      : []),
  ]
}

type Found = Pick<CheckLine, 'ok' | 'detail' | 'next'> & { readonly title?: string }

async function look(
  client: SlackClient,
  id: string,
  teams: ReadonlySet<string>,
  granted: readonly string[],
  signal: AbortSignal,
): Promise<Found> {
  try {
    const channel = await readChannel(client, id, signal)
    return { title: channel.name === undefined ? '' : `#${channel.name}`, ...standing(channel, id, teams, granted) }
  } catch (error) {
    const slack = error instanceof SlackCallError ? error.slack : 'something that cannot be read'
    if (slack === 'channel_not_found')
      return {
        ok: false,
        detail: 'Slack does not show it to the bot',
        next: 'Copy the id from the channel’s details; if the channel is private, invite the bot to it: /invite and the bot’s name.',
      }
    if (slack === 'missing_scope')
      return {
        ok: false,
        detail: 'Slack says missing_scope',
        next: 'Install the app again with the scopes of slack-manifest.yml.',
      }
    return { ok: 'warn', detail: `could not be looked at: Slack says ${slack}`, next: 'Run drover check again in a minute.' }
  }
}

/** Archived and shared come first: what holds there holds for members, too. */
function standing(channel: SlackChannel, id: string, teams: ReadonlySet<string>, granted: readonly string[]): Found {
  const refusal = refusalOf(channel, id, teams)
  if (refusal)
    return {
      ok: false,
      detail: refusal.message.replace(/^This channel is|\.$/g, '').trim(),
      next:
        channel.is_archived === true
          ? 'Unarchive it, or name another channel in drover.yaml.'
          : 'Name a channel of this workspace alone; where the other company is meant to read along, list its team in slack.allowTeams.',
    }
  const mayPost = channel.is_member === true || channel.is_im === true
  // A private channel without the bot is not shown at all.
  if (mayPost || granted.includes('chat:write.public')) return { ok: true }
  return {
    ok: false,
    detail: 'the bot is not in it, and cannot answer there',
    next: 'Invite it: /invite and the bot’s name, in the channel.',
  }
}

function otherTeam(team: string, own: string): Found {
  return {
    ok: false,
    detail: `drover.yaml says that it is of the workspace ${team}, and the bot is in ${own}`,
    next: `Write it as ${own}/C…, if it is a channel of this workspace.`,
  }
}
