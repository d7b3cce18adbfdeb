/** Socket Mode: two connections that drover opens to Slack, each replaced before it goes, so that there is always one. */

import { DroverError } from '../../core/errors.ts'
import { pause } from '../../core/pause.ts'
import type { Take } from './socket-delivery.ts'
import { createLink, type Link, type SocketConnection } from './socket-link.ts'
import { askSocketUrl } from './socket-url.ts'

/** Opens a websocket; `signal` covers the handshake. */
export type Connect = (url: string, signal: AbortSignal) => Promise<SocketConnection>

export type SlackSocketOptions = {
  readonly appToken: string
  /** Default `https://slack.com/api/`. */
  readonly apiUrl?: string
  readonly fetch?: typeof fetch
  readonly connect: Connect
  readonly take: Take
  readonly log: (event: object) => void
  readonly timings?: Partial<SocketTimings>
}

/** All in milliseconds. */
export type SocketTimings = {
  readonly connectMs: number
  readonly helloMs: number
  readonly pingMs: number
  readonly retireMs: number
  readonly firstPauseMs: number
  readonly longestPauseMs: number
  /** A connection that lived this long was a good one: the next is opened without a pause. */
  readonly steadyMs: number
}

const slackTimings: SocketTimings = {
  connectMs: 10_000,
  helloMs: 10_000,
  pingMs: 10_000,
  retireMs: 3_000, // Slack takes no acknowledgement after that
  firstPauseMs: 500,
  longestPauseMs: 30_000,
  steadyMs: 10_000,
}

/** Slack allows ten for an app; two outlast each other, and leave room for replacements and for a second drover. */
const CONNECTIONS = 2

export type SlackSocket = {
  /** Resolves at the first hello; rejects with `config` when Slack refuses the token for good before any. */
  readonly ready: Promise<void>
  /** How many connections deliver now. */
  open(): number
  /** Takes nothing new, acknowledges what is under way, and closes. */
  stop(): Promise<void>
}

/** Slack said no. `needsPerson`: more attempts will not mend it, so the pause is the longest at once. */
class SocketRefused extends Error {
  override readonly name = 'SocketRefused'
  readonly next: string
  readonly needsPerson: boolean
  constructor(message: string, next: string, needsPerson: boolean) {
    super(message)
    this.next = next
    this.needsPerson = needsPerson
  }
}

const SENT_AWAY: Readonly<Record<string, string>> = {
  link_disabled: 'Switch Socket Mode on again in the app’s settings, or remove slack.appToken and use the request URL.',
  too_many_websockets: 'Slack allows ten connections for an app: stop other programs that use this app-level token.',
}

const sentAway = (reason: string): string | undefined => (Object.hasOwn(SENT_AWAY, reason) ? SENT_AWAY[reason] : undefined)

export function openSlackSocket(options: SlackSocketOptions): SlackSocket {
  const { log } = options
  const timings = { ...slackTimings, ...options.timings }
  const stopping = new AbortController()
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => {})
  /** All there are, those that wait for hello and those on their way out too. */
  const links = new Set<Link>()
  const delivering = new Set<Link>()
  /** Slack's Retry-After holds for the app, not for one connection. */
  let notBefore = 0

  async function connectOne(): Promise<Link> {
    const answer = await askSocketUrl({ ...options, signal: stopping.signal })
    if (!answer.ok) {
      if (answer.retryAfterMs !== undefined) notBefore = Date.now() + answer.retryAfterMs
      const { error, next, isFinal } = answer
      const message = `apps.connections.open ended with ${error}`
      if (isFinal) ready.reject(new DroverError({ code: 'config', message: `Socket Mode: ${message}.`, next }))
      throw new SocketRefused(message, next, isFinal)
    }
    const link = createLink(await handshake(answer.url), { ...timings, log, take: options.take })
    links.add(link)
    void link.ended.then(() => links.delete(link))
    if (stopping.signal.aborted) void link.retire({ refuseNew: true })
    try {
      await link.greeted
    } catch (cause) {
      void link.retire({ refuseNew: true })
      const reason = cause instanceof Error ? cause.message : 'unknown'
      const next = sentAway(reason)
      throw next === undefined ? cause : new SocketRefused(reason, next, true)
    }
    return link
  }

  /** The signal ends with the handshake: an open connection is closed by its link, after its acknowledgements. */
  async function handshake(url: string): Promise<SocketConnection> {
    const controller = new AbortController()
    const abort = () => controller.abort()
    const timer = setTimeout(abort, timings.connectMs)
    stopping.signal.addEventListener('abort', abort)
    try {
      return await options.connect(url, controller.signal)
    } finally {
      clearTimeout(timer)
      stopping.signal.removeEventListener('abort', abort)
    }
  }

  function pauseMs(failures: number): number {
    const backOff = failures === 0 ? 0 : Math.min(timings.longestPauseMs, timings.firstPauseMs * 2 ** (failures - 1))
    return Math.max(backOff * (0.5 + Math.random() / 2), notBefore - Date.now())
  }

  /** Keeps one connection: the next is open before the last one is let go. */
  async function keep(): Promise<void> {
    const longest = Math.ceil(Math.log2(timings.longestPauseMs / timings.firstPauseMs)) + 1
    let failures = 0
    let last: Link | undefined
    for (;;) {
      await pause(pauseMs(failures), stopping.signal)
      if (stopping.signal.aborted) break
      let link: Link
      try {
        link = await connectOne()
      } catch (error) {
        if (stopping.signal.aborted) break
        const refusal = error instanceof SocketRefused ? error : undefined
        const message = error instanceof Error ? error.message : String(error)
        const level = refusal?.needsPerson ? 'error' : 'warn'
        log({ level, event: 'slack.socket-not-opened', message, ...(refusal ? { next: refusal.next } : {}) })
        failures = refusal?.needsPerson ? longest : Math.min(failures + 1, longest)
        continue
      }
      delivering.add(link)
      void link.ended.then(() => delivering.delete(link))
      void last?.retire({ refuseNew: false })
      last = link
      log({ level: 'info', event: 'slack.socket-open', open: delivering.size })
      ready.resolve()
      const openedAt = Date.now()
      const { why, reason } = await link.leaving
      if (stopping.signal.aborted) break
      const next = sentAway(reason)
      log({ level: next === undefined ? 'info' : 'error', event: 'slack.socket-leaving', why, reason, ...(next ? { next } : {}) })
      failures = next !== undefined ? longest : Date.now() - openedAt >= timings.steadyMs ? 0 : Math.min(failures + 1, longest)
    }
  }

  const keepers = Array.from({ length: CONNECTIONS }, keep)
  return {
    ready: ready.promise,
    open: () => delivering.size,
    async stop() {
      stopping.abort()
      await Promise.all([...links].map((link) => link.retire({ refuseNew: true })))
      await Promise.all(keepers)
    },
  }
}
