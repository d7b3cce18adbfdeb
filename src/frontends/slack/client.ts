/** A small Web API client: one queue per channel, Retry-After honoured, a deadline on everything, no blind repeat of a post. */

import * as z from 'zod'
import { DroverError } from '../../core/errors.ts'
import { pause } from '../../core/pause.ts'
import { readCapped } from '../body.ts'
import { SLACK_METHODS, type SlackMethod } from './methods.ts'

export type SlackClientOptions = {
  readonly token: string
  /** Default `https://slack.com/api/`. */
  readonly apiUrl?: string
  readonly fetch?: typeof fetch
  readonly now?: () => number
  /** For one HTTP exchange; default 10 s. */
  readonly requestTimeoutMs?: number
  /** For one call with all its waiting; default 60 s. */
  readonly callTimeoutMs?: number
}

export type SlackArguments = Readonly<Record<string, unknown>>
export type SlackAnswer = Readonly<Record<string, unknown>>
export type UploadedFile = { readonly name: string; readonly title: string; readonly text: string }

export interface SlackClient {
  /** The answer when Slack said ok; throws SlackCallError otherwise. */
  call(method: SlackMethod, args: SlackArguments, signal?: AbortSignal): Promise<SlackAnswer>
  /** The three-step upload of one text file into a channel or thread. Returns the file's id. The text must not be empty. */
  upload(file: UploadedFile, channel: string, threadTs?: string): Promise<string>
}

/** `refused`: Slack said no, `slack` is its word for why; `not-sent`: waiting was given up; `unknown`: it may have happened. */
export class SlackCallError extends DroverError {
  override readonly name: string = 'SlackCallError'
  readonly method: string
  readonly outcome: 'refused' | 'not-sent' | 'unknown'
  readonly slack: string

  constructor(method: string, outcome: SlackCallError['outcome'], slack: string, options?: { cause?: unknown }) {
    super({ code: 'reply_failed', message: `Slack: ${method} ended with ${slack}.`, next: NEXT[slack] ?? WILL_RETRY }, options)
    this.method = method
    this.outcome = outcome
    this.slack = slack
  }
}

/** True of an answer that is owed; not of a question that somebody waits for. */
export const WILL_RETRY = 'drover tries again by itself; if it goes on, look at Slack’s status and drover’s log.'
const NEXT: Readonly<Record<string, string>> = {
  not_in_channel: 'Invite the bot to the channel.',
  channel_not_found: 'Invite the bot to the channel.',
  is_archived: 'Unarchive the channel or ask in another one.',
  invalid_auth: 'Set a valid bot token.',
  account_inactive: 'Install the app again and set its new bot token.',
  missing_scope: 'Install the app again with the scopes of slack-manifest.yml.',
  plan_upgrade_required: 'User groups need a paid Slack plan: name people by id in the rules.',
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024
const MAX_ATTEMPTS = 5
/** Posts pass in short bursts, then about one a second for each channel; one less than is known to pass. */
const POST_BURST = 4
const POST_EVERY_MS = 1000
/** Behind every Retry-After, however large. */
const LONGEST_RETRY_MS = 10 * 60_000
/** The slowest way on which a file still arrives. */
const SLOWEST_BYTES_PER_S = 256 * 1024

const answerSchema = z.looseObject({ ok: z.boolean(), error: z.string().optional() })
const uploadSchema = z.looseObject({ upload_url: z.url(), file_id: z.string() })

type Exchange = { readonly status: number; readonly retryAfter: string | null; readonly text: string }

export function createSlackClient(options: SlackClientOptions): SlackClient {
  const apiUrl = (options.apiUrl ?? 'https://slack.com/api/').replace(/\/*$/, '/')
  const request = options.fetch ?? fetch
  const now = options.now ?? Date.now
  const requestTimeoutMs = options.requestTimeoutMs ?? 10_000
  const callTimeoutMs = options.callTimeoutMs ?? 60_000
  const lanes = new Map<string, Promise<unknown>>()
  const pace = createPace(now)
  /** Until when Slack wants to hear no more of it: of a method, or of a channel's posts. */
  const heldBack = new Map<string, number>()

  async function exchange(
    url: string,
    init: RequestInit,
    signal: AbortSignal | undefined,
    timeoutMs = requestTimeoutMs,
  ): Promise<Exchange> {
    const timeout = AbortSignal.timeout(timeoutMs)
    const response = await request(url, {
      ...init,
      redirect: 'manual', // a redirect would carry the token somewhere else, and workerd knows no 'error'
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    })
    const body = await readCapped(response.body, MAX_ANSWER_BYTES)
    if (body === 'too_large') throw new Error('the answer is larger than 4 MiB')
    return { status: response.status, retryAfter: response.headers.get('retry-after'), text: new TextDecoder().decode(body) }
  }

  /** One call to its end. A 429 was not carried out, so it may be sent again; a lost answer only when repeating is harmless. */
  async function attempt(method: SlackMethod, args: SlackArguments, signal: AbortSignal | undefined): Promise<SlackAnswer> {
    const facts = SLACK_METHODS[method]
    const deadline = now() + callTimeoutMs
    const { body, type } = facts.body === 'json' ? jsonBody(args) : formBody(args)
    const headers = { authorization: `Bearer ${options.token}`, 'content-type': type }
    const key = method === 'chat.postMessage' ? `${method} ${String(args.channel)}` : method
    for (let tries = 1; ; tries++) {
      signal?.throwIfAborted()
      const heldMs = (heldBack.get(key) ?? 0) - now()
      if (heldMs <= 0) heldBack.delete(key)
      else if (tries > MAX_ATTEMPTS || now() + heldMs > deadline) throw new SlackCallError(method, 'not-sent', 'ratelimited')
      else await wait(heldMs, signal)
      if (method === 'chat.postMessage') await pace(String(args.channel), signal)
      let answer: Exchange
      try {
        answer = await exchange(apiUrl + method, { method: 'POST', headers, body }, signal)
      } catch (cause) {
        if (facts.repeat && tries < MAX_ATTEMPTS && !signal?.aborted && now() < deadline) {
          await wait(200 * 2 ** tries, signal)
          continue
        }
        throw new SlackCallError(method, 'unknown', 'no_answer', { cause })
      }
      if (answer.status === 429) {
        const waitMs = Math.min(LONGEST_RETRY_MS, Math.max(1, Number(answer.retryAfter) || 1) * 1000)
        for (const [other, until] of heldBack) if (until < now()) heldBack.delete(other)
        heldBack.set(key, now() + waitMs)
        if (tries >= MAX_ATTEMPTS) throw new SlackCallError(method, 'not-sent', 'ratelimited')
        continue
      }
      if (answer.status >= 500 && facts.repeat && tries < MAX_ATTEMPTS && now() < deadline) {
        await wait(200 * 2 ** tries, signal)
        continue
      }
      if (answer.status !== 200) {
        throw new SlackCallError(method, answer.status >= 500 ? 'unknown' : 'refused', `http_${answer.status}`)
      }
      const parsed = answerSchema.safeParse(jsonOf(answer.text))
      if (!parsed.success) throw new SlackCallError(method, 'unknown', 'unreadable_answer')
      if (!parsed.data.ok) throw new SlackCallError(method, 'refused', parsed.data.error ?? 'unknown_error')
      return parsed.data
    }
  }

  /** Calls about one channel go one after the other, so that what readers see is in the order it was written. */
  function inLane<T>(channel: string | undefined, work: () => Promise<T>): Promise<T> {
    if (channel === undefined) return work()
    const before = lanes.get(channel) ?? Promise.resolve()
    const after = before.then(work, work)
    const settled = after.catch(() => {}).finally(() => lanes.get(channel) === settled && lanes.delete(channel))
    lanes.set(channel, settled)
    return after
  }

  async function call(method: SlackMethod, args: SlackArguments, signal?: AbortSignal): Promise<SlackAnswer> {
    const channel = method.startsWith('chat.') ? args.channel : undefined
    return inLane(typeof channel === 'string' ? channel : undefined, () => attempt(method, args, signal))
  }

  async function upload(file: UploadedFile, channel: string, threadTs?: string): Promise<string> {
    const bytes = new TextEncoder().encode(file.text)
    if (bytes.length === 0) throw new SlackCallError('files.getUploadURLExternal', 'refused', 'empty_file')
    return inLane(channel, async () => {
      const ticket = uploadSchema.safeParse(
        await attempt('files.getUploadURLExternal', { filename: file.name, length: bytes.length }, undefined),
      )
      if (!ticket.success) throw new SlackCallError('files.getUploadURLExternal', 'unknown', 'unreadable_answer')
      const { upload_url: url, file_id: id } = ticket.data
      let sent: Exchange
      try {
        const headers = { 'content-type': 'application/octet-stream' }
        const timeoutMs = requestTimeoutMs + Math.ceil((bytes.length / SLOWEST_BYTES_PER_S) * 1000)
        sent = await exchange(url, { method: 'POST', headers, body: bytes }, undefined, timeoutMs)
      } catch (cause) {
        throw new SlackCallError('upload', 'not-sent', 'no_answer', { cause })
      }
      if (sent.status !== 200) throw new SlackCallError('upload', 'not-sent', `http_${sent.status}`)
      const thread = threadTs === undefined ? {} : { thread_ts: threadTs }
      await attempt(
        'files.completeUploadExternal',
        { files: [{ id, title: file.title }], channel_id: channel, ...thread },
        undefined,
      )
      return id
    })
  }

  return { call, upload }
}

function jsonBody(args: SlackArguments): { body: string; type: string } {
  return { body: JSON.stringify(args), type: 'application/json; charset=utf-8' }
}

function formBody(args: SlackArguments): { body: string; type: string } {
  const form = new URLSearchParams()
  for (const [name, value] of Object.entries(args)) {
    if (value !== undefined) form.set(name, typeof value === 'string' ? value : JSON.stringify(value))
  }
  return { body: form.toString(), type: 'application/x-www-form-urlencoded' }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function createPace(now: () => number): (channel: string, signal: AbortSignal | undefined) => Promise<void> {
  const freeAt = new Map<string, number>()
  return async (channel, signal) => {
    for (const [name, at] of freeAt) if (at < now()) freeAt.delete(name)
    const at = Math.max(freeAt.get(channel) ?? 0, now())
    freeAt.set(channel, at + POST_EVERY_MS)
    const waitMs = at - now() - (POST_BURST - 1) * POST_EVERY_MS
    if (waitMs > 0) await wait(waitMs, signal)
  }
}

/** Throws the reason of an abort. */
async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await pause(ms, signal)
  signal?.throwIfAborted()
}
