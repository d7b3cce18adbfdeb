/** Equal outputs with equal endings together, so that the odd one of a hundred stands out. */

import type { Ending, Execution, OutputChunk, OutputCount, Stream, TargetId } from './model.ts'
import { noOutput, streams } from './output.ts'
import type { RunSummary } from './ports.ts'

export type Fold = {
  readonly executions: readonly Execution[]
  readonly ending: Ending | undefined
  readonly chunks: readonly OutputChunk[]
  readonly count: OutputCount
}

export type Finished = { readonly execution: Execution; readonly chunks: readonly OutputChunk[] }

/** Groups in the order of the reader's interest: what went wrong first, then the larger group. */
export function fold(all: readonly Finished[]): readonly Fold[] {
  const folding = createFolding()
  for (const one of all) folding.add(one)
  return folding.folds()
}

/** Outputs that are asked for at a time. */
const readAhead = 4

/** The same for what is read meanwhile: no more of it is held than differs. */
export async function foldOutputs(
  executions: readonly Execution[],
  output: (target: TargetId) => Promise<readonly OutputChunk[]>,
): Promise<readonly Fold[]> {
  const folding = createFolding()
  for (let from = 0; from < executions.length; from += readAhead) {
    const some = executions.slice(from, from + readAhead)
    const wrote = await Promise.all(some.map(({ status, target }) => (status === 'pending' ? [] : output(target.id))))
    for (const [i, execution] of some.entries()) folding.add({ execution, chunks: wrote[i]! })
  }
  return folding.folds()
}

/** Executions that are alike, and of their equal outputs the first. */
type Group = { readonly executions: Execution[]; readonly chunks: readonly OutputChunk[] }

function createFolding() {
  const alike = new Map<string, Group[]>()
  return {
    add({ execution, chunks }: Finished): void {
      const key = JSON.stringify([...endingKey(execution), ...streams.map((stream) => digest(chunks, stream))])
      const groups = alike.get(key) ?? []
      alike.set(key, groups)
      const group = groups.find((one) => streams.every((stream) => isSameText(one.chunks, chunks, stream)))
      if (group) group.executions.push(execution)
      else groups.push({ executions: [execution], chunks })
    },
    folds: (): readonly Fold[] =>
      [...alike.values()]
        .flat()
        .map(({ executions, chunks }) => ({
          executions,
          ending: sharedEnding(executions),
          chunks,
          count: executions[0]!.count ?? noOutput,
        }))
        .sort((a, b) => weight(b.ending) - weight(a.ending) || b.executions.length - a.executions.length),
  }
}

/** The ending of all of them: a pid in it would be that of one. */
function sharedEnding(group: readonly Execution[]): Ending | undefined {
  const { ending } = group[0]!
  return group.length > 1 && ending?.status === 'unknown' ? { status: 'unknown', error: ending.error } : ending
}

/** Length and FNV-1a: enough to tell what differs without a copy of it. Equal ones may still differ. */
function digest(chunks: readonly OutputChunk[], stream: Stream): string {
  let length = 0
  let hash = 0x811c9dc5
  for (const { stream: of, text } of chunks) {
    if (of !== stream) continue
    length += text.length
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  return `${length} ${hash}`
}

/** Of texts of one length, however they were cut: the pieces are compared where they lie, for put together they would be held twice. */
function isSameText(a: readonly OutputChunk[], b: readonly OutputChunk[], stream: Stream): boolean {
  const [left, right] = [textsOf(a, stream), textsOf(b, stream)]
  let [i, j, from, at] = [0, 0, 0, 0]
  for (let x = left[i], y = right[j]; x !== undefined && y !== undefined; x = left[i], y = right[j]) {
    const size = Math.min(x.length - from, y.length - at)
    if (x.slice(from, from + size) !== y.slice(at, at + size)) return false
    from += size
    at += size
    if (from === x.length) [i, from] = [i + 1, 0]
    if (at === y.length) [j, at] = [j + 1, 0]
  }
  return true
}

function textsOf(chunks: readonly OutputChunk[], stream: Stream): readonly string[] {
  return chunks.flatMap((chunk) => (chunk.stream === stream ? chunk.text : []))
}

function endingKey({ ending, target, plan, handle }: Execution): readonly unknown[] {
  switch (ending?.status) {
    case undefined:
      return []
    case 'exited':
      return [ending.status, ending.code]
    case 'timed_out':
    case 'cancelled':
      // Survivors are named one by one, so they never fold.
      return ending.left ? [target.id] : [ending.status, plan !== undefined && handle !== undefined]
    case 'failed':
    case 'unknown':
      return [ending.status, ending.error.code, ending.error.message]
    default:
      return ending satisfies never
  }
}

/** Higher is worse. A survivor outweighs all: somebody has to act on it. */
function weight(ending: Ending | undefined): number {
  switch (ending?.status) {
    case undefined:
      return 1
    case 'exited':
      return ending.code === 0 ? 0 : 2
    case 'failed':
      return 3
    case 'unknown':
      return 4
    case 'timed_out':
    case 'cancelled':
      return ending.left ? 6 : 5
    default:
      return ending satisfies never
  }
}

/** `exit 3`, `timed out, proved gone`, `still running, pid 7`: one phrase for one ending, the same everywhere. */
export function describeEnding(ending: Ending | undefined): string {
  switch (ending?.status) {
    case undefined:
      return 'running'
    case 'exited':
      return `exit ${ending.code}`
    case 'timed_out':
    case 'cancelled': {
      const what = ending.status === 'timed_out' ? 'timed out' : 'cancelled'
      return ending.left ? `${what}, still running${survivor(ending.left)}` : `${what}, proved gone`
    }
    case 'failed':
      return `did not run: ${ending.error.message}`
    case 'unknown':
      return `outcome unknown: ${ending.left ? mayStillRun(ending.error.message, ending.left) : ending.error.message}`
    default:
      return ending satisfies never
  }
}

/** Said once, also where the message says it already. */
function mayStillRun(message: string, left: { readonly pid?: number }): string {
  const said = message.endsWith('it may still run.') ? message.slice(0, -1) : `${message} It may still run`
  return `${said}${survivor(left)}.`
}

function survivor(left: { readonly pid?: number }): string {
  return left.pid === undefined ? ' (pid not known)' : `, pid ${left.pid}`
}

/** `through a temporary service`, or how many through which; empty where no backend has several ways. */
export function describeWays(executions: readonly Pick<Execution, 'handle'>[]): string {
  const ways = new Map<string, number>()
  for (const { handle } of executions) if (handle?.way !== undefined) ways.set(handle.way, (ways.get(handle.way) ?? 0) + 1)
  return [...ways].map(([way, count]) => `${count === executions.length ? '' : `${count} `}through ${way}`).join(', ')
}

/** Only a command that said 0 succeeded. */
export function succeeded(ending: Ending | undefined): boolean {
  return ending?.status === 'exited' && ending.code === 0
}

/** As `describeEnding`, for counting: `exited 3`, `timed out, proved gone`; undefined for what succeeded. */
export function countedAs(ending: Ending): string | undefined {
  switch (ending.status) {
    case 'exited':
      return ending.code === 0 ? undefined : `exited ${ending.code}`
    case 'timed_out':
      return ending.left === undefined ? 'timed out, proved gone' : 'timed out and still running'
    case 'cancelled':
      return ending.left === undefined ? 'cancelled, proved gone' : 'cancelled and still running'
    case 'failed':
      return 'did not run'
    case 'unknown':
      return 'outcome unknown'
    default:
      return ending satisfies never
  }
}

/** Of several endings more would be no summary. */
const MOST_WORDS = 8

/** A whole run in a list: `3 of 3 ok`, `1 of 3 ok · 1 outcome unknown · 1 exited 3`, `refused`. */
export function describeRun({ status, outcome, succeeded: ok, targets, others = {} }: RunSummary): string {
  const how = outcome === undefined ? [status] : outcome === 'done' ? [] : [outcome]
  if (targets === 0) return how[0] ?? 'nothing ran'
  const rest = Object.entries(others).slice(0, MOST_WORDS)
  return [...how, `${ok} of ${targets} ok`, ...rest.map(([word, count]) => `${count} ${word}`)].join(' · ')
}
