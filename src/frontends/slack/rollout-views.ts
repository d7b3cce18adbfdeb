/** A rollout in Slack: the card that shows what would change before it does, how it goes, how it ended, and the way back. */

import { succeeded } from '../../core/fold.ts'
import type { Execution, Rollout, RunState, Settled } from '../../core/model.ts'
import { makeVisible } from '../../core/output.ts'
import type { Judgement } from '../../core/ports.ts'
import { describeRollout, formatFacts, mayHaveChanged, sayRollout } from '../../core/rollout-words.ts'
import {
  type Block,
  type Button,
  bold,
  cut,
  escapedLength,
  italic,
  type Leaf,
  lines,
  plain,
  preformatted,
  splitForBlocks,
} from './blocks.ts'
import { person } from './people.ts'
import { sayTook } from './request-text.ts'

export const ROLLOUT_ACTIONS = {
  undo: 'drover:undo',
  finish: 'drover:finish',
  change: 'drover:change',
} as const

/** Workloads with a card of their own in one message, and buttons of one kind. */
const MAX_CARDS = 5
const MAX_BUTTONS = 4
const MAX_FACTS_CHARS = 1200
/** Of all changes together in one message; a dialog has them whole. */
const MAX_CHANGE_CHARS = 1500
const MAX_DIALOG_BLOCKS = 90

type Planned = Pick<Execution, 'target' | 'plan'>

/** `set the image of main to repo:2`, loud where it stops everything. */
export function askedFor(rollout: Rollout): string {
  return `${rollout.verb === 'scale' && rollout.replicas === 0 ? '⚠️ ' : ''}${sayRollout(rollout)}`
}

/** Before and after of each workload, and what is sent; `isWhole`: nothing was left out for its length. */
export function cardsOf(all: readonly Planned[]): { readonly blocks: readonly Block[]; readonly isWhole: boolean } {
  const shown = all.slice(0, MAX_CARDS)
  const each = Math.floor(MAX_CHANGE_CHARS / Math.max(1, shown.length))
  let isWhole = shown.length === all.length
  const blocks = shown.flatMap(({ target, plan }) => {
    if (!plan) return [lines(headOf(target))]
    const facts = cut(makeVisible(formatFacts(plan)), MAX_FACTS_CHARS)
    const change = makeVisible(plan.change)
    const fits = escapedLength(change) <= each
    isWhole &&= fits
    const sent = change === '' ? [] : [lines([italic('What is sent')]), preformatted(cut(change, each))]
    return [lines(headOf(target)), preformatted(facts), ...sent]
  })
  const more = all.slice(shown.length).map(({ target }) => target.name)
  const rest = more.length === 0 ? [] : [lines([italic(cut(makeVisible(`and ${more.length} more: ${more.join(', ')}`), 500))])]
  return { blocks: [...blocks, ...rest], isWhole }
}

function headOf({ name, backend, facets }: Execution['target']): readonly Leaf[] {
  const place = [facets.namespace && `namespace ${facets.namespace}`, facets.stack && `stack ${facets.stack}`, backend]
  return [bold(cut(makeVisible(name), 150)), plain(cut(makeVisible(` · ${place.filter(Boolean).join(' · ')}`), 300))]
}

// ---- how it goes -----------------------------------------------------------------------------

const going: Readonly<Record<Rollout['verb'], string>> = {
  image: 'Rolling out',
  restart: 'Restarting',
  pause: 'Pausing',
  resume: 'Resuming',
  undo: 'Rolling back',
  scale: 'Scaling',
  finish: 'Finishing',
  status: 'Looking',
}

/** One line: `✅ rolled out · 42 s`, `❌ 3 of 4 rolled out · 1 stuck; the change stays`. A stuck or unknown one is never a success. */
export function rolloutVerdict(state: RunState, rollout: Rollout, now: number): string {
  const took = sayTook(state, now)
  if (state.status !== 'finished') {
    const word = state.cancelAskedBy
      ? '⏹ No longer watching'
      : state.status === 'accepted'
        ? '⏳ Queued'
        : `⏳ ${going[rollout.verb]}`
    return [word, ...took].join(' · ')
  }
  const { outcome, executions } = state
  if (outcome?.status === 'refused') return `🚫 Refused: ${outcome.failure.message}`
  const phrases = new Map<string, number>()
  for (const execution of executions) {
    const phrase = cut(makeVisible(describeRollout(execution, rollout, state.timeoutMs)), 300)
    phrases.set(phrase, (phrases.get(phrase) ?? 0) + 1)
  }
  const counted = [...phrases].map(([phrase, count]) =>
    executions.length === 1 ? phrase : `${count} of ${executions.length} ${phrase}`,
  )
  return `${markOf(state, rollout)} ${[...counted.slice(0, 6), ...took].join(' · ')}`
}

/** A look that went well is no word about what was seen. */
function markOf(state: RunState, { verb }: Rollout): string {
  if (state.outcome?.status === 'interrupted') return '⚠️ Interrupted:'
  if (state.outcome?.status === 'cancelled') return '⏹'
  if (!isDone(state)) return '❌'
  return verb === 'status' ? '👀' : '✅'
}

function isDone({ executions }: RunState): boolean {
  return executions.length > 0 && executions.every(({ ending }) => succeeded(ending))
}

/** How far each one is, while it goes on and where it stopped; what a later run took back is somewhere else by now. */
export function progressLines(state: RunState): readonly (readonly Leaf[])[] {
  return state.executions
    .filter(({ progress, settled, ending }) => progress !== undefined && settled === undefined && !succeeded(ending))
    .slice(0, 10)
    .map(({ target, progress }) => [plain(cut(makeVisible(`${target.name}: ${progress ?? ''}`), 300))])
}

/** What goes on by itself, and how to see it. */
export function unwatched(state: RunState): readonly (readonly Leaf[])[] {
  const left = state.executions.filter(
    (execution) =>
      execution.settled === undefined &&
      mayHaveChanged(execution) &&
      ['timed_out', 'cancelled', 'unknown'].includes(execution.ending?.status ?? ''),
  )
  const [first] = left
  if (!first || state.request.rollout?.verb === 'status') return []
  const word = first.target.facets.workload ?? first.target.name
  return [
    [
      plain(
        cut(makeVisible(`What was sent stays and goes on by itself. See how it stands: rollout status workload=${word}`), 500),
      ),
    ],
  ]
}

/** What became of it by later runs; `links`: to their messages, by `ref`. */
export function settledLines({ executions }: RunState, links: ReadonlyMap<string, string> = new Map()) {
  return executions.slice(0, 10).flatMap(({ target, settled }): (readonly Leaf[])[] => {
    if (settled === undefined) return []
    const name = executions.length === 1 ? '' : `${cut(makeVisible(target.name), 150)}: `
    return [[plain(`${settled.verb === 'undo' ? '↩️' : '🏁'} ${name}`), ...saySettled(settled, links.get(settled.ref ?? ''))]]
  })
}

/** `undone by @sam, run r…` */
export function saySettled({ verb, by, run }: Settled, link?: string): readonly Leaf[] {
  const what = `run ${run}`
  return [
    plain(verb === 'undo' ? 'undone by ' : 'finished by '),
    ...person(by),
    plain(', '),
    link === undefined ? plain(what) : { type: 'link', url: link, text: what },
  ]
}

// ---- buttons ---------------------------------------------------------------------------------

/** The way back for each workload that may have been changed, and the end of an upgrade that can still go back. */
export function rolloutButtons(state: RunState): readonly Button[] {
  const all = state.executions.map((execution, index) => ({ ...execution, value: `${state.request.id}.${index}` }))
  const hasChanged = state.request.rollout?.verb !== 'status'
  const open = all.filter(({ settled }) => settled === undefined)
  const undoable = open.filter((one) => hasChanged && one.plan?.undo && mayHaveChanged(one))
  const finishing = open.filter(({ plan, ending }) => plan?.finishes && succeeded(ending))
  const label = (word: string, name: string) => cut(makeVisible(all.length === 1 ? word : `${word} ${name}`), 70)
  const own = 'It is a rollout of its own, with your own rights.'
  const action = (kind: keyof typeof ROLLOUT_ACTIONS, index: number) => `${ROLLOUT_ACTIONS[kind]}:${index}`
  return [
    ...undoable.slice(0, MAX_BUTTONS).map(({ value, target, plan }, index): Button => {
      const { to = '', says: where = '' } = plan?.undo ?? {}
      const says = `${target.name} goes back to ${where.includes(to) ? where : `revision ${to} (${where})`}.`
      const confirm = { title: 'Undo it?', text: `${cut(makeVisible(says), 220)} ${own}`, yes: 'Undo' }
      return { action: action('undo', index), label: label('Undo', target.name), value, style: 'danger', confirm }
    }),
    ...finishing.slice(0, MAX_BUTTONS).map(({ value, target }, index): Button => {
      const says = `${target.name}: what was before is removed, and cannot be gone back to.`
      const confirm = { title: 'Finish the upgrade?', text: `${cut(makeVisible(says), 220)} ${own}`, yes: 'Finish' }
      return { action: action('finish', index), label: label('Finish', target.name), value, confirm }
    }),
  ]
}

/** Everything that is sent, in a dialog for one reader. */
export function changeModal(state: RunState): Readonly<Record<string, unknown>> {
  const blocks: Block[] = []
  let left = false
  for (const { target, plan } of state.executions) {
    const { pieces, rest } = splitForBlocks(
      makeVisible(plan?.change || '(nothing is sent)'),
      MAX_DIALOG_BLOCKS - blocks.length - 1,
    )
    if (blocks.length + pieces.length + 1 > MAX_DIALOG_BLOCKS || rest !== '') left = true
    if (blocks.length + 1 < MAX_DIALOG_BLOCKS) blocks.push(lines(headOf(target)), ...pieces.map(preformatted))
  }
  if (left) blocks.push(lines([italic('There is more; it is stored with the run.')]))
  return {
    type: 'modal',
    title: { type: 'plain_text', text: 'What is sent' },
    close: { type: 'plain_text', text: 'Close' },
    blocks,
  }
}

// ---- looking before leaping ------------------------------------------------------------------

export function judgedCards({ targets, plans }: Extract<Judgement, { ok: true }>): readonly Block[] {
  const all = targets.map((target) => {
    const plan = plans?.[target.id]
    return plan ? { target, plan } : { target }
  })
  return cardsOf(all).blocks
}
