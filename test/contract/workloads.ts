/** What the workloads of every backend must do, tried on whatever engine a fixture brings; verbs that it lacks it must refuse. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Pace } from '../../src/backends/wire/rollout.ts'
import { BackendError } from '../../src/core/errors.ts'
import type { ExecEvent, Plan, Rollout, Target } from '../../src/core/model.ts'
import type { Workloads } from '../../src/core/ports.ts'
import { matches } from '../../src/core/selector.ts'
import { failureOf, newExec } from './backend.ts'

/** For engines that move in a few milliseconds. */
export const quickPace: Pace = {
  pollMs: 20,
  maxPollMs: 50,
  holdMs: 100,
  settleMs: 50,
  brokenMs: 600,
  stillMs: 15_000,
  silentMs: 5_000,
}

export type WorkloadsFixture = {
  readonly workloads: Workloads
  /** Verbs that the backend has and this kind of workload has not. */
  readonly lacks?: readonly Rollout['verb'][]
  /** Of `fresh`; default 2. */
  readonly replicas?: number
  /** What the one container of `fresh` and the first of `pair` is called: `container=`. */
  readonly containerOf: (target: Target) => string
  readonly images: { readonly before: string; readonly after: string; readonly missing: string }
  /** The value of an environment variable in every template. */
  readonly secret: string
  /** A new workload of `replicas` and one container with `images.before`, all there and running. */
  fresh(): Promise<Target>
  /** The same with a second container `side`. */
  pair(): Promise<Target>
  /** As the engine has it now: images by container name. */
  imagesOf(target: Target): Promise<Readonly<Record<string, string>>>
  /** How many containers run as the template says, and how many were wanted. */
  countOf(target: Target): Promise<{ readonly wanted: number; readonly running: number }>
  /** How often drover has asked for a change of this target, taken or not. */
  writes(target: Target): number
  /** Someone else changes the template. */
  edit(target: Target): Promise<void>
  /** Someone else sets one field of it. */
  set(target: Target, field: { readonly replicas: number } | { readonly paused: true }): Promise<void>
  /** Every write is answered with 409 `times` times; `moved` if the template was really changed meanwhile. Absent where no fault can be made. */
  conflict?(target: Target, times: number, moved: boolean): void
  /** The next write is taken and its answer lost. */
  loseAnswer?(): void
  /** The last words of a container that fails, where the engine keeps them; `watchedBy` has time to see that it does. */
  readonly lastWords?: { readonly image: string; readonly text: string; readonly watchedBy?: Workloads }
  tearDown(): Promise<void>
}

export type Applied = {
  readonly events: readonly ExecEvent[]
  readonly progress: readonly string[]
  readonly err: string
  readonly code: number | undefined
}

export function appliedOf(events: readonly ExecEvent[]): Applied {
  const exit = events.find((one) => one.type === 'exit')
  return {
    events,
    progress: events.flatMap((one) => (one.type === 'progress' ? [one.text] : [])),
    err: Buffer.concat(events.flatMap((one) => (one.type === 'output' && one.stream === 'stderr' ? [one.data] : []))).toString(),
    code: exit?.type === 'exit' ? exit.code : undefined,
  }
}

export function workloadsContract(name: string, setUp: () => Promise<WorkloadsFixture>): void {
  describe(`workloads contract: ${name}`, { timeout: 120_000 }, () => {
    let f: WorkloadsFixture
    beforeAll(async () => {
      f = await setUp()
    }, 120_000)
    afterAll(async () => {
      await f.tearDown()
    }, 120_000)

    const soon = () => AbortSignal.timeout(90_000)
    const can = (verb: Rollout['verb']) => f.workloads.verbs.includes(verb) && !f.lacks?.includes(verb)
    const all = () => ({ wanted: f.replicas ?? 2, running: f.replicas ?? 2 })
    const plan = (target: Target, rollout: Rollout) => f.workloads.plan(target, rollout, soon())
    const apply = async (
      target: Target,
      rollout: Rollout,
      planned: Plan,
      signal = soon(),
      { apply: applied } = f.workloads,
    ): Promise<Applied> => {
      const events: ExecEvent[] = []
      for await (const event of applied(target, rollout, planned, newExec(), signal)) events.push(event)
      return appliedOf(events)
    }
    const run = async (target: Target, rollout: Rollout) => apply(target, rollout, await plan(target, rollout))
    /** `act` comes when the change was taken and is not looked at yet. */
    const meanwhile = async (target: Target, rollout: Rollout, act: () => Promise<void>): Promise<Applied> => {
      const events: ExecEvent[] = []
      const applying = f.workloads.apply(target, rollout, await plan(target, rollout), newExec(), soon())
      for await (const event of applying) {
        events.push(event)
        if (event.type === 'started') await act()
      }
      return appliedOf(events)
    }
    const image = (to: string, container?: string): Rollout => ({
      verb: 'image',
      image: to,
      ...(container === undefined ? {} : { container }),
    })
    const only = async (target: Target) => (await f.imagesOf(target))[f.containerOf(target)]

    test('list finds a workload by its facets and labels, and tells it the same each time', async () => {
      const target = await f.fresh()
      const { workload, service, namespace, stack } = target.facets
      expect(target.name).toBe(workload)
      expect(workload).toBe(`${workload?.split('/')[0]}/${service}`)
      expect(namespace ?? stack).toBeTruthy()
      for (const selector of [
        { facets: { workload: workload! } },
        { facets: { service: service!, ...(namespace ? { namespace } : { stack: stack! }) } },
        { facets: { workload: `${workload!.slice(0, -1)}*` } },
        { name: target.name, labels: [{ op: 'eq', key: 'app', value: target.labels.app! }] },
      ] as const) {
        const found = (await f.workloads.list(selector, soon())).filter((one) => matches(selector, one))
        expect(found).toContainEqual(target)
      }
      const none = await f.workloads.list({ facets: { service: 'no-such-service' } }, soon())
      expect(none.filter((one) => matches({ facets: { service: 'no-such-service' } }, one))).toEqual([])
    })

    test('[default-deny] every container that a change touches is a part of the target, with its own image', async () => {
      const target = await f.pair()
      const now = await f.imagesOf(target)
      const parts = (target.parts ?? []).map(({ facets, labels }) => ({ name: facets.container, image: facets.image, labels }))
      expect(parts.map(({ name }) => name).sort()).toEqual([f.containerOf(target), 'side'].sort())
      for (const { name, image, labels } of parts) {
        expect(image).toBe(now[name!])
        expect(labels.app).toBe(target.labels.app)
      }
    })

    test('S21 a plan shows before and after and what would be sent, is the same each time, and changes nothing', async () => {
      const target = await f.fresh()
      const name = f.containerOf(target)
      const planned = await plan(target, image(f.images.after))
      expect(planned.facts).toContainEqual({ name: `image ${name}`, before: f.images.before, after: f.images.after })
      expect(planned.change).toContain(f.images.after)
      expect(planned.change).toMatch(/^(PATCH|POST|PUT) /)
      expect(planned.seal).toMatch(/^[0-9a-f]{64}$/)
      expect(await plan(target, image(f.images.after))).toEqual(planned)
      expect((await plan(target, image(f.images.before))).seal).not.toBe(planned.seal)
      expect(f.writes(target)).toBe(0)
      expect(await only(target)).toBe(f.images.before)
    })

    test('a container that is not there is refused with the names there are, and never added', async () => {
      const target = await f.pair()
      const error = await failureOf(plan(target, image(f.images.after, 'mian')))
      expect(error).toMatchObject({ code: 'usage', ran: 'no' })
      expect(error.message).toContain(f.containerOf(target))
      expect(error.message).toContain('side')
      expect((await failureOf(plan(target, image(f.images.after)))).message).toContain('side')
      expect(Object.keys(await f.imagesOf(target)).sort()).toEqual([f.containerOf(target), 'side'].sort())
      expect(f.writes(target)).toBe(0)
    })

    test('[exact-argv] what is applied is what was planned: another change with that plan is refused', async () => {
      const target = await f.fresh()
      const planned = await plan(target, image(f.images.after))
      expect(await failureOf(apply(target, image(f.images.missing), planned))).toMatchObject({ code: 'changed', ran: 'no' })
      expect(f.writes(target)).toBe(0)
      expect(await only(target)).toBe(f.images.before)
    })

    test('S21 a workload that was changed after the plan is refused, not overwritten', async () => {
      const target = await f.fresh()
      const planned = await plan(target, image(f.images.after))
      await f.edit(target)
      const error = await failureOf(apply(target, image(f.images.after), planned))
      expect(error).toMatchObject({ code: 'changed', ran: 'no' })
      expect(f.writes(target)).toBe(0)
      expect(await only(target)).toBe(f.images.before)
    })

    test('[true-ending] an image is rolled out to its end: started, progress, exit 0, and every container has it', async () => {
      const target = await f.fresh()
      const applied = await run(target, image(f.images.after))
      expect(applied.events[0]?.type).toBe('started')
      expect(applied.events.at(-1)).toEqual({ type: 'exit', code: 0 })
      expect(applied.progress.length).toBeGreaterThan(0)
      expect(applied.err).toBe('')
      expect(f.writes(target)).toBe(1)
      expect(await only(target)).toBe(f.images.after)
      expect(await f.countOf(target)).toEqual(all())
    })

    test('the image of one of several containers changes, and the other stays as it is', async () => {
      const target = await f.pair()
      expect((await run(target, image(f.images.after, 'side'))).code).toBe(0)
      expect(await f.imagesOf(target)).toEqual({ [f.containerOf(target)]: f.images.before, side: f.images.after })
    })

    test('[true-ending] an image that cannot be pulled is stuck: exit 1, with the reason on stderr', async () => {
      const target = await f.fresh()
      const applied = await run(target, image(f.images.missing))
      expect(applied.code).toBe(1)
      expect(applied.err).toMatch(/^stuck: it stands still/)
      expect(applied.err).toMatch(/pull/i)
      expect(applied.err.length).toBeLessThan(20_000)
      if (!can('undo')) return
      // And the way back is open.
      expect((await run(target, { verb: 'undo' })).code).toBe(0)
      expect(await only(target)).toBe(f.images.before)
      expect(await f.countOf(target)).toEqual(all())
    })

    test('[bounded] of a container that crashes, the last lines are on stderr', async () => {
      if (!f.lastWords) return
      const target = await f.fresh()
      const asked = image(f.lastWords.image)
      const applied = await apply(target, asked, await plan(target, asked), soon(), f.lastWords.watchedBy)
      expect(applied.code).toBe(1)
      expect(applied.err).toContain(f.lastWords.text)
      expect(applied.err.length).toBeLessThan(60_000)
    })

    test('a conflict while the template is the same is tried again or told, and one in which it moved is refused', async () => {
      if (!f.conflict) return
      const target = await f.fresh()
      f.conflict(target, 1, false)
      const outcome = await run(target, image(f.images.after)).catch((error: unknown) => error)
      if (outcome instanceof BackendError) {
        expect(outcome.ran).toBe('no')
        expect(f.writes(target)).toBe(1)
      } else {
        expect((outcome as Applied).code).toBe(0)
        expect(f.writes(target)).toBe(2)
      }
      const other = await f.fresh()
      const planned = await plan(other, image(f.images.after))
      f.conflict(other, 1, true)
      const error = await failureOf(apply(other, image(f.images.after), planned))
      expect(error.ran).toBe('no')
      expect(f.writes(other)).toBe(1)
      expect(await only(other)).toBe(f.images.before)
    })

    test('[once] a write whose answer is lost is not sent again, and its outcome is not known', async () => {
      if (!f.loseAnswer) return
      const target = await f.fresh()
      const planned = await plan(target, image(f.images.after))
      f.loseAnswer()
      expect((await failureOf(apply(target, image(f.images.after), planned))).ran).toBe('maybe')
      expect(f.writes(target)).toBe(1)
    })

    test('restart replaces or restarts every container and keeps the image', async () => {
      const target = await f.fresh()
      expect((await run(target, { verb: 'restart' })).code).toBe(0)
      expect(await only(target)).toBe(f.images.before)
      expect(await f.countOf(target)).toEqual(all())
      expect(f.writes(target)).toBe(1)
    })

    test('scale up and down ends when that many run', async () => {
      const target = await f.fresh()
      if (!can('scale')) {
        expect(await failureOf(plan(target, { verb: 'scale', replicas: 3 }))).toMatchObject({ code: 'unsupported', ran: 'no' })
        return
      }
      const planned = await plan(target, { verb: 'scale', replicas: 3 })
      expect(planned.facts).toContainEqual({ name: 'replicas', before: '2', after: '3' })
      expect((await apply(target, { verb: 'scale', replicas: 3 }, planned)).code).toBe(0)
      expect(await f.countOf(target)).toEqual({ wanted: 3, running: 3 })
      expect((await run(target, { verb: 'scale', replicas: 1 })).code).toBe(0)
      expect(await f.countOf(target)).toEqual({ wanted: 1, running: 1 })
    })

    test('undo goes back to what was before, and the plan before said where to', async () => {
      const target = await f.fresh()
      const planned = await plan(target, image(f.images.after))
      expect(planned.undo?.to).toBeTruthy()
      expect(planned.undo?.says).toContain(f.images.before)
      expect((await apply(target, image(f.images.after), planned)).code).toBe(0)
      const back = await plan(target, { verb: 'undo' })
      expect(back.facts).toContainEqual({
        name: `image ${f.containerOf(target)}`,
        before: f.images.after,
        after: f.images.before,
      })
      expect((await apply(target, { verb: 'undo' }, back)).code).toBe(0)
      expect(await only(target)).toBe(f.images.before)
      expect(await f.countOf(target)).toEqual(all())
    })

    test('undo to= goes to the revision that the plan named, and an unknown one is refused', async () => {
      const target = await f.fresh()
      const { undo } = await plan(target, image(f.images.after))
      expect((await run(target, image(f.images.after))).code).toBe(0)
      expect(await failureOf(plan(target, { verb: 'undo', to: '4711' }))).toMatchObject({ ran: 'no' })
      // What tells the earlier rollout that it was taken back.
      for (const back of [{ verb: 'undo' }, { verb: 'undo', to: undo!.to }] as const)
        expect((await plan(target, back)).back).toBe(undo!.to)
      expect((await run(target, { verb: 'undo', to: undo!.to })).code).toBe(0)
      expect(await only(target)).toBe(f.images.before)
    })

    test('undo with nothing before it is refused', async () => {
      const target = await f.fresh()
      const error = await failureOf(plan(target, { verb: 'undo' }))
      expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
      expect(error.message).toMatch(/nothing/)
      expect(error.next).toBeTruthy()
    })

    test('pause holds, resume goes on; paused, restart and undo are refused in words', async () => {
      const target = await f.fresh()
      if (!can('pause')) {
        expect(await failureOf(plan(target, { verb: 'pause' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
        expect(await failureOf(plan(target, { verb: 'resume' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
        return
      }
      expect((await run(target, image(f.images.after))).code).toBe(0)
      expect((await run(target, { verb: 'pause' })).code).toBe(0)
      for (const verb of ['restart', 'undo', 'pause'] as const) {
        const error = await failureOf(plan(target, { verb }))
        expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
        expect(error.message).toMatch(/paused/)
      }
      const status = await plan(target, { verb: 'status' })
      expect(JSON.stringify(status.facts)).toMatch(/paused/)
      expect((await run(target, { verb: 'resume' })).code).toBe(0)
      expect((await failureOf(plan(target, { verb: 'resume' }))).message).toMatch(/not paused/)
      expect((await run(target, { verb: 'restart' })).code).toBe(0)
    })

    test('[true-ending] paused, an image is taken and told as held, and a scale is waited for', async () => {
      if (!can('pause')) return
      const target = await f.fresh()
      expect((await run(target, { verb: 'pause' })).code).toBe(0)
      expect((await run(target, { verb: 'scale', replicas: 3 })).code).toBe(0)
      expect(await f.countOf(target)).toEqual({ wanted: 3, running: 3 })
      const held = await run(target, image(f.images.after))
      expect([held.code, held.err]).toEqual([0, 'taken, held until resume\n'])
      expect((await run(target, { verb: 'status' })).progress.at(-1)).toMatch(/^paused: .*0 .*updated/)
      expect((await run(target, { verb: 'resume' })).code).toBe(0)
      expect(await f.countOf(target)).toEqual({ wanted: 3, running: 3 })
    })

    test('[true-ending] a rollout that someone else pauses half-way is stuck, and no success', async () => {
      if (!can('pause')) return
      const target = await f.fresh()
      const applied = await meanwhile(target, image(f.images.missing), () => f.set(target, { paused: true }))
      expect(applied.code).toBe(1)
      expect(applied.err).toMatch(/^stuck: someone else has paused it meanwhile/m)
    })

    test('[true-ending] a scale that someone else sets to another number is stuck, and no success', async () => {
      if (!can('scale')) return
      const target = await f.fresh()
      const applied = await meanwhile(target, { verb: 'scale', replicas: 4 }, () => f.set(target, { replicas: 1 }))
      expect(applied.code).toBe(1)
      expect(applied.err).toMatch(/^stuck: someone else, or an autoscaler, has set it to 1 meanwhile/m)
    })

    test('finish ends an upgrade for good, or is refused where there is no such thing', async () => {
      const target = await f.fresh()
      if (can('finish')) {
        expect((await run(target, image(f.images.after))).code).toBe(0)
        // Rancher takes no second upgrade before that.
        expect(await failureOf(plan(target, image(f.images.before)))).toMatchObject({ code: 'unsupported', ran: 'no' })
        expect((await run(target, { verb: 'finish' })).code).toBe(0)
        expect(await failureOf(plan(target, { verb: 'undo' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
      } else expect(await failureOf(plan(target, { verb: 'finish' }))).toMatchObject({ code: 'unsupported', ran: 'no' })
    })

    test('status looks and sends nothing', async () => {
      const target = await f.fresh()
      const planned = await plan(target, { verb: 'status' })
      expect(planned.change).toBe('')
      expect(JSON.stringify(planned.facts)).toContain(f.images.before)
      expect((await apply(target, { verb: 'status' }, planned)).code).toBe(0)
      expect(f.writes(target)).toBe(0)
    })

    test('an abort ends the watching, and what was sent stays', async () => {
      const target = await f.fresh()
      const stop = new AbortController()
      const rollout = image(f.images.missing)
      const events = f.workloads.apply(target, rollout, await plan(target, rollout), newExec(), stop.signal)
      const iterator = events[Symbol.asyncIterator]()
      expect((await iterator.next()).value?.type).toBe('started')
      stop.abort()
      const rest = (async () => {
        for (;;) {
          const { value, done } = await iterator.next()
          if (done || value.type === 'exit') return
        }
      })()
      expect(await failureOf(rest)).toMatchObject({ ran: 'maybe' })
      expect(await only(target)).toBe(f.images.missing)
      expect(f.writes(target)).toBe(1)
    })

    test('[no-secret-shown] no value of an environment variable is in a plan, an event or an error', async () => {
      const target = await f.pair()
      const told: unknown[] = []
      const rollouts: readonly Rollout[] = [
        image(f.images.after, f.containerOf(target)),
        { verb: 'status' },
        { verb: 'undo' },
        { verb: 'restart' },
        { verb: 'scale', replicas: 1 },
        image(f.images.after, 'nope'),
        { verb: 'undo', to: 'nope' },
        image(f.images.missing, 'side'),
      ]
      for (const rollout of rollouts) {
        const planned = await plan(target, rollout).catch((error: unknown) => {
          told.push(error instanceof BackendError ? error.toFailure() : String(error))
          return undefined
        })
        if (planned === undefined) continue
        const applied = await apply(target, rollout, planned)
        told.push(planned, applied.progress, applied.err)
      }
      expect(told.length).toBeGreaterThan(12)
      expect(f.secret.length).toBeGreaterThan(8)
      expect(JSON.stringify(told)).not.toContain(f.secret)
    })

    test('a workload that is gone is told as gone', async () => {
      const target = await f.fresh()
      const gone = { ...target, native: `${target.native}99`, name: `${target.name}99` }
      expect(await failureOf(plan(gone, { verb: 'restart' }))).toMatchObject({ code: 'backend_not_found', ran: 'no' })
    })
  })
}
