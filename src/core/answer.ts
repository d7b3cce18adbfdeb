/** How a run is told: its state while it goes on, its answer at the end, and nothing that must not be shown. */

import { BackendError } from './errors.ts'
import { within } from './fan-out.ts'
import { type House, type Live, shown } from './house.ts'
import type { RunId, RunRequest, RunState } from './model.ts'
import { maskArgv, type Redactor } from './redact.ts'

/** How long one progress report, and one delivery, may take. */
const reportMs = 10_000
const deliverMs = 300_000
/** Least time between two progress reports (Slack takes about one update a second). */
const progressMs = 1_000

/** The request and endings as a reader may see them: argv, env and stdin masked like any output. */
export function maskState(state: RunState, redactor: Redactor): RunState {
  const clean = (text: string) => redactor.text(text).text
  const { command, typed, restored, ...rest } = state.request
  const { env, stdin: _, ...plain } = command
  const request: RunRequest = {
    ...rest,
    ...(typed === undefined ? {} : { typed: clean(typed) }),
    ...(restored === undefined ? {} : { restored: restored.map(clean) }),
    command: {
      ...plain,
      ...(plain.dir === undefined ? {} : { dir: clean(plain.dir) }),
      ...(plain.user === undefined ? {} : { user: clean(plain.user) }),
      argv: maskArgv(command.argv, redactor),
      ...(env ? { env: Object.fromEntries(Object.keys(env).map((key) => [key, '…'])) } : {}),
    },
  }
  const selector = JSON.parse(JSON.stringify(request.selector), (_, value: unknown) =>
    typeof value === 'string' ? clean(value) : value,
  )
  return { ...state, request: { ...request, selector }, notes: state.notes.map(clean) }
}

/** Tells how the run stands, from a state that is kept up and not read anew each time. */
export function startProgress(request: RunRequest, live: Live, house: House) {
  let dirty = false
  let stopped = false
  let isReporting = false
  let busy: Promise<void> = Promise.resolve()
  let timer: ReturnType<typeof setTimeout> | undefined
  const report = async () => {
    dirty = false
    try {
      const state = await live.state()
      if (!state) return
      const shownState = maskState(state, house.redactor)
      for (const part of await within(reportMs, 'The progress report', () => house.reporter(request).progress(shownState))) {
        await house.ledger.append(request.id, { type: 'posted', ...part })
      }
    } catch (error) {
      // The answer comes with `deliver`, which is retried; a missed state on the way is only logged.
      house.log({ level: 'warn', event: 'progress-failed', run: request.id, failure: shown(error, house) })
    }
  }
  /** One report at a time: two would post two parent messages. */
  const go = () => {
    timer = undefined
    isReporting = true
    busy = report().then(() => {
      isReporting = false
      if (dirty) plan()
    })
  }
  const plan = () => {
    if (!stopped && !isReporting) timer ??= setTimeout(go, progressMs)
  }
  return {
    /** Posts the parent message while the commands are on their way: `stop` waits for it, so the answer has its place. */
    begin(): Promise<void> {
      go()
      return busy
    },
    touch() {
      dirty = true
      plan()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await busy
    },
  }
}

/** Hands the answer over; what fails is put off, ever longer, and tried again by whoever sweeps the ledger. */
export async function deliver(run: RunId, live: Live, house: House): Promise<void> {
  const state = await live.state()
  if (!state || state.delivered || state.status !== 'finished') return
  try {
    await within(deliverMs, 'The delivery', () =>
      house.reporter(state.request).deliver(
        maskState(state, house.redactor),
        (target) => house.ledger.output(run, target),
        async (part) => void (await house.ledger.append(run, { type: 'posted', ...part })),
      ),
    )
    await house.ledger.append(run, { type: 'delivered' })
  } catch (error) {
    const age = house.now() - (state.finishedAt ?? house.now())
    const waitMs = Math.min(600_000, Math.max(2_000, age))
    const failure = error instanceof BackendError ? error.toFailure() : shown(error, house)
    house.log({ level: 'warn', event: 'delivery-failed', run, retryInMs: waitMs, failure })
    await house.ledger.postpone(run, house.now() + waitMs)
  }
}
