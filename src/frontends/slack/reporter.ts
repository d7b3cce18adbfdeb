/** Answers a run in Slack: one parent message that is kept true, then its outputs in the thread. */

import { DroverError } from '../../core/errors.ts'
import { foldOutputs } from '../../core/fold.ts'
import type { Actor, Instant, OutputChunk, Place, RunId, RunState, TargetId } from '../../core/model.ts'
import type { PostedPart, Reporter } from '../../core/ports.ts'
import { createRedactor, type Redactor } from '../../core/redact.ts'
import { type Message, plain } from './blocks.ts'
import { SlackCallError, type SlackClient } from './client.ts'
import { type OutputFile, outputFile, threadAnswer, withoutFile } from './output-views.ts'
import { parentMessage, refusalMessage, type ViewOptions } from './run-views.ts'
import { refOf, type SlackPlace, type Spot, spotOf, threadAt } from './spots.ts'

export type SlackReporterOptions = {
  /** Ids of the channels a result may be shared to. */
  readonly shareTo: readonly string[]
  readonly now?: () => Instant
  /** Masks what drover knows to be secret in the argv that is shown; output is masked before it is stored. */
  readonly redactor?: Redactor
  readonly log?: (event: object) => void
}

type ReadOutput = (target: TargetId) => Promise<readonly OutputChunk[]>

/** What this process remembers of a run between two updates; losing it costs an update, never an answer. */
type Memory = { readonly parent?: string; readonly shown?: string; readonly at: Instant; readonly gaveUp?: true }

const UPDATE_EVERY_MS = 1000
const MAX_REMEMBERED = 1000
/** chat.update is tier 3: fifty a minute for the whole workspace; progress leaves some of them to final answers. */
const UPDATES_AT_ONCE = 8
const UPDATES_EVERY_MS = 2000
const MAX_LINKS = 5

/** Slack's words for "this bot cannot speak there". */
const UNREACHABLE = new Set(['not_in_channel', 'channel_not_found', 'is_archived', 'user_not_in_channel', 'restricted_action'])
/** Slack's words for "the message to edit is gone or can no longer be edited". */
const GONE = new Set(['message_not_found', 'cant_update_message', 'edit_window_closed', 'thread_not_found'])
const NO_FILES = /^(file_uploads?_.*|not_allowed.*|access_denied|posting_to_.*|storage_limit_reached|missing_scope|http_4\d\d)$/

export function createSlackReporter(client: SlackClient, options: SlackReporterOptions): Reporter {
  const now = options.now ?? Date.now
  const redactor = options.redactor ?? createRedactor([])
  const views: ViewOptions = { redactor, shareTo: options.shareTo }
  const remembered = new Map<RunId, Memory>()
  /** Parents on their way. */
  const posting = new Map<RunId, Promise<Spot>>()
  const mayUpdate = createBudget(now)

  function remember(run: RunId, memory: Memory): void {
    const oldest = remembered.keys().next()
    if (remembered.size >= MAX_REMEMBERED && !remembered.has(run) && oldest.done !== true) remembered.delete(oldest.value)
    remembered.set(run, memory)
  }

  async function post(channel: string, threadTs: string | undefined, message: Message): Promise<Spot> {
    const thread = threadTs === undefined ? {} : { thread_ts: threadTs }
    const quiet = { unfurl_links: false, unfurl_media: false, link_names: false }
    const answer = await client.call('chat.postMessage', { channel, ...thread, ...message, ...quiet })
    return { channel: text(answer, 'channel') ?? channel, ts: text(answer, 'ts') ?? '' }
  }

  async function update(spot: Spot, message: Message): Promise<void> {
    await client.call('chat.update', { channel: spot.channel, ts: spot.ts, ...message })
  }

  async function directChannel(user: string): Promise<string> {
    const answer = await client.call('conversations.open', { users: user })
    const channel = answer.channel
    const id = typeof channel === 'object' && channel !== null && 'id' in channel ? channel.id : undefined
    if (typeof id !== 'string') throw new SlackCallError('conversations.open', 'unknown', 'unreadable_answer')
    return id
  }

  /** To the messages of the runs that settled it; without one its id has to do. */
  async function linksFor({ executions }: RunState): Promise<Pick<ViewOptions, 'links'>> {
    const refs = new Set(executions.flatMap(({ settled }) => settled?.ref ?? []).slice(0, MAX_LINKS))
    const links = new Map<string, string>()
    for (const ref of refs) {
      const { channel, ts } = spotOf(ref)
      const answer = await client.call('chat.getPermalink', { channel, message_ts: ts }).catch(() => undefined)
      const link = answer && text(answer, 'permalink')
      if (link !== undefined) links.set(ref, link)
    }
    return { links }
  }

  /** In a direct message the parent says why it is there. */
  async function parentIn(channel: string, state: RunState, place: SlackPlace): Promise<Message> {
    const its = { ...views, ...(await linksFor(state)) }
    if (channel === place.channel) return parentMessage(state, now(), its)
    const why = ': invite me there, and the next answer comes in its thread.'
    const preface = [plain('I cannot write in '), channelLeaf(place.channel), plain(why)]
    return parentMessage(state, now(), { ...its, preface })
  }

  /** Where the asker was, or else a direct message. */
  async function postParent(state: RunState, place: SlackPlace): Promise<Spot> {
    try {
      return await post(place.channel, place.threadTs, await parentIn(place.channel, state, place))
    } catch (error) {
      const user = slackUser(state.request.actor)
      if (!isUnreachable(error) || user === undefined) throw error
      const direct = await directChannel(user)
      return await post(direct, undefined, await parentIn(direct, state, place))
    }
  }

  async function progress(state: RunState): Promise<readonly PostedPart[]> {
    const { place, id } = state.request
    // Refusals are for the asker alone, so nothing is posted before the decision.
    if (place.kind !== 'slack' || state.decision?.effect !== 'allow' || state.executions.length === 0) return []
    const before = remembered.get(id)
    if (posting.has(id) || before?.gaveUp || (before !== undefined && now() - before.at < UPDATE_EVERY_MS)) return []
    const ref = state.posted.parent ?? before?.parent
    const view = await parentIn(ref === undefined ? place.channel : spotOf(ref).channel, state, place)
    const shown = JSON.stringify(view)
    try {
      if (ref === undefined) {
        // Kept, because the caller may give up before Slack lets it through: `deliver` then waits for this one.
        const first = postParent(state, place)
        posting.set(id, first)
        const posted = refOf(await first.finally(() => posting.delete(id)))
        remember(id, { parent: posted, shown, at: now() })
        return [{ part: 'parent', ref: posted }]
      }
      if (shown !== before?.shown) {
        // What comes after its end comes once.
        if (!mayUpdate() && !state.delivered) return []
        await update(spotOf(ref), view)
      }
      remember(id, { parent: ref, shown, at: now() })
    } catch (error) {
      // A first post that may have arrived is not repeated here: `deliver` answers in any case.
      remember(id, { ...(ref === undefined ? { gaveUp: true } : { parent: ref }), at: now() })
      options.log?.({ event: 'slack.progress-failed', run: id, reason: reasonOf(error) })
    }
    return []
  }

  async function deliver(state: RunState, output: ReadOutput, posted: (part: PostedPart) => Promise<void>): Promise<void> {
    const { place, id } = state.request
    if (place.kind !== 'slack') return
    const first = await posting.get(id)?.catch(() => undefined)
    const parentRef = state.posted.parent ?? remembered.get(id)?.parent ?? (first && refOf(first))
    remembered.delete(id)
    if (state.outcome?.status === 'refused' && parentRef === undefined && slackUser(state.request.actor) !== undefined) {
      return await deliverRefusal(state, place, posted)
    }
    let parent = parentRef === undefined ? undefined : spotOf(parentRef)
    if (parent !== undefined && state.posted.parent === undefined) await posted({ part: 'parent', ref: refOf(parent) })
    if (parent !== undefined && !(await updated(parent, await parentIn(parent.channel, state, place)))) parent = undefined
    if (parent === undefined) {
      parent = await postParent(state, place)
      await posted({ part: 'parent', ref: refOf(parent) })
    }
    if (state.outcome?.status === 'refused') return
    const folds = await foldOutputs(state.executions, output)
    await answerInThread(state, threadAnswer(state, folds, redactor), threadAt(parent, place), state.posted, posted)
  }

  /** False when the message is gone, so that another one is needed. */
  async function updated(spot: Spot, message: Message): Promise<boolean> {
    try {
      await update(spot, message)
      return true
    } catch (error) {
      if (error instanceof SlackCallError && error.outcome === 'refused' && GONE.has(error.slack)) return false
      throw error
    }
  }

  async function answerInThread(
    state: RunState,
    answer: { readonly messages: readonly Message[]; readonly file?: OutputFile },
    thread: Spot,
    there: Readonly<Record<string, string>>,
    posted: (part: PostedPart) => Promise<void>,
  ): Promise<void> {
    const postAll = async (prefix: string, messages: readonly Message[]) => {
      for (const [index, message] of messages.entries()) {
        const part = `${prefix}:${index}`
        if (there[part] !== undefined) continue
        await posted({ part, ref: refOf(await post(thread.channel, thread.ts, message)) })
      }
    }
    await postAll('output', answer.messages)
    if (answer.file === undefined || there.file !== undefined) return
    const refusal = await uploaded(answer.file, thread, async (file) => await posted({ part: 'file', ref: file }))
    if (refusal !== undefined) await postAll('chunk', withoutFile(state, answer.file, refusal))
  }

  /** Slack's reason when this workspace takes no files; everything else that goes wrong is thrown. */
  async function uploaded(file: OutputFile, thread: Spot, done: (id: string) => Promise<void>): Promise<string | undefined> {
    let id: string
    try {
      id = await client.upload(file, thread.channel, thread.ts)
    } catch (error) {
      if (error instanceof SlackCallError && error.outcome === 'refused' && NO_FILES.test(error.slack)) return error.slack
      throw error
    }
    await done(id)
    return undefined
  }

  async function deliverRefusal(state: RunState, place: SlackPlace, posted: (part: PostedPart) => Promise<void>): Promise<void> {
    const user = slackUser(state.request.actor)
    if (state.outcome?.status !== 'refused' || user === undefined || state.posted.refusal !== undefined) return
    const { failure } = state.outcome
    const thread = place.threadTs === undefined ? {} : { thread_ts: place.threadTs }
    const quiet = { link_names: false }
    try {
      const answer = await client.call('chat.postEphemeral', {
        channel: place.channel,
        user,
        ...thread,
        ...refusalMessage(state, failure, views),
        ...quiet,
      })
      await posted({ part: 'refusal', ref: `${place.channel}:${text(answer, 'message_ts') ?? ''}` })
    } catch (error) {
      if (!isUnreachable(error)) throw error
      const hint = [plain('I cannot write in '), channelLeaf(place.channel), plain(': invite me there to be answered in place.')]
      try {
        const spot = await post(await directChannel(user), undefined, refusalMessage(state, failure, views, hint))
        await posted({ part: 'refusal', ref: refOf(spot) })
      } catch (second) {
        // Nobody can be told: the ledger has it, and trying for ever would not change that.
        if (!(second instanceof SlackCallError) || second.outcome !== 'refused') throw second
        options.log?.({ event: 'slack.refusal-unsaid', run: state.request.id, reason: reasonOf(second) })
      }
    }
  }

  async function share(state: RunState, output: ReadOutput, to: Place, by: Actor): Promise<void> {
    if (to.kind !== 'slack' || !options.shareTo.includes(to.channel)) {
      throw new DroverError({
        code: 'denied',
        message: 'Results are not shared to that channel.',
        next: 'Choose one of the channels that are listed for it (slack.shareTo).',
      })
    }
    const user = slackUser(by)
    const { place } = state.request
    const preface = [
      ...(user === undefined ? [plain('Somebody')] : [{ type: 'user' as const, user_id: user }]),
      plain(' shared this result'),
      ...(place.kind === 'slack' ? [plain(' from '), channelLeaf(place.channel)] : []),
      plain('. Nothing was run again.'),
    ]
    const parent = await post(to.channel, to.threadTs, parentMessage(state, now(), { ...views, preface, withoutButtons: true }))
    const folds = await foldOutputs(state.executions, output)
    const thread = { channel: parent.channel, ts: to.threadTs ?? parent.ts }
    await answerInThread(state, threadAnswer(state, folds, redactor), thread, {}, async () => {})
  }

  return { progress, deliver, share }
}

/** The stored output of a run as one file in a thread; Slack's reason when it takes no file, and then messages instead. */
export async function postFullOutput(
  client: SlackClient,
  state: RunState,
  output: ReadOutput,
  thread: Spot,
  redactor: Redactor,
): Promise<void> {
  const file = outputFile(state, await foldOutputs(state.executions, output), redactor)
  try {
    await client.upload(file, thread.channel, thread.ts)
  } catch (error) {
    if (!(error instanceof SlackCallError) || error.outcome !== 'refused' || !NO_FILES.test(error.slack)) throw error
    for (const message of withoutFile(state, file, error.slack)) {
      await client.call('chat.postMessage', {
        channel: thread.channel,
        thread_ts: thread.ts,
        ...message,
        unfurl_links: false,
        unfurl_media: false,
      })
    }
  }
}

/** True while progress may be shown: what is skipped is shown by the next update, and the last one is never skipped. */
function createBudget(now: () => Instant): () => boolean {
  let level = UPDATES_AT_ONCE
  let at = now()
  return () => {
    level = Math.min(UPDATES_AT_ONCE, level + (now() - at) / UPDATES_EVERY_MS)
    at = now()
    if (level < 1) return false
    level -= 1
    return true
  }
}

function slackUser(actor: Actor): string | undefined {
  return actor.kind === 'slack-user' ? actor.user : undefined
}

function channelLeaf(channel: string) {
  return { type: 'channel' as const, channel_id: channel }
}

function isUnreachable(error: unknown): boolean {
  return error instanceof SlackCallError && error.outcome === 'refused' && UNREACHABLE.has(error.slack)
}

function reasonOf(error: unknown): string {
  return error instanceof SlackCallError ? `${error.method}: ${error.slack}` : 'unexpected'
}

function text(answer: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const value = answer[key]
  return typeof value === 'string' ? value : undefined
}
