/** Where everything meets: configuration and what a runtime offers become a gateway, and its HTTP app. */

import { Hono } from 'hono/tiny'
import type { ContainerdSettings } from './backends/containerd/settings.ts'
import { docker } from './backends/docker/backend.ts'
import { type Files, kubernetes } from './backends/kubernetes/connect.ts'
import type { Machine } from './backends/machine.ts'
import { rancher1 } from './backends/rancher1/backend.ts'
import { rancher2 } from './backends/rancher2/backend.ts'
import type { SwarmSettings } from './backends/swarm/settings.ts'
import type { Transport, Transports } from './backends/transport.ts'
import { type BackendConfig, type Config, policyOf, secretsOf } from './config.ts'
import { maskState } from './core/answer.ts'
import { DroverError, type Failure, failureOf } from './core/errors.ts'
import { createGate } from './core/fan-out.ts'
import { type House, load as loadRun, shown as shownOf } from './core/house.ts'
import { find, groupsOf, judge } from './core/judge.ts'
import type { Actor, Argv, Owner, Place, RunId, RunState, Trigger } from './core/model.ts'
import { decide, mayReach } from './core/policy.ts'
import type { Backend, Directory, Gateway, Ledger, Reporter, Wake } from './core/ports.ts'
import { createRedactor, maskArgv, type Redactor } from './core/redact.ts'
import { work } from './core/run.ts'
import { type Earlier, earlierIn } from './core/settle.ts'
import { createTurns, type Turns } from './core/turns.ts'
import { slackRoutes, slackSocket } from './frontends/slack/app.ts'
import { createSlackClient } from './frontends/slack/client.ts'
import { createSlackDirectory } from './frontends/slack/directory.ts'
import { createSlackReporter } from './frontends/slack/reporter.ts'
import type { Connect, SlackSocket } from './frontends/slack/socket.ts'
import { type Hook, hookRoutes } from './frontends/webhook/hooks.ts'

export type Log = (event: Readonly<Record<string, unknown>>) => void

/** The ways out of a runtime. */
export type Outside = {
  readonly transport: Transports
  /** Absent on Workers. */
  readonly machine?: Machine
  /** Brought from outside, so that gRPC is in no bundle for Workers. */
  containerd?(name: string, settings: ContainerdSettings): Backend
  /** Absent on Workers, for its size. */
  swarm?(name: string, settings: SwarmSettings, ways: Pick<Outside, 'transport' | 'machine'>): Backend
  /** The ways through agents, by name. */
  readonly agents?: ((name: string) => Transport) | undefined
  /** Kubeconfigs, service accounts and CAs in files; absent on Workers. */
  readonly kubernetesFiles?: Files
}

/** What a runtime brings. */
export type Runtime = Outside & {
  readonly ledger: Ledger
  readonly wake: Wake
  readonly log: Log
  /** What a whole run may take here at most. */
  readonly runMs?: number
  /** Answers for requests that came from a terminal. */
  readonly terminal?: Reporter
  now?(): number
  /** Where not all runs are in this process. */
  readonly turns?: Turns
  /** Where each run has a ledger of its own. */
  readonly earlier?: Earlier
}

/** Puts the rooms together. */
export async function createHouse(config: Config, runtime: Runtime): Promise<House> {
  const redactor = redactorOf(config)
  const log: Log = (event) => runtime.log(maskLog(event, redactor))
  const slack = config.slack && createSlackSide(config.slack, redactor, log)
  return {
    ledger: runtime.ledger,
    backends: createBackends(config, runtime),
    policy: await policyOf(config),
    directory: slack ? whereSlackKnows(slack.directory) : nobodyKnown,
    reporter: ({ place }) => {
      const reporter = place.kind === 'slack' ? slack?.reporter : runtime.terminal
      if (!reporter)
        throw new DroverError({
          code: 'config',
          message: `Nothing answers at a ${place.kind}.`,
          next: 'Configure slack: in drover.yaml.',
        })
      return reporter
    },
    redactor,
    owner: crypto.randomUUID() as Owner,
    since: (runtime.now ?? Date.now)(),
    limits: {
      targets: config.limits.targets,
      timeoutMs: config.limits.timeout,
      maxTimeoutMs: config.limits.maxTimeout,
      parallel: config.limits.parallel,
      outputBytes: config.limits.outputBytes,
      runOutputBytes: config.limits.runOutputBytes,
      ...(runtime.runMs === undefined ? {} : { runMs: runtime.runMs }),
    },
    handshake: createGate(config.limits.handshakes),
    turns: runtime.turns ?? createTurns(config.limits.runsPerActor),
    now: runtime.now ?? Date.now,
    ...(runtime.earlier ? { earlier: runtime.earlier } : {}),
    log,
  }
}

/** Throws DroverError `config` for what this runtime cannot reach. */
export function createBackends(config: Config, outside: Outside): readonly Backend[] {
  return Object.entries(config.backends).map(([name, settings]) =>
    createBackend(name, settings, settings.through === undefined ? outside : throughAgent(settings.through, outside)),
  )
}

/** One more transport, and nothing else. */
function throughAgent(agent: string, outside: Outside): Outside {
  const way = outside.agents?.(agent)
  if (!way)
    throw new DroverError({
      code: 'config',
      message: `Nothing here takes the connection of the agent ${agent}.`,
      next: 'Agents connect to `drover serve` and to Workers: ask there.',
    })
  return { ...outside, transport: () => way }
}

function createBackend(
  name: string,
  settings: BackendConfig,
  { transport, machine, containerd, swarm, kubernetesFiles }: Outside,
): Backend {
  switch (settings.kind) {
    case 'rancher1': {
      const { accessKey, secretKey, project, url } = settings
      const keys = { accessKey: accessKey.reveal(), secretKey: secretKey.reveal() }
      return rancher1({ name, url, ...keys, ...(project === undefined ? {} : { project }) }, transport({}))
    }
    case 'rancher2':
      return rancher2({ name, ...settings, token: settings.token.reveal() }, { transport, machine })
    case 'kubernetes':
      return kubernetes(name, settings, { transport, files: kubernetesFiles })
    case 'docker':
      return docker({ name, ...settings }, { transport, machine })
    case 'containerd':
      if (!containerd)
        throw new DroverError({
          code: 'config',
          message: `backends.${name}: containerd has to be on the same machine as drover, and Workers has none.`,
          next: 'Run drover on Node or Deno beside it, or use a backend of kind kubernetes.',
        })
      return containerd(name, settings)
    case 'swarm':
      if (!swarm)
        throw new DroverError({
          code: 'config',
          message: `backends.${name}: a swarm is not to be had on Workers.`,
          next: 'Run drover on Node or Deno, or use a backend of kind docker for each engine.',
        })
      return swarm(name, settings, { transport, ...(machine ? { machine } : {}) })
    default:
      return settings satisfies never
  }
}

function createSlackSide(slack: SlackConfig, redactor: Redactor, log: Log) {
  const client = createSlackClient({ token: slack.botToken.reveal(), apiUrl: slack.apiUrl })
  return {
    reporter: createSlackReporter(client, { shareTo: slack.shareTo, redactor, log: (event) => log({ ...event }) }),
    directory: createSlackDirectory(client, { teamId: slack.team, allowGuests: slack.allowGuests, allowTeams: slack.allowTeams }),
  }
}

const redactors = new WeakMap<Config, Redactor>()

/** Made once for a configuration: on Workers an app is made for every request. */
export function redactorOf(config: Config): Redactor {
  const redactor = redactors.get(config) ?? createRedactor(secretsOf(config))
  redactors.set(config, redactor)
  return redactor
}

/** A log without the secrets of the configuration. */
export function maskedLog(config: Config, log: Log): Log {
  return (event) => log(maskLog(event, redactorOf(config)))
}

/** Masks every text in a log line, and keeps it a line of data. */
function maskLog(event: Readonly<Record<string, unknown>>, redactor: Redactor): Readonly<Record<string, unknown>> {
  return JSON.parse(JSON.stringify(event), (_, value: unknown) => (typeof value === 'string' ? redactor.text(value).text : value))
}

const nobodyKnown: Directory = { facts: async () => ({ groups: [] }) }

/** Terminals are in no group and no channel: no Slack call says anything about them. */
function whereSlackKnows(slack: Directory): Directory {
  return { facts: (actor, place, ...rest) => (place.kind === 'slack' ? slack : nobodyKnown).facts(actor, place, ...rest) }
}

/** A gateway whose runs live in this process or object. */
export type LocalGateway = Gateway &
  Earlier & {
    /** Called by the wake: takes a run from where it stands to delivered. */
    work(run: RunId): Promise<void>
    /** Accepts nothing more and waits for what runs, at most `ms`. True when all of it ended. */
    drain(ms: number): Promise<boolean>
    readonly draining: boolean
  }

export function createGateway(config: Config, house: House, wake: Wake): LocalGateway {
  const active = new Map<RunId, { readonly controller: AbortController; readonly done: Promise<void> }>()
  let draining = false
  const { ledger } = house

  const load = (run: RunId) => loadRun(run, house)
  const shown = (error: unknown) => shownOf(error, house)

  /** Whether `by` may act on a run: its own, or one that policy would let them run on the same targets from where they are. */
  async function mayAct(state: RunState, by: Actor, place: Place, own: 'enough' | 'not enough'): Promise<Failure | undefined> {
    const groups = await groupsOf({ actor: by, place }, house)
    if (own === 'enough' && JSON.stringify(by) === JSON.stringify(state.request.actor)) return undefined
    if (state.executions.length === 0) return notYet
    const trigger: Trigger = { kind: 'button', delivery: '' }
    const question = { request: { ...state.request, actor: by, place, trigger }, groups }
    const targets = state.executions.map((execution) => execution.target)
    const decision = decide(house.policy, question, targets)
    return decision.effect === 'deny' ? notYours : undefined
  }

  const gateway: LocalGateway = {
    get draining() {
      return draining
    },
    async submit(request) {
      if (draining)
        throw new DroverError({
          code: 'ledger_unavailable',
          message: 'drover is stopping and takes nothing new.',
          next: 'Try again in a minute.',
        })
      const accepted = await ledger.accept(request)
      // Also for a duplicate: the first delivery may have died between its record and its wake.
      await wake.wake(request.id)
      return accepted
    },
    read: load,
    output: (run, target) => ledger.output(run, target),
    async list(query) {
      const runs = await ledger.list(query)
      return runs.map((run) => ({ ...run, argv: maskArgv(run.argv as Argv, house.redactor) }))
    },
    async cancel(run, by, place) {
      try {
        const state = await load(run)
        if (!state) return notFound
        const refused = await mayAct(state, by, place, 'enough')
        if (refused) return refused
        const survivors = state.executions.filter(
          (execution) => execution.ending && 'left' in execution.ending && execution.ending.left,
        )
        if (state.status === 'finished' && survivors.length === 0) {
          return { code: 'not_found', message: 'This run has ended already; there is nothing left to cancel.' }
        }
        await ledger.append(run, { type: 'cancel-asked', by })
        if (state.status !== 'finished') {
          active.get(run)?.controller.abort()
          return undefined
        }
        return await killAgain(state, survivors, by)
      } catch (error) {
        return shown(error)
      }
    },
    async share(run, by, from, to) {
      try {
        const state = await load(run)
        if (state?.status !== 'finished') return notFound
        // Having asked for it once is no right to hand it on now.
        const refused = (await mayAct(state, by, from, 'not enough')) ?? refusedDestination(state, to)
        if (refused) return refused
        // The destination is looked at with the sharer's eyes: a shared or archived channel is refused here.
        await groupsOf({ actor: by, place: to }, house)
        await ledger.append(run, { type: 'shared', by, to })
        await house
          .reporter({ ...state.request, place: to })
          .share(maskState(state, house.redactor), (target) => ledger.output(run, target), to, by)
        return undefined
      } catch (error) {
        return shown(error)
      }
    },
    async targets(selector, by, place) {
      try {
        const groups = await groupsOf({ actor: by, place }, house)
        const asker = { actor: by, place, groups }
        // Before matching: a refusal names what it found, and counts it.
        return await find({ selector }, house, (target) => mayReach(house.policy, asker, target))
      } catch (error) {
        return { ok: false, failure: shown(error) }
      }
    },
    async mayRead(by, place, run) {
      try {
        await groupsOf({ actor: by, place }, house)
        if (run === undefined) return undefined
        const state = await load(run)
        if (!state) return notFound
        const own = state.request.place
        // Its thread shows it to everybody in that channel; elsewhere it takes the right to run it.
        const isThere = place.kind === 'slack' && own.kind === 'slack' && place.team === own.team && place.channel === own.channel
        return isThere ? undefined : await mayAct(state, by, place, 'enough')
      } catch (error) {
        return shown(error)
      }
    },
    why: (request) => judge(request, house),
    firstTime: (key, ttlMs) => ledger.firstTime(key, ttlMs),
    ...earlierIn(house),
    work(run) {
      const known = active.get(run)
      if (known) return known.done
      // What is not begun by now begins at the next start, or is reported there.
      if (draining) return Promise.resolve()
      const controller = new AbortController()
      const done = work(run, house, controller.signal).finally(() => active.delete(run))
      active.set(run, { controller, done })
      return done
    },
    async drain(ms) {
      draining = true
      const all = Promise.allSettled([...active.values()].map(({ done }) => done)).then(() => true)
      let timer: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(false), ms)
      })
      return Promise.race([all, late]).finally(() => clearTimeout(timer))
    },
  }

  /** Ends what a finished run had left behind; what is proved gone is recorded, and the run's message says so. */
  async function killAgain(state: RunState, survivors: RunState['executions'], by: Actor): Promise<Failure | undefined> {
    const run = state.request.id
    let failure: Failure | undefined
    for (const { target, handle } of survivors) {
      const backend = house.backends.find((candidate) => candidate.name === target.backend)
      const killed = handle && (await backend?.kill(target, handle, AbortSignal.timeout(killMs)))
      if (killed?.result === 'gone') await ledger.append(run, { type: 'killed', target: target.id, by })
      else {
        const pid = killed && killed.pid !== undefined ? `, pid ${killed.pid}` : ''
        const message = `It is still running on ${target.name}${pid}.`
        failure ??= { code: 'stream_broken', message, next: 'Look into the container; it may run as another user.' }
      }
    }
    const after = await load(run)
    if (after) await house.reporter(after.request).progress(maskState(after, house.redactor))
    return failure
  }

  function refusedDestination(state: RunState, to: Place): Failure | undefined {
    const own = state.request.place
    if (to.kind !== 'slack') return notFound
    if (own.kind === 'slack' && own.team === to.team && own.channel === to.channel) return undefined
    if (to.team === config.slack?.team && config.slack.shareTo.includes(to.channel)) return undefined
    return {
      code: 'denied',
      message: 'Results may not be shared to that channel.',
      next: 'Whoever runs drover can add it to slack.shareTo.',
    }
  }

  return gateway
}

/** How long ending a survivor, and looking again, may take. */
const killMs = 30_000

const notYours: Failure = {
  code: 'denied',
  message: 'Only the one who asked for this run, or somebody who may run the same here, can do that.',
  next: 'Ask them, or ask whoever runs drover for a rule.',
}

const notYet: Failure = {
  code: 'denied',
  message: 'It is not known yet what this run is about to touch, so only the one who asked may act on it.',
  next: 'Try again in a moment.',
}

const notFound: Failure = { code: 'not_found', message: 'There is no such run here.' }

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
  app.route('/', hookRoutes(hooksOf(config), gateway, { now }))
  app.get('/agents/state', async (context) => {
    const name = context.req.query('agent') ?? ''
    const entry = Object.hasOwn(config.agents, name) ? config.agents[name] : undefined
    // Only who holds drover.yaml, or the agent itself, knows its key.
    if (!entry || !services.agent || context.req.header('x-drover-agent-key') !== entry.key) return context.notFound()
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

function hooksOf(config: Config): Readonly<Record<string, Hook>> {
  const hooks = Object.entries(config.hooks).map(([name, { secrets, channel, thread, request, parameters }]) => {
    const typed = Object.entries(parameters).map(([key, { pointer, type, oneOf }]) => [
      key,
      { pointer, ...(type ? { type } : {}), ...(oneOf ? { oneOf } : {}) },
    ])
    const hook: Hook = {
      secrets: secrets.map((secret) => secret.reveal()),
      channel,
      request,
      parameters: Object.fromEntries(typed),
      ...(thread === undefined ? {} : { thread }),
    }
    return [name, hook] as const
  })
  return Object.fromEntries(hooks)
}
