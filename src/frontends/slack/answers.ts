/** What drover says to one person alone: the way to ask, what a bad line got wrong, what a selector means, what ran here. */

import { pointAt, rightForm } from '../../core/command-line.ts'
import { counted } from '../../core/counted.ts'
import type { Failure } from '../../core/errors.ts'
import { describeRun } from '../../core/fold.ts'
import type { Actor, Rollout, RunRequest } from '../../core/model.ts'
import { makeVisible } from '../../core/output.ts'
import type { Judgement, RunSummary, TargetsAnswer } from '../../core/ports.ts'
import type { Redactor } from '../../core/redact.ts'
import { rolloutForm } from '../../core/rollout-line.ts'
import { names } from '../../core/selector.ts'
import { bold, cut, italic, type Leaf, lines, type Message, message, plain, preformatted } from './blocks.ts'
import { formatActor, formatDuration, formatRequest, formatWhere, shownArgv } from './request-text.ts'
import { askedFor, judgedCards } from './rollout-views.ts'
import { failureLines, noticeMessage, whoMay } from './run-views.ts'

const MAX_TARGETS_SHOWN = 40
const MAX_RUNS_SHOWN = 10

/** `text` is the text that the failure's position counts in. */
export function lineFailure(text: string, failure: Failure, redactor: Redactor, form = rightForm): Message {
  if (failure.position === undefined) return noticeMessage('Nothing was run.', failure)
  const pointed = cut(makeVisible(pointAt(redactor.blank(text), failure.position)), 1000)
  return message(`Nothing was run. ${failure.message}`, [
    lines([bold('Nothing was run.')]),
    preformatted(pointed),
    lines(...failureLines(failure)),
    ...(failure.code === 'usage' && !failure.next?.includes('xample') ? [preformatted(form)] : []),
  ])
}

export function queuedMessage(request: RunRequest, redactor: Redactor): Message {
  return message('Queued. The text was changed on its way; see what runs.', [
    lines([bold('Queued. '), plain('The text was changed on its way; this is what runs:')]),
    preformatted(
      cut(
        request.rollout
          ? formatRequest(request, redactor)
          : `${formatWhere(request)}\n${shownArgv(request.command.argv, redactor)}`,
        2500,
      ),
    ),
    lines(...(request.restored ?? []).slice(0, 20).map((change) => [plain(cut(change, 200))])),
  ])
}

type Commands = { readonly command?: string; readonly rolloutCommand?: string }

/** What the words that were typed are about comes first. */
export function helpMessage(
  { command = '/exec', rolloutCommand = '/rollout' }: Commands,
  siteTimeoutMs: number,
  about: 'exec' | 'rollout' = 'exec',
): Message {
  const examples = [
    `${command} label=web cmd="uptime"`,
    `${command} label=app=web,tier!=canary cmd="df -h /" timeout=20s`,
    `${command} name=shop-web-* any=1 -- ls -la "/srv/my dir"`,
    `${command} label="role in (web,api)" all=5 -- uptime`,
    `${command} targets label=web`,
    `${command} why label=web cmd="uptime"`,
    `${command} runs`,
  ]
  const rollouts = [
    ...(['image', 'scale', 'restart', 'pause', 'resume', 'undo', 'status'] as const).map(rolloutForm),
    'rollout finish stack=shop service=web',
    rolloutForm().replace('rollout', 'rollout why'),
  ]
  const exec = [
    lines([plain('Say which containers, then what to run in each of them:')]),
    preformatted(examples.join('\n')),
    lines(
      [
        plain(
          'Which: label= name= id= on= stack= service= task= namespace= pod= container= image= host= workload= deployment= statefulset= daemonset=; any=1 is one of those, all=12 says that they are 12, system=1 brings the platform’s own.',
        ),
      ],
      [plain('A new one, where that is allowed: image= and none of the others but on=; with it network= memory= cpus= mounts=.')],
      [
        plain(
          'How: timeout= env=NAME=value dir= user= stdin= tty=1. After -- the words are the arguments, and no shell is used.',
        ),
      ],
      [plain(`A command ends after ${formatDuration(siteTimeoutMs)} unless timeout= says otherwise; a rule may say less.`)],
    ),
  ]
  const rollout = [
    lines([plain('Change a workload, or look at one. A change is sent at once and watched; with why nothing is sent:')]),
    preformatted(rollouts.map((line) => line.replace('rollout', rolloutCommand)).join('\n')),
    lines([
      plain(
        'Which: deployment= statefulset= daemonset= namespace= label= on=, or stack= and service= (Rancher 1.x, which has finish).',
      ),
    ]),
  ]
  return message('How to ask drover', [
    lines([bold('How to ask drover')]),
    ...(about === 'exec' ? [...exec, ...rollout] : [...rollout, ...exec]),
    lines([plain('In a thread, mention me and write the same words.')]),
  ])
}

export function targetsMessage(answer: TargetsAnswer): Message {
  if (!answer.ok) return noticeMessage('Nothing to show.', answer.failure)
  const shown = answer.targets.slice(0, MAX_TARGETS_SHOWN)
  const rows = shown.map((target) => {
    const facets = Object.entries(target.facets).map(([facet, value]) => `${facet}=${value}`)
    return cut(makeVisible([target.id, target.name, ...facets].join('  ')), 200)
  })
  const more = answer.targets.length - shown.length
  const title = counted(answer.targets.length, 'target')
  return message(`${title}. Nothing was run.`, [
    lines(
      [bold(title), plain('. Nothing was run.')],
      ...answer.notes.slice(0, 5).map((note) => [italic(cut(makeVisible(note), 300))]),
    ),
    ...(rows.length === 0 ? [] : [preformatted(cut(rows.join('\n'), 2900))]),
    ...(more > 0 ? [lines([italic(`and ${more} more`)])] : []),
  ])
}

/** What would happen, and by which rule. */
export function whyMessage(judgement: Judgement, rollout?: Rollout): Message {
  if (!judgement.ok) {
    const rule = judgement.decision.rule === undefined ? [] : [[plain(`Rule: ${cut(judgement.decision.rule, 100)}`)]]
    const title = 'It would not run.'
    const said = lines([bold(title)], ...failureLines(judgement.failure), ...whoMay(judgement.decision), ...rule)
    return message(`${title} ${judgement.failure.message}`, [said])
  }
  const { targets, decision, timeoutMs, notes } = judgement
  const rule = decision.effect === 'allow' ? decision.rule : ''
  if (rollout) {
    const limit = `Rule: ${cut(rule, 300)} · watched for at most ${formatDuration(timeoutMs)}`
    return message('It would be rolled out. Nothing was changed.', [
      lines([bold('It would be rolled out: '), plain(cut(makeVisible(askedFor(rollout)), 700))]),
      ...judgedCards(judgement),
      lines([plain(limit)], ...notes.slice(0, 5).map((note) => [italic(cut(makeVisible(note), 300))]), [
        plain('Nothing was changed.'),
      ]),
    ])
  }
  return message('It would run. Nothing was run.', [
    lines(
      [bold('It would run'), plain(` on ${counted(targets.length, 'target')}: ${cut(makeVisible(names(targets)), 500)}`)],
      [plain(`Rule: ${cut(rule, 300)} · at most ${formatDuration(timeoutMs)}`)],
      ...notes.slice(0, 5).map((note) => [italic(cut(makeVisible(note), 300))]),
      [plain('Nothing was run.')],
    ),
  ])
}

/** Refusals are their asker's own business, so others' are left out. */
export function runsMessage(all: readonly RunSummary[], reader: Actor, redactor: Redactor): Message {
  const runs = all
    .filter((run) => run.outcome !== 'refused' || formatActor(run.actor) === formatActor(reader))
    .slice(0, MAX_RUNS_SHOWN)
  if (runs.length === 0)
    return message('Nothing has run in this channel yet.', [lines([plain('Nothing has run in this channel yet.')])])
  const rows = runs.map((run): readonly Leaf[] => [
    plain(`${new Date(run.at).toISOString().slice(0, 16).replace('T', ' ')}Z · ${run.id} · `),
    run.actor.kind === 'slack-user'
      ? { type: 'user', user_id: run.actor.user }
      : plain(cut(makeVisible(formatActor(run.actor)), 60)),
    plain(` · ${[describeRun(run), cut(shownArgv(run.argv, redactor), 100)].join(' · ')}`),
  ])
  return message('The last runs in this channel', [lines([bold('The last runs in this channel')]), lines(...rows)])
}
