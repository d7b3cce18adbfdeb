/** What the workloads of every engine share: the seal of a plan, and watching a change until it is done or stuck. */

import { BackendError, type Failure } from '../../core/errors.ts'
import type { Actor, ExecEvent, Plan, Rollout, Target } from '../../core/model.ts'
import { pause } from '../../core/pause.ts'

/** SHA-256, hex, over JSON with sorted keys. */
export async function sealOf(value: unknown): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(JSON.stringify(sorted(value))))
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, sorted(one)]),
  )
}

export type Fact = Plan['facts'][number]

export function refused(code: Failure['code'], message: string, next: string): BackendError {
  return new BackendError({ code, message, next }, { ran: 'no' })
}

/** For what is there now and is not what was planned for. */
export function changed(who: string): BackendError {
  return refused(
    'changed',
    `${who} was changed by someone else since this was planned; nothing was sent.`,
    'Ask again: the new plan shows how it stands now.',
  )
}

/** A container name that is not there, or none where it takes one: it is never added (kubernetes.md §12). */
export function containerRefused(who: string, wanted: string | undefined, names: readonly string[]): BackendError {
  const list = names.join(', ')
  return wanted === undefined
    ? refused('usage', `${who} has several containers: ${list}.`, `Say which one: container=${names[0]}.`)
    : refused('usage', `${who} has no container named ${quote(wanted)}. It has: ${list}.`, `For example container=${names[0]}.`)
}

/** The row for a Deployment that is to be paused or resumed. */
export function pausing(
  target: Target,
  verb: 'pause' | 'resume',
  now: { readonly kind: string; readonly isPaused: boolean },
): Fact {
  const paused = verb === 'pause'
  if (now.kind !== 'deployment')
    throw refused('unsupported', `Only a Deployment can be paused, and ${target.name} is not one.`, 'Use image, undo or scale.')
  if (paused === now.isPaused)
    throw refused(
      'unsupported',
      `${target.name} is ${paused ? 'paused already' : 'not paused'}.`,
      'rollout status shows how it stands.',
    )
  return { name: 'paused', before: String(now.isPaused), after: String(paused) }
}

export function noScale(target: Target): BackendError {
  return refused('unsupported', `${target.name} runs once on every node; it has no scale.`, 'Label or taint nodes.')
}

export function noFinish(): BackendError {
  return refused(
    'unsupported',
    'Kubernetes has no upgrades to finish: a rollout ends by itself.',
    'rollout status shows how it stands.',
  )
}

/** What a failure means once the change has left: it may have been taken. */
export function maybe(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return givenUp(signal)
  return error instanceof BackendError && error.ran === 'no'
    ? new BackendError(error.toFailure(), { ran: 'maybe', cause: error })
    : error
}

/** Whoever may roll out was judged by what is there now: an undo must not bring back the rights over a node that it lacks (S45). */
export function refuseStronger(target: Target, isStrong: boolean): void {
  if (isStrong && target.privileged !== true)
    throw refused(
      'unsupported',
      `${target.name} is not privileged now, and what it would go back to is.`,
      'Set the image that is wanted with rollout image, or go back with the engine’s own tools.',
    )
}

/** Text of an engine as it may stand in one line. */
export function oneLine(text: string, max = 300): string {
  const line = text.replace(/[\p{C}\s]+/gu, ' ').trim()
  return line.length > max ? `${line.slice(0, max)}…` : line
}

export function quote(text: string): string {
  return JSON.stringify(oneLine(text, 100))
}

export function stderr(text: string): ExecEvent {
  return { type: 'output', stream: 'stderr', data: new TextEncoder().encode(`${text}\n`) }
}

export type Applying = {
  readonly target: Target
  readonly rollout: Rollout
  readonly plan: Plan
  readonly exec: string
  readonly signal: AbortSignal
  /** Who asked, for an engine whose own audit names people. */
  readonly by?: Actor | undefined
}

export type Trouble = { readonly who: string; readonly why: string }

/** How a change stands. `mark` is whatever differs when it gets on. */
export type Look =
  /** `isHeld`: taken, and it moves nothing before somebody does more; that is told in the answer, too. */
  | { readonly status: 'done'; readonly text: string; readonly isHeld?: boolean }
  | { readonly status: 'going'; readonly text: string; readonly mark: string; readonly troubles: readonly Trouble[] }
  | { readonly status: 'stuck'; readonly why: string; readonly troubles: readonly Trouble[] }

/** What the looks are for. */
export type Asked = {
  readonly rollout: Rollout
  /** It was paused when the change was planned, and the plan said so. */
  readonly wasPaused?: boolean
}

/** A success is measured against what was asked for, not against what somebody has made of it meanwhile. */
export function outscaled({ rollout }: Asked, replicas: number | null | undefined): Look | undefined {
  if (rollout.verb !== 'scale' || replicas == null || replicas === rollout.replicas) return undefined
  return { status: 'stuck', why: `someone else, or an autoscaler, has set it to ${replicas} meanwhile`, troubles: [] }
}

/** Of a workload that is paused; `isThere`: it has come to what was asked for all the same. */
export function paused({ rollout, wasPaused }: Asked, text: string, isThere: boolean): Look {
  if (isThere || rollout.verb === 'status' || rollout.verb === 'pause') return { status: 'done', text: `paused: ${text}` }
  if (wasPaused) return { status: 'done', text: 'taken, held until resume', isHeld: true }
  return { status: 'stuck', why: `someone else has paused it meanwhile, at ${text}`, troubles: [] }
}

export type Pace = {
  /** Between two looks, at first and at most. */
  readonly pollMs: number
  readonly maxPollMs: number
  /** What was begun has to be there for this long: a process that ends at once is ready for as long as it runs. */
  readonly holdMs: number
  /** A trouble that is younger is not told: images take a second try, containers a moment. */
  readonly settleMs: number
  /** Standing still this long with a trouble is stuck, whatever the engine hopes for. */
  readonly brokenMs: number
  /** Standing still this long without one is stuck; Kubernetes' own `progressDeadlineSeconds` has the same default. */
  readonly stillMs: number
  /** How long the engine may give no answer while it is watched. */
  readonly silentMs: number
}

export const pace: Pace = {
  pollMs: 1_000,
  maxPollMs: 5_000,
  holdMs: 5_000,
  settleMs: 10_000,
  brokenMs: 90_000,
  stillMs: 600_000,
  silentMs: 60_000,
}

const BEGINS: readonly Rollout['verb'][] = ['image', 'restart', 'undo', 'resume', 'scale']

export type Watched = {
  readonly verb: Rollout['verb']
  readonly look: (signal: AbortSignal) => Promise<Look>
  /** The last words of what is in trouble; it may fail without harm. */
  readonly logs?: (troubles: readonly Trouble[], signal: AbortSignal) => Promise<readonly string[]>
  readonly pace: Pace
  readonly signal: AbortSignal
}

/** More of them are counted and not listed. */
const MAX_TROUBLES = 5
const LOGS_MS = 10_000

/** Looks until it is done or stuck; ends with exactly one `exit`. Throws when it can no longer look: then nothing is known. */
export async function* watch(options: Watched): AsyncGenerator<ExecEvent> {
  const { pace: at, signal } = options
  let pollMs = at.pollMs
  let told: string | undefined
  let mark: string | undefined
  let stillSince = Date.now()
  let troubledSince: number | undefined
  let seenAt = Date.now()
  let thereSince: number | undefined
  for (;;) {
    const look = await options.look(signal).catch((error: unknown) => {
      const isSilence = error instanceof BackendError && ['backend_unavailable', 'timeout'].includes(error.code)
      if (signal.aborted || !isSilence || Date.now() - seenAt > at.silentMs) throw maybe(error, signal)
      return undefined
    })
    const now = Date.now()
    if (look) {
      seenAt = now
      if (look.status !== 'done') thereSince = undefined
      else {
        if (look.text !== told) yield { type: 'progress', text: look.text }
        told = look.text
        thereSince ??= now
        const left = look.isHeld || !BEGINS.includes(options.verb) ? 0 : thereSince + at.holdMs - now
        if (left > 0) {
          await wait(left, signal)
          continue
        }
        if (look.isHeld) yield stderr(look.text)
        yield { type: 'exit', code: 0 }
        return
      }
      if (look.status === 'going' && look.mark !== mark) {
        mark = look.mark
        stillSince = now
        pollMs = at.pollMs
        troubledSince = undefined
      }
      troubledSince = look.troubles.length === 0 ? undefined : (troubledSince ?? now)
      const why = look.status === 'stuck' ? look.why : stillWhy(now - stillSince, troubledSince && now - troubledSince, at)
      if (why !== undefined) {
        yield* stuck(why, look.troubles, options)
        return
      }
      if (look.status === 'going') {
        const isOld = troubledSince !== undefined && now - troubledSince >= at.settleMs
        const text = isOld ? `${look.text}; ${look.troubles.slice(0, 2).map(sentence).join('; ')}` : look.text
        if (text !== told) yield { type: 'progress', text }
        told = text
      }
    }
    await wait(pollMs, signal)
    pollMs = Math.min(at.maxPollMs, Math.ceil(pollMs * 1.5))
  }
}

function stillWhy(stillMs: number, troubledMs: number | undefined, at: Pace): string | undefined {
  if (troubledMs !== undefined && troubledMs >= at.brokenMs)
    return `it stands still for ${seconds(troubledMs)} with what fails below`
  if (stillMs >= at.stillMs) return `nothing has moved for ${seconds(stillMs)}`
  return undefined
}

/** Says what is wrong and ends with 1. */
async function* stuck(why: string, troubles: readonly Trouble[], options: Watched): AsyncGenerator<ExecEvent> {
  yield stderr(`stuck: ${why}`)
  for (const one of troubles.slice(0, MAX_TROUBLES)) yield stderr(sentence(one))
  if (troubles.length > MAX_TROUBLES) yield stderr(`… and ${troubles.length - MAX_TROUBLES} more`)
  if (options.logs && troubles.length > 0) {
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(LOGS_MS)])
    const logs = await options.logs(troubles, signal).catch((error: unknown) => {
      if (!(error instanceof BackendError)) throw error
      return [`their logs could not be read: ${error.message}`]
    })
    for (const text of logs) yield stderr(text)
  }
  yield { type: 'exit', code: 1 }
}

function sentence({ who, why }: Trouble): string {
  return `${who}: ${why}`
}

function seconds(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`
}

/** Throws when `signal` aborts: what was sent stays. */
export async function wait(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, signal)
  if (signal.aborted) throw givenUp(signal)
}

function givenUp(signal: AbortSignal): BackendError {
  return new BackendError(
    {
      code: 'stream_broken',
      message: 'drover stopped watching; what was sent stays as it is.',
      next: 'rollout status shows how it stands, rollout undo goes back.',
    },
    { ran: 'maybe', cause: signal.reason },
  )
}
