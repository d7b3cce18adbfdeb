/** Ending what a finished run had left behind: each survivor for itself, and the truth about those that cannot be ended. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseConfig } from '../src/config.ts'
import { BackendError } from '../src/core/errors.ts'
import type { Actor, RunRequest, RunState, Target, TargetId } from '../src/core/model.ts'
import { noOutput } from '../src/core/output.ts'
import type { Backend, KillResult } from '../src/core/ports.ts'
import { runIdFor } from '../src/core/run-id.ts'
import { createGateway, type LocalGateway } from '../src/gateway.ts'
import { type Local, startLocal } from '../src/local.ts'

const by: Actor = { kind: 'slack-user', team: 'T1', user: 'U1' }
const place = { kind: 'slack', team: 'T1', channel: 'C1' } as const
const config = parseConfig(`ledger: { path: ':memory:' }`, 'none', {})

let local: Local
beforeEach(async () => {
  local = await startLocal(config, { log: () => {} })
})
afterEach(() => local.stop(1_000))

/** What ends, or does not, is looked up by the target's name. */
function engine(name: string, kill: (target: Target) => Promise<KillResult>): Backend {
  return {
    name,
    kind: 'docker',
    traits: { exitCode: true, separateStderr: true, stdin: true, env: true, dir: true, user: true, tty: true, kill: true },
    list: async () => [],
    async *exec() {},
    kill,
    check: async () => [],
  }
}

const targetOf = (backend: string, name: string): Target => ({
  id: `${backend}/${name}` as TargetId,
  backend,
  kind: 'docker',
  native: name,
  name,
  labels: {},
  facets: {},
})

/** A run that has ended and left something on each of the targets. */
async function leftBehind(backends: readonly Backend[], targets: readonly Target[]) {
  const shown: RunState[] = []
  const reporter = {
    progress: async (state: RunState) => {
      shown.push(state)
      return []
    },
    deliver: async () => {},
    share: async () => {},
  }
  const gateway: LocalGateway = createGateway(
    config,
    { ...local.house, backends, reporter: () => reporter },
    { wake: async () => {} },
  )
  const delivery = crypto.randomUUID()
  const request: RunRequest = {
    id: await runIdFor(delivery),
    actor: by,
    trigger: { kind: 'slash', delivery },
    selector: { name: '*-1' },
    command: { argv: ['sleep', '100'] },
    place,
    receivedAt: Date.now(),
  }
  const { ledger } = local.house
  await ledger.accept(request)
  await ledger.append(request.id, { type: 'resolved', targets })
  await ledger.append(request.id, { type: 'decided', decision: { effect: 'allow', rule: 'r', limits: {} }, policy: 'v' })
  for (const { id } of targets) {
    await ledger.append(request.id, { type: 'handle', target: id, handle: { target: id, exec: 'x', pid: 7 } })
    const ending = { status: 'cancelled', left: { pid: 7 } } as const
    await ledger.append(request.id, { type: 'ended', target: id, ending, count: noOutput })
  }
  await ledger.append(request.id, { type: 'finished', outcome: { status: 'cancelled' } })
  return { cancel: () => gateway.cancel(request.id, by, place), shown }
}

const away = async (): Promise<KillResult> => {
  throw new BackendError({ code: 'backend_unavailable', message: 'It cannot be reached.', next: 'Try again.' }, { ran: 'no' })
}

describe('ending what was left', () => {
  test('[gone-is-gone] S42 an engine that cannot be asked keeps nobody from ending what is on the others', async () => {
    const targets = [targetOf('a', 'web-1'), targetOf('b', 'db-1'), targetOf('b', 'db-2')]
    const b = engine('b', async ({ name }) => (name === 'db-1' ? { result: 'gone' } : { result: 'left', pid: 9 }))
    const { cancel, shown } = await leftBehind([engine('a', away), b], targets)
    expect(await cancel()).toMatchObject({
      code: 'backend_unavailable',
      message: 'web-1: It cannot be reached. The same or worse holds for 1 more.',
    })
    expect(shown.at(-1)?.executions.map(({ ending }) => ending)).toEqual([
      { status: 'cancelled', left: { pid: 7 } },
      { status: 'cancelled' },
      { status: 'cancelled', left: { pid: 7 } },
    ])
  })

  test('what is proved gone is told as gone, and what is not by its pid', async () => {
    const targets = [targetOf('a', 'web-1')]
    let answer: KillResult = { result: 'left', pid: 9 }
    const { cancel, shown } = await leftBehind([engine('a', async () => answer)], targets)
    expect(await cancel()).toMatchObject({ message: 'It is still running on web-1, pid 9.' })
    answer = { result: 'gone' }
    expect(await cancel()).toBeUndefined()
    expect(shown.at(-1)?.executions[0]?.ending).toEqual({ status: 'cancelled' })
    expect(await cancel()).toMatchObject({ code: 'not_found' })
  })
})
