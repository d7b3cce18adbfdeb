/** The Slack frontend: commands, clicks and mentions, over HTTP or Socket Mode, become requests to the gateway. */

import { App, type Logger, LogLevel } from '@slack/bolt'
import { Hono } from 'hono/tiny'
import { DroverError } from '../../core/errors.ts'
import type { Gateway } from '../../core/ports.ts'
import { createRedactor, type Redactor } from '../../core/redact.ts'
import { registerClicks } from './clicks.ts'
import { createSlackClient } from './client.ts'
import type { Desk } from './desk.ts'
import { registerLines } from './lines.ts'
import { createReceiver, idleReceiver } from './receiver.ts'
import { createVerifier } from './signature.ts'
import { type Connect, openSlackSocket, type SlackSocket, type SocketTimings } from './socket.ts'
import { createTake } from './socket-delivery.ts'

export type SlackOptions = {
  readonly botToken: string
  readonly botUserId?: string
  readonly botId?: string
  /** The workspace the bot is installed in. */
  readonly teamId: string
  /** Default `https://slack.com/api/`. */
  readonly apiUrl?: string
  /** Default `/exec`. */
  readonly command?: string
  /** Default `/rollout`. */
  readonly rolloutCommand?: string
  /** Ids of the channels a result may be shared to. */
  readonly shareTo: readonly string[]
  /** Read by the directory. */
  readonly allowGuests?: boolean
  readonly allowTeams?: readonly string[]
  readonly fetch?: typeof fetch
}

export type SlackServices = {
  now(): number
  log(event: object): void
  /** Keeps work going after the answer: `ctx.waitUntil`, or a set that is drained at shutdown. */
  keepAlive(promise: Promise<unknown>): void
  /** The longest a command may take here; said in the help. */
  readonly siteTimeoutMs: number
  readonly redactor?: Redactor
}

const RESPOND_TIMEOUT_MS = 10_000

/** POST /slack/events serves slash commands, interactions and events. Throws `config` when a credential is missing. */
export function slackRoutes(
  options: SlackOptions & { readonly signingSecret: string },
  gateway: Gateway,
  services: SlackServices,
): Hono {
  const receive = createReceiver({
    verify: createVerifier(options.signingSecret),
    firstTime: (key, ttlMs) => gateway.firstTime(key, ttlMs),
    app: listeners(options, gateway, services),
    now: () => services.now(),
    log: (event) => services.log(event),
    keepAlive: (promise) => services.keepAlive(promise),
  })
  const hono = new Hono()
  hono.post('/slack/events', (context) => receive(context.req.raw))
  return hono
}

/** The same over connections that drover opens: no request URL, no signature. Begins to connect at once. */
export function slackSocket(
  options: SlackOptions & { readonly appToken: string; readonly connect: Connect; readonly socket?: Partial<SocketTimings> },
  gateway: Gateway,
  services: SlackServices,
): SlackSocket {
  const { appToken, connect, apiUrl, fetch: request, socket } = options
  const log = (event: object) => services.log(event)
  const take = createTake({
    app: listeners(options, gateway, services),
    firstTime: (key, ttlMs) => gateway.firstTime(key, ttlMs),
    log,
    keepAlive: (promise) => services.keepAlive(promise),
  })
  return openSlackSocket({
    appToken,
    connect,
    take,
    log,
    ...(apiUrl === undefined ? {} : { apiUrl }),
    ...(request === undefined ? {} : { fetch: request }),
    ...(socket === undefined ? {} : { timings: socket }),
  })
}

/**
 * One App with every listener, made when it is first asked for. Throws `config` when a credential is missing.
 * In workerd the routes are made for each request, and the App with them: its client and its queue must not be shared there.
 */
function listeners(options: SlackOptions, gateway: Gateway, services: SlackServices): () => App {
  if (options.botToken.trim() === '' || options.teamId.trim() === '') {
    throw new DroverError({
      code: 'config',
      message: 'The Slack bot token or team id is empty.',
      next: 'Set both: the token is under OAuth & Permissions, the team id begins with T.',
    })
  }
  const request = options.fetch ?? fetch
  // workerd knows no redirect 'error', and calling its fetch as a method of another object is illegal.
  const boltFetch: typeof fetch = (input, init) =>
    request(input, { ...init, redirect: 'manual', signal: AbortSignal.timeout(RESPOND_TIMEOUT_MS) })
  const make = (): App => {
    const app = new App({
      receiver: idleReceiver,
      authorize: async () => ({
        botToken: options.botToken,
        ...(options.botId === undefined ? {} : { botId: options.botId }),
        ...(options.botUserId === undefined ? {} : { botUserId: options.botUserId }),
      }),
      tokenVerificationEnabled: false,
      convoStore: false,
      clientOptions: { slackApiUrl: options.apiUrl ?? 'https://slack.com/api/', fetch: boltFetch },
      logger: boltLogger(services),
    })
    const desk: Desk = {
      options,
      gateway,
      services,
      redactor: services.redactor ?? createRedactor([]),
      client: createSlackClient({
        token: options.botToken,
        ...(options.apiUrl === undefined ? {} : { apiUrl: options.apiUrl }),
        fetch: request,
        now: () => services.now(),
      }),
    }
    registerLines(app, desk)
    registerClicks(app, desk)
    return app
  }
  let made: App | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** Bolt's own words, without the bodies it would add. */
function boltLogger(services: SlackServices): Logger {
  const say = (level: string) => (first: unknown) => {
    services.log({ event: 'slack.bolt', level, message: (first instanceof Error ? first.message : String(first)).slice(0, 300) })
  }
  return {
    debug() {},
    info() {},
    warn: say('warn'),
    error: say('error'),
    setLevel() {},
    getLevel: () => LogLevel.WARN,
    setName() {},
  }
}
