/** The life of a run over a real ledger: decided, recorded, executed once, finished and delivered, whatever fails on the way. */

import { afterEach, describe, expect, it } from 'vitest'
import { maskState } from '../../src/core/answer.ts'
import { BackendError, DroverError } from '../../src/core/errors.ts'
import { createGate } from '../../src/core/fan-out.ts'
import type { House } from '../../src/core/house.ts'
import type { ExecEvent, Owner, RunEvent, RunId, RunRequest, RunState, Target, TargetId } from '../../src/core/model.ts'
import type { Backend, Directory, Facts, Ledger, Reporter } from '../../src/core/ports.ts'
import { createRedactor } from '../../src/core/redact.ts'
import type { Policy, Rule } from '../../src/core/rule.ts'
import { work } from '../../src/core/run.ts'
import { runIdFor } from '../../src/core/run-id.ts'
import { reduce } from '../../src/core/run-state.ts'
import { createTurns } from '../../src/core/turns.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'

const allTraits = { exitCode: true, separateStderr: true, stdin: true, env: true, dir: true, user: true, tty: true, kill: true }
const everything: Rule = { id: 'ops', effect: 'allow', who: { users: ['T1/U1'] }, commands: [['...']] }
const noSignal = new AbortController().signal

const targetOf = (name: string, backend = 'prod', more: Partial<Target> = {}): Target => ({
  id: `${backend}/${name}` as TargetId,
  backend,
  kind: 'docker',
  native: name,
  name,
  labels: { app: 'web' },
  facets: {},
  ...more,
})

type Exec = (target: Target, signal: AbortSignal, argv: readonly string[]) => AsyncIterable<ExecEvent>
const exits: Exec = async function* (target) {
  yield { type: 'started', handle: { target: target.id, exec: 'x', pid: 7 } }
  yield { type: 'output', stream: 'stdout', data: new TextEncoder().encode('up\n') }
  yield { type: 'exit', code: 0 }
}

/** Counts what left drover, and what was asked for. */
function backendOf(name: string, targets: readonly Target[], exec: Exec = exits, more: Partial<Backend> = {}) {
  const ran: { target: string; argv: readonly string[] }[] = []
  const backend: Backend = {
    name,
    kind: 'docker',
    traits: allTraits,
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

type Setting = {
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

async function house(setting: Setting = {}) {
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
async function asked(more: Partial<RunRequest> = {}): Promise<RunRequest> {
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

const stateOf = async (ledger: Ledger, run: RunId) => reduce(await ledger.read(run))!
const typesOf = async (ledger: Ledger, run: RunId) => (await ledger.read(run)).map(({ event }) => event.type)

async function play(setting: Setting, more: Partial<RunRequest> = {}, cancel = noSignal) {
  const made = await house(setting)
  const request = await asked(more)
  await made.real.accept(request)
  await work(request.id, made.house, cancel)
  return { ...made, request, state: await stateOf(made.real, request.id) }
}

describe('a run that is allowed', () => {
  it('[recorded-first] S39 is recorded in this order, and its decision stands before the first byte leaves', async () => {
    let before: readonly string[] = []
    const made = await house()
    const request = await asked()
    const { backend, ran } = backendOf('prod', [targetOf('web-1')], async function* (...given) {
      before = await typesOf(made.real, request.id)
      yield* exits(...given)
    })
    await made.real.accept(request)
    await work(request.id, { ...made.house, backends: [backend] }, noSignal)
    expect(before).toEqual(['accepted', 'resolved', 'decided', 'started'])
    expect(await typesOf(made.real, request.id)).toEqual([
      'accepted',
      'resolved',
      'decided',
      'started',
      'handle',
      'output',
      'ended',
      'finished',
      'delivered',
    ])
    expect(ran).toHaveLength(1)
    expect(await made.real.verify()).toMatchObject({ ok: true })
    expect(made.delivered[0]).toMatchObject({
      outcome: { status: 'done' },
      executions: [{ ending: { status: 'exited', code: 0 } }],
    })
  })

  it('[exact-argv] S06 the array asked for, judged, stored and received is one and the same', async () => {
    const argv = ['printf', '%s', '; $(id) `id` "q" \'q\' \\ ', '', 'é😀'] as const
    const { backend, ran } = backendOf('prod', [targetOf('web-1')])
    const exact: Rule = { ...everything, commands: [argv.map((arg) => arg.replaceAll(/[*?]/g, '?'))] }
    const { state } = await play({ backends: [backend], rules: [exact] }, { command: { argv } })
    expect([ran[0]?.argv, state.request.command.argv]).toEqual([argv, argv])
  })

  it('S46 gives the command the environment that was asked for and nothing of its own', async () => {
    process.env.DROVER_CANARY = 'canary-value'
    const seen: unknown[] = []
    const { backend } = backendOf('prod', [targetOf('web-1')])
    const spying: Backend = {
      ...backend,
      exec: (target, command, exec, signal) =>
        (seen.push(command) && backend.exec(target, command, exec, signal)) as ReturnType<Backend['exec']>,
    }
    await play(
      { backends: [spying], rules: [{ ...everything, rights: ['env'] }] },
      { command: { argv: ['env'], env: { A: '1' } } },
    )
    delete process.env.DROVER_CANARY
    expect(seen).toEqual([{ argv: ['env'], env: { A: '1' } }])
  })

  it('[bounded] runs no more at a time than the limit', async () => {
    let inside = 0
    let most = 0
    const { backend, ran } = backendOf(
      'prod',
      Array.from({ length: 12 }, (_, i) => targetOf(`w${i}`)),
      async function* (...given) {
        most = Math.max(most, ++inside)
        await new Promise((resolve) => setTimeout(resolve, 5))
        inside--
        yield* exits(...given)
      },
    )
    await play({ backends: [backend], parallel: 3 })
    expect([ran.length, most]).toEqual([12, 3])
  })

  it('a container that is listed twice runs once', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1'), targetOf('web-1')])
    const { state } = await play({ backends: [backend] })
    expect([ran.length, state.outcome]).toEqual([1, { status: 'done' }])
  })

  it('S41 what one container could not tell is its own ending, apart from the others', async () => {
    const { backend } = backendOf('prod', [targetOf('a'), targetOf('b'), targetOf('c')], async function* (target, ...rest) {
      if (target.name === 'b') throw new BackendError({ code: 'stream_broken', message: 'Cut off.' }, { ran: 'maybe' })
      if (target.name === 'c') throw new BackendError({ code: 'not_running', message: 'Stopped.' }, { ran: 'no' })
      yield* exits(target, ...rest)
    })
    const { state } = await play({ backends: [backend] })
    expect(state.executions.map((execution) => execution.status)).toEqual(['exited', 'unknown', 'failed'])
  })

  it('a time limit longer than allowed is lowered, and that is said', async () => {
    const { backend } = backendOf('prod', [targetOf('a')])
    const { state } = await play(
      { backends: [backend], rules: [{ ...everything, limits: { timeoutMs: 5_000 } }] },
      { timeoutMs: 9_000 },
    )
    expect([state.timeoutMs, state.notes]).toEqual([5_000, ['timeout lowered to 5s']])
  })
})

describe('[default-deny] a run that is refused', () => {
  const two = () => backendOf('prod', [targetOf('web-1'), targetOf('web-2', 'prod', { labels: { app: 'web', tier: 'x' } })])
  const unreadable = new BackendError(
    { code: 'backend_unauthorized', message: 'The key is refused.', next: 'Renew it.' },
    { ran: 'no' },
  )

  it.each<[string, Setting, Partial<RunRequest>, string]>([
    ['no rule allows it', { rules: [] }, {}, 'denied'],
    ['one of its targets is not allowed', { rules: [{ ...everything, targets: { name: ['web-1'] } }] }, {}, 'denied'],
    [
      'S14 the group cannot be read',
      {
        rules: [{ ...everything, who: { groups: ['T1/S1'] } }],
        facts: async () => {
          throw new DroverError({ code: 'facts_unavailable', message: 'Slack does not answer.' })
        },
      },
      {},
      'facts_unavailable',
    ],
    [
      'S14 reading the group breaks down',
      {
        facts: async () => {
          throw new TypeError('fetch failed')
        },
      },
      {},
      'internal',
    ],
    [
      'S13 the actor is a stranger',
      { facts: async (): Promise<Facts> => ({ groups: [], refuse: new DroverError({ code: 'identity', message: 'A guest.' }) }) },
      {},
      'identity',
    ],
    ['nothing matches', {}, { selector: { name: 'nope' } }, 'no_targets'],
    ['S44 the selector is blank', {}, { selector: { name: ' ' } }, 'empty_selector'],
    ['S44 the selector is missing', {}, { selector: {} }, 'empty_selector'],
    ['no backend is meant', {}, { selector: { on: 'elsewhere', name: 'web-1' } }, 'no_targets'],
    ['more match than the site allows', { targets: 1 }, {}, 'too_many_targets'],
    ['more match than the rule allows', { rules: [{ ...everything, limits: { maxTargets: 1 } }] }, {}, 'too_many_targets'],
    ['it may take longer than a run may here', { runMs: 20_000, parallel: 1 }, {}, 'too_many_targets'],
    ['S44 all= is not the number', { rules: [{ ...everything, rights: ['all'] }] }, { selector: { all: 3 } }, 'count_mismatch'],
  ])('%s: nothing runs, the reason is recorded and delivered', async (_, setting, more, code) => {
    const { backend, ran } = two()
    const { state, delivered, real, request } = await play({ backends: [backend], ...setting }, more)
    expect(ran).toEqual([])
    expect(state.outcome).toMatchObject({ status: 'refused', failure: { code } })
    expect(state.decision).toMatchObject({ effect: 'deny', failure: { code } })
    expect(delivered).toHaveLength(1)
    expect(await typesOf(real, request.id)).toEqual(['accepted', 'decided', 'finished', 'delivered'])
  })

  it('what no backend that is meant can have is named, instead of a spelling to check', async () => {
    const said = async (selector: RunRequest['selector'], kind: Target['kind'] = 'docker') => {
      const { state } = await play({ backends: [{ ...two().backend, kind }] }, { selector })
      return state.outcome?.status === 'refused' ? state.outcome.failure.message : undefined
    }
    expect(await said({ facets: { workload: 'deployment/api' } })).toBe('Nothing has a deployment on prod (docker).')
    expect(await said({ facets: { namespace: 'shop' } })).toBe('Nothing has a namespace on prod (docker).')
    expect(await said({ facets: { task: 'x7' } })).toBe('Nothing has a task on prod (docker).')
    for (const [facet, kind] of [
      ['workload', 'kubernetes'],
      ['namespace', 'containerd'],
      ['task', 'swarm'],
      ['stack', 'docker'],
    ] as const)
      expect(await said({ facets: { [facet]: 'deployment/none' } }, kind)).toBe('No running container matches.')
  })

  it('what the nearest rule lacks is in the record of the decision and in the answer, masked like any output', async () => {
    const rules = [{ ...everything, commands: [['uptime']], images: ['busybox:1'] }]
    const { state, real, request } = await play(
      { backends: [two().backend], rules, secrets: ['hunter2secret'] },
      { selector: {}, newContainer: { image: 'registry.example.com/hunter2secret:1' } },
    )
    const decided = (await real.read(request.id)).map(({ event }) => event).find(({ type }) => type === 'decided')
    const [told] = state.outcome?.status === 'refused' ? [state.outcome.failure] : []
    expect(decided).toMatchObject({ decision: { effect: 'deny', failure: told } })
    expect(told?.message).toMatch(/The nearest rule, ops, has you.*, but not the image registry\.example\.com\/.+1\.$/)
    expect(JSON.stringify(decided)).not.toContain('hunter2secret')
  })

  it('a limit of a rule says whose it is, one of the site does not', async () => {
    const limited = await play({ backends: [two().backend], rules: [{ ...everything, limits: { maxTargets: 1 } }] })
    const site = await play({ backends: [two().backend], targets: 1 })
    const said = [limited, site].map(({ state }) => state.outcome?.status === 'refused' && state.outcome.failure.message)
    expect(said).toEqual([
      '2 containers match, and at most 1 may be used at once, says the rule ops: web-1, web-2.',
      '2 containers match, and at most 1 may be used at once: web-1, web-2.',
    ])
  })

  it('no backend at all is not a name that is spelt wrong', async () => {
    const said = async (setting: Setting, selector: RunRequest['selector']) => {
      const { state } = await play(setting, { selector })
      return state.outcome?.status === 'refused' ? `${state.outcome.failure.message} ${state.outcome.failure.next}` : ''
    }
    expect(await said({}, { name: 'web-1' })).toMatch(/^No backend is configured\. Whoever runs drover can add one/)
    expect(await said({ backends: [two().backend] }, { on: 'elsewhere', name: 'a' })).toMatch(
      /^No backend is called elsewhere\. Backends: \w+\.$/,
    )
  })

  it('[bounded] one actor’s runs over the limit are refused, another’s go on, and an ended one makes room', async () => {
    const { backend, ran } = two()
    const { house: it, real } = await house({
      backends: [backend],
      rules: [{ ...everything, who: { teams: ['T1'] } }],
      runsPerActor: 1,
    })
    const held = await it.turns.enter({ kind: 'slack-user', team: 'T1', user: 'U1' }, 'held' as RunId)
    const [mine, theirs, later] = [
      await asked(),
      await asked({ actor: { kind: 'slack-user', team: 'T1', user: 'U2' } }),
      await asked(),
    ]
    for (const request of [mine, theirs, later]) await real.accept(request)
    await work(mine.id, it, new AbortController().signal)
    expect((await stateOf(real, mine.id)).outcome).toMatchObject({ status: 'refused', failure: { code: 'too_many_runs' } })
    expect(ran).toEqual([])
    await work(theirs.id, it, new AbortController().signal)
    expect((await stateOf(real, theirs.id)).outcome).toEqual({ status: 'done' })
    if ('leave' in held) held.leave()
    await work(later.id, it, new AbortController().signal)
    expect((await stateOf(real, later.id)).outcome).toEqual({ status: 'done' })
  })

  it('names the target that no rule allows, once, for the whole run', async () => {
    const { backend } = two()
    const { state } = await play({ backends: [backend], rules: [{ ...everything, targets: { name: ['web-1'] } }] })
    expect(state.outcome).toMatchObject({
      failure: { message: expect.stringMatching(/web-2.*the other 1 of 2 would be allowed\. Nothing ran/) },
    })
  })

  it('one backend that cannot be listed refuses the whole: a shorter list would be a lie', async () => {
    const good = backendOf('prod', [targetOf('web-1')])
    const bad = backendOf('test', [], exits, { list: async () => Promise.reject(unreadable) })
    const { state } = await play({ backends: [good.backend, bad.backend] })
    expect([good.ran, bad.ran]).toEqual([[], []])
    expect(state.outcome).toMatchObject({
      failure: { code: 'backend_unauthorized', message: expect.stringContaining('test: '), next: expect.stringContaining('on=') },
    })
  })

  it('what a backend cannot do is refused before anything leaves', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1')], exits, { traits: { ...allTraits, stdin: false } })
    const { state } = await play({ backends: [backend] }, { command: { argv: ['cat'], stdin: 'x' } })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { failure: { code: 'unsupported', message: expect.stringContaining('stdin=') } },
    ])
  })

  it('[no-secret-shown] S35 the refused command is shown without its token', async () => {
    const token = `ghp_${'a1B2'.repeat(9)}`
    const { backend } = two()
    const { state, delivered } = await play(
      { backends: [backend], rules: [], secrets: ['known-secret'] },
      { command: { argv: ['curl', '-H', `Authorization: ${token}`, 'known-secret'] } },
    )
    expect(JSON.stringify([state.outcome, state.decision, delivered])).not.toMatch(/a1B2a1B2|known-secret/)
    expect(state.outcome).toMatchObject({ failure: { code: 'denied' } })
  })
})

describe('[recorded-first] S39 a ledger that fails', () => {
  const failing =
    (type: RunEvent['type']) =>
    (real: Ledger): Partial<Ledger> => ({
      append: async (run, ...events) =>
        events.some((event) => event.type === type)
          ? Promise.reject(new DroverError({ code: 'ledger_unavailable', message: 'The disk is full.' }))
          : real.append(run, ...events),
    })

  it.each(['resolved', 'decided'] as const)(
    'before anything leaves (%s): nothing runs, and the run is still owed',
    async (type) => {
      const { backend, ran } = backendOf('prod', [targetOf('web-1')])
      const { house: made, real } = await house({ backends: [backend], ledger: failing(type) })
      const request = await asked()
      await real.accept(request)
      await expect(work(request.id, made, noSignal)).rejects.toThrow('disk is full')
      expect(ran).toEqual([])
      expect(await real.due(Date.now() + 1, 10)).toEqual([request.id])
    },
  )

  it('a handle that cannot be written ends the run where it stands, however short its command was', async () => {
    const { backend, ran } = backendOf(
      'prod',
      Array.from({ length: 4 }, (_, i) => targetOf(`w${i}`)),
    )
    const { house: made, real } = await house({ backends: [backend], parallel: 1, ledger: failing('handle') })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk is full')
    expect(ran).toHaveLength(1)
    await work(request.id, { ...made, ledger: real }, noSignal)
    expect((await stateOf(real, request.id)).outcome).toMatchObject({ status: 'interrupted' })
  })

  it('a run with one target waits for the record four times: the last words, the ending and the end are one', async () => {
    const writes: string[] = []
    const ledger = (real: Ledger): Partial<Ledger> => ({
      append(run, ...events) {
        writes.push(events.map(({ type }) => type).join(' '))
        return real.append(run, ...events)
      },
    })
    const { backend } = backendOf('prod', [targetOf('web-1')])
    const { state } = await play({ backends: [backend], ledger })
    expect(writes).toEqual(['resolved decided', 'handle', 'output ended finished', 'delivered'])
    expect(state).toMatchObject({ outcome: { status: 'done' }, executions: [{ status: 'exited' }], delivered: true })
    writes.length = 0
    const both = await play({ backends: [backendOf('prod', [targetOf('a'), targetOf('b')]).backend], ledger, parallel: 1 })
    expect(writes.slice(-3)).toEqual(['handle', 'output ended finished', 'delivered'])
    expect(writes).toContain('output ended')
    expect(both.state.outcome).toEqual({ status: 'done' })
  })

  it('a handle that turns out not to be written when its command has ended is no less of a failure', async () => {
    const ledger = (real: Ledger): Partial<Ledger> => ({
      append: async (run, ...events) => {
        if (events[0].type !== 'handle') return real.append(run, ...events)
        await new Promise((resolve) => setTimeout(resolve, 50))
        throw new Error('disk full')
      },
    })
    const { house: made, real } = await house({ backends: [backendOf('prod', [targetOf('web-1')]).backend], ledger })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk full')
  })

  it('[true-ending] while the record of another ending is on its way, a run is not finished', async () => {
    const writes: string[] = []
    const waiting: (() => void)[] = []
    const ledger = (real: Ledger): Partial<Ledger> => ({
      async append(run, ...events) {
        writes.push(events.map(({ type }) => type).join(' '))
        // The first that ends is held until the second has ended, too.
        if (events.some(({ type }) => type === 'ended')) {
          if (waiting.length === 0) await new Promise<void>((resolve) => waiting.push(resolve))
          else for (const go of waiting.splice(0)) go()
        }
        return real.append(run, ...events)
      },
    })
    const { state } = await play({ backends: [backendOf('prod', [targetOf('a'), targetOf('b')]).backend], ledger })
    expect(writes.slice(-4)).toEqual(['output ended', 'output ended', 'finished', 'delivered'])
    expect(state.executions.map(({ status }) => status)).toEqual(['exited', 'exited'])
  })

  it('when the claim cannot be written, that command does not leave', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1')])
    const { house: made, real } = await house({
      backends: [backend],
      ledger: () => ({ claim: async () => Promise.reject(new Error('disk full')) }),
    })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk full')
    expect(ran).toEqual([])
  })

  it('[nothing-lost] in the middle of a run: the rest does not start, and the next life reports what is unknown', async () => {
    const { backend, ran } = backendOf(
      'prod',
      Array.from({ length: 8 }, (_, i) => targetOf(`w${i}`)),
    )
    const { house: made, real, delivered } = await house({ backends: [backend], parallel: 1, ledger: failing('ended') })
    const request = await asked()
    await real.accept(request)
    await expect(work(request.id, made, noSignal)).rejects.toThrow('disk is full')
    expect(ran).toHaveLength(1)
    await work(request.id, { ...made, ledger: real }, noSignal)
    const state = await stateOf(real, request.id)
    expect(state.outcome).toMatchObject({ status: 'interrupted' })
    expect(state.executions.map((execution) => execution.status)).toEqual(['unknown', ...Array(7).fill('failed')])
    expect([ran.length, delivered.length]).toEqual([1, 1])
  })
})

describe('[once] a run is run once', () => {
  it('S25 work again, at any time after, runs and delivers nothing more', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('web-1')])
    const played = await play({ backends: [backend] })
    await work(played.request.id, played.house, noSignal)
    await work('rnosuchrunatall2' as RunId, played.house, noSignal)
    expect([ran.length, played.delivered.length]).toEqual([1, 1])
  })

  it('a claim that someone else has is left to them, and so is the end of the run', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a'), targetOf('b')])
    const ledger = (real: Ledger): Partial<Ledger> => ({
      async claim(run, target, owner) {
        if (target === 'prod/a') await real.claim(run, target, 'other' as Owner)
        return real.claim(run, target, owner)
      },
    })
    const { state, delivered } = await play({ backends: [backend], ledger, parallel: 1 })
    expect(ran.map(({ target }) => target)).not.toContain('prod/a')
    expect([state.status, delivered]).toEqual(['running', []])
    expect(state.executions[0]).toMatchObject({ status: 'started', owner: 'other' })
  })

  it.each<[string, readonly RunEvent['type'][], object]>([
    [
      'decided and nothing else',
      ['resolved', 'decided'],
      { status: 'interrupted', failure: { next: expect.stringContaining('Run it again') } },
    ],
    [
      'one command out',
      ['resolved', 'decided', 'started'],
      { status: 'interrupted', failure: { next: expect.stringContaining('Look in the containers') } },
    ],
    ['all ended, the last word missing', ['resolved', 'decided', 'started', 'ended'], { status: 'done' }],
    ['refused, the last word missing', ['decided'], { status: 'refused', failure: { code: 'denied' } }],
  ])(
    '[nothing-lost] an earlier life that stopped with %s is never run again, and its end is delivered',
    async (_, events, outcome) => {
      const { backend, ran } = backendOf('prod', [targetOf('a')])
      const { house: made, real, delivered } = await house({ backends: [backend] })
      const request = await asked()
      const a = targetOf('a')
      await real.accept(request)
      for (const type of events) {
        if (type === 'resolved') await real.append(request.id, { type, targets: [a] })
        else if (type === 'started') await real.claim(request.id, a.id, 'earlier' as Owner)
        else if (type === 'ended')
          await real.append(request.id, {
            type,
            target: a.id,
            ending: { status: 'exited', code: 0 },
            count: { stdout: 0, stderr: 0, dropped: 0, masked: 0 },
          })
        else if (type === 'decided') {
          const allowed = events.includes('resolved')
          await real.append(request.id, {
            type,
            policy: 'v1',
            decision: allowed
              ? { effect: 'allow', rule: 'ops', limits: {} }
              : { effect: 'deny', failure: { code: 'denied', message: 'No.' } },
          })
        }
      }
      await work(request.id, made, noSignal)
      expect(ran).toEqual([])
      expect(delivered[0]?.outcome).toMatchObject(outcome)
    },
  )

  it('a run that was found but not decided is found anew, and only what is found now is meant', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('new')])
    const { house: made, real } = await house({ backends: [backend] })
    const request = await asked()
    await real.accept(request)
    await real.append(request.id, { type: 'resolved', targets: [targetOf('old')] })
    await work(request.id, made, noSignal)
    const state = await stateOf(real, request.id)
    expect([ran.map(({ target }) => target), state.executions.map(({ target }) => target.name), state.outcome]).toEqual([
      ['prod/new'],
      ['new'],
      { status: 'done' },
    ])
  })

  it('a run that waited too long for its turn is refused, and told that drover was busy', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { state } = await play({ backends: [backend] }, { receivedAt: Date.now() - 120_000 })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { status: 'refused', failure: { code: 'timeout', message: expect.stringContaining('too busy') } },
    ])
  })

  it('a run that an earlier life accepted long ago is reported as interrupted instead of begun', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { state } = await play({ backends: [backend], since: Date.now() }, { receivedAt: Date.now() - 120_000 })
    expect([ran, state.outcome]).toMatchObject([
      [],
      { status: 'interrupted', failure: { message: expect.stringContaining('nothing ran') } },
    ])
  })
})

describe('cancelling', () => {
  it('before it was decided: nothing runs', async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { house: made, real } = await house({ backends: [backend] })
    const request = await asked()
    await real.accept(request)
    await real.append(request.id, { type: 'cancel-asked', by: request.actor })
    await work(request.id, made, noSignal)
    expect([ran, (await stateOf(real, request.id)).outcome]).toEqual([[], { status: 'cancelled' }])
  })

  it('S42 in the middle: what runs is killed, what waits never starts, and each has its ending', async () => {
    const cancel = new AbortController()
    const { backend, ran } = backendOf(
      'prod',
      ['a', 'b', 'c'].map((name) => targetOf(name)),
      async function* (target, signal) {
        yield { type: 'started', handle: { target: target.id, exec: 'x', pid: 7 } }
        cancel.abort()
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
      },
    )
    const { state } = await play(
      { backends: [{ ...backend, kill: async () => ({ result: 'left', pid: 7 }) }], parallel: 1 },
      {},
      cancel.signal,
    )
    expect(ran).toHaveLength(1)
    expect(state.executions.map((execution) => execution.ending)).toMatchObject([
      { status: 'cancelled', left: { pid: 7 } },
      { error: { code: 'not_started' } },
      { error: { code: 'not_started' } },
    ])
    expect(state.outcome).toEqual({ status: 'cancelled' })
  })
})

describe('the answer', () => {
  it('[nothing-lost] that cannot be delivered is put off and tried again, without running anything', async () => {
    let clock = Date.now()
    let attempts = 0
    const delivered: RunState[] = []
    const deliver: Reporter['deliver'] = async (state, _, posted) => {
      if (++attempts === 1) {
        await posted({ part: 'summary', ref: '1.2' })
        throw new DroverError({ code: 'reply_failed', message: 'Slack answered 503.' })
      }
      delivered.push(state)
    }
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const { house: made, real, request } = await play({ backends: [backend], reporter: { deliver }, now: () => clock })
    expect(await real.due(clock + 1_000, 10)).toEqual([])
    expect(await real.due(clock + 3_000, 10)).toEqual([request.id])
    clock += 5_000
    await work(request.id, made, noSignal)
    expect([ran.length, attempts, delivered[0]?.posted]).toEqual([1, 2, { summary: '1.2' }])
    expect(await real.due(clock + 1e9, 10)).toEqual([])
  })

  it('a progress report that fails is logged, and stops nothing', async () => {
    const { backend } = backendOf('prod', [targetOf('a')])
    const { state, logged } = await play({
      backends: [backend],
      reporter: { progress: async () => Promise.reject(new Error('boom')) },
    })
    expect(state.delivered).toBe(true)
    expect(logged).toContainEqual(expect.objectContaining({ event: 'progress-failed' }))
  })

  it('[bounded] a run is read from the ledger once, for all its progress reports and its answer', {
    timeout: 30_000,
  }, async () => {
    let reads = 0
    let reports = 0
    const { backend } = backendOf('prod', [targetOf('a'), targetOf('b')], async function* (target) {
      yield { type: 'started', handle: { target: target.id, exec: 'e' } }
      await new Promise((resolve) => setTimeout(resolve, target.name === 'a' ? 1_500 : 3_500))
      yield { type: 'exit', code: 0 }
    })
    const counted = (real: Ledger): Partial<Ledger> => ({
      replay(run, listener) {
        reads++
        return real.replay(run, listener)
      },
      read(run) {
        reads++
        return real.read(run)
      },
    })
    const seen: string[] = []
    const progress = async (state: RunState) => {
      reports++
      seen.push(state.executions.map(({ status }) => status).join(' '))
      return []
    }
    const { state } = await play({ backends: [backend], ledger: counted, reporter: { progress } })
    expect(reports).toBeGreaterThanOrEqual(3)
    expect(seen.at(-1)).toBe('exited started')
    expect([state.delivered, reads]).toEqual([true, 1])
  })

  it('[nothing-lost] what another process wrote to the run meanwhile is in its answer, and nobody is told of it afterwards', async () => {
    let following = 0
    // Another's events are not told here: they show as a gap in the numbers.
    const ledger = (real: Ledger): Partial<Ledger> => ({
      follow(run, listener) {
        following++
        const stop = real.follow(run, (event) => (event.event.type === 'handle' ? undefined : listener(event)))
        return () => {
          following--
          stop()
        }
      },
    })
    const { delivered } = await play({ backends: [backendOf('prod', [targetOf('a')]).backend], ledger })
    expect(delivered[0]?.executions).toMatchObject([{ status: 'exited', handle: { pid: 7 } }])
    expect(following).toBe(0)
  })

  it('progress is reported by one call at a time, and the first is there before the answer although no command waits for it', {
    timeout: 30_000,
  }, async () => {
    const { backend, ran } = backendOf('prod', [targetOf('a'), targetOf('b')], async function* (target) {
      yield { type: 'started', handle: { target: target.id, exec: 'e' } }
      await new Promise((resolve) => setTimeout(resolve, 2_500))
      yield { type: 'exit', code: 0 }
    })
    let open = 0
    let most = 0
    let ranBefore = 0
    const progress = async () => {
      most = Math.max(most, ++open)
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      ranBefore ||= ran.length
      open--
      return [{ part: 'parent', ref: '1' }]
    }
    const { state } = await play({ backends: [backend], reporter: { progress } })
    expect([most, ranBefore, state.posted.parent]).toEqual([1, 2, '1'])
  })

  it('[bounded] a progress report that never comes back does not hold the run', { timeout: 30_000 }, async () => {
    const { backend } = backendOf('prod', [targetOf('a')])
    const { state } = await play({ backends: [backend], reporter: { progress: () => new Promise(() => {}) } })
    expect([state.outcome, state.delivered]).toEqual([{ status: 'done' }, true])
  })

  it('[stored-once] S26 is made of what is stored: reading, masking and delivering again asks no backend', async () => {
    let lists = 0
    const { backend, ran } = backendOf('prod', [targetOf('a')])
    const counting: Backend = {
      ...backend,
      list: async () => {
        lists++
        return [targetOf('a')]
      },
    }
    const { real, request } = await play({ backends: [counting] })
    for (let i = 0; i < 3; i++) {
      maskState(await stateOf(real, request.id), createRedactor([]))
      expect(await real.output(request.id, 'prod/a' as TargetId)).toEqual([{ stream: 'stdout', text: 'up\n' }])
    }
    expect([lists, ran.length]).toEqual([1, 1])
  })

  it('[no-secret-shown] S33 shows no env, no stdin and no masked word of the request, and no secret of an error', async () => {
    const { backend } = backendOf('prod', [targetOf('a')], async function* () {
      yield { type: 'exit-unknown', error: { code: 'exit_code_unknown', message: 'could not start: hunter-two' } }
    })
    const command = {
      argv: ['mysql', '--password', 'hunter22', 'hunter-two'] as const,
      env: { TOKEN: 'env-value' },
      stdin: 'stdin-value',
    }
    const { delivered, state } = await play(
      { backends: [backend], secrets: ['hunter-two'] },
      { command, typed: 'x hunter-two', restored: ['was hunter-two'] },
    )
    expect(JSON.stringify(delivered)).not.toMatch(/hunter22|hunter-two|env-value|stdin-value/)
    expect(JSON.stringify(state.executions)).not.toContain('hunter-two')
    expect(delivered[0]?.request.command.env).toEqual({ TOKEN: '…' })
  })

  it('[no-secret-shown] a bug is shown as a reference, and logged masked', async () => {
    const { backend } = backendOf('prod', [targetOf('a')], async function* () {
      yield* []
      throw new TypeError('bad hunter-two')
    })
    const { state, logged } = await play({ backends: [backend], secrets: ['hunter-two'] })
    expect(state.executions[0]?.ending).toMatchObject({
      status: 'unknown',
      error: { code: 'internal', message: expect.stringMatching(/reference [0-9a-f]{8}/) },
    })
    expect(JSON.stringify([state, logged])).not.toContain('hunter-two')
    expect(logged).toContainEqual(expect.objectContaining({ event: 'bug' }))
  })
})
