/** Equal outputs with equal endings together, so that the odd one of a hundred stands out. */

import type { Ending, Execution, OutputChunk, OutputCount, Stream } from './model.ts'
import { noOutput, streams } from './output.ts'

export type Fold = {
  readonly executions: readonly Execution[]
  readonly ending: Ending | undefined
  readonly chunks: readonly OutputChunk[]
  readonly count: OutputCount
}

export type Finished = { readonly execution: Execution; readonly chunks: readonly OutputChunk[] }

/** Groups in the order of the reader's interest: what went wrong first, then the larger group. */
export function fold(all: readonly Finished[]): readonly Fold[] {
  const alike = new Map<string, Finished[][]>()
  for (const one of all) {
    const key = JSON.stringify([...endingKey(one.execution), digest(one.chunks, 'stdout'), digest(one.chunks, 'stderr')])
    const groups = alike.get(key) ?? []
    alike.set(key, groups)
    const group = groups.find(([first]) => first && isSame(first.chunks, one.chunks))
    if (group) group.push(one)
    else groups.push([one])
  }
  return [...alike.values()]
    .flat()
    .map((group) => ({
      executions: group.map((one) => one.execution),
      ending: sharedEnding(group),
      chunks: group[0]!.chunks,
      count: group[0]!.execution.count ?? noOutput,
    }))
    .sort((a, b) => weight(b.ending) - weight(a.ending) || b.executions.length - a.executions.length)
}

/** The ending of all of them: a pid in it would be that of one. */
function sharedEnding(group: readonly Finished[]): Ending | undefined {
  const { ending } = group[0]!.execution
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

function isSame(a: readonly OutputChunk[], b: readonly OutputChunk[]): boolean {
  // Most were cut into the same pieces: those need not be put together.
  const isCutAlike = a.length === b.length && a.every((one, i) => one.stream === b[i]?.stream && one.text === b[i].text)
  return isCutAlike || streams.every((stream) => streamText(a, stream) === streamText(b, stream))
}

function streamText(chunks: readonly OutputChunk[], stream: Stream): string {
  return chunks.map((chunk) => (chunk.stream === stream ? chunk.text : '')).join('')
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
