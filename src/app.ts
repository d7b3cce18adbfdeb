/** The HTTP app of a gateway: Slack, hooks, agents and health; and Slack over connections that drover opens. */

import { Hono } from 'hono/tiny'
import type { Config } from './config.ts'
import { failureOf } from './core/errors.ts'
import type { Gateway } from './core/ports.ts'
import { slackRoutes, slackSocket } from './frontends/slack/app.ts'
import type { Connect, SlackSocket } from './frontends/slack/socket.ts'
import { hookOf, hookRoutes } from './frontends/webhook/hooks.ts'

import { type Log, redactorOf } from './rooms.ts'
/** Slack, hooks and health on one app. `keepAlive` holds on to work that outlives its request. */
export function createApp(config: Config, gateway: Gateway, services: AppServices & { ready(): Promise<boolean> }): Hono {
  const now = services.now ?? Date.now
  const app = new Hono()
  app.get('/healthz', (context) => context.text('ok\n'))
  app.get('/readyz', async (context) => ((await services.ready()) ? context.text('ready\n') : context.text('not ready\n', 503)))
  if (config.slack?.signingSecret) {
    const options = { ...slackOptions(config.slack), signingSecret: config.slack.signingSecret.reveal() }
    app.route('/', slackRoutes(options, gateway, slackServices(config, services)))
  }
  app.route(
    '/',
    hookRoutes(Object.fromEntries(Object.entries(config.hooks).map(([name, hook]) => [name, hookOf(hook)])), gateway, { now }),
  )
  app.get('/agents/state', async (context) => {
    const name = context.req.query('agent') ?? ''
    const entry = Object.hasOwn(config.agents, name) ? config.agents[name] : undefined
    // Only who holds drover.yaml, or the agent itself, knows its keys.
    const key = context.req.header('x-drover-agent-key') ?? ''
    if (!entry || !services.agent || ![entry.key, entry.nextKey].includes(key)) return context.notFound()
    return context.json(await services.agent(name))
  })
  app.onError((error, context) => {
    const failure = failureOf(error, (reference, bug) =>
      services.log({ level: 'error', event: 'bug', reference, error: bug instanceof Error ? bug.stack : String(bug) }),
    )
    return context.json({ error: failure }, failure.code === 'ledger_unavailable' ? 503 : 500)
  })
  return app
}

export type AppServices = {
  log: Log
  keepAlive(promise: Promise<unknown>): void
  /** How an agent stands. */
  agent?: (name: string) => Promise<object>
  now?(): number
}

/** Slack over connections that drover opens, when drover.yaml has an app token. Begins to connect at once. */
export function createSlackSocket(
  config: Config,
  gateway: Gateway,
  services: AppServices,
  connect: Connect,
): SlackSocket | undefined {
  if (!config.slack?.appToken) return undefined
  const options = { ...slackOptions(config.slack), appToken: config.slack.appToken.reveal(), connect }
  return slackSocket(options, gateway, slackServices(config, services))
}

function slackOptions(config: SlackConfig) {
  const { botToken, team, botUserId, botId, apiUrl, command, rolloutCommand, shareTo, allowGuests, allowTeams } = config
  return {
    botToken: botToken.reveal(),
    teamId: team,
    apiUrl,
    command,
    rolloutCommand,
    shareTo,
    allowGuests,
    allowTeams,
    ...(botUserId === undefined ? {} : { botUserId }),
    ...(botId === undefined ? {} : { botId }),
  }
}

type SlackConfig = NonNullable<Config['slack']>

function slackServices(config: Config, { log, keepAlive, now }: AppServices) {
  return {
    now: now ?? Date.now,
    log: (event: object) => log({ ...event }),
    keepAlive,
    redactor: redactorOf(config),
    siteTimeoutMs: config.limits.timeout,
  }
}
