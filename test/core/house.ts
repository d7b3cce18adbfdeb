/** A house for runs: a real ledger in memory, and backends that count what left drover. */

import { afterEach } from 'vitest'
import { everyTrait } from '../../src/backends/wire/traits.ts'
import { createGate } from '../../src/core/fan-out.ts'
import type { House } from '../../src/core/house.ts'
import type { ExecEvent, Owner, RunId, RunRequest, RunState, Target, TargetId } from '../../src/core/model.ts'
import type { Backend, Directory, Ledger, Reporter } from '../../src/core/ports.ts'
import { createRedactor } from '../../src/core/redact.ts'
import type { Policy, Rule } from '../../src/core/rule.ts'
import { work } from '../../src/core/run.ts'
import { runIdFor } from '../../src/core/run-id.ts'
import { reduce } from '../../src/core/run-state.ts'
import { createTurns } from '../../src/core/turns.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'

export const everything: Rule = { id: 'ops', effect: 'allow', who: { users: ['T1/U1'] }, commands: [['...']] }
export const noSignal = new AbortController().signal

export const targetOf = (name: string, backend = 'prod', more: Partial<Target> = {}): Target => ({
  id: `${backend}/${name}` as TargetId,
  backend,
  kind: 'docker',
  native: name,
  name,
  labels: { app: 'web' },
  facets: {},
  ...more,
})

export type Exec = (target: Target, signal: AbortSignal, argv: readonly string[]) => AsyncIterable<ExecEvent>
export const exits: Exec = async function* (target) {
  yield { type: 'started', handle: { target: target.id, exec: 'x', pid: 7 } }
  yield { type: 'output', stream: 'stdout', data: new TextEncoder().encode('up\n') }
  yield { type: 'exit', code: 0 }
}

/** Counts what left drover, and what was asked for. */
export function backendOf(name: string, targets: readonly Target[], exec: Exec = exits, more: Partial<Backend> = {}) {
  const ran: { target: string; argv: readonly string[] }[] = []
  const backend: Backend = {
    name,
    kind: 'docker',
    traits: everyTrait,
    list: async () => targets,
    exec(target, command, _exec, signal) {
      ran.push({ target: target.id, argv: command.argv })
      return exec(target, signal, command.argv)
    },
    kill: async () => ({ result: 'gone' }),
    check: async () => [],
    ...more,
  }
  return { backend, ran }
}

const open: Ledger[] = []
afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.close()
})

export type Setting = {
  backends?: readonly Backend[]
  rules?: readonly Rule[]
  facts?: Directory['facts']
  reporter?: Partial<Reporter>
  ledger?: (real: Ledger) => Partial<Ledger>
  parallel?: number
  secrets?: readonly string[]
  now?: () => number
  targets?: number
  since?: number
  runsPerActor?: number
  runMs?: number
}

export async function house(setting: Setting = {}) {
  const real = await createLedger(openSqlite(':memory:'))
  open.push(real)
  const delivered: RunState[] = []
  const logged: Readonly<Record<string, unknown>>[] = []
  const reporter: Reporter = {
    progress: async () => [],
    deliver: async (state) => void delivered.push(state),
    share: async () => {},
    ...setting.reporter,
  }
  const policy: Policy = { rules: setting.rules ?? [everything], version: 'v1' }
  const it: House = {
    ledger: { ...real, ...setting.ledger?.(real) },
    backends: setting.backends ?? [],
    policy,
    directory: { facts: setting.facts ?? (async () => ({ groups: [] })) },
    reporter: () => reporter,
    redactor: createRedactor(setting.secrets ?? []),
    owner: 'owner-1' as Owner,
    since: setting.since ?? 0,
    limits: {
      targets: setting.targets ?? 50,
      timeoutMs: 15_000,
      maxTimeoutMs: 60_000,
      parallel: setting.parallel ?? 16,
      outputBytes: 1_000_000,
      runOutputBytes: 8_000_000,
      ...(setting.runMs === undefined ? {} : { runMs: setting.runMs }),
    },
    handshake: createGate(6),
    turns: createTurns(setting.runsPerActor ?? 16),
    now: setting.now ?? Date.now,
    log: (event) => void logged.push(event),
  }
  return { house: it, real, delivered, logged }
}

let deliveries = 0
export async function asked(more: Partial<RunRequest> = {}): Promise<RunRequest> {
  const delivery = `d${deliveries++}`
  return {
    id: await runIdFor(delivery),
    actor: { kind: 'slack-user', team: 'T1', user: 'U1' },
    trigger: { kind: 'slash', delivery },
    selector: { labels: [{ op: 'eq', key: 'app', value: 'web' }] },
    command: { argv: ['uptime'] },
    place: { kind: 'slack', team: 'T1', channel: 'C1' },
    receivedAt: Date.now(),
    ...more,
  }
}

export const stateOf = async (ledger: Ledger, run: RunId) => reduce(await ledger.read(run))!
export const typesOf = async (ledger: Ledger, run: RunId) => (await ledger.read(run)).map(({ event }) => event.type)

export async function play(setting: Setting, more: Partial<RunRequest> = {}, cancel = noSignal) {
  const made = await house(setting)
  const request = await asked(more)
  await made.real.accept(request)
  await work(request.id, made.house, cancel)
  return { ...made, request, state: await stateOf(made.real, request.id) }
}
