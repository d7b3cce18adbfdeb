/** Buttons and the share dialog: the presser's own rights count, whoever started the run, and the answer is theirs alone. */

import type { App, BlockAction } from '@slack/bolt'
import * as z from 'zod'
import { wantedOf } from '../../core/command-line.ts'
import type { Failure } from '../../core/errors.ts'
import type { Actor, Rollout, RunId, RunRequest, RunState } from '../../core/model.ts'
import { rolloutArgv } from '../../core/rollout.ts'
import { isRunId } from '../../core/run-id.ts'
import { buttons, lines, type Message, message, plain } from './blocks.ts'
import { actorOf, type Desk, ephemeral, failed, slackPlace } from './desk.ts'
import { postFullOutput } from './reporter.ts'
import { changeModal, saySettled } from './rollout-views.ts'
import { runOf } from './run-name.ts'
import { ACTIONS, noticeMessage, SHARE_BLOCK, SHARE_SELECT, SHARE_VIEW, shareModal } from './run-views.ts'
import { type SlackPlace, threadOf } from './spots.ts'

const POSTED_MS = 30 * 24 * 3_600_000
/** Long enough for a double click, short enough for a second thought. */
const DOUBLE_CLICK_MS = 5000

const clickSchema = z.looseObject({
  trigger_id: z.string().min(1),
  user: z.looseObject({ id: z.string().min(1), team_id: z.string().optional() }),
  team: z.looseObject({ id: z.string() }).nullish(),
  channel: z.looseObject({ id: z.string().min(1) }),
  /** Absent when the button stands in an ephemeral message. */
  message: z.looseObject({ ts: z.string().min(1), thread_ts: z.string().optional() }).optional(),
  /** A run, and where there are several buttons of one kind, which of its workloads is meant. */
  actions: z
    .tuple([
      z.looseObject({
        value: z.string().refine((value) => /^[a-z0-9]+(\.\d{1,4})?$/.test(value) && isRunId(value.split('.')[0] ?? '')),
      }),
    ])
    .rest(z.unknown()),
})

const submissionSchema = z.looseObject({
  user: z.looseObject({ id: z.string().min(1), team_id: z.string().optional() }),
  team: z.looseObject({ id: z.string() }).nullish(),
  view: z.looseObject({
    id: z.string().min(1),
    private_metadata: z.string().refine(isRunId),
    state: z.looseObject({
      values: z.record(
        z.string(),
        z.record(z.string(), z.looseObject({ selected_option: z.looseObject({ value: z.string() }).nullish() })),
      ),
    }),
  }),
})

type Click = {
  readonly run: RunId
  readonly by: Actor
  readonly place: SlackPlace
  readonly trigger: string
  /** Which of the run's workloads. */
  readonly index: number
}
/** What the presser is told, if there is anything to say. */
type Reaction = (click: Click) => Promise<Message | undefined>

export function registerClicks(app: App, desk: Desk): void {
  const on = (action: string | RegExp, react: Reaction, starts: 'a run' | 'nothing' = 'nothing') => {
    app.action<BlockAction>({ type: 'block_actions', action_id: action }, async ({ body, ack, respond }) => {
      const click = clickOf(desk, body)
      // A new run is recorded before the acknowledgement; everything else can be pressed once more.
      const early = starts === 'a run'
      if (!early) await ack()
      let said: Message | undefined
      try {
        said = click === undefined ? noticeMessage('Nothing was done.', unreadable) : await react(click)
      } catch (error) {
        said = noticeMessage('Nothing was done.', failed(desk, error))
      }
      if (early) await ack()
      if (said !== undefined) await respond(ephemeral(said))
    })
  }
  on(ACTIONS.cancel, (click) => cancel(desk, click))
  on(ACTIONS.again, (click) => again(desk, click), 'a run')
  on(new RegExp(`^${ACTIONS.undo}:\\d$`), (click) => goOn(desk, click, 'undo'), 'a run')
  on(new RegExp(`^${ACTIONS.finish}:\\d$`), (click) => goOn(desk, click, 'finish'), 'a run')
  on(ACTIONS.change, (click) => showChange(desk, click))
  on(ACTIONS.output, (click) => fullOutput(desk, click, 'first'))
  on(ACTIONS.outputRetry, (click) => fullOutput(desk, click, 'retry'))
  on(ACTIONS.share, (click) => openShare(desk, click))

  app.view({ callback_id: SHARE_VIEW, type: 'view_submission' }, async ({ body, ack }) => {
    const parsed = submissionSchema.safeParse(body)
    const to = parsed.data?.view.state.values[SHARE_BLOCK]?.[SHARE_SELECT]?.selected_option?.value
    if (!parsed.success || to === undefined || !desk.options.shareTo.includes(to)) {
      await ack({ response_action: 'errors', errors: { [SHARE_BLOCK]: 'Choose one of the channels in the list.' } })
      return
    }
    await ack()
    const { user, team, view } = parsed.data
    await share(desk, view.private_metadata as RunId, actorOf(user.team_id ?? team?.id, user.id), user.id, to)
  })
}

const unreadable: Failure = {
  code: 'not_found',
  message: 'This button does not belong to a run that drover knows.',
  next: 'Use the buttons of the run’s own message.',
}

const unknownRun: Failure = { code: 'not_found', message: 'This run is not recorded any more.', next: 'Type the command again.' }

function clickOf(desk: Desk, body: unknown): Click | undefined {
  const parsed = clickSchema.safeParse(body)
  if (!parsed.success) return undefined
  const { user, team, channel, message: pressed, actions, trigger_id: trigger } = parsed.data
  const threadTs = pressed?.thread_ts ?? pressed?.ts
  const [run, index] = actions[0].value.split('.')
  return {
    run: run as RunId,
    index: Number(index ?? 0),
    by: actorOf(user.team_id ?? team?.id, user.id),
    place: slackPlace(desk, channel.id, threadTs),
    trigger,
  }
}

function notice(text: string): Message {
  return message(text, [lines([plain(text)])])
}

async function cancel(desk: Desk, { run, by, place }: Click): Promise<Message> {
  const failure = await desk.gateway.cancel(run, by, place)
  if (failure !== undefined) return noticeMessage('Not cancelled.', failure)
  if ((await desk.gateway.read(run))?.request.rollout) return notice('It is no longer watched. What was sent stays.')
  return notice('Done: the message of this run says what is proved gone, and what is not.')
}

/** The stored request with the presser as actor: judged anew, for them, here. */
async function again(desk: Desk, { run, by, place, trigger }: Click): Promise<Message | undefined> {
  const state = await desk.gateway.read(run)
  if (state === undefined) return noticeMessage('Nothing was run.', unknownRun)
  if (!(await isFirst(desk, `slack-again:${run}`, by))) return notice('You asked for this a moment ago; it was not run twice.')
  const delivery = `slack:${trigger}`
  const { after, uid } = state.request
  const request: RunRequest = {
    id: runOf(delivery),
    actor: by,
    trigger: { kind: 'button', delivery },
    ...wantedOf(state.request),
    // What was drawn for one workload stays so.
    ...(after === undefined ? {} : { after }),
    ...(uid === undefined ? {} : { uid }),
    place,
    receivedAt: desk.services.now(),
    again: run,
  }
  await desk.gateway.submit(request)
  return undefined
}

function isFirst(desk: Desk, key: string, by: Actor): Promise<boolean> {
  return desk.gateway.firstTime(`${key}:${by.kind === 'slack-user' ? `${by.team}/${by.user}` : ''}`, DOUBLE_CLICK_MS)
}

/** What follows a rollout, on the workload it changed: a run of the presser, judged and planned anew. The stored plan says where back to. */
async function goOn(
  desk: Desk,
  { run, by, place, trigger, index }: Click,
  verb: 'undo' | 'finish',
): Promise<Message | undefined> {
  const state = await desk.gateway.read(run)
  const { target, plan, settled } = state?.executions[index] ?? {}
  if (state?.request.rollout === undefined || target === undefined) return noticeMessage('Nothing was changed.', unknownRun)
  if (settled !== undefined) {
    const said = [plain(`${target.name} was `), ...saySettled(settled), plain(', already. Nothing was changed.')]
    return message('Nothing was changed.', [lines(said)])
  }
  const to = plan?.undo?.to
  if (verb === 'undo' && to === undefined) return noticeMessage('Nothing was changed.', nothingBefore)
  if (!(await isFirst(desk, `slack-${verb}:${run}.${index}`, by)))
    return notice('You asked for this a moment ago; it was not done twice.')
  const rollout: Rollout = verb === 'undo' && to !== undefined ? { verb: 'undo', to } : { verb: 'finish' }
  const delivery = `slack:${trigger}`
  const request: RunRequest = {
    id: runOf(delivery),
    actor: by,
    trigger: { kind: 'button', delivery },
    selector: { on: target.backend, id: target.native, ...(target.system ? { system: true } : {}) },
    command: { argv: rolloutArgv(rollout) },
    rollout,
    place,
    receivedAt: desk.services.now(),
    after: run,
    ...(target.uid === undefined ? {} : { uid: target.uid }),
  }
  await desk.gateway.submit(request)
  return undefined
}

const nothingBefore: Failure = {
  code: 'not_found',
  message: 'This rollout recorded nothing to go back to.',
  next: 'Name the revision: rollout undo deployment=… to=…',
}

/** All that is sent, as it was recorded before it was sent. */
async function showChange(desk: Desk, { run, by, place, trigger }: Click): Promise<Message | undefined> {
  const refused = await desk.gateway.mayRead(by, place, run)
  if (refused) return noticeMessage('Nothing to show.', refused)
  const state = await desk.gateway.read(run)
  if (state === undefined) return noticeMessage('Nothing to show.', unknownRun)
  await desk.client.call('views.open', { trigger_id: trigger, view: changeModal(state) })
  return undefined
}

/** From the stored result: no container is asked again. Once for a run, unless posting it failed. */
async function fullOutput(desk: Desk, { run, by, place }: Click, attempt: 'first' | 'retry'): Promise<Message> {
  const refused = await desk.gateway.mayRead(by, place, run)
  if (refused) return noticeMessage('Nothing to post.', refused)
  const state = await desk.gateway.read(run)
  if (state === undefined) return noticeMessage('Nothing to post.', unknownRun)
  if (state.status !== 'finished') return notice('It still runs. The whole output can be posted when it has ended.')
  const there = notice('The whole output is in this thread already.')
  if (state.posted.file !== undefined) return there
  const ttlMs = attempt === 'first' ? POSTED_MS : DOUBLE_CLICK_MS
  if (!(await desk.gateway.firstTime(`slack-output-${attempt}:${run}`, ttlMs))) return there
  try {
    const thread = threadOf(state) ?? { channel: place.channel, ts: place.threadTs ?? '' }
    await postFullOutput(desk.client, state, (target) => desk.gateway.output(run, target), thread, desk.redactor)
  } catch (error) {
    const failure = noticeMessage('The whole output could not be posted.', failed(desk, error))
    return { ...failure, blocks: [...failure.blocks, buttons([{ action: ACTIONS.outputRetry, label: 'Try again', value: run }])] }
  }
  return notice('The whole output is in the thread.')
}

async function openShare(desk: Desk, { run, trigger }: Click): Promise<Message | undefined> {
  if (desk.options.shareTo.length === 0) return noticeMessage('Not shared.', nowhere)
  await desk.client.call('views.open', { trigger_id: trigger, view: shareModal(run, desk.options.shareTo) })
  return undefined
}

const nowhere: Failure = {
  code: 'denied',
  message: 'No channel is listed for sharing.',
  next: 'Whoever runs drover can list some: slack.shareTo.',
}

/** The dialog knows no channel; the run's own record does. The presser's rights are checked there, now. */
async function share(desk: Desk, run: RunId, by: Actor, user: string, channel: string): Promise<void> {
  let said: Message
  const state = await desk.gateway.read(run).catch(() => undefined)
  const from = state?.request.place
  if (from?.kind !== 'slack') return
  try {
    const failure = await desk.gateway.share(run, by, from, slackPlace(desk, channel))
    said = failure === undefined ? shared(state, channel) : noticeMessage('Not shared.', failure)
  } catch (error) {
    said = noticeMessage('Not shared.', failed(desk, error))
  }
  const thread = from.threadTs === undefined ? {} : { thread_ts: from.threadTs }
  try {
    await desk.client.call('chat.postEphemeral', { channel: from.channel, user, ...thread, ...said, link_names: false })
  } catch (error) {
    desk.services.log({ event: 'slack.answer-unsaid', code: failed(desk, error).code })
  }
}

function shared(state: RunState | undefined, channel: string): Message {
  return message('The result is shared.', [
    lines([
      plain(`The result of run ${state?.request.id ?? ''} is now in `),
      { type: 'channel', channel_id: channel },
      plain('.'),
    ]),
  ])
}
