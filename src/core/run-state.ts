/** A run as its events tell it. */

import type { Ending, Execution, RunState, StoredEvent } from './model.ts'

/** Folds events in order into the state that every view renders from; undefined when the first is not `accepted`. */
export function reduce(events: readonly StoredEvent[]): RunState | undefined {
  const fold = createFold()
  for (const event of events) fold.apply(event)
  return fold.state()
}

export type Fold = {
  /** The next event of the run. */
  apply(event: StoredEvent): void
  /** As it stands: what comes later does not change what was returned. */
  state(): RunState | undefined
}

/** The same, one event at a time, for whoever has the run in hand while it goes on. */
export function createFold(): Fold {
  const executions = new Map<string, Execution>()
  const posted: Record<string, string> = {}
  let state: Omit<RunState, 'executions' | 'posted'> | undefined
  const change = (target: string, part: Partial<Execution>) => {
    const execution = executions.get(target)
    if (execution) executions.set(target, { ...execution, ...part })
  }
  const apply = ({ event, at }: StoredEvent): void => {
    if (event.type === 'accepted') state ??= { request: event.request, status: 'accepted', notes: [], delivered: false }
    if (state === undefined) return
    switch (event.type) {
      case 'accepted':
      case 'output':
      case 'shared':
        break
      case 'resolved':
        // Found again by a later life: only what the last look found is meant.
        executions.clear()
        for (const target of event.targets) executions.set(target.id, { target, status: 'pending' })
        state = { ...state, notes: event.notes ?? [] }
        break
      case 'decided':
        state = { ...state, decision: event.decision, ...(event.timeoutMs === undefined ? {} : { timeoutMs: event.timeoutMs }) }
        break
      case 'started':
        change(event.target, { status: 'started', owner: event.owner, startedAt: at })
        state = { ...state, status: 'running', startedAt: state.startedAt ?? at }
        break
      case 'planned':
        change(event.target, { plan: event.plan })
        break
      case 'progressed':
        change(event.target, { progress: event.text })
        break
      case 'handle':
        change(event.target, { handle: event.handle })
        break
      case 'ended':
        change(event.target, { status: event.ending.status, ending: event.ending, count: event.count, endedAt: at })
        break
      case 'killed': {
        const ending = executions.get(event.target)?.ending
        if (ending && 'left' in ending) {
          const { left: _, ...rest } = ending
          change(event.target, { ending: rest, killedBy: event.by })
        }
        break
      }
      case 'settled':
        change(event.target, { settled: event })
        break
      case 'cancel-asked':
        state = { ...state, cancelAskedBy: event.by }
        break
      case 'finished':
        state = { ...state, status: 'finished', outcome: event.outcome, finishedAt: at }
        break
      case 'posted':
        posted[event.part] = event.ref
        break
      case 'delivered':
        state = { ...state, delivered: true }
        break
      default:
        event satisfies never
    }
  }
  return {
    apply,
    state: () => state && { ...state, posted: { ...posted }, executions: [...executions.values()] },
  }
}

/** The exit code that a terminal gets for a run: 0 only when all succeeded; the highest code of those that exited; 124 for a
 * timeout (as coreutils `timeout`), 130 for a cancel (as SIGINT), 125 when it did not run or nobody can tell. */
export function worstExitCode(state: RunState): number {
  if (state.executions.length === 0) return 125
  return Math.max(...state.executions.map((execution) => codeOf(execution.ending)))
}

function codeOf(ending: Ending | undefined): number {
  switch (ending?.status) {
    case 'exited':
      return ending.code
    case 'timed_out':
      return 124
    case 'cancelled':
      return 130
    default:
      return 125
  }
}

/** What is being done before commands can begin, such as fetching an image: a line for each target where that is so. */
export function preparations({ executions, request }: Pick<RunState, 'executions' | 'request'>): readonly string[] {
  if (request.rollout) return []
  return executions.flatMap(({ target, progress, handle, ending }) =>
    progress === undefined || handle !== undefined || ending !== undefined ? [] : [`${target.name}: ${progress}`],
  )
}
