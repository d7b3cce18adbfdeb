/** Typed lines, from a slash command or a mention: restored, parsed, recorded; the run itself belongs to its owner. */

import type { App } from '@slack/bolt'
import * as z from 'zod'
import { type ParsedLine, parseCommandLine, rightForm, wantedOf } from '../../core/command-line.ts'
import { DroverError } from '../../core/errors.ts'
import type { Actor, Place, RunRequest, Trigger } from '../../core/model.ts'
import { rolloutForm } from '../../core/rollout-line.ts'
import { helpMessage, lineFailure, queuedMessage, runsMessage, targetsMessage, whyMessage } from './answers.ts'
import type { Message } from './blocks.ts'
import { actorOf, type Desk, ephemeral, failed, REPEATED, slackPlace } from './desk.ts'
import { runOf } from './run-name.ts'
import { noticeMessage } from './run-views.ts'
import { type RestoredText, restoreSlackText } from './text.ts'

const LOOK_TIMEOUT_MS = 60_000
const SAID_MS = 15 * 60_000
/** More than are shown: others' refusals are left out. */
const RUNS_READ = 50

const commandSchema = z.looseObject({
  text: z.string().default(''),
  user_id: z.string().min(1),
  team_id: z.string().min(1),
  channel_id: z.string().min(1),
  trigger_id: z.string().min(1),
})

const mentionSchema = z.looseObject({
  event_id: z.string().min(1),
  authorizations: z.array(z.looseObject({ user_id: z.string(), is_bot: z.boolean() })).optional(),
  event: z.looseObject({
    type: z.literal('app_mention'),
    user: z.string().optional(),
    text: z.string().default(''),
    channel: z.string().min(1),
    ts: z.string().min(1),
    thread_ts: z.string().optional(),
    team: z.string().optional(),
    user_team: z.string().optional(),
    bot_id: z.string().optional(),
    subtype: z.string().optional(),
    edited: z.unknown().optional(),
  }),
})

type Asked = { readonly actor: Actor; readonly place: Place; readonly trigger: Trigger }
/** `now`: can be said at once, if anything. `later`: has to be looked up first. */
type Answer = { readonly now: Message | undefined; readonly isRepeated?: true } | { readonly later: () => Promise<Message> }

export function registerLines(app: App, desk: Desk): void {
  onCommand(app, desk, desk.options.command ?? '/exec', 'exec')
  onCommand(app, desk, desk.options.rolloutCommand ?? '/rollout', 'rollout')

  app.event('app_mention', async ({ body }) => {
    const parsed = mentionSchema.safeParse(body)
    if (!parsed.success) return
    const { event, event_id, authorizations } = parsed.data
    // An edited message, a bot's message or a system message never runs anything.
    if (event.user === undefined || event.bot_id !== undefined || event.subtype !== undefined || event.edited !== undefined)
      return
    const asked: Asked = {
      actor: actorOf(event.user_team ?? event.team, event.user),
      place: slackPlace(desk, event.channel, event.thread_ts ?? event.ts),
      trigger: { kind: 'mention', delivery: `slack:${event_id}` },
    }
    const bot = desk.options.botUserId ?? authorizations?.find((one) => one.is_bot)?.user_id
    // A throw is answered with 500, and Slack repeats the event: nothing that was typed is lost.
    const answer = await take(desk, withoutMention(event.text, bot), 'event', asked)
    if ('now' in answer && answer.now === undefined) return
    const { user, channel, thread_ts } = event
    desk.services.keepAlive(say(desk, event_id, { user, channel, ...(thread_ts === undefined ? {} : { thread_ts }) }, answer))
  })
}

/** One slash command; `unsaid`: what its text is about when it does not say. */
function onCommand(app: App, desk: Desk, name: string, unsaid: 'exec' | 'rollout'): void {
  app.command(name, async ({ body, ack, respond }) => {
    const parsed = commandSchema.safeParse(body)
    if (!parsed.success) {
      await ack(ephemeral(noticeMessage('Nothing was run.', incomplete)))
      return
    }
    const { text, user_id, team_id, channel_id, trigger_id } = parsed.data
    const asked: Asked = {
      actor: actorOf(team_id, user_id),
      place: slackPlace(desk, channel_id),
      trigger: { kind: 'slash', delivery: `slack:${trigger_id}` },
    }
    let answer: Answer
    try {
      answer = await take(desk, text, 'command', asked, unsaid)
    } catch (error) {
      answer = { now: noticeMessage('Nothing was run.', failed(desk, error)) }
    }
    if ('now' in answer) {
      if (answer.isRepeated) await ack(REPEATED as never)
      else if (answer.now === undefined) await ack()
      else await ack(ephemeral(answer.now))
      return
    }
    await ack()
    // What becomes a run is remembered as one; what only asks is remembered here.
    if (!(await desk.gateway.firstTime(`slack-asked:${trigger_id}`, SAID_MS))) return
    await respond(ephemeral(await answer.later()))
  })
}

const incomplete = {
  code: 'identity',
  message: 'Slack did not say who asked, or where.',
  next: 'Ask again; if it goes on, look at the app’s settings in Slack.',
} as const

/** The leading mention is how the bot is called; one elsewhere is a word that Slack changed. */
function withoutMention(text: string, bot: string | undefined): string {
  const mention = /^\s*<@([UW][A-Z0-9]+)(?:\|[^>]*)?>\s*/.exec(text)
  return mention !== null && (bot === undefined || mention[1] === bot) ? text.slice(mention[0].length) : text
}

async function say(
  desk: Desk,
  eventId: string,
  to: { readonly user: string; readonly channel: string; readonly thread_ts?: string },
  answer: Answer,
): Promise<void> {
  try {
    if (!(await desk.gateway.firstTime(`slack-said:${eventId}`, SAID_MS))) return
    const message = 'now' in answer ? answer.now : await answer.later()
    if (message !== undefined) await desk.client.call('chat.postEphemeral', { ...to, ...message, link_names: false })
  } catch (error) {
    desk.services.log({ event: 'slack.answer-unsaid', code: failed(desk, error).code })
  }
}

/** Throws only what could not be recorded: then nothing runs. */
async function take(
  desk: Desk,
  typed: string,
  source: 'command' | 'event',
  asked: Asked,
  unsaid: 'exec' | 'rollout' = 'exec',
): Promise<Answer> {
  let restored: RestoredText
  try {
    restored = restoreSlackText(typed, source)
  } catch (error) {
    return { now: lineFailure(typed, failed(desk, error), desk.redactor) }
  }
  let line: ParsedLine
  try {
    line = parseCommandLine(restored.text, unsaid)
  } catch (error) {
    const form = unsaid === 'rollout' || /^\s*rollout\s/.test(restored.text) ? rolloutForm() : rightForm
    return { now: lineFailure(restored.text, failed(desk, error), desk.redactor, form) }
  }
  switch (line.verb) {
    case 'exec':
    case 'rollout':
      return await submit(desk, line, restored.changes, asked)
    case 'help':
      return { now: helpMessage(desk.options, desk.services.siteTimeoutMs, unsaid) }
    case 'targets': {
      const { selector } = line
      return {
        later: () => look(desk, async () => targetsMessage(await desk.gateway.targets(selector, asked.actor, asked.place))),
      }
    }
    case 'runs':
      return {
        later: () =>
          look(desk, async () => {
            const refused = await desk.gateway.mayRead(asked.actor, asked.place)
            if (refused) return noticeMessage('Nothing to show.', refused)
            return runsMessage(await runsHere(desk, asked.place), asked.actor, desk.redactor)
          }),
      }
    case 'why': {
      const request = requestOf(desk, line, restored.changes, asked)
      return { later: () => look(desk, async () => whyMessage(await desk.gateway.why(request), request.rollout)) }
    }
    default:
      return line satisfies never
  }
}

/** Recorded before it is acknowledged. Says what will run when Slack had changed the text. */
async function submit(desk: Desk, line: CommandLine, changes: readonly string[], asked: Asked): Promise<Answer> {
  const request = requestOf(desk, line, changes, asked)
  const result = await desk.gateway.submit(request)
  if (result === 'duplicate') return { now: undefined, isRepeated: true }
  return { now: changes.length > 0 ? queuedMessage(request, desk.redactor) : undefined }
}

type CommandLine = Extract<ParsedLine, { verb: 'exec' | 'why' | 'rollout' }>

function requestOf(desk: Desk, line: CommandLine, changes: readonly string[], asked: Asked): RunRequest {
  const { actor, place, trigger } = asked
  return {
    id: runOf(trigger.delivery),
    actor,
    trigger,
    ...wantedOf(line),
    place,
    receivedAt: desk.services.now(),
    ...(changes.length === 0 ? {} : { restored: changes }),
  }
}

function runsHere(desk: Desk, place: Place) {
  const channel = place.kind === 'slack' ? slackPlace(desk, place.channel) : place
  return desk.gateway.list({ place: channel, limit: RUNS_READ })
}

/** A question that runs nothing: its failure is an answer too. */
async function look(desk: Desk, question: () => Promise<Message>): Promise<Message> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    const failure = {
      code: 'timeout',
      message: 'The containers could not be listed in time.',
      next: 'Ask again, or narrow it with on=.',
    } as const
    timer = setTimeout(() => reject(new DroverError(failure)), LOOK_TIMEOUT_MS)
  })
  try {
    return await Promise.race([question(), late])
  } catch (error) {
    return noticeMessage('Nothing to show.', failed(desk, error))
  } finally {
    clearTimeout(timer)
  }
}
