/** A rollout watched to its end and told truthfully, and what becomes of it later. */

import { describe, expect, it } from 'vitest'
import { BackendError } from '../../src/core/errors.ts'
import type { Owner, Rollout, RunId, RunRequest, RunState } from '../../src/core/model.ts'
import type { Backend, Reporter } from '../../src/core/ports.ts'
import { describeRollout } from '../../src/core/rollout-words.ts'
import type { Rule } from '../../src/core/rule.ts'
import { work } from '../../src/core/run.ts'
import { worstExitCode } from '../../src/core/run-state.ts'
import { anything, asked, endingsOf, failureOf, house, image, noSignal, play, stateOf } from './rollout-house.ts'
import { shelf, workload } from './shelf.ts'

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
