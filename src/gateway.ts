/** Runs that live in this process or object: submitted, worked on, cancelled, killed, shared, told. */

import type { Config } from './config.ts'
import { maskState } from './core/answer.ts'
import { counted } from './core/counted.ts'
import { DroverError, type Failure } from './core/errors.ts'
import { fanOut } from './core/fan-out.ts'
import { type House, load as loadRun, shown as shownOf } from './core/house.ts'
import { find, groupsOf, judge } from './core/judge.ts'
import type { Actor, Argv, Place, RunId, RunState, Target, TargetId, Trigger } from './core/model.ts'
import { decide, mayReach } from './core/policy.ts'
import type { Gateway, TargetsAnswer, Wake } from './core/ports.ts'
import { maskArgv } from './core/redact.ts'
import { work } from './core/run.ts'
import { matches } from './core/selector.ts'
import { type Earlier, earlierIn } from './core/settle.ts'
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
        const closed: Target[] = []
        // Before matching: a refusal names what it found, and counts it.
        const answer = await find({ selector }, house, (target) => {
          const isOpen = mayReach(house.policy, asker, target)
          if (!isOpen && (!target.system || selector.system)) closed.push(target)
          return isOpen
        })
        // Who is at the terminal holds the configuration and its keys; to anybody else what is closed is not there.
        const hidden = by.kind === 'cli' ? closed.filter((target) => matches(selector, target)).length : 0
        return hidden > 0 ? withHidden(answer, hidden) : answer
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
    const failures = new Map<TargetId, Failure>()
    await fanOut(survivors, house.limits.parallel, async ({ target, handle }) => {
      try {
        const backend = house.backends.find((candidate) => candidate.name === target.backend)
        const killed = handle && (await backend?.kill(target, handle, AbortSignal.timeout(killMs)))
        if (killed?.result === 'gone') await ledger.append(run, { type: 'killed', target: target.id, by })
        else failures.set(target.id, stillRunning(target, killed?.result === 'left' ? killed.pid : undefined))
      } catch (error) {
        // One that cannot be asked keeps nobody from ending the others.
        const failure = shown(error)
        failures.set(target.id, { ...failure, message: `${target.name}: ${failure.message}` })
      }
    })
    const after = await load(run)
    if (after) await house.reporter(after.request).progress(maskState(after, house.redactor))
    const [first, ...more] = survivors.flatMap(({ target }) => failures.get(target.id) ?? [])
    if (first === undefined || more.length === 0) return first
    return { ...first, message: `${first.message} The same or worse holds for ${more.length} more.` }
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

function withHidden(answer: TargetsAnswer, hidden: number): TargetsAnswer {
  if (answer.ok) return { ...answer, hidden }
  if (answer.failure.code !== 'no_targets') return answer
  const message = `No rule lets you run anything in what matches (${counted(hidden, 'container')}).`
  const next = 'A rule in drover.yaml has to name you (who: { cli: true }), these containers and what may run in them.'
  return { ok: false, failure: { ...answer.failure, message, next } }
}

/** How long ending a survivor, and looking again, may take. */
const killMs = 30_000

function stillRunning({ name }: Target, pid: number | undefined): Failure {
  const message = `It is still running on ${name}${pid === undefined ? '' : `, pid ${pid}`}.`
  return { code: 'stream_broken', message, next: 'Look into the container; it may run as another user.' }
}

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

const notFound: Failure = { code: 'not_found', message: 'There is no such run here.', next: 'The last ones are listed by runs.' }
