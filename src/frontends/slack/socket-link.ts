/** One Socket Mode connection from hello to its end: envelopes in, acknowledgements out, and a sign when it has to be replaced. */

import * as z from 'zod'
import { envelopeSchema, type Take } from './socket-delivery.ts'

/** A websocket, as the runtime's transport opens it. `ping` drops a connection that did not answer the ping before. */
export type SocketConnection = {
  send(data: string): void
  ping(): void
  close(code?: number, reason?: string): void
  readonly messages: AsyncIterable<
    { readonly type: 'text'; readonly data: string } | { readonly type: 'binary'; readonly data: Uint8Array }
  >
  readonly ended: Promise<{ readonly code: number; readonly reason: string; readonly clean: boolean }>
}

export type LinkOptions = {
  readonly take: Take
  readonly log: (event: object) => void
  /** How long Slack may take to say hello. */
  readonly helloMs: number
  /** A half-open connection is noticed after two of these. */
  readonly pingMs: number
  /** How long deliveries under way may take to be acknowledged before the connection is closed. */
  readonly retireMs: number
}

/** Why a connection is to be replaced: Slack's own word, or that it is gone. */
export type Leaving = { readonly why: 'told'; readonly reason: string } | { readonly why: 'ended'; readonly reason: string }

export type Link = {
  /** Resolves after hello; rejects when the connection ends, or Slack sends it away, without one. */
  readonly greeted: Promise<void>
  readonly leaving: Promise<Leaving>
  readonly ended: Promise<unknown>
  /** Acknowledges what is under way, then closes. `refuseNew`: what comes meanwhile is left to Slack to repeat. */
  retire(options: { readonly refuseNew: boolean }): Promise<void>
}

/** More at a time than Slack ever sends: beyond it deliveries are not taken, and Slack repeats the events. */
const MAX_UNDER_WAY = 200

const messageSchema = z.looseObject({ type: z.string(), reason: z.string().optional() })

export function createLink(connection: SocketConnection, options: LinkOptions): Link {
  const { log } = options
  const underWay = new Set<Promise<void>>()
  const greeting = Promise.withResolvers<void>()
  const leaving = Promise.withResolvers<Leaving>()
  let isRefusing = false
  let isOver = false

  const hello = setTimeout(() => {
    greeting.reject(new Error(`no hello in ${options.helloMs} ms`))
    connection.close(1000)
  }, options.helloMs)
  const heart = setInterval(() => connection.ping(), options.pingMs)
  greeting.promise.catch(() => {})

  const ended = (async () => {
    for await (const message of connection.messages) if (message.type === 'text') heard(message.data)
    const { code, reason } = await connection.ended
    isOver = true
    clearTimeout(hello)
    clearInterval(heart)
    const said = `closed with ${code}${reason === '' ? '' : `: ${reason}`}`
    greeting.reject(new Error(said))
    leaving.resolve({ why: 'ended', reason: said })
  })()

  function heard(text: string): void {
    const data = jsonOf(text)
    const envelope = envelopeSchema.safeParse(data)
    if (envelope.success) {
      answer(envelope.data)
      return
    }
    const message = messageSchema.safeParse(data)
    if (message.data?.type === 'hello') {
      clearTimeout(hello)
      greeting.resolve()
    } else if (message.data?.type === 'disconnect') {
      const reason = message.data.reason ?? 'unknown'
      greeting.reject(new Error(reason))
      leaving.resolve({ why: 'told', reason })
    } else log({ event: 'slack.socket-message-unknown', type: String(message.data?.type ?? 'none').slice(0, 50) })
  }

  function answer(envelope: z.output<typeof envelopeSchema>): void {
    if (isRefusing || underWay.size >= MAX_UNDER_WAY) {
      log({ event: 'slack.delivery-refused', reason: isRefusing ? 'stopping' : 'too many under way' })
      return
    }
    const task = options.take(envelope).then((acknowledgement) => {
      underWay.delete(task)
      if (acknowledgement === undefined) return
      if (isOver) log({ event: 'slack.acknowledgement-unsent', type: envelope.type })
      else connection.send(JSON.stringify({ envelope_id: envelope.envelope_id, ...acknowledgement }))
    })
    underWay.add(task)
  }

  return {
    greeted: greeting.promise,
    leaving: leaving.promise,
    ended,
    async retire({ refuseNew }) {
      isRefusing ||= refuseNew
      let timer: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, options.retireMs)
      })
      await Promise.race([Promise.all(underWay), late, ended])
      clearTimeout(timer)
      connection.close(1000)
      await ended
    },
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
