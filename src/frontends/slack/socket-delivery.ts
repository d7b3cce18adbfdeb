/** One delivery over Socket Mode, handed to the same listeners as over HTTP, and what it is acknowledged with. */

import type { App } from '@slack/bolt'
import * as z from 'zod'

/** docs.slack.dev, "Using Socket Mode"; events also say how often they were tried. */
export const envelopeSchema = z.looseObject({
  envelope_id: z.string().min(1),
  type: z.enum(['slash_commands', 'events_api', 'interactive']),
  payload: z.record(z.string(), z.unknown()),
  accepts_response_payload: z.boolean().default(false),
  retry_attempt: z.number().optional(),
  retry_reason: z.string().optional(),
})
export type Envelope = z.output<typeof envelopeSchema>

export type Acknowledgement = { readonly payload?: object }
/** Undefined: nothing is acknowledged, so Slack repeats an event and tells a person that the app did not respond. */
export type Take = (envelope: Envelope) => Promise<Acknowledgement | undefined>

export type TakeOptions = {
  readonly app: () => App
  /** True the first time a key is seen, across restarts. */
  readonly firstTime: (key: string, ttlMs: number) => Promise<boolean>
  readonly log: (event: object) => void
  readonly keepAlive: (promise: Promise<unknown>) => void
}

/** Slack repeats an event for about 6 minutes. */
const SEEN_MS = 15 * 60_000
const MAX_REMEMBERED = 2000
/** Slack gives up after 3 s; nothing is kept waiting much longer than that. */
const ANSWER_MS = 10_000

export function createTake(options: TakeOptions): Take {
  /** What came twice gets the answer of the first, which may still be on its way. */
  const taken = new Map<string, Promise<Acknowledgement | undefined>>()

  return (envelope) => {
    const key = keyOf(envelope)
    const known = key === undefined ? undefined : taken.get(key)
    if (known !== undefined) return known
    const answer = takeOnce(envelope, key).catch((error: unknown) => {
      options.log({ level: 'error', event: 'slack.delivery-failed', error: error instanceof Error ? error.message : 'unknown' })
      return undefined
    })
    if (key === undefined) return answer
    taken.set(key, answer)
    if (taken.size > MAX_REMEMBERED) taken.delete([...taken.keys()][0] as string)
    // What was not taken may be taken when it comes again.
    void answer.then((result) => result === undefined && taken.get(key) === answer && taken.delete(key))
    return answer
  }

  async function takeOnce(envelope: Envelope, key: string | undefined): Promise<Acknowledgement | undefined> {
    // A line that is typed derives its run from the delivery; a click has no such mark of its own, so it is remembered.
    if (envelope.type === 'interactive' && key !== undefined && !(await options.firstTime(`slack-click:${key}`, SEEN_MS)))
      return {}
    const isEvent = envelope.type === 'events_api'
    let acknowledged: Acknowledgement | undefined
    const { promise: early, resolve } = Promise.withResolvers<Acknowledgement>()
    const done = options
      .app()
      .processEvent({
        body: envelope.payload,
        async ack(response) {
          acknowledged ??= envelope.accepts_response_payload ? payloadOf(response) : {}
          // Bolt acknowledges an event before its listeners begin; Slack is told when they are done.
          if (!isEvent) resolve(acknowledged)
        },
        ...(envelope.retry_attempt === undefined ? {} : { retryNum: envelope.retry_attempt }),
        ...(envelope.retry_reason === undefined ? {} : { retryReason: envelope.retry_reason }),
      })
      .then(
        () => acknowledged,
        (error: unknown) => {
          options.log({ event: 'slack.listener-failed', error: error instanceof Error ? error.message : 'unknown' })
          return isEvent ? undefined : acknowledged
        },
      )
    options.keepAlive(done)
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<undefined>((expire) => {
      timer = setTimeout(() => expire(undefined), ANSWER_MS)
    })
    try {
      return await Promise.race([early, done, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** The same for every repetition of one delivery. */
function keyOf({ payload, type }: Envelope): string | undefined {
  const id = type === 'events_api' ? payload.event_id : payload.trigger_id
  return typeof id === 'string' && id !== '' ? id : undefined
}

function payloadOf(response: unknown): Acknowledgement {
  if (typeof response === 'string' && response !== '') return { payload: { text: response } }
  return typeof response === 'object' && response !== null ? { payload: response } : {}
}
