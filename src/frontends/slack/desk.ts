/** What every listener works with: who asks and where, out of Slack's bodies, and the way to answer one person. */

import type { KnownBlock } from '@slack/types'
import { type Failure, failureOf } from '../../core/errors.ts'
import type { Actor } from '../../core/model.ts'
import type { Gateway } from '../../core/ports.ts'
import type { Redactor } from '../../core/redact.ts'
import type { SlackOptions, SlackServices } from './app.ts'
import type { Message } from './blocks.ts'
import { type SlackClient, WILL_RETRY } from './client.ts'
import type { SlackPlace } from './spots.ts'

export type Desk = {
  readonly options: SlackOptions
  readonly gateway: Gateway
  readonly services: SlackServices
  readonly redactor: Redactor
  readonly client: SlackClient
}

/** The person's own workspace is part of who they are; without it nobody is matched. */
export function actorOf(team: string | null | undefined, user: string): Actor {
  return { kind: 'slack-user', team: team ?? '', user }
}

export function slackPlace(desk: Desk, channel: string, threadTs?: string): SlackPlace {
  return { kind: 'slack', team: desk.options.teamId, channel, ...(threadTs === undefined ? {} : { threadTs }) }
}

export function failed(desk: Desk, error: unknown): Failure {
  const failure = failureOf(error, (reference, cause) => {
    desk.services.log({
      event: 'slack.bug',
      reference,
      error: cause instanceof Error ? (cause.stack ?? cause.message) : String(cause),
    })
  })
  return failure.next === WILL_RETRY ? { ...failure, next: 'Try again; if it goes on, look at Slack’s status.' } : failure
}

/** For Bolt's `ack`: the run of this command is there already. Over HTTP that is a replay; Slack sends a command once. */
export const REPEATED = Symbol('repeated')

/** For Bolt's `ack` and `respond`: for the person alone, beside the message that was clicked. */
export function ephemeral(message: Message) {
  return {
    response_type: 'ephemeral' as const,
    replace_original: false,
    text: message.text,
    blocks: message.blocks as unknown as KnownBlock[],
  }
}
