/** Requests from Slack as fetch-style requests: proved, fresh, seen once, handed to Bolt, answered on acknowledgement. */

import type { App, Receiver } from '@slack/bolt'
import * as z from 'zod'
import { readRequest } from '../body.ts'
import { REPEATED } from './desk.ts'
import type { Verify } from './signature.ts'

export type ReceiverOptions = {
  readonly verify: Verify
  /** True the first time a key is seen: remembered across restarts and replicas. */
  readonly firstTime: (key: string, ttlMs: number) => Promise<boolean>
  readonly app: () => App
  readonly now: () => number
  readonly log: (event: object) => void
  readonly keepAlive: (promise: Promise<unknown>) => void
}

const MAX_BODY_BYTES = 1024 * 1024
/** Slack accepts a signature for 5 minutes either way; remembering it longer than both leaves no gap. */
const SEEN_MS = 15 * 60_000
/** Slack gives up after 3 s; nothing is kept waiting much longer than that. */
const ANSWER_MS = 10_000

const utf8 = new TextDecoder('utf-8', { fatal: true })
/** What may be in a body before Bolt looks at it. */
const bodySchema = z.record(z.string(), z.unknown())

export function createReceiver(options: ReceiverOptions): (request: Request) => Promise<Response> {
  const { log, now } = options

  return async (request) => {
    const bytes = await readRequest(request, MAX_BODY_BYTES)
    if (bytes === 'too_large') return status(413)
    const verdict = options.verify({ headers: request.headers, body: bytes }, now())
    if (verdict !== 'genuine') {
      log({ event: 'slack.request-refused', reason: verdict })
      return status(401)
    }
    const body = parseBody(bytes, request.headers.get('content-type') ?? '')
    if (body === undefined) return status(400)
    // Slack may repeat an event within the second, signed alike; those are told apart by event_id, which lives as long.
    const isEvent = body.type === 'event_callback'
    // A command is remembered by the run that it becomes, named after its trigger_id: one write on disk before the answer, not two.
    const isCommand = typeof body.command === 'string'
    if (!isEvent && !isCommand && !(await options.firstTime(`slack-sig:${request.headers.get('x-slack-signature')}`, SEEN_MS))) {
      log({ event: 'slack.request-refused', reason: 'replayed' })
      return status(401)
    }
    if (body.ssl_check === '1') return status(200)
    if (body.type === 'url_verification') {
      return typeof body.challenge === 'string' ? Response.json({ challenge: body.challenge }) : status(400)
    }
    return await process(request, body, isEvent)
  }

  /** An event is answered when its listeners are done, so that Slack repeats what could not be recorded; the rest on ack. */
  async function process(request: Request, body: Record<string, unknown>, isEvent: boolean): Promise<Response> {
    let acknowledged: Response | undefined
    let answer: (response: Response) => void = () => {}
    const acked = new Promise<Response>((resolve) => {
      answer = resolve
    })
    const ack = async (response?: unknown) => {
      if (response === REPEATED) log({ event: 'slack.request-refused', reason: 'replayed' })
      acknowledged ??= response === REPEATED ? status(401) : responseOf(response)
      if (!isEvent) answer(acknowledged)
    }
    const retryNum = Number(request.headers.get('x-slack-retry-num') ?? Number.NaN)
    const retryReason = request.headers.get('x-slack-retry-reason')
    const done = options
      .app()
      .processEvent({
        body,
        ack,
        ...(Number.isNaN(retryNum) ? {} : { retryNum }),
        ...(retryReason === null ? {} : { retryReason }),
      })
      .then(
        () => acknowledged ?? status(404),
        (error: unknown) => {
          log({ event: 'slack.listener-failed', error: error instanceof Error ? error.message : 'unknown' })
          return isEvent ? status(500) : (acknowledged ?? status(500))
        },
      )
    options.keepAlive(done)
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<Response>((resolve) => {
      timer = setTimeout(() => resolve(status(503)), ANSWER_MS)
    })
    try {
      return await Promise.race([acked, done, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Bolt wants a receiver; the route above calls the App itself. */
export const idleReceiver: Receiver = { init() {}, async start() {}, async stop() {} }

function parseBody(bytes: Uint8Array, contentType: string): Record<string, unknown> | undefined {
  try {
    const text = utf8.decode(bytes)
    if (contentType.startsWith('application/json')) return bodySchema.parse(JSON.parse(text))
    if (!contentType.startsWith('application/x-www-form-urlencoded')) return undefined
    const form = new URLSearchParams(text)
    const payload = form.get('payload')
    return payload === null ? Object.fromEntries(form) : bodySchema.parse(JSON.parse(payload))
  } catch {
    return undefined
  }
}

function responseOf(answer: unknown): Response {
  if (answer === undefined || answer === null || answer === '') return status(200)
  return typeof answer === 'string' ? new Response(answer) : Response.json(answer)
}

function status(code: number): Response {
  return new Response(null, { status: code })
}
