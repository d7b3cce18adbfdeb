/** Answers on a terminal: progress while it runs, folded outputs at the end, the same endings in the same words as in chat. */

import { describeEnding, type Fold, fold } from '../../core/fold.ts'
import type { OutputChunk, RunState, TargetId } from '../../core/model.ts'
import type { Reporter } from '../../core/ports.ts'
import { formatArgv } from '../../core/words.ts'

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
  let lineShown = false
  const clearLine = () => {
    if (lineShown) terminal.err('\r\u001b[K')
    lineShown = false
  }
  return {
    async progress(state) {
      if (terminal.live && !terminal.json) {
        const ended = state.executions.filter((execution) => execution.ending).length
        terminal.err(
          `\r\u001b[K${ended} of ${state.executions.length} ended · ${formatArgv(state.request.command.argv).slice(0, 60)}`,
        )
        lineShown = true
      }
      return []
    },
    async deliver(state, output) {
      clearLine()
      if (terminal.json) terminal.out(`${JSON.stringify(await asJson(state, output))}\n`)
      else await print(state, output, terminal)
    },
    async share() {},
  }
}

async function print(state: RunState, output: ReadOutput, terminal: Terminal): Promise<void> {
  for (const note of state.notes) terminal.err(`note: ${note}\n`)
  const { outcome } = state
  if (outcome?.status === 'refused' || outcome?.status === 'interrupted') {
    const { message, next } = outcome.failure
    terminal.err(`${outcome.status}: ${message}\n${next ? `${next}\n` : ''}`)
  }
  const finished = await Promise.all(
    state.executions.map(async (execution) => ({ execution, chunks: await output(execution.target.id) })),
  )
  for (const group of fold(finished)) printFold(group, state.executions.length, terminal)
}

function printFold(group: Fold, of: number, terminal: Terminal): void {
  const targets = group.executions.map((execution) => execution.target.name).join(', ')
  terminal.out(`── ${group.executions.length} of ${of}: ${targets} · ${describeEnding(group.ending)}\n`)
  if (of > 1 && group.chunks.some(({ stream }) => stream === 'stderr')) terminal.err(`── stderr of ${targets}\n`)
  const open: Record<OutputChunk['stream'], boolean> = { stdout: false, stderr: false }
  for (const { stream, text } of group.chunks) {
    const write = stream === 'stdout' ? terminal.out : terminal.err
    write(text)
    open[stream] = !text.endsWith('\n')
  }
  if (open.stdout) terminal.out('\n')
  if (open.stderr) terminal.err('\n')
  if (group.count.dropped > 0) terminal.err(`note: ${group.count.dropped} bytes did not fit and were dropped\n`)
  if (group.count.masked > 0) terminal.err(`note: ${group.count.masked} secrets were masked\n`)
}

/** One run as JSON: the shape that scripts rely on. */
export async function asJson(state: RunState, output: ReadOutput) {
  const { request, decision, outcome } = state
  const text = (chunks: readonly OutputChunk[], stream: OutputChunk['stream']) =>
    chunks.map((chunk) => (chunk.stream === stream ? chunk.text : '')).join('')
  return {
    run: request.id,
    argv: request.command.argv,
    outcome: outcome ?? null,
    rule: decision?.effect === 'allow' ? decision.rule : null,
    notes: state.notes,
    executions: await Promise.all(
      state.executions.map(async ({ target, ending, count }) => {
        const chunks = await output(target.id)
        return {
          target: target.name,
          id: target.id,
          ending: ending ?? null,
          stdout: text(chunks, 'stdout'),
          stderr: text(chunks, 'stderr'),
          count: count ?? null,
        }
      }),
    ),
  }
}
