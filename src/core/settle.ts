/** What a rollout that takes back or finishes an earlier one tells that earlier run, so that its card stays true. */

import { maskState } from './answer.ts'
import { within } from './fan-out.ts'
import { type House, load, shown } from './house.ts'
import type { Execution, RunId, Settled } from './model.ts'
import { mayHaveChanged } from './rollout-words.ts'

/** Where earlier runs are: in this ledger, or with the objects that own them. Arguments and results are plain JSON. */
export interface Earlier {
  /** The run whose rollout was settled by hand; undefined when none is known. */
  earlierOf(by: Pick<Execution, 'target' | 'plan'>, settled: Settled): Promise<RunId | undefined>
  settle(run: RunId, settled: Settled): Promise<void>
}

const settleMs = 20_000
/** How far back a rollout is looked for that was taken back by hand. */
const mostRuns = 200
const mostRollouts = 30

/** Best effort: when the earlier card cannot be told, the backend still refuses to go back twice. */
export async function settleEarlier(run: RunId, house: House): Promise<void> {
  const state = await load(run, house)
  const verb = state?.request.rollout?.verb
  if (!state || (verb !== 'undo' && verb !== 'finish')) return
  const { actor: by, after } = state.request
  const earlier = house.earlier ?? earlierIn(house)
  const ref = state.posted.parent
  for (const execution of state.executions) {
    if (execution.ending?.status !== 'exited' || execution.ending.code !== 0) continue
    const settled: Settled = {
      type: 'settled',
      target: execution.target.id,
      verb,
      by,
      run,
      ...(ref === undefined ? {} : { ref }),
    }
    try {
      await within(settleMs, 'Telling the earlier run', async () => {
        const found = after ?? (await earlier.earlierOf(execution, settled))
        if (found !== undefined) await earlier.settle(found, settled)
      })
    } catch (error) {
      house.log({ level: 'warn', event: 'settle-failed', run, failure: shown(error, house) })
    }
  }
}

export function earlierIn(house: House): Earlier {
  return {
    async earlierOf({ target, plan }, { verb, run }) {
      const runs = await house.ledger.list({ limit: mostRuns })
      const rollouts = runs.filter(({ id, argv: [first, what] }) => id !== run && first === 'rollout' && what !== 'status')
      for (const { id } of rollouts.slice(0, mostRollouts)) {
        const state = await load(id, house)
        const one = state?.executions.find((each) => each.target.id === target.id && each.target.uid === target.uid)
        if (!one || one.settled || !mayHaveChanged(one)) continue
        if (verb === 'finish' ? one.plan?.finishes : plan?.back !== undefined && one.plan?.undo?.to === plan.back) return id
      }
      return undefined
    },
    async settle(run, settled) {
      await house.ledger.append(run, settled)
      const state = await load(run, house)
      // Whoever still has it in hand will show it.
      if (state?.delivered && state.request.place.kind === 'slack')
        await house.reporter(state.request).progress(maskState(state, house.redactor))
    },
  }
}
