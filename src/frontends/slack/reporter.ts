/** Answers a run in Slack: one parent message that is kept true, then its outputs in the thread. */

import { DroverError } from '../../core/errors.ts'
import { foldOutputs } from '../../core/fold.ts'
import type { Actor, Instant, OutputChunk, Place, RunId, RunState, TargetId } from '../../core/model.ts'
import type { PostedPart, Reporter } from '../../core/ports.ts'
import { createRedactor, type Redactor } from '../../core/redact.ts'
import { type Leaf, type Message, plain } from './blocks.ts'
import { type SlackAnswer, type SlackArguments, SlackCallError, type SlackClient } from './client.ts'
import { type OutputFile, outputFile, threadAnswer, withoutFile } from './output-views.ts'
import { isFileRefused, isMessageGone, isThreadGone, isUnreachable, isUnshowable } from './refusals.ts'
import { parentMessage, refusalMessage, type ViewOptions } from './run-views.ts'
import { type Parent, parentAt, partsOf, refOf, type SlackPlace, type Spot, spotOf, threadFor } from './spots.ts'

export type SlackReporterOptions = {
  /** Ids of the channels a result may be shared to. */
  readonly shareTo: readonly string[]
  readonly now?: () => Instant
  /** Masks what drover knows to be secret in the argv that is shown; output is masked before it is stored. */
  readonly redactor?: Redactor
  readonly log?: (event: object) => void
}

type Saying = 'chat.postMessage' | 'chat.update' | 'chat.postEphemeral'
type ReadOutput = (target: TargetId) => Promise<readonly OutputChunk[]>

/** What this process remembers of a run between two updates; losing it costs an update, never an answer. */
type Memory = { readonly parent?: string; readonly shown?: string; readonly at: Instant; readonly gaveUp?: true }

const UPDATE_EVERY_MS = 1000
const MAX_REMEMBERED = 1000
/** chat.update is tier 3: fifty a minute for the whole workspace; progress leaves some of them to final answers. */
const UPDATES_AT_ONCE = 8
const UPDATES_EVERY_MS = 2000
const MAX_LINKS = 5

export function createSlackReporter(client: SlackClient, options: SlackReporterOptions): Reporter {
  const now = options.now ?? Date.now
  const redactor = options.redactor ?? createRedactor([])
  const views: ViewOptions = { redactor, shareTo: options.shareTo }
  const remembered = new Map<RunId, Memory>()
  /** Parents on their way. */
  const posting = new Map<RunId, Promise<Parent>>()
  const mayUpdate = createBudget(now)

  function remember(run: RunId, memory: Memory): void {
    const oldest = remembered.keys().next()
    if (remembered.size >= MAX_REMEMBERED && !remembered.has(run) && oldest.done !== true) remembered.delete(oldest.value)
    remembered.set(run, memory)
  }

  /** A layout that Slack refuses it would refuse for ever: then it is said in words. */
  async function say(method: Saying, where: SlackArguments, message: Message): Promise<SlackAnswer> {
    try {
      return await client.call(method, { ...where, ...message })
    } catch (error) {
      if (!isUnshowable(error)) throw error
      options.log?.({ event: 'slack.layout-refused', method, reason: error.slack })
      return await client.call(method, { ...where, text: inWords(message, error.slack), blocks: [] })
    }
  }

  async function post(channel: string, threadTs: string | undefined, message: Message): Promise<Spot> {
    const thread = threadTs === undefined ? {} : { thread_ts: threadTs }
    const quiet = { unfurl_links: false, unfurl_media: false, link_names: false }
    const answer = await say('chat.postMessage', { channel, ...thread, ...quiet }, message)
    return { channel: text(answer, 'channel') ?? channel, ts: text(answer, 'ts') ?? '' }
  }

  async function update(spot: Spot, message: Message): Promise<void> {
    await say('chat.update', { channel: spot.channel, ts: spot.ts }, message)
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

  /** Where it is not what it answers, the parent says why. */
  async function parentIn(spot: Pick<Parent, 'channel' | 'isOutside'>, state: RunState, place: SlackPlace): Promise<Message> {
    const its = { ...views, ...(await linksFor(state)) }
    const why = ': invite me there, and the next answer comes in its thread.'
    const preface: readonly Leaf[] =
      spot.channel !== place.channel
        ? [plain('I cannot write in '), channelLeaf(place.channel), plain(why)]
        : spot.isOutside
          ? [plain('The thread in which this was asked is gone or takes no answer.')]
          : []
    return parentMessage(state, now(), preface.length === 0 ? its : { ...its, preface })
  }

  /** Where the asker was, or else beside that thread, or else in a direct message. */
  async function postParent(state: RunState, place: SlackPlace, tried: 'nothing' | 'thread' = 'nothing'): Promise<Parent> {
    const { channel, threadTs } = place
    const isOutside = tried === 'thread' && threadTs !== undefined
    try {
      const spot = await post(channel, isOutside ? undefined : threadTs, await parentIn({ channel, isOutside }, state, place))
      return { ...spot, isOutside }
    } catch (error) {
      if (isThreadGone(error) && threadTs !== undefined && !isOutside) return await postParent(state, place, 'thread')
      const user = slackUser(state.request.actor)
      if (!isUnreachable(error) || user === undefined) throw error
      const direct = { channel: await directChannel(user), isOutside: false }
      return { ...direct, ...(await post(direct.channel, undefined, await parentIn(direct, state, place))) }
    }
  }

  async function progress(state: RunState): Promise<readonly PostedPart[]> {
    const { place, id } = state.request
    // Refusals are for the asker alone, so nothing is posted before the decision.
    if (place.kind !== 'slack' || state.decision?.effect !== 'allow' || state.executions.length === 0) return []
    const before = remembered.get(id)
    if (posting.has(id) || before?.gaveUp || (before !== undefined && now() - before.at < UPDATE_EVERY_MS)) return []
    const ref = state.posted.parent ?? before?.parent
    const view = await parentIn(ref === undefined ? { ...place, isOutside: false } : parentAt(ref, state), state, place)
    const shown = JSON.stringify(view)
    try {
      if (ref === undefined) {
        // Kept, because the caller may give up before Slack lets it through: `deliver` then waits for this one.
        const first = postParent(state, place)
        posting.set(id, first)
        const parent = await first.finally(() => posting.delete(id))
        remember(id, { parent: refOf(parent), shown, at: now() })
        return partsOf(parent)
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
    const ref = state.posted.parent ?? remembered.get(id)?.parent
    const before = first ?? (ref === undefined ? undefined : parentAt(ref, state))
    remembered.delete(id)
    if (state.outcome?.status === 'refused' && before === undefined && slackUser(state.request.actor) !== undefined) {
      return await deliverRefusal(state, place, posted)
    }
    const there: Record<string, string> = { ...state.posted }
    const note = async (part: PostedPart): Promise<void> => {
      await posted(part)
      there[part.part] = part.ref
    }
    const begin = async (tried?: 'thread'): Promise<Parent> => {
      const parent = await postParent(state, place, tried)
      for (const part of partsOf(parent)) await note(part)
      return parent
    }
    if (before !== undefined && state.posted.parent === undefined) for (const part of partsOf(before)) await note(part)
    const isThere = before !== undefined && (await updated(before, await parentIn(before, state, place)))
    let parent = isThere ? before : await begin()
    if (state.outcome?.status === 'refused') return
    const folds = await foldOutputs(state.executions, output)
    const answer = threadAnswer(state, folds, redactor)
    try {
      await answerInThread(state, answer, threadFor(parent, place), there, note)
    } catch (error) {
      if (!isUnreachable(error) && !isThreadGone(error)) throw error
      // Closed, archived or deleted since the parent came there.
      parent = await begin('thread')
      await answerInThread(state, answer, threadFor(parent, place), there, note)
    }
  }

  /** False when the message is gone, so that another one is needed. */
  async function updated(spot: Spot, message: Message): Promise<boolean> {
    try {
      await update(spot, message)
      return true
    } catch (error) {
      if (isMessageGone(error)) return false
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
      if (isFileRefused(error)) return error.slack
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
      const where = { channel: place.channel, user, ...thread, ...quiet }
      const answer = await say('chat.postEphemeral', where, refusalMessage(state, failure, views))
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
    if (!isFileRefused(error)) throw error
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

/** What a notification would say, which is never output, and why there is no more. */
function inWords({ text: words }: Message, reason: string): string {
  return `${words}\nSlack did not take the rest of this message (${reason}); it is stored with the run.`
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

function reasonOf(error: unknown): string {
  return error instanceof SlackCallError ? `${error.method}: ${error.slack}` : 'unexpected'
}

function text(answer: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const value = answer[key]
  return typeof value === 'string' ? value : undefined
}
