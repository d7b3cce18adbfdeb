/** What a rollout would change, looked up before it is decided for good and before anything is sent; and sending it, as an execution. */

import { BackendError, type Failure } from './errors.ts'
import { fanOut, within } from './fan-out.ts'
import { backendOf, type House, maskFailure, shown } from './house.ts'
import type { Plan, Rollout, RunRequest, Target, TargetId } from './model.ts'
import { makeVisible } from './output.ts'
import type { Backend, Workloads } from './ports.ts'
import type { Redactor } from './redact.ts'
import { faultOf, rolloutArgv } from './rollout.ts'

/** How long looking at one workload may take. */
const planMs = 30_000
/** Longest text kept of what would be sent. */
const maxChange = 200_000

/** Why these words are no rollout, or not the one that they carry: policy judges the words, the backend gets the rollout. */
export function malformed({ rollout, command, selector, newContainer }: RunRequest): Failure | undefined {
  if (!rollout) return undefined
  const fault = faultOf(rollout)
  if (fault) return { code: 'usage', message: fault.message, next: fault.next }
  const next = 'Type it again.'
  if (selector.any !== undefined) return { code: 'usage', message: 'any= would leave to chance which workload is changed.', next }
  const { argv, ...rest } = command
  const isPlain = Object.keys(rest).length === 0 && newContainer === undefined
  if (isPlain && JSON.stringify(argv) === JSON.stringify(rolloutArgv(rollout))) return undefined
  return { code: 'usage', message: 'The words of this rollout are not what it would do.', next }
}

export type Plans = Readonly<Record<TargetId, Plan>>

/** One plan for each target, or the first reason why there is none: half a rollout is never begun for a mistake that shows beforehand. */
export async function planAll(
  targets: readonly Target[],
  rollout: Rollout,
  house: House,
): Promise<{ readonly ok: true; readonly plans: Plans } | { readonly ok: false; readonly failure: Failure }> {
  const plans: Record<TargetId, Plan> = {}
  const failures = new Map<TargetId, Failure>()
  await fanOut(targets, house.limits.parallel, async (target) => {
    try {
      const workloads = workloadsOf(target, house)
      const plan = await within(planMs, `Looking at ${target.name}`, (signal) => workloads.plan(target, rollout, signal))
      plans[target.id] = told(plan, rollout, workloads, house.redactor)
    } catch (error) {
      failures.set(target.id, shown(error, house))
    }
  })
  const first = targets.find(({ id }) => failures.has(id))
  const failure = first && failures.get(first.id)
  if (!failure) return { ok: true, plans }
  const others = failures.size === 1 ? '' : ` The same or worse holds for ${failures.size - 1} more of ${targets.length}.`
  const message = `${first.name} (${first.backend}): ${failure.message}${others} Nothing was changed.`
  return { ok: false, failure: maskFailure({ ...failure, message }, house) }
}

/** As it is recorded and shown. The seal and the revision stay as they are: they are sent back. */
function told(plan: Plan, rollout: Rollout, workloads: Workloads, redactor: Redactor): Plan {
  const clean = (text: string) => makeVisible(redactor.text(text).text)
  const finishes = workloads.verbs.includes('finish') && (rollout.verb === 'image' || rollout.verb === 'restart')
  const change = clean(plan.change)
  return {
    ...plan,
    facts: plan.facts.map(({ name, before, after }) => ({
      name: clean(name),
      before: clean(before),
      ...(after === undefined ? {} : { after: clean(after) }),
    })),
    change: change.length <= maxChange ? change : `${change.slice(0, maxChange)}… (${change.length - maxChange} characters more)`,
    ...(plan.undo ? { undo: { to: plan.undo.to, says: clean(plan.undo.says) } } : {}),
    ...(finishes ? { finishes } : {}),
  }
}

export function workloadsOf(target: Target, house: House): Workloads {
  const { workloads, kind } = backendOf(target, house)
  if (workloads) return workloads
  const message = `${target.backend} (${kind}) has no workloads.`
  throw new BackendError({ code: 'unsupported', message, next: 'Narrow the selector with on=.' }, { ran: 'no' })
}

/**
 * A rollout in the place of a command. There is nothing in a container to be killed: a deadline or a cancel ends the watching, and
 * what was sent stays.
 */
export function asExecution(workloads: Workloads, rollout: Rollout, plan: Plan): Pick<Backend, 'exec' | 'kill'> {
  return {
    exec: (target, _, exec, signal, by) => workloads.apply(target, rollout, plan, exec, signal, by),
    kill: async () => ({ result: 'gone' }),
  }
}
