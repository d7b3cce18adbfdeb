/** Answers on a terminal: progress while it runs, folded outputs at the end, the same endings in the same words as in chat. */

import { describeEnding, describeWays, type Fold, foldOutputs, succeeded } from '../../core/fold.ts'
import type { Execution, OutputChunk, RunState, Stream, TargetId } from '../../core/model.ts'
import { makeVisible } from '../../core/output.ts'
import type { Reporter } from '../../core/ports.ts'
import { describeRollout, formatFacts, mayHaveChanged, sayRollout } from '../../core/rollout-words.ts'
import { preparations } from '../../core/run-state.ts'
import { formatArgv } from '../../core/words.ts'
import { inOneLine } from './one-line.ts'

export type Terminal = {
  /** What scripts read. */
  out(text: string): void
  /** What only a person reads; also the command's own stderr. */
  err(text: string): void
  /** Whether `err` is a terminal, where a line can be written over. */
  readonly live: boolean
  readonly json: boolean
}

type ReadOutput = (target: TargetId) => Promise<readonly OutputChunk[]>

export function createTerminalReporter(terminal: Terminal): Reporter {
  const rollouts = createTeller(terminal)
  let lineShown = false
  const clearLine = () => {
    if (lineShown) terminal.err('\r\u001b[K')
    lineShown = false
  }
  return {
    async progress(state) {
      if (state.request.rollout) {
        if (!terminal.json) rollouts.tell(state)
      } else if (terminal.live && !terminal.json) {
        const ended = state.executions.filter((execution) => execution.ending).length
        // An engine's words may hold what a terminal obeys (S36).
        const [preparing] = preparations(state)
        const doing = makeVisible(preparing ?? formatArgv(state.request.command.argv)).slice(0, preparing ? 120 : 60)
        terminal.err(`\r\u001b[K${ended} of ${state.executions.length} ended · ${doing}`)
        lineShown = true
      }
      return []
    },
    async deliver(state, output) {
      clearLine()
      if (terminal.json) terminal.out(`${JSON.stringify(await asJson(state, output))}\n`)
      else {
        rollouts.tell(state)
        await print(state, output, terminal)
      }
    },
    async share() {},
  }
}

/** A rollout is told as it goes: first what would change, then each step, once. `status` is an answer, and goes where scripts read. */
function createTeller(terminal: Terminal) {
  let shown = false
  const steps = new Map<TargetId, string>()
  return {
    tell(state: RunState) {
      const { rollout } = state.request
      if (!rollout) return
      const write = rollout.verb === 'status' ? terminal.out : terminal.err
      if (!shown && state.executions.some(({ plan }) => plan)) {
        shown = true
        write(cardOf(state.executions, sayRollout(rollout)))
      }
      for (const { target, progress } of state.executions) {
        if (progress === undefined || steps.get(target.id) === progress) continue
        steps.set(target.id, progress)
        terminal.err(`${inOneLine(`${target.name}: ${progress}`)}\n`)
      }
    },
  }
}

/** What would change on each workload, and the exact change. */
export function cardOf(all: readonly Pick<Execution, 'target' | 'plan'>[], asked: string): string {
  const cards = all.flatMap(({ target, plan }) => {
    if (!plan) return []
    const change = plan.change === '' ? [] : [plan.change]
    return [`── ${target.name} (${target.backend}) · ${asked}`, formatFacts(plan, 100), ...change]
  })
  return cards.map((line) => `${line}\n`).join('')
}

async function print(state: RunState, output: ReadOutput, terminal: Terminal): Promise<void> {
  for (const note of state.notes) terminal.err(`note: ${inOneLine(note)}\n`)
  const ways = describeWays(state.executions)
  if (ways !== '') terminal.err(`note: ${inOneLine(ways)}\n`)
  const { outcome } = state
  if (outcome?.status === 'refused' || outcome?.status === 'interrupted') {
    const { message, next } = outcome.failure
    terminal.err(`${outcome.status}: ${inOneLine(message)}\n${next ? `${inOneLine(next)}\n` : ''}`)
  }
  for (const group of await foldOutputs(state.executions, output)) printFold(group, state, terminal)
  for (const line of waysOn(state)) terminal.err(`${line}\n`)
  for (const { target, settled } of state.executions)
    if (settled)
      terminal.err(
        `note: ${inOneLine(target.name)} was ${settled.verb === 'undo' ? 'undone' : 'finished'} by run ${settled.run}\n`,
      )
}

/** What the buttons of a chat are: the way back of what is not as it should be, and the end of an upgrade that can still go back. */
function waysOn({ request: { rollout }, executions }: RunState): readonly string[] {
  if (rollout === undefined || rollout.verb === 'status') return []
  const open = executions.filter(({ settled }) => settled === undefined)
  const isLate = open.some((one) => one.plan?.undo && mayHaveChanged(one) && !succeeded(one.ending))
  const canFinish = open.some(({ plan, ending }) => plan?.finishes && succeeded(ending))
  const where = 'with the same words for which'
  return [
    ...(isLate ? [`To go back: drover rollout undo, ${where}.`] : []),
    ...(canFinish ? [`It waits for its end: drover rollout finish keeps it, drover rollout undo goes back, ${where}.`] : []),
  ]
}

function printFold(group: Fold, { request: { rollout }, executions, timeoutMs }: RunState, terminal: Terminal): void {
  const of = executions.length
  const [first] = group.executions
  const ending = rollout && first ? describeRollout(first, rollout, timeoutMs) : describeEnding(group.ending)
  const targets = inOneLine(group.executions.map((execution) => execution.target.name).join(', '))
  terminal.out(`── ${group.executions.length} of ${of}: ${targets} · ${inOneLine(ending)}\n`)
  const next = group.ending && 'error' in group.ending ? group.ending.error.next : undefined
  if (next) terminal.err(`${inOneLine(next)}\n`)
  const wrote = (wanted: Stream) => group.chunks.flatMap(({ stream, text }) => (stream === wanted ? text : [])).join('')
  const whole = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)
  terminal.out(whole(wrote('stdout')))
  const stderr = whole(wrote('stderr'))
  // All of it after all of stdout: on a terminal both are in one place, and what stands under the heading should be what it says.
  if (stderr !== '') terminal.err(of > 1 ? `── stderr of ${targets}\n${stderr}` : stderr)
  if (group.count.dropped > 0) terminal.err(`note: ${group.count.dropped} bytes did not fit and were dropped\n`)
  if (group.count.masked > 0) terminal.err(`note: ${group.count.masked} secrets were masked\n`)
}

/** One run as JSON: the shape that scripts rely on. */
export async function asJson(state: RunState, output: ReadOutput) {
  const { request, decision, outcome } = state
  const { rollout } = request
  const text = (chunks: readonly OutputChunk[], stream: Stream) =>
    chunks.map((chunk) => (chunk.stream === stream ? chunk.text : '')).join('')
  return {
    run: request.id,
    argv: request.command.argv,
    ...(rollout ? { rollout } : {}),
    outcome: outcome ?? null,
    rule: decision?.effect === 'allow' ? decision.rule : null,
    notes: state.notes,
    executions: await Promise.all(
      state.executions.map(async (execution) => {
        const { target, plan, ending, count, handle } = execution
        const chunks = await output(target.id)
        return {
          target: target.name,
          id: target.id,
          ...(plan ? { plan: { facts: plan.facts, change: plan.change, undo: plan.undo ?? null } } : {}),
          ...(handle?.way === undefined ? {} : { way: handle.way }),
          ending: ending ?? null,
          ...(execution.settled ? { settled: execution.settled } : {}),
          // In the words of chat: `timed out, proved gone`.
          said: rollout ? describeRollout(execution, rollout, state.timeoutMs) : describeEnding(ending),
          stdout: text(chunks, 'stdout'),
          stderr: text(chunks, 'stderr'),
          count: count ?? null,
        }
      }),
    ),
  }
}
