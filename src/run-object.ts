/** The Durable Object that owns a run; one of them, the hub, keeps the history and the memory of deliveries. */

import { DurableObject } from 'cloudflare:workers'
import { type AgentStub, throughObject } from './agent/through-object.ts'
import { type Config, parseConfig } from './config.ts'
import { DroverError, failureOf } from './core/errors.ts'
import type { Actor, RunId, StoredEvent } from './core/model.ts'
import type { Gateway, Ledger } from './core/ports.ts'
import type { Earlier } from './core/settle.ts'
import { sweepAll } from './core/sweep.ts'
import { type Turns, tooManyRuns } from './core/turns.ts'
import { createGateway, type LocalGateway } from './gateway.ts'
import { type ObjectStorage, openObject } from './ledger/db-object.ts'
import { createLedger } from './ledger/ledger.ts'
import { createHouse, type Log } from './rooms.ts'
import { workerTransport } from './runtime/transport-worker.ts'
import { type AlarmStorage, type AlarmWake, createAlarmWake } from './runtime/wake-alarm.ts'
import { createSlackSide } from './slack-side.ts'
import { workerKinds } from './worker-kinds.ts'

/** Name of the object that knows every run. No run id looks like it. */
export const HUB = 'hub'

/**
 * `DROVER_CONFIG` is the text of drover.yaml, and goes on in `DROVER_CONFIG_2`, `DROVER_CONFIG_3`… (Cloudflare holds a variable to
 * 5 KB); each secret that it names is a variable of its own.
 */
export type Env = Readonly<Record<string, unknown>> & { readonly RUNS: RunNamespace; readonly AGENTS?: AgentNamespace }
type AgentNamespace = { idFromName(name: string): unknown; get(id: unknown): AgentStub }
export type RunNamespace = { idFromName(name: string): unknown; get(id: unknown): RunStub }
export type RunStub = {
  call(method: Asked, args: readonly unknown[]): Promise<Answer>
  archive(run: RunId, events: readonly StoredEvent[]): Promise<void>
  sweep(): Promise<void>
  enter(run: RunId, actor: Actor, most: number): Promise<boolean>
}
/** Errors lose their class between objects, so they travel as data. */
export type Answer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly failure: ReturnType<DroverError['toFailure']> }

/** What an object can be asked by others. */
type Asked = keyof (Gateway & Earlier)

export const hub = ({ RUNS }: Env): RunStub => RUNS.get(RUNS.idFromName(HUB))

/** Asks the object that owns a run, or the hub. */
export async function ask(env: Env, name: string, method: Asked, args: readonly unknown[]): Promise<never> {
  const answer: Answer = await env.RUNS.get(env.RUNS.idFromName(name)).call(method, args)
  if (!answer.ok) throw new DroverError(answer.failure)
  return answer.value as never
}

/** The object that holds an agent's connection. */
export function agentStub({ AGENTS }: Env, name: string) {
  if (AGENTS) return AGENTS.get(AGENTS.idFromName(name))
  const next = 'Deploy again with the wrangler.toml that comes with drover.'
  throw new DroverError({ code: 'config', message: 'This Worker was deployed without its binding AGENTS.', next })
}

export const workerLog: Log = (event) => console.log(JSON.stringify(event))

/** The parts joined in order, line to line; empty when there is none. */
export function configText(env: Env): string {
  const parts = [env.DROVER_CONFIG]
  for (let n = 2; typeof env[`DROVER_CONFIG_${n}`] === 'string'; n++) parts.push(env[`DROVER_CONFIG_${n}`])
  return parts.filter((part) => typeof part === 'string').join('\n')
}

let known: { readonly key: string; readonly config: Config } | undefined

/** Parsed once for each isolate, not for each request and each run; a mistake is told every time, and nothing runs. */
export function configOf(env: Env): Config {
  const variables = Object.fromEntries(
    Object.entries(env).flatMap(([key, value]) => (typeof value === 'string' ? [[key, value]] : [])),
  )
  const key = JSON.stringify(variables)
  if (known?.key !== key) known = { key, config: parseConfig(configText(env), 'DROVER_CONFIG', variables, { socketMode: false }) }
  return known.config
}

/** An isolate has 128 MB for everything in it; delivering an answer takes several times what it keeps. */
const mostOutputBytes = 8 * 1024 * 1024

/** An alarm may work for 15 minutes; judging before and delivering after take their part of it. */
const mostRunMs = 12 * 60_000
/** No alarm works longer. */
const longestTurnMs = 16 * 60_000

const limited = new WeakMap<Config, Config>()

function withinMemory(config: Config): Config {
  const made = limited.get(config)
  if (made) return made
  const { outputBytes, runOutputBytes, ...limits } = config.limits
  const least = (bytes: number) => Math.min(bytes, mostOutputBytes)
  const smaller = { ...config, limits: { ...limits, outputBytes: least(outputBytes), runOutputBytes: least(runOutputBytes) } }
  limited.set(config, smaller)
  return smaller
}

type Inside = {
  readonly ledger: Ledger
  readonly gateway: LocalGateway
  readonly wake: AlarmWake
  sweep(): Promise<void>
}

export class RunObject extends DurableObject<Env> {
  #inside: Promise<Inside> | undefined
  readonly #archiving = new Map<RunId, Promise<void>>()

  #open(): Promise<Inside> {
    // A failure is not kept: the next call tries again, with whatever was mended.
    this.#inside ??= this.#build().catch((error: unknown) => {
      this.#inside = undefined
      throw error
    })
    return this.#inside
  }

  async #build(): Promise<Inside> {
    const config = withinMemory(configOf(this.env))
    const storage = this.ctx.storage as unknown as ObjectStorage & AlarmStorage
    const ledger = await createLedger(openObject(storage))
    const warn = (message: string, error: unknown) =>
      workerLog({ level: 'error', event: message, error: error instanceof Error ? error.message : String(error) })
    const wake = createAlarmWake(storage, (run) => this.#work(run), { log: warn })
    const earlier: Earlier = {
      earlierOf: (...args) => ask(this.env, HUB, 'earlierOf', args),
      settle: (run, settled) => ask(this.env, run, 'settle', [run, settled]),
    }
    const { runsPerActor: most } = config.limits
    const turns: Turns = {
      // It ends in the hub, with the archive of the run.
      enter: async (actor, run) =>
        (await hub(this.env).enter(run, actor, most)) ? { leave() {} } : { failure: tooManyRuns(most) },
    }
    const ways = { earlier, turns, log: workerLog, runMs: mostRunMs }
    const house = await createHouse(config, {
      transport: workerTransport,
      kinds: workerKinds,
      slackSide: createSlackSide,
      agents: (name) => throughObject(name, () => agentStub(this.env, name)),
      ledger,
      wake,
      ...ways,
    })
    const sweep = () =>
      sweepAll(house.backends, (backend, error) => {
        if (error !== undefined) warn(`what was left on ${backend} cannot be removed`, error)
      })
    return { ledger, wake, gateway: createGateway(config, house, wake), sweep }
  }

  async #work(run: RunId): Promise<void> {
    const { gateway, ledger } = await this.#open()
    await gateway.work(run)
    const events = await ledger.read(run)
    await hub(this.env).archive(run, events)
    // An answer that could not be delivered is owed, and tried again ever more slowly.
    const finished = events.find(({ event }) => event.type === 'finished')
    if (finished && !events.some(({ event }) => event.type === 'delivered')) {
      throw new DroverError({ code: 'reply_failed', message: 'The answer is still owed.' })
    }
  }

  /** The Gateway port, and what other runs have to say, one method at a time. */
  async call(method: Asked, args: readonly unknown[]): Promise<Answer> {
    try {
      const { gateway, wake } = await this.#open()
      const value: unknown = await (gateway[method] as (...all: readonly unknown[]) => Promise<unknown>)(...args)
      // What people do with a run after its end reaches the hub with the next alarm.
      if (['cancel', 'share', 'settle'].includes(method)) await wake.wake(args[0] as RunId)
      return { ok: true, value }
    } catch (error) {
      return {
        ok: false,
        failure: failureOf(error, (reference, bug) => workerLog({ level: 'error', event: 'bug', reference, error: String(bug) })),
      }
    }
  }

  /** In the hub, each minute. */
  async sweep(): Promise<void> {
    await (await this.#open()).sweep()
  }

  /** In the hub: takes over the events of a run that it does not have yet. Output stays with the run. */
  archive(run: RunId, events: readonly StoredEvent[]): Promise<void> {
    // One at a time for a run: two would append the same events.
    const turn = (this.#archiving.get(run) ?? Promise.resolve()).then(() => this.#append(run, events))
    const settled = turn
      .catch(() => {})
      .then(() => {
        if (this.#archiving.get(run) === settled) this.#archiving.delete(run)
      })
    this.#archiving.set(run, settled)
    return turn
  }

  async #append(run: RunId, events: readonly StoredEvent[]): Promise<void> {
    const { ledger } = await this.#open()
    const known = (await ledger.read(run)).length
    if (events.some(({ event }) => event.type === 'finished')) this.#turns('delete from turn where run = ?', run)
    for (const { event } of events.slice(known)) {
      if (event.type === 'accepted') await ledger.accept(event.request)
      else if (event.type === 'started') await ledger.claim(run, event.target, event.owner)
      else await ledger.append(run, event)
    }
  }

  /** In the hub: counts a run of this actor until it is archived as finished. False: `most` are going on. */
  async enter(run: RunId, actor: Actor, most: number): Promise<boolean> {
    const key = JSON.stringify(actor)
    // Of an object that never came back.
    this.#turns('delete from turn where until < ?', Date.now())
    if (this.#turns('select 1 from turn where actor = ? and run <> ?', key, run).length >= most) return false
    this.#turns('insert or replace into turn values (?, ?, ?)', run, key, Date.now() + longestTurnMs)
    return true
  }

  #turns(statement: string, ...parameters: (string | number)[]): readonly unknown[] {
    const { sql } = this.ctx.storage as unknown as AlarmStorage
    sql.exec('create table if not exists turn (run text primary key, actor text not null, until integer not null)')
    return sql.exec(statement, ...parameters).toArray()
  }

  override async alarm(): Promise<void> {
    try {
      await (await this.#open()).wake.alarm()
    } catch (error) {
      // After six failures an alarm is gone for good, and with it the run: a configuration may take longer to be mended.
      workerLog({ level: 'error', event: 'alarm-failed', error: error instanceof Error ? error.message : String(error) })
      await (this.ctx.storage as unknown as AlarmStorage).setAlarm(Date.now() + 60_000)
    }
  }
}
