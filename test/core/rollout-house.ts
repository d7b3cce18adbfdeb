/** A house for rollouts: a real ledger in memory, and workloads on a shelf. */

import { afterEach } from 'vitest'
import { createGate } from '../../src/core/fan-out.ts'
import type { House } from '../../src/core/house.ts'
import type { Owner, Rollout, RunId, RunRequest, RunState } from '../../src/core/model.ts'
import type { Backend, Ledger, Reporter } from '../../src/core/ports.ts'
import { createRedactor } from '../../src/core/redact.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import { describeRollout } from '../../src/core/rollout-words.ts'
import type { Rule } from '../../src/core/rule.ts'
import { work } from '../../src/core/run.ts'
import { runIdFor } from '../../src/core/run-id.ts'
import { reduce } from '../../src/core/run-state.ts'
import { createTurns } from '../../src/core/turns.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import type { Shelf } from './shelf.ts'

export const anything: Rule = { id: 'deployers', effect: 'allow', who: { users: ['T1/U1'] }, rollouts: [['...']] }

export const image = { verb: 'image', image: 'repo/app:2', container: 'main' } as const satisfies Rollout

export const noSignal = new AbortController().signal

const open: Ledger[] = []

afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.close()
})

export type Setting = {
  rules?: readonly Rule[]
  backends?: readonly Backend[]
  secrets?: readonly string[]
  reporter?: Partial<Reporter>
  ledger?: Ledger
  targets?: number
  maxTimeoutMs?: number
}

export async function house({
  rules = [anything],
  backends = [],
  secrets = [],
  reporter,
  ledger,
  targets,
  maxTimeoutMs,
}: Setting) {
  const real = ledger ?? (await createLedger(openSqlite(':memory:')))
  if (!ledger) open.push(real)
  const it: House = {
    ledger: real,
    backends,
    policy: { rules, version: 'v1' },
    directory: { facts: async () => ({ groups: [] }) },
    reporter: () => ({ progress: async () => [], deliver: async () => {}, share: async () => {}, ...reporter }),
    redactor: createRedactor(secrets),
    owner: crypto.randomUUID() as Owner,
    since: 0,
    limits: {
      targets: targets ?? 50,
      timeoutMs: 15_000,
      maxTimeoutMs: maxTimeoutMs ?? 900_000,
      parallel: 16,
      outputBytes: 1_000_000,
      runOutputBytes: 8_000_000,
    },
    handshake: createGate(6),
    turns: createTurns(16),
    now: Date.now,
    log: () => {},
  }
  return { house: it, real }
}

let deliveries = 0

export async function asked(rollout: Rollout, more: Partial<RunRequest> = {}): Promise<RunRequest> {
  const delivery = `rollout-${deliveries++}`
  return {
    id: await runIdFor(delivery),
    actor: { kind: 'slack-user', team: 'T1', user: 'U1' },
    trigger: { kind: 'slash', delivery },
    selector: { facets: { workload: 'deployment/*a*' } },
    command: { argv: rolloutArgv(rollout) },
    rollout,
    place: { kind: 'slack', team: 'T1', channel: 'C1' },
    receivedAt: Date.now(),
    ...more,
  }
}

export const stateOf = async (ledger: Ledger, run: RunId) => reduce(await ledger.read(run))!

export async function play(
  shop: Shelf,
  rollout: Rollout,
  setting: Setting = {},
  more: Partial<RunRequest> = {},
  cancel = noSignal,
) {
  const made = await house({ backends: [shop.backend], ...setting })
  const request = await asked(rollout, more)
  await made.real.accept(request)
  await work(request.id, made.house, cancel)
  return { ...made, request, state: await stateOf(made.real, request.id) }
}

export const failureOf = (state: RunState) => (state.outcome?.status === 'refused' ? state.outcome.failure : undefined)

export const endingsOf = (state: RunState) =>
  state.executions.map((one) => describeRollout(one, state.request.rollout!, state.timeoutMs))
