/** The life of a rollout over a real ledger: judged, planned, shown, sent once, watched to its end, and told truthfully. */

import { afterEach, describe, expect, it } from 'vitest'
import { BackendError } from '../../src/core/errors.ts'
import { createGate } from '../../src/core/fan-out.ts'
import type { House } from '../../src/core/house.ts'
import { judge } from '../../src/core/judge.ts'
import type { Owner, Rollout, RunId, RunRequest, RunState } from '../../src/core/model.ts'
import type { Backend, Ledger, Reporter } from '../../src/core/ports.ts'
import { createRedactor } from '../../src/core/redact.ts'
import { rolloutArgv } from '../../src/core/rollout.ts'
import { describeRollout } from '../../src/core/rollout-words.ts'
import type { Rule } from '../../src/core/rule.ts'
import { work } from '../../src/core/run.ts'
import { runIdFor } from '../../src/core/run-id.ts'
import { reduce, worstExitCode } from '../../src/core/run-state.ts'
import { createTurns } from '../../src/core/turns.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { type Shelf, shelf, workload } from './shelf.ts'

const anything: Rule = { id: 'deployers', effect: 'allow', who: { users: ['T1/U1'] }, rollouts: [['...']] }
const image: Rollout = { verb: 'image', image: 'repo/app:2', container: 'main' }
const noSignal = new AbortController().signal

const open: Ledger[] = []
afterEach(async () => {
  for (const ledger of open.splice(0)) await ledger.close()
})

type Setting = {
  rules?: readonly Rule[]
  backends?: readonly Backend[]
  secrets?: readonly string[]
  reporter?: Partial<Reporter>
  ledger?: Ledger
  targets?: number
  maxTimeoutMs?: number
}

async function house({ rules = [anything], backends = [], secrets = [], reporter, ledger, targets, maxTimeoutMs }: Setting) {
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
async function asked(rollout: Rollout, more: Partial<RunRequest> = {}): Promise<RunRequest> {
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

const stateOf = async (ledger: Ledger, run: RunId) => reduce(await ledger.read(run))!

async function play(shop: Shelf, rollout: Rollout, setting: Setting = {}, more: Partial<RunRequest> = {}, cancel = noSignal) {
  const made = await house({ backends: [shop.backend], ...setting })
  const request = await asked(rollout, more)
  await made.real.accept(request)
  await work(request.id, made.house, cancel)
  return { ...made, request, state: await stateOf(made.real, request.id) }
}

const failureOf = (state: RunState) => (state.outcome?.status === 'refused' ? state.outcome.failure : undefined)
const endingsOf = (state: RunState) =>
  state.executions.map((one) => describeRollout(one, state.request.rollout!, state.timeoutMs))

describe('a rollout that is allowed', () => {
  it('[recorded-first] S21 is decided, planned and shown before the change leaves, and ends when the new state is reached', async () => {
    const shop = shelf([workload('api')])
    const shown: RunState[] = []
    const { real, request, state } = await play(shop, image, {
      reporter: {
        progress: async (now) => {
          if (shown.length === 0) expect(shop.sent).toEqual([])
          shown.push(now)
          return []
        },
      },
    })
    const types = (await real.read(request.id)).map(({ event }) => event.type)
    const first = [
      'accepted',
      'resolved',
      'decided',
      'planned',
      'started',
      'handle',
      'progressed',
      'ended',
      'finished',
      'delivered',
    ]
    expect(types).toEqual(first)
    expect(shown[0]?.executions[0]?.plan?.facts).toContainEqual({ name: 'image main', before: 'repo/app:1', after: 'repo/app:2' })
    expect(shop.workloads[0]?.template.images).toEqual({ main: 'repo/app:2' })
    expect(state.decision).toMatchObject({ effect: 'allow', rule: 'deployers' })
    expect(endingsOf(state)).toEqual(['rolled out'])
    expect(worstExitCode(state)).toBe(0)
    expect(await real.verify()).toMatchObject({ ok: true })
  })

  it('status looks and sends nothing; the facts are in the record', async () => {
    const shop = shelf([workload('api')])
    const { state } = await play(shop, { verb: 'status' })
    expect(shop.sent).toEqual([])
    expect(state.executions[0]?.plan).toMatchObject({ change: '', facts: [{ name: 'image main', before: 'repo/app:1' }, {}, {}] })
    expect(endingsOf(state)).toEqual(['as it stands now'])
  })

  it('undo returns to what the plan before said, as a run of its own', async () => {
    const shop = shelf([workload('api')])
    const { state } = await play(shop, image)
    const { to } = state.executions[0]!.plan!.undo!
    const back = await play(shop, { verb: 'undo', to })
    expect(endingsOf(back.state)).toEqual(['rolled back'])
    expect(shop.workloads[0]?.template.images).toEqual({ main: 'repo/app:1' })
  })

  it('goes to each workload that was named, with a plan for each; the short name is enough', async () => {
    const shop = shelf([workload('api'), workload('web')])
    const { state } = await play(shop, { verb: 'scale', replicas: 0 }, {}, { selector: { name: 'api' } })
    expect(state.executions.map(({ target }) => target.name)).toEqual(['deployment/api'])
    expect(endingsOf(state)).toEqual(['scaled to 0'])
    const both = await play(shop, { verb: 'restart' }, {}, { selector: { facets: { namespace: 'shop' } } })
    expect(both.state.executions.map(({ plan }) => plan?.change !== '')).toEqual([true, true])
    expect(shop.sent.map(({ verb }) => verb)).toEqual(['scale', 'restart', 'restart'])
  })
})

describe('[default-deny] what is refused, with nothing sent', () => {
  const cases: readonly [string, Rollout, Setting, Partial<RunRequest>, string][] = [
    ['a rollout that no rule names', image, { rules: [{ ...anything, rollouts: [['restart']] }] }, {}, 'denied'],
    [
      'a rollout under a rule for any command',
      image,
      { rules: [{ id: 'x', effect: 'allow', who: { users: ['T1/U1'] }, commands: [['...']] }] },
      {},
      'denied',
    ],
    [
      'more workloads than the site allows',
      { verb: 'restart' },
      { targets: 1 },
      { selector: { facets: { namespace: 'shop' } } },
      'too_many_targets',
    ],
    [
      'S44 nothing in particular',
      { verb: 'restart' },
      {},
      { selector: { facets: { workload: 'deployment/*' } } },
      'empty_selector',
    ],
    ['a random one', { verb: 'restart' }, {}, { selector: { name: 'api', any: 1 } }, 'usage'],
    ['a container that is not there', { ...image, container: 'mian' }, {}, {}, 'unsupported'],
    ['a verb that the backend lacks', { verb: 'finish' }, {}, {}, 'unsupported'],
    ['words that say something else', image, {}, { command: { argv: ['rollout', 'restart'] } }, 'usage'],
    ['[exact-argv] more than words', image, {}, { command: { argv: rolloutArgv(image), user: 'root' } }, 'usage'],
    ['[exact-argv] a rollout that makes a container as well', image, {}, { newContainer: { image: 'x' } }, 'usage'],
    ['an image with a wildcard', { verb: 'image', image: 'repo/*' }, {}, {}, 'usage'],
    ['no such workload', image, {}, { selector: { facets: { workload: 'deployment/none' } } }, 'no_targets'],
    ['no such backend', image, {}, { selector: { on: 'elsewhere', name: 'api' } }, 'no_targets'],
  ]
  it.each(cases)('%s', async (_, rollout, setting, more, code) => {
    const shop = shelf([workload('api'), workload('web')])
    const { state } = await play(shop, rollout, setting, more)
    expect(failureOf(state)?.code).toBe(code)
    expect(failureOf(state)?.next).toBeTruthy()
    expect(shop.sent).toEqual([])
  })

  it('a workload that cannot be planned refuses all of them and is named', async () => {
    const shop = shelf([workload('api'), workload('web')])
    await play(shop, image, {}, { selector: { facets: { service: 'api' } } })
    const { state } = await play(shop, { verb: 'undo' }, {}, { selector: { facets: { namespace: 'shop' } } })
    expect(failureOf(state)?.message).toContain('deployment/web (kube): There is nothing to go back to.')
    expect(shop.sent).toHaveLength(1)
  })

  it('a backend without workloads is left out, and said when nothing else is meant', async () => {
    const shop = shelf([workload('api')])
    const { workloads: _, ...bare } = shop.backend
    const plain: Backend = { ...bare, name: 'prod', kind: 'docker' }
    const both = await play(shop, image, { backends: [plain, shop.backend] })
    expect(endingsOf(both.state)).toEqual(['rolled out'])
    const alone = await play(shop, image, { backends: [plain, shop.backend] }, { selector: { on: 'prod', name: 'api' } })
    expect(failureOf(alone.state)).toMatchObject({ code: 'unsupported', message: 'Nothing can be rolled out on prod (docker).' })
  })

  it('why shows the plan, and nothing is sent or recorded', async () => {
    const shop = shelf([workload('api')])
    const made = await house({ backends: [shop.backend] })
    const judgement = await judge(await asked(image), made.house)
    expect(judgement.ok && Object.values(judgement.plans ?? {})[0]?.change).toContain('repo/app:2')
    expect(judgement.ok && judgement.timeoutMs).toBe(600_000)
    expect(shop.sent).toEqual([])
    expect(await made.real.list({ limit: 1 })).toEqual([])
  })
})

describe('[true-ending] how it ends', () => {
  it('stuck is exit 1, with the reason as output', async () => {
    const shop = shelf([workload('api')])
    shop.broken.add('repo/app:2')
    const { state, real, request } = await play(shop, image)
    expect(endingsOf(state)).toEqual(['stuck; the change stays'])
    expect(worstExitCode(state)).toBe(1)
    const output = await real.output(request.id, state.executions[0]!.target.id)
    expect(output).toEqual([{ stream: 'stderr', text: 'stuck: pod api-1: ImagePullBackOff\n' }])
    expect(state.executions[0]?.progress).toBe('1 of 3 updated, 2 available')
  })

  it('[bounded] a deadline ends the watching: the change stays, and nothing is said to be gone', async () => {
    const shop = shelf([workload('api')])
    shop.hold = true
    const { state } = await play(shop, image, {}, { timeoutMs: 100 })
    expect(endingsOf(state)).toEqual(['not finished after 0.1 s; the change stays'])
    expect(state.executions[0]?.ending).toEqual({ status: 'timed_out' })
    expect(shop.workloads[0]?.template.images.main).toBe('repo/app:2')
    expect(worstExitCode(state)).toBe(124)
  })

  it('a cancel stops the watching, and nothing is killed or sent again', async () => {
    const shop = shelf([workload('api')])
    shop.hold = true
    const cancel = new AbortController()
    const reporter: Partial<Reporter> = {
      progress: async (state) => {
        if (state.executions[0]?.handle) cancel.abort()
        return []
      },
    }
    const { state } = await play(shop, image, { reporter }, {}, cancel.signal)
    expect(endingsOf(state)).toEqual(['no longer watched; the change stays'])
    expect(state.outcome).toEqual({ status: 'cancelled' })
    expect(shop.sent).toHaveLength(1)
    expect(worstExitCode(state)).toBe(130)
  })

  it('a lost answer is unknown, and what was changed after the plan is refused by the backend', async () => {
    const shop = shelf([workload('api')])
    shop.lose = true
    const lost = await play(shop, image)
    expect(endingsOf(lost.state)).toEqual(['outcome unknown: The answer was lost.'])
    const { workloads } = shop.backend
    const unwatched: Backend = {
      ...shop.backend,
      workloads: {
        ...workloads!,
        async *apply(target, _rollout, _plan, exec) {
          yield { type: 'started', handle: { target: target.id, exec } }
          throw new BackendError({ code: 'stream_broken', message: 'Watching it broke off.' }, { ran: 'maybe' })
        },
      },
    }
    const unseen = await play(shop, image, { backends: [unwatched] })
    expect(endingsOf(unseen.state)).toEqual(['outcome unknown: Watching it broke off.'])
    // Nothing of it can be killed.
    expect(unseen.state.executions[0]?.ending).not.toHaveProperty('left')
    shop.lose = false
    const meanwhile = await play(
      shop,
      { verb: 'restart' },
      {
        reporter: {
          progress: async () => {
            if (shop.workloads[0]!.replicas === 3) shop.workloads[0]!.replicas = 5
            return []
          },
        },
      },
    )
    expect(endingsOf(meanwhile.state)).toEqual(['nothing was changed: deployment/api was changed meanwhile.'])
    expect(shop.sent).toHaveLength(1)
  })

  it('[once] [nothing-lost] a life that died while it watched is told as unknown, and nothing is sent again', async () => {
    const shop = shelf([workload('api'), workload('cache')])
    const { house: here, real } = await house({ backends: [shop.backend] })
    const request = await asked(image)
    await real.accept(request)
    const targets = shop.workloads.map(({ target }) => target)
    await real.append(request.id, { type: 'resolved', targets })
    await real.append(request.id, { type: 'decided', decision: { effect: 'allow', rule: 'deployers', limits: {} }, policy: 'v1' })
    for (const target of targets) {
      const plan = await shop.backend.workloads!.plan(target, image, noSignal)
      await real.append(request.id, { type: 'planned', target: target.id, plan })
    }
    await real.claim(request.id, targets[0]!.id, 'earlier' as Owner)
    await real.append(request.id, { type: 'handle', target: targets[0]!.id, handle: { target: targets[0]!.id, exec: 'x' } })
    await work(request.id, here, noSignal)
    const state = await stateOf(real, request.id)
    expect(endingsOf(state)).toEqual([
      'outcome unknown: drover stopped meanwhile; the change may be on its way.',
      'nothing was changed: drover stopped before its turn.',
    ])
    expect(state.outcome).toMatchObject({
      status: 'interrupted',
      failure: { next: 'Look with rollout status before you do it again.' },
    })
    expect(state.executions[0]?.ending).not.toHaveProperty('left')
    expect(shop.sent).toEqual([])
  })

  it('a plan is recorded once for a target', async () => {
    const shop = shelf([workload('api')])
    const { real } = await house({})
    const request = await asked(image)
    await real.accept(request)
    const { target } = shop.workloads[0]!
    await real.append(request.id, { type: 'resolved', targets: [target] })
    const planned = {
      type: 'planned',
      target: target.id,
      plan: await shop.backend.workloads!.plan(target, image, noSignal),
    } as const
    await real.append(request.id, planned)
    await expect(real.append(request.id, planned)).rejects.toThrow()
  })
})

describe('what is said of an end', () => {
  it('[true-ending] a change that is held is not called rolled out', () => {
    const execution = { target: workload('api').target, status: 'exited', ending: { status: 'exited', code: 0 } } as const
    expect(describeRollout(execution, image)).toBe('rolled out')
    expect(describeRollout({ ...execution, progress: 'taken, held until resume' }, image)).toBe('taken, held until resume')
  })
})

describe('a button’s rollout', () => {
  it('S21 goes to the very workload it was drawn for, never to one whose id begins alike', async () => {
    const shop = shelf([workload('api-canary')])
    const drawn = { selector: { on: 'kube', id: 'shop:api' }, after: 'r-before' as RunId }
    const { state } = await play(shop, { verb: 'undo', to: '1' }, {}, drawn)
    expect(failureOf(state)).toMatchObject({ code: 'changed', message: expect.stringContaining('deployment/api-canary') })
    expect(shop.sent).toEqual([])
  })

  it('people may shorten an id', async () => {
    const shop = shelf([workload('api-canary')])
    const { state } = await play(shop, { verb: 'restart' }, {}, { selector: { id: 'shop:api' } })
    expect(endingsOf(state)).toEqual(['restarted'])
  })
})

describe('what became of a rollout', () => {
  const sam = { kind: 'slack-user', team: 'T1', user: 'U2' } as const
  const both: Rule = { ...anything, who: { teams: ['T1'] } }
  /** One ledger for all of it; `told`: each message that was shown after its run had ended. */
  async function shop(verbs?: NonNullable<Backend['workloads']>['verbs']) {
    const told: RunState[] = []
    const shown: RunState[] = []
    const here = shelf([workload('api', { uid: 'u-1' })], verbs)
    const { house: it, real } = await house({
      backends: [here.backend],
      rules: [both],
      reporter: {
        progress: async (state) => {
          shown.push(state)
          if (state.delivered) told.push(state)
          return state.posted.parent === undefined ? [{ part: 'parent', ref: `C1:${state.request.id}` }] : []
        },
      },
    })
    const run = async (rollout: Rollout, more: Partial<RunRequest> = {}) => {
      const request = await asked(rollout, more)
      await real.accept(request)
      await work(request.id, it, noSignal)
      return request.id
    }
    const settledOf = async (id: RunId) => (await stateOf(real, id)).executions[0]?.settled
    return { here, it, real, run, settledOf, told, shown }
  }
  const drawn = { on: 'kube', id: 'shop:api' }

  it('an undo by the button is told to the run that it takes back: by whom, by which run, and where its message is', async () => {
    const { run, settledOf, told, real } = await shop()
    const first = await run(image)
    const undo = await run({ verb: 'undo', to: '1' }, { actor: sam, selector: drawn, after: first, uid: 'u-1' })
    const settled = { type: 'settled', target: 'kube/shop:api', verb: 'undo', by: sam, run: undo, ref: `C1:${undo}` }
    expect(await settledOf(first)).toEqual(settled)
    expect(told.map(({ request, executions }) => [request.id, executions[0]?.settled])).toEqual([[first, settled]])
    expect(await real.verify()).toMatchObject({ ok: true })
  })

  it('an undo by hand is told to the rollout whose way back it took, the newest of them, and to no other', async () => {
    const { run, settledOf } = await shop()
    const first = await run(image)
    const second = await run({ ...image, image: 'repo/app:3' })
    const third = await run({ ...image, image: 'repo/app:4' })
    const undo = await run({ verb: 'undo', to: '2' }, { actor: sam })
    expect([await settledOf(first), (await settledOf(second))?.run, await settledOf(third)]).toEqual([undefined, undo, undefined])
    const next = await run({ verb: 'undo' })
    expect((await settledOf(undo))?.run).toBe(next)
    expect(await settledOf(third)).toBeUndefined()
  })

  it('[true-ending] an undo that was refused, stuck or only looked at settles nothing', async () => {
    const { run, settledOf, here } = await shop()
    const first = await run(image)
    await run({ verb: 'undo', to: '9' }, { selector: drawn, after: first })
    await run({ verb: 'status' }, { selector: drawn, after: first })
    await run({ verb: 'restart' })
    here.broken.add('repo/app:1')
    await run({ verb: 'undo', to: '1' }, { selector: drawn, after: first })
    expect(await settledOf(first)).toBeUndefined()
  })

  it('what is finished is told, too; it was undone by nobody', async () => {
    const { run, settledOf } = await shop(['image', 'finish', 'undo', 'status'])
    const first = await run(image)
    const finish = await run({ verb: 'finish' })
    expect(await settledOf(first)).toMatchObject({ verb: 'finish', run: finish })
  })

  it('what was undone once stays undone by that run', async () => {
    const { run, settledOf } = await shop()
    const first = await run(image)
    const undo = await run({ verb: 'undo', to: '1' })
    await run({ verb: 'undo', to: '1' })
    expect((await settledOf(first))?.run).toBe(undo)
  })

  it('a run whose own answer is still owed is left to it: that shows what became of it', async () => {
    const { run, settledOf, it: here, shown } = await shop()
    const { reporter } = here
    const deliver = () => Promise.reject(new Error('Slack is away'))
    Object.assign(here, { reporter: (request: RunRequest) => ({ ...reporter(request), deliver }) })
    const first = await run(image)
    Object.assign(here, { reporter })
    const undo = await run({ verb: 'undo', to: '1' })
    expect((await settledOf(first))?.run).toBe(undo)
    expect(shown.filter(({ request, executions }) => request.id === first && executions[0]?.settled)).toEqual([])
  })

  it('a workload that was made anew has nothing to do with what came before it', async () => {
    const { run, settledOf, here, real } = await shop()
    const first = await run(image)
    Object.assign(here.workloads[0]!, workload('api', { uid: 'u-2' }))
    // Its first revisions are somebody else's.
    expect((await stateOf(real, await run({ verb: 'undo', to: '1' }))).executions[0]?.ending).toMatchObject({ code: 0 })
    expect(await settledOf(first)).toBeUndefined()
  })

  it('S21 the button of a workload that was made anew under its name is refused', async () => {
    const { run, here, real } = await shop()
    const first = await run(image)
    Object.assign(here.workloads[0]!, workload('api', { uid: 'u-2' }))
    here.workloads[0]!.history.set('2', { images: { main: 'x' }, stamp: 0 })
    const sent = here.sent.length
    const undo = await run({ verb: 'undo', to: '2' }, { selector: drawn, after: first, uid: 'u-1' })
    expect(failureOf(await stateOf(real, undo))).toMatchObject({
      code: 'changed',
      message: expect.stringContaining('deployment/api was made anew since'),
    })
    expect(here.sent).toHaveLength(sent)
  })

  it('an earlier run that cannot be told does not spoil the later one', async () => {
    const { run, real, it: here } = await shop()
    const logged: object[] = []
    Object.assign(here, { log: (event: object) => logged.push(event) })
    await run(image)
    const undo = await run({ verb: 'undo', to: '1' }, { selector: drawn, after: 'rzzzzzzzzzzzzzzz' as RunId })
    expect(endingsOf(await stateOf(real, undo))).toEqual(['rolled back'])
    expect(logged).toMatchObject([{ event: 'settle-failed', run: undo }])
  })
})

describe('[no-secret-shown] what a plan says', () => {
  it('S36 what a terminal would obey is shown and not obeyed', async () => {
    const shop = shelf([workload('api')])
    const obeyed = '\u001b]52;c;ZXZpbA==\u0007'
    shop.workloads[0]!.template = { images: { main: `repo/app:${obeyed}` }, stamp: 0 }
    const { state } = await play(shop, { verb: 'restart' })
    const { facts, change } = state.executions[0]!.plan!
    expect(JSON.stringify([facts, change])).toContain('␛]52')
    expect([...facts.flatMap(({ before, after }) => [before, after ?? '']), change].join('')).not.toContain('\u001b')
  })

  it('S35 is masked before it is recorded and shown; what is sent back is not touched', async () => {
    const secret = 'hunter2-hunter2'
    const shop = shelf([workload('api')])
    const rollout: Rollout = { verb: 'image', image: `repo/app:${secret}` }
    const { state, real, request } = await play(shop, rollout, { secrets: [secret] })
    expect(JSON.stringify(state.executions.map(({ plan }) => ({ ...plan, seal: '' })))).not.toContain(secret)
    expect(shop.workloads[0]?.template.images.main).toBe(`repo/app:${secret}`)
    expect((await real.read(request.id)).filter(({ event }) => event.type === 'planned')).toHaveLength(1)
  })
})
