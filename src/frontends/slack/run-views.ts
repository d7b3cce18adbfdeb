/** The parent message of a run, its refusal, and the modal to share it: from the run's state to blocks. */

import type { Failure } from '../../core/errors.ts'
import { countedAs, describeWays, succeeded } from '../../core/fold.ts'
import { leaveOut } from '../../core/judge.ts'
import type { Decision, Execution, Rollout, RunState } from '../../core/model.ts'
import { makeVisible } from '../../core/output.ts'
import type { Redactor } from '../../core/redact.ts'
import { preparations } from '../../core/run-state.ts'
import { names as namesOfTargets } from '../../core/selector.ts'
import {
  type Block,
  type Button,
  bold,
  buttons,
  cut,
  italic,
  type Leaf,
  lines,
  type Message,
  message,
  plain,
  preformatted,
} from './blocks.ts'
import { person } from './people.ts'
import { formatOptions, formatRequest, formatWhere, sayTook, shownArgv } from './request-text.ts'
import {
  askedFor,
  cardsOf,
  progressLines,
  ROLLOUT_ACTIONS,
  rolloutButtons,
  rolloutVerdict,
  settledLines,
  unwatched,
} from './rollout-views.ts'

export const ACTIONS = {
  ...ROLLOUT_ACTIONS,
  cancel: 'drover:cancel',
  again: 'drover:again',
  output: 'drover:output',
  outputRetry: 'drover:output-retry',
  share: 'drover:share',
} as const
export const SHARE_VIEW = 'drover:share-view'
export const SHARE_BLOCK = 'to'
export const SHARE_SELECT = 'channel'

export type ViewOptions = {
  readonly redactor: Redactor
  readonly shareTo: readonly string[]
  /** Set where the message is a copy or cannot be acted on. */
  readonly withoutButtons?: boolean
  /** To the messages of later runs, by their `ref`. */
  readonly links?: ReadonlyMap<string, string>
  /** Said above everything else. */
  readonly preface?: readonly Leaf[]
}

export function parentMessage(state: RunState, now: number, options: ViewOptions): Message {
  const { request } = state
  if (request.rollout) return rolloutMessage(state, request.rollout, now, options)
  const verdict = verdictOf(state, now)
  const argv = shownArgv(request.command.argv, options.redactor)
  const shown = cut(argv, 2500)
  const extra = formatOptions(request.command, state.timeoutMs ?? request.timeoutMs)
  const blocks: Block[] = [
    ...(options.preface === undefined ? [] : [lines(options.preface)]),
    // First the truth: a reader may have no more than one line of it in sight.
    lines(
      [bold(verdict)],
      [...person(request.actor), plain(request.again === undefined ? ' ran' : ` ran again (${request.again})`)],
    ),
    preformatted(shown),
    lines(
      [
        plain(cut(makeVisible(formatWhere(request)), 500)),
        plain(
          ` · ${[countOf(state), describeWays(state.executions)].filter(Boolean).join(' ')} · run ${request.id}${extra === '' ? '' : ` · ${cut(makeVisible(extra), 500)}`}`,
        ),
      ],
      ...(shown === argv ? [] : [[italic(`The command is ${argv.length} characters long; Full output shows all of it.`)]]),
      ...notesOf(state),
    ),
    ...told(
      ...preparations(state)
        .slice(0, 5)
        .map((line) => [plain(cut(makeVisible(line), 300))]),
      ...aftermath(state),
    ),
  ]
  const actions = options.withoutButtons === true ? [] : buttonsOf(state, options)
  if (actions.length > 0) blocks.push(buttons(actions))
  return message(`${cut(argv, 150)} on ${countOf(state)}: ${verdict}`, blocks)
}

/** Shown before anything is sent, and kept true until it has ended. */
function rolloutMessage(state: RunState, rollout: Rollout, now: number, options: ViewOptions): Message {
  const { request, decision } = state
  const verdict = rolloutVerdict(state, rollout, now)
  const asked = cut(makeVisible(options.redactor.text(askedFor(rollout)).text), 700)
  const { blocks: cards, isWhole } = cardsOf(state.executions)
  const extra = formatOptions(request.command, state.timeoutMs ?? request.timeoutMs)
  const earlier =
    request.again !== undefined
      ? ` (run ${request.again} again)`
      : request.after !== undefined
        ? ` (${rollout.verb === 'finish' ? 'ends' : 'takes back'} run ${request.after})`
        : ''
  const where = cut(makeVisible(formatWhere(request)), 500)
  const rule = decision?.effect === 'allow' ? ` · rule ${cut(decision.rule, 200)}` : ''
  const blocks: Block[] = [
    ...(options.preface === undefined ? [] : [lines(options.preface)]),
    lines([bold(verdict)], ...settledLines(state, options.links), [
      ...person(request.actor),
      plain(': '),
      bold(asked),
      plain(earlier),
    ]),
    ...cards,
    lines(
      [plain(`${where} · ${workloadsOf(state)} · run ${request.id}${extra === '' ? '' : ` · ${extra}`}${rule}`)],
      ...notesOf(state),
    ),
    ...told(...progressLines(state), ...unwatched(state), ...aftermath(state)),
  ]
  const actions = options.withoutButtons === true ? [] : buttonsForRollout(state, rollout, isWhole, options)
  if (actions.length > 0) blocks.push(buttons(actions))
  const names = state.executions.map(({ target }) => target.name)
  return message(`${asked} (${names.length === 1 ? makeVisible(names[0] ?? '') : workloadsOf(state)}): ${verdict}`, blocks)
}

/** A block where there is something to say. */
function told(...all: readonly (readonly Leaf[])[]): readonly Block[] {
  return all.length === 0 ? [] : [lines(...all)]
}

function workloadsOf({ executions }: RunState): string {
  return executions.length === 1 ? '1 workload' : `${executions.length} workloads`
}

function buttonsForRollout(state: RunState, rollout: Rollout, isWhole: boolean, options: ViewOptions): readonly Button[] {
  const value = state.request.id
  const change = isWhole ? [] : [{ action: ACTIONS.change, label: 'Show what is sent', value }]
  if (state.status !== 'finished') {
    return [{ action: ACTIONS.cancel, label: 'Stop watching', value }, ...rolloutButtons(state), ...change]
  }
  if (state.outcome?.status === 'refused') return []
  const isRepeatable = rollout.verb === 'status' || rollout.verb === 'restart' || !isSuccess(state)
  const what = formatRequest(state.request, options.redactor)
  const confirm = { title: 'Do it again?', text: `You ask, with your own rights: ${what}`, yes: 'Do it' }
  return [
    ...rolloutButtons(state),
    ...(isRepeatable
      ? [{ action: ACTIONS.again, label: rollout.verb === 'status' ? 'Look again' : 'Do it again', value, confirm }]
      : []),
    ...change,
    ...(rollout.verb === 'status' ? [] : [{ action: ACTIONS.output, label: 'Full output', value }]),
    ...(options.shareTo.length === 0 ? [] : [{ action: ACTIONS.share, label: 'Share to…', value }]),
  ]
}

function notesOf({ notes, request: { restored = [] } }: RunState): readonly (readonly Leaf[])[] {
  return [
    ...notes.slice(0, 5).map((note) => [italic(cut(makeVisible(note), 300))]),
    ...(restored.length === 0 ? [] : [[italic(cut(`Slack had changed the text: ${restored.join('; ')}.`, 300))]]),
  ]
}

function countOf(state: RunState): string {
  return state.executions.length === 1 ? '1 target' : `${state.executions.length} targets`
}

/** One line that never makes an unknown ending look like a success: `3 of 4 ok · 1 exited 3 · 12 s`. */
export function verdictOf(state: RunState, now: number): string {
  const parts = state.executions.length === 0 ? [] : countsOf(state.executions, state.status === 'finished')
  const took = sayTook(state, now)
  const verdict = (word: string) => [word, ...parts, ...took].join(' · ')
  if (state.status !== 'finished') {
    if (state.cancelAskedBy !== undefined) return verdict('⏹ Cancelling')
    return state.status === 'accepted' ? '⏳ Queued' : verdict('⏳ Running')
  }
  switch (state.outcome?.status) {
    case 'refused':
      return `🚫 Refused: ${state.outcome.failure.message}`
    case 'interrupted':
      return verdict('⚠️ Interrupted')
    case 'cancelled':
      return verdict('⏹ Cancelled')
    case 'done':
    case undefined:
      return `${isSuccess(state) ? '✅' : '❌'} ${[...parts, ...took].join(' · ')}`
    default:
      return state.outcome satisfies never
  }
}

function isSuccess({ executions }: RunState): boolean {
  return executions.length > 0 && executions.every((execution) => succeeded(execution.ending))
}

function countsOf(executions: readonly Execution[], finished: boolean): readonly string[] {
  const ok = executions.filter((execution) => succeeded(execution.ending)).length
  const others = new Map<string, number>()
  for (const execution of executions) {
    const word = wordFor(execution, finished)
    if (word !== undefined) others.set(word, (others.get(word) ?? 0) + 1)
  }
  return [`${ok} of ${executions.length} ok`, ...[...others].slice(0, 8).map(([word, count]) => `${count} ${word}`)]
}

function wordFor({ ending, status }: Execution, finished: boolean): string | undefined {
  if (ending) return countedAs(ending)
  if (!finished) return status === 'started' ? 'running' : 'waiting'
  return status === 'pending' ? 'not started' : 'outcome unknown'
}

/** What the reader has to know or do after a run that did not simply end. */
function aftermath(state: RunState): readonly (readonly Leaf[])[] {
  const told: (readonly Leaf[])[] = []
  const outcome = state.outcome
  if (outcome?.status === 'interrupted') told.push(...failureLines(outcome.failure))
  if (state.cancelAskedBy !== undefined) told.push([plain('Cancel asked by '), ...person(state.cancelAskedBy)])
  const killed = state.executions.filter(({ killedBy }) => killedBy !== undefined)
  if (killed.length > 0)
    told.push([plain(`Proved gone since, on ${cut(makeVisible(namesOfTargets(killed.map(({ target }) => target))), 300)}`)])
  for (const survivor of survivorsOf(state).slice(0, 10)) {
    const pid = survivor.pid === undefined ? 'pid not known' : `pid ${survivor.pid}`
    told.push([
      plain(`${survivor.sure ? 'Still running' : 'It may still run'} on ${cut(makeVisible(survivor.name), 100)}: ${pid}`),
    ])
  }
  return told
}

/** `sure`: a kill was tried and did not end it; otherwise nobody could look. */
export function survivorsOf(
  state: RunState,
): readonly { readonly name: string; readonly pid?: number; readonly sure: boolean }[] {
  return state.executions.flatMap(({ ending, target }) =>
    ending !== undefined && 'left' in ending && ending.left !== undefined
      ? [{ name: target.name, ...ending.left, sure: ending.status !== 'unknown' }]
      : [],
  )
}

function buttonsOf(state: RunState, options: ViewOptions) {
  const value = state.request.id
  if (state.status !== 'finished') {
    return [{ action: ACTIONS.cancel, label: 'Cancel', value, style: 'danger' as const }]
  }
  if (state.outcome?.status === 'refused') return []
  const what = formatRequest(state.request, options.redactor)
  return [
    ...(survivorsOf(state).length === 0
      ? []
      : [{ action: ACTIONS.cancel, label: 'Kill what still runs', value, style: 'danger' as const }]),
    {
      action: ACTIONS.again,
      label: 'Run again',
      value,
      confirm: { title: 'Run it again?', text: `You run, with your own rights: ${what}`, yes: 'Run' },
    },
    { action: ACTIONS.output, label: 'Full output', value },
    ...(options.shareTo.length === 0 ? [] : [{ action: ACTIONS.share, label: 'Share to…', value }]),
  ]
}

// ---- saying no -------------------------------------------------------------------------------

export function failureLines(failure: Failure): readonly (readonly Leaf[])[] {
  return [
    [plain(cut(makeVisible(failure.message), 1000))],
    ...nextSteps(failure).map((step) => [plain(cut(makeVisible(step), 1000))]),
  ]
}

/** Codes that are mended where drover's configuration, keys and log are: out of reach for who reads this in a channel. */
const OPERATORS: readonly Failure['code'][] = [
  'backend_unauthorized',
  'backend_forbidden',
  'backend_unavailable',
  'backend_protocol',
  'config',
  'ledger_unavailable',
  'facts_unavailable',
  'internal',
]
/** Which of their next steps anybody can take. */
const ANYBODYS = /^(Ask again|Try again|Invite|Unarchive)\b/

/** What to do next: first what the reader can do, then what somebody else has to, and who. */
export function nextSteps({ code, next = '' }: Failure): readonly string[] {
  const rest = next.endsWith(leaveOut) ? next.slice(0, -leaveOut.length).trim() : next
  const isForOthers = OPERATORS.includes(code) && !ANYBODYS.test(rest)
  return [rest === next ? '' : leaveOut, isForOthers && rest !== '' ? `For whoever runs drover: ${rest}` : rest].filter(Boolean)
}

/** `<team>/<id>` as Slack shows it; this message is seen by one person, so nobody is notified. */
function personOrGroup(key: string): readonly Leaf[] {
  const id = key.slice(key.indexOf('/') + 1)
  return [id.startsWith('S') ? { type: 'usergroup', usergroup_id: id } : { type: 'user', user_id: id }, plain(' ')]
}

/** Whom a refusal can point at; nobody is named where a rule forbids it to all. */
export function whoMay(decision: Decision | undefined): readonly (readonly Leaf[])[] {
  const allowed = decision?.effect === 'deny' ? (decision.allowedFor ?? []) : []
  return allowed.length === 0 ? [] : [[plain('Who may: '), ...allowed.slice(0, 10).flatMap(personOrGroup)]]
}

/** To the actor alone: what was asked, why it was refused, who could allow it. */
export function refusalMessage(state: RunState, failure: Failure, options: ViewOptions, hint: readonly Leaf[] = []): Message {
  const argv = shownArgv(state.request.command.argv, options.redactor)
  const rule = state.decision?.effect === 'deny' && state.decision.rule !== undefined ? ` (rule ${state.decision.rule})` : ''
  return message(`Refused: ${failure.message}`, [
    lines([bold(state.request.rollout ? '🚫 Nothing was changed' : '🚫 Nothing was run'), plain(rule)]),
    preformatted(cut(`${formatWhere(state.request)}\n${argv}`, 1500)),
    lines(...failureLines(failure), ...whoMay(state.decision), ...(hint.length === 0 ? [] : [hint]), [
      italic(`run ${state.request.id}`),
    ]),
  ])
}

/** For a person alone, in answer to a button or a bad command. */
export function noticeMessage(title: string, failure: Failure): Message {
  return message(`${title} ${failure.message}`, [lines([bold(title)], ...failureLines(failure))])
}

// ---- sharing ---------------------------------------------------------------------------------

/** `private_metadata` is visible to the client, so it holds an id; rights are checked again when it comes back. */
export function shareModal(run: string, shareTo: readonly string[]): Readonly<Record<string, unknown>> {
  return {
    type: 'modal',
    callback_id: SHARE_VIEW,
    private_metadata: run,
    title: { type: 'plain_text', text: 'Share a result' },
    submit: { type: 'plain_text', text: 'Share' },
    close: { type: 'plain_text', text: 'Cancel' },
    blocks: [
      lines([plain(`The stored result of run ${run} is posted again; nothing is run.`)]),
      {
        type: 'input',
        block_id: SHARE_BLOCK,
        label: { type: 'plain_text', text: 'Channel' },
        element: channelChoice(shareTo),
      },
    ],
  }
}

/** Radio buttons show a channel by its name, but ten at most; a list can only show ids. */
function channelChoice(shareTo: readonly string[]): Readonly<Record<string, unknown>> {
  const few = shareTo.length <= 10
  return {
    type: few ? 'radio_buttons' : 'static_select',
    action_id: SHARE_SELECT,
    options: shareTo.slice(0, 100).map((channel) => ({
      text: few ? { type: 'mrkdwn', text: `<#${channel}>` } : { type: 'plain_text', text: channel },
      value: channel,
    })),
  }
}
