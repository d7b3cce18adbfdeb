/** What the containers wrote, folded, as thread messages while it is short and as one text file when it is not. */

import { describeEnding, type Fold, succeeded } from '../../core/fold.ts'
import type { RunState } from '../../core/model.ts'
import { joinChunks, makeVisible } from '../../core/output.ts'
import type { Redactor } from '../../core/redact.ts'
import { describeRollout, formatFacts } from '../../core/rollout-words.ts'
import {
  type Block,
  bold,
  cut,
  escapedLength,
  italic,
  type Leaf,
  lines,
  MAX_BLOCKS,
  type Message,
  message,
  plain,
  preformatted,
  splitForBlocks,
} from './blocks.ts'
import { formatDuration, formatRequest } from './request-text.ts'
import { rolloutVerdict } from './rollout-views.ts'
import { failureLines, nextSteps, verdictOf } from './run-views.ts'

/** All output up to this is shown in the thread; above it, beginnings are shown and a file holds the whole. */
const MAX_INLINE_CHARS = 8000
const MAX_INLINE_FOLDS = 12
/** One message stays well under what Slack takes for all its blocks together. */
const MAX_MESSAGE_CHARS = 11_000
const MAX_NAMES = 20
/** Groups named in the thread when there are many; the file has all. */
const MAX_EXCERPTS = 15
const EXCERPT_CHARS = 400
/** Of fewer groups more is shown, and the end as well: it tells how a long output came out. */
const FEW = 4
const END_CHARS = 800
/** Messages at most when a file cannot be posted. */
const MAX_CHUNK_MESSAGES = 3

export type OutputFile = { readonly name: string; readonly title: string; readonly text: string }
export type ThreadAnswer = { readonly messages: readonly Message[]; readonly file?: OutputFile }

export function threadAnswer(state: RunState, folds: readonly Fold[], redactor: Redactor): ThreadAnswer {
  const told = interruption(state)
  if (folds.length === 0) return { messages: pack(state, told) }
  const chars = folds.reduce((sum, one) => sum + escapedLength(textOf(one)), 0)
  if (chars <= MAX_INLINE_CHARS && folds.length <= MAX_INLINE_FOLDS) {
    const { rollout } = state.request
    // The parent has the facts already: only what went otherwise needs a message of its own.
    if (rollout?.verb === 'status' && chars === 0 && told.length === 0 && folds.every(({ ending }) => succeeded(ending)))
      return { messages: [] }
    // What did not run wrote nothing, and a rollout need not.
    const isQuiet = (one: Fold) => textOf(one) === '' && (rollout !== undefined || one.ending?.status === 'failed')
    const whole = folds.map((one) => ({ head: headOf(one, state), body: isQuiet(one) ? [] : bodyOf(textOf(one)) }))
    return { messages: pack(state, [...told, ...whole]) }
  }
  const excerpts = folds
    .slice(0, MAX_EXCERPTS)
    .map((one) => ({ head: headOf(one, state), body: excerptOf(textOf(one), folds.length <= FEW) }))
  const more = folds.length - excerpts.length
  const rest = more > 0 ? [{ head: lines([italic(`${more} more groups of equal outputs are in the file.`)]), body: [] }] : []
  return { messages: pack(state, [...told, ...excerpts, ...rest]), file: outputFile(state, folds, redactor) }
}

/** Said in the thread too: who waits for an answer there may not look at the parent again. */
function interruption({ outcome, request }: RunState): readonly Section[] {
  if (outcome?.status !== 'interrupted') return []
  const again = plain(` drover never repeats a ${request.rollout ? 'change' : 'command'} by itself.`)
  return [{ head: lines([bold('⚠️ This run was interrupted.'), again], ...failureLines(outcome.failure)), body: [] }]
}

/** When no file can be posted: as much as fits into a few messages, and what is missing is said. */
export function withoutFile(state: RunState, file: OutputFile, reason: string): readonly Message[] {
  const perMessage = 3
  const { pieces, rest } = splitForBlocks(file.text, perMessage * MAX_CHUNK_MESSAGES)
  const left =
    rest === '' ? 'This is all of it.' : `The last ${rest.length} characters are left out here; they are stored with the run.`
  const notice = lines([bold('The whole output as messages. '), plain(`Slack took no file (${reason}). ${left}`)])
  const messages: Message[] = []
  for (let at = 0; at < pieces.length; at += perMessage) {
    const blocks = pieces.slice(at, at + perMessage).map(preformatted)
    messages.push(message(`Output of run ${state.request.id}`, at === 0 ? [notice, ...blocks] : blocks))
  }
  return messages
}

/** Everything that is stored, in one text: the request, then each group of equal outputs. Never empty. */
export function outputFile(state: RunState, folds: readonly Fold[], redactor: Redactor): OutputFile {
  const { request } = state
  const head = [
    `drover run ${request.id}`,
    formatRequest(request, redactor),
    `received ${new Date(request.receivedAt).toISOString()}`,
    'Control codes are shown as visible characters; secrets that drover recognised are masked.',
  ]
  const plans = state.executions.flatMap(({ target, plan }) =>
    plan ? [`==== ${makeVisible(target.name)}\n${makeVisible([formatFacts(plan), plan.change].filter(Boolean).join('\n'))}`] : [],
  )
  const parts = folds.map((one) => {
    const names = one.executions.map((execution) => execution.target.name).join(', ')
    const said = [endingOf(one, state), ...notesOf(one)].join(' · ')
    return `==== ${makeVisible(names)}\n==== ${makeVisible(said)}\n${textOf(one) || '(no output)'}`
  })
  return {
    name: `drover-${request.id}.txt`,
    title: `Output of run ${request.id}`,
    text: `${[...head, '', ...plans, ...parts].join('\n').trimEnd()}\n`,
  }
}

// ---- one group -------------------------------------------------------------------------------

type Section = { readonly head: Block; readonly body: readonly Block[] }

function textOf(one: Fold): string {
  return joinChunks(one.chunks)
}

function headOf(one: Fold, state: RunState): Block {
  const names = one.executions.slice(0, MAX_NAMES).map((execution) => cut(makeVisible(execution.target.name), 80))
  const more = one.executions.length - names.length
  const notes = notesOf(one)
  const leaves: readonly (readonly Leaf[])[] = [
    [
      bold(`${one.executions.length} of ${state.executions.length}: `),
      plain(`${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`),
    ],
    [bold(cut(makeVisible(endingOf(one, state)), 800)), ...(notes.length === 0 ? [] : [italic(` · ${notes.join(' · ')}`)])],
    ...(one.ending && 'error' in one.ending ? nextSteps(one.ending.error) : []).map((step) => [
      plain(cut(makeVisible(step), 500)),
    ]),
  ]
  return lines(...leaves)
}

/** The ending in one phrase; a run that is over has no container that is still "running". */
function endingOf(one: Fold, { request: { rollout }, timeoutMs }: RunState): string {
  const [first] = one.executions
  if (rollout && first && one.ending) return describeRollout(first, rollout, timeoutMs)
  if (one.ending !== undefined) return describeEnding(one.ending)
  return one.executions.every((execution) => execution.status === 'pending')
    ? 'not started'
    : 'outcome unknown: it was started, and nothing was recorded about its end'
}

/** Of one execution; a group has no duration of its own. */
function durationOf({ executions }: Fold): readonly string[] {
  const [execution] = executions
  if (executions.length !== 1 || execution?.startedAt === undefined || execution.endedAt === undefined) return []
  return [formatDuration(execution.endedAt - execution.startedAt)]
}

/** How long it took, and what is not there as it was written: always said. */
function notesOf(one: Fold): readonly string[] {
  const dropped = one.executions.reduce((sum, { count }) => sum + (count?.dropped ?? 0), 0)
  const masked = one.executions.reduce((sum, { count }) => sum + (count?.masked ?? 0), 0)
  const streams = new Set(one.chunks.filter((chunk) => chunk.text !== '').map((chunk) => chunk.stream))
  return [
    ...durationOf(one),
    ...(dropped > 0 ? [`${dropped} bytes did not fit and were dropped from the middle`] : []),
    ...(masked > 0 ? [`${masked} ${masked === 1 ? 'secret' : 'secrets'} masked`] : []),
    ...(streams.has('stderr') ? [streams.size === 1 ? 'all of it is stderr' : 'stderr lines are marked'] : []),
  ]
}

function bodyOf(text: string): readonly Block[] {
  if (text === '') return [lines([italic('(no output)')])]
  if (text.trim() === '') return [lines([italic('(only blank lines)')])]
  return splitForBlocks(text.replace(/\n$/, ''), Number.POSITIVE_INFINITY).pieces.map(preformatted)
}

function excerptOf(text: string, withEnd: boolean): readonly Block[] {
  if (escapedLength(text) <= EXCERPT_CHARS + (withEnd ? END_CHARS : 0)) return bodyOf(text)
  const { pieces, rest } = splitForBlocks(text, 1, EXCERPT_CHARS)
  const begin = preformatted(pieces[0] ?? ' ')
  if (!withEnd) return [begin, lines([italic('… the rest is in the file.')])]
  const end = endOf(rest.trimEnd())
  const between = rest.trimEnd().length - end.length
  if (between === 0) return bodyOf(text)
  return [begin, lines([italic(`… ${between} characters more are in the file; then it ends:`)]), preformatted(end)]
}

/** From the beginning of a line where there is one. */
function endOf(text: string): string {
  const chars = [...text.slice(-END_CHARS).replace(/^[\uDC00-\uDFFF]/, '')]
  while (escapedLength(chars.join('')) > END_CHARS) chars.splice(0, 50)
  const end = chars.join('')
  const lineStart = end.indexOf('\n') + 1
  return lineStart > 0 && lineStart < end.length ? end.slice(lineStart) : end
}

// ---- messages --------------------------------------------------------------------------------

/** Sections into as few messages as the limits allow; each message begins with the head of a section or goes on with one. */
function pack(state: RunState, sections: readonly Section[]): readonly Message[] {
  if (sections.length === 0) return []
  const messages: Block[][] = [[]]
  let size = 0
  for (const block of sections.flatMap((section) => [section.head, ...section.body])) {
    const blockSize = escapedLength(JSON.stringify(block))
    const current = messages.at(-1) ?? []
    if (current.length > 0 && (current.length >= MAX_BLOCKS || size + blockSize > MAX_MESSAGE_CHARS)) {
      messages.push([block])
      size = blockSize
    } else {
      current.push(block)
      size += blockSize
    }
  }
  return messages.map((blocks) => message(titleOf(state), blocks))
}

/** What a screen reader and a notification say: no output, for that may be anything. */
function titleOf(state: RunState): string {
  const { id, rollout } = state.request
  return `${rollout ? rolloutVerdict(state, rollout, Date.now()) : verdictOf(state, Date.now())} (run ${id})`
}
