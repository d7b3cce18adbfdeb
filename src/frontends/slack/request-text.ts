/** A request in the words it could have been typed with, for readers: masked, control codes visible. */

import type { Actor, Argv, Command, LabelTerm, NewContainer, Rollout, RunRequest, RunState, Selector } from '../../core/model.ts'
import { makeVisible } from '../../core/output.ts'
import { maskArgv, type Redactor } from '../../core/redact.ts'
import { formatArgv, quoteWord } from '../../core/words.ts'

function formatSelector(selector: Selector): string {
  const { on, name, id, labels = [], facets = {}, any, all, system } = selector as Selector & { readonly system?: boolean }
  const pairs: readonly (readonly [string, string | number | undefined])[] = [
    ['on', on],
    ['name', name],
    // `task=` means both.
    ['id', facets.task === undefined ? id : undefined],
    ['label', labels.length === 0 ? undefined : labels.map(formatTerm).join(',')],
    ...Object.entries(facets).map(([facet, value]) => [facet, facet === 'task' ? id : value] as const),
    ['any', any],
    ['all', all],
    ['system', system === true ? 1 : undefined],
  ]
  return pairs.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${quoteWord(String(value))}`])).join(' ')
}

function formatTerm(term: LabelTerm): string {
  switch (term.op) {
    case 'exists':
      return term.key
    case 'absent':
      return `!${term.key}`
    case 'eq':
      return `${term.key}=${term.value}`
    case 'ne':
      return `${term.key}!=${term.value}`
    case 'in':
      return `${term.key} in (${term.values.join(',')})`
    case 'word':
      return term.word
    default:
      return term satisfies never
  }
}

/** The argv as a shell would split it into the same array, safe to show. */
export function shownArgv(argv: readonly string[], redactor: Redactor): string {
  // An escape character is shown, never dropped with its sequence: what is shown is what runs.
  return makeVisible(redactor.text(formatArgv(maskArgv(argv as Argv, redactor))).text.replaceAll('\u001b', '␛'))
}

/** What else the command was given; values of variables and of stdin stay out of the channel. */
export function formatOptions(command: Command, timeoutMs?: number): string {
  const { env = {}, dir, user, stdin, tty } = command
  return [
    ...(user === undefined ? [] : [`user=${quoteWord(user)}`]),
    ...(dir === undefined ? [] : [`dir=${quoteWord(dir)}`]),
    ...Object.keys(env).map((name) => `env=${name}=…`),
    ...(stdin === undefined ? [] : [`stdin=(${stdin.length} characters)`]),
    ...(tty === true ? ['tty=1'] : []),
    ...(timeoutMs === undefined ? [] : [`timeout=${timeoutMs % 1000 === 0 ? `${timeoutMs / 1000}s` : `${timeoutMs}ms`}`]),
  ].join(' ')
}

export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min${seconds % 60 === 0 ? '' : ` ${seconds % 60} s`}`
}

/** How long it took; while it runs, when it began: an elapsed time would stand still between two updates. */
export function sayTook({ status, startedAt, finishedAt }: RunState, now: number): readonly string[] {
  if (startedAt === undefined) return []
  if (status === 'finished') return [formatDuration((finishedAt ?? now) - startedAt)]
  return [`since ${new Date(startedAt).toISOString().slice(11, 19)} UTC`]
}

export function formatActor(actor: Actor): string {
  switch (actor.kind) {
    case 'slack-user':
      return actor.user
    case 'cli':
      return `${actor.user} (command line)`
    case 'api-key':
    case 'webhook':
    case 'schedule':
      return `${actor.kind} ${actor.name}`
    default:
      return actor satisfies never
  }
}

export function formatRequest(request: RunRequest, redactor: Redactor): string {
  if (request.rollout) return formatRollout(request, request.rollout, redactor)
  const options = formatOptions(request.command, request.timeoutMs)
  return [formatWhere(request), options, '--', shownArgv(request.command.argv, redactor)].filter((part) => part !== '').join(' ')
}

/** Which containers are meant: those that run, or one to be made. */
export function formatWhere({ selector, newContainer }: Pick<RunRequest, 'selector' | 'newContainer'>): string {
  const made = newContainer ? [formatNewContainer(newContainer)] : []
  return [formatSelector(selector), ...made].filter((part) => part !== '').join(' ')
}

/** As `memory=` takes it, in the largest unit that is exact. */
function formatSize(bytes: number): string {
  const kib = Math.ceil(bytes / 1024)
  return kib % 1024 === 0 ? `${kib / 1024}m` : `${kib}k`
}

function formatNewContainer(wanted: NewContainer): string {
  const { image, network, memoryBytes, cpus, mounts } = wanted
  return [
    `image=${quoteWord(image)}`,
    ...(network === undefined ? [] : [`network=${quoteWord(network)}`]),
    ...(memoryBytes === undefined ? [] : [`memory=${formatSize(memoryBytes)}`]),
    ...(cpus === undefined ? [] : [`cpus=${cpus}`]),
    ...(mounts === undefined ? [] : [`mounts=${mounts.join(',')}`]),
  ].join(' ')
}

/** As it could have been typed. */
function formatRollout({ selector, timeoutMs, command }: RunRequest, rollout: Rollout, redactor: Redactor): string {
  const { verb } = rollout
  const { container, image, replicas, to }: Partial<Record<string, string | number>> = rollout
  const parameters = Object.entries({ container, image, replicas, to }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${quoteWord(String(value))}`],
  )
  const line = ['rollout', verb, formatSelector(selector), ...parameters, formatOptions(command, timeoutMs)]
  return makeVisible(redactor.text(line.filter((part) => part !== '').join(' ')).text)
}
