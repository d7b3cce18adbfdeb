/** What Slack sends to the app: signed, with a deadline, and for events with retries. */

import { signedHeaders } from './sign.ts'

/** One request that was sent, and what came back. Send it again with `resend`: the very same bytes. */
export type Delivery = {
  /** 0 when there was no answer in time, or no connection. */
  readonly status: number
  /** Parsed JSON, else text; for slash commands this is the ephemeral answer. */
  readonly body: unknown
  readonly triggerId: string
  readonly headers: Readonly<Record<string, string>>
  readonly rawBody: string
  /** When it left, in ms. */
  readonly at?: number
  readonly failure?: 'http_timeout' | 'connection_failed' | 'http_error'
}

export type Timings = {
  /** How long Slack waits for an answer. */
  readonly ackMs: number
  /** Pauses before the three retries of an event. */
  readonly retryAfterMs: readonly number[]
  readonly triggerMs: number
  readonly responseUrlMs: number
}

export const slackTimings: Timings = {
  ackMs: 3000,
  retryAfterMs: [0, 60_000, 300_000],
  triggerMs: 3000,
  responseUrlMs: 30 * 60_000,
}

const mostAnswerBytes = 1024 * 1024

export type Sender = {
  readonly url: () => string
  /** Set while the app is reached over Socket Mode. */
  readonly socket: () => ((raw: Raw) => Promise<Delivery>) | undefined
  readonly signingSecret: string
  readonly timings: Timings
  readonly closing: AbortSignal
  readonly sent: (delivery: Delivery) => void
}

export type Raw = {
  readonly body: string
  /** Seconds; now unless given. */
  readonly timestamp?: number
  readonly signature?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly triggerId?: string
}

export async function sendRaw(sender: Sender, raw: Raw): Promise<Delivery> {
  const overSocket = sender.socket()
  const delivery = await (overSocket === undefined ? sendHttp(sender, raw) : overSocket(raw))
  sender.sent(delivery)
  return delivery
}

async function sendHttp(sender: Sender, raw: Raw): Promise<Delivery> {
  const timestamp = raw.timestamp ?? Math.floor(Date.now() / 1000)
  const headers = {
    ...signedHeaders(sender.signingSecret, raw.body, timestamp),
    ...(raw.signature === undefined ? {} : { 'x-slack-signature': raw.signature }),
    ...raw.headers,
  }
  const request = { headers, rawBody: raw.body, triggerId: raw.triggerId ?? '', at: Date.now() }
  const deadline = AbortSignal.timeout(sender.timings.ackMs)
  return answer(sender, request, AbortSignal.any([deadline, sender.closing])).catch(
    (): Delivery => ({ ...request, status: 0, body: '', failure: deadline.aborted ? 'http_timeout' : 'connection_failed' }),
  )
}

async function answer(
  sender: Sender,
  request: Pick<Delivery, 'headers' | 'rawBody' | 'triggerId' | 'at'>,
  signal: AbortSignal,
): Promise<Delivery> {
  const response = await fetch(sender.url(), {
    method: 'POST',
    headers: request.headers,
    body: request.rawBody,
    redirect: 'manual',
    signal,
  })
  const text = await readText(response)
  const isGood = response.status >= 200 && response.status < 300
  const noRetry = response.headers.get('x-slack-no-retry') === '1'
  return {
    ...request,
    status: response.status,
    body: parsed(text),
    ...(isGood || noRetry ? {} : { failure: 'http_error' }),
  }
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > mostAnswerBytes) throw new Error('the answer is too large')
  }
  return text + decoder.decode()
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Only events are retried: up to three times, while there is no 2xx. Resolves with the first attempt. */
export async function sendEvent(sender: Sender, body: string): Promise<Delivery> {
  const first = await sendRaw(sender, { body })
  if (first.failure !== undefined) void retry(sender, body, first.failure, 0)
  return first
}

async function retry(sender: Sender, body: string, reason: string, done: number): Promise<void> {
  const pause = sender.timings.retryAfterMs[done]
  if (pause === undefined || !(await sleep(pause, sender.closing))) return
  const again = await sendRaw(sender, {
    body,
    headers: { 'x-slack-retry-num': String(done + 1), 'x-slack-retry-reason': reason },
  })
  if (again.failure !== undefined) await retry(sender, body, again.failure, done + 1)
}

/** False when the peer closed first. */
function sleep(ms: number, closing: AbortSignal): Promise<boolean> {
  if (closing.aborted) return Promise.resolve(false)
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const stop = () => {
    clearTimeout(timer)
    resolve(false)
  }
  const timer = setTimeout(() => {
    closing.removeEventListener('abort', stop)
    resolve(true)
  }, ms)
  closing.addEventListener('abort', stop, { once: true })
  return promise
}
