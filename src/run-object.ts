/** The Durable Object that owns a run; one of them, the hub, keeps the history and the memory of deliveries. */

import { DurableObject } from 'cloudflare:workers'
import { type Config, parseConfig } from './config.ts'
import { DroverError, failureOf } from './core/errors.ts'
import type { RunId, StoredEvent } from './core/model.ts'
import type { Gateway, Ledger } from './core/ports.ts'
import { createGateway, createHouse, type LocalGateway, type Log } from './gateway.ts'
import { type ObjectStorage, openObject } from './ledger/db-object.ts'
import { createLedger } from './ledger/ledger.ts'
import { workerTransport } from './runtime/transport-worker.ts'
import { type AlarmStorage, type AlarmWake, createAlarmWake } from './runtime/wake-alarm.ts'

/** Name of the object that knows every run. No run id looks like it. */
export const HUB = 'hub'

/**
 * `DROVER_CONFIG` is the text of drover.yaml, and goes on in `DROVER_CONFIG_2`, `DROVER_CONFIG_3`… (Cloudflare holds a variable to
 * 5 KB); each secret that it names is a variable of its own.
 */
export type Env = Readonly<Record<string, unknown>> & { readonly RUNS: RunNamespace }
export type RunNamespace = { idFromName(name: string): unknown; get(id: unknown): RunStub }
export type RunStub = {
  call(method: keyof Gateway, args: readonly unknown[]): Promise<Answer>
  archive(run: RunId, events: readonly StoredEvent[]): Promise<void>
}
/** Errors lose their class between objects, so they travel as data. */
export type Answer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly failure: ReturnType<DroverError['toFailure']> }

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

type Inside = { readonly ledger: Ledger; readonly gateway: LocalGateway; readonly wake: AlarmWake }

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
    const house = await createHouse(config, { transport: workerTransport, ledger, wake, log: workerLog, runMs: mostRunMs })
    return { ledger, wake, gateway: createGateway(config, house, wake) }
  }

  async #work(run: RunId): Promise<void> {
    const { gateway, ledger } = await this.#open()
    await gateway.work(run)
    const events = await ledger.read(run)
    await this.env.RUNS.get(this.env.RUNS.idFromName(HUB)).archive(run, events)
    // An answer that could not be delivered is owed, and tried again ever more slowly.
    const finished = events.find(({ event }) => event.type === 'finished')
    if (finished && !events.some(({ event }) => event.type === 'delivered')) {
      throw new DroverError({ code: 'reply_failed', message: 'The answer is still owed.' })
    }
  }

  /** The Gateway port, one method at a time. */
  async call(method: keyof Gateway, args: readonly unknown[]): Promise<Answer> {
    try {
      const { gateway, wake } = await this.#open()
      const value: unknown = await (gateway[method] as (...all: readonly unknown[]) => Promise<unknown>)(...args)
      // What people do with a run after its end reaches the hub with the next alarm.
      if (method === 'cancel' || method === 'share') await wake.wake(args[0] as RunId)
      return { ok: true, value }
    } catch (error) {
      return {
        ok: false,
        failure: failureOf(error, (reference, bug) => workerLog({ level: 'error', event: 'bug', reference, error: String(bug) })),
      }
    }
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
    for (const { event } of events.slice(known)) {
      if (event.type === 'accepted') await ledger.accept(event.request)
      else if (event.type === 'started') await ledger.claim(run, event.target, event.owner)
      else await ledger.append(run, event)
    }
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
