/** What the core needs from the rooms around it. Each port has one contract suite in `test/contract/`. */

import type { DroverError, Failure } from './errors.ts'
import type {
  Actor,
  BackendKind,
  Command,
  Decision,
  ExecEvent,
  ExecHandle,
  Instant,
  NewContainer,
  OutputChunk,
  Owner,
  Place,
  Plan,
  Rollout,
  RunEvent,
  RunId,
  RunRequest,
  RunState,
  Selector,
  StoredEvent,
  Target,
  TargetId,
  Traits,
} from './model.ts'

/** A protocol and nothing else: deadlines, caps, cancel and kill policy live in `execute.ts`. */
export interface Backend {
  /** The name operators gave it: `on=<name>`. */
  readonly name: string
  readonly kind: BackendKind
  readonly traits: Traits
  /**
   * Containers that run now and may match. The selector is a hint to ask for less; the caller matches again.
   * Throws BackendError: a list that could not be read whole is an error, never a shorter list.
   */
  list(selector: Selector, signal: AbortSignal): Promise<readonly Target[]>
  /**
   * What the command writes, then exactly one `exit` or `exit-unknown`; throws BackendError when it cannot; never neither.
   * `exec` names this execution, unique and unguessable. When `signal` aborts, the connection is closed and the iterator
   * throws; the process may go on: ending it is `kill`. `by` is who asked, for an engine whose own audit names people.
   * `timeoutMs`: after that it is going to be ended, so what was made for it may be swept away some minutes later.
   */
  exec(
    target: Target,
    command: Command,
    exec: string,
    signal: AbortSignal,
    by?: Actor,
    timeoutMs?: number,
  ): AsyncIterable<ExecEvent>
  /** Ends what `exec` started and says whether it is proved gone. `left` names the survivors when they are known. */
  kill(target: Target, handle: ExecHandle, signal: AbortSignal): Promise<KillResult>
  /**
   * Whether the target is the very one that was listed; for kinds whose ids are names that can come again (`Target.uid`). Asked right
   * before `exec` when it was judged a while ago.
   */
  isStill?(target: Target, signal: AbortSignal): Promise<boolean>
  /** Removes what was made for commands by a drover that was ended in the middle, once its time has passed. Absent where nothing is made. */
  sweep?(signal: AbortSignal): Promise<void>
  /** Says whether this connection works and what its key may do, for `drover check`. */
  check(signal: AbortSignal): Promise<readonly CheckLine[]>
  /** The target that stands for a container to be made, with this site's defaults filled in; absent where none can be made. Throws DroverError for what is not allowed here. */
  newContainer?(wanted: NewContainer): Target
  /** What `rollout` works on; absent where this kind has no workloads. */
  readonly workloads?: Workloads
}

/** Changes of workloads, each read before and watched after. */
export interface Workloads {
  readonly verbs: readonly Rollout['verb'][]
  /** Workloads that may match, as targets: `name` is `<kind>/<name>`, facets `workload`, `service` (the bare name), `namespace` or `stack`. */
  list(selector: Selector, signal: AbortSignal): Promise<readonly Target[]>
  /** Looks, and says what would change; changes nothing. Throws BackendError `ran: 'no'` for what cannot be done: unknown container, nothing to undo, paused. */
  plan(target: Target, rollout: Rollout, signal: AbortSignal): Promise<Plan>
  /**
   * Plans again, refuses (`ran: 'no'`, code `changed`) when the seal differs, sends the change once, and watches: `started` when
   * it was taken, `progress`, on stderr what goes wrong (reasons of failing pods, the last lines of their logs), then `exit` 0
   * when the new state is reached, or 1 when it is stuck. Aborted: stops watching; what was sent stays. `by` as in `Backend.exec`.
   */
  apply(target: Target, rollout: Rollout, plan: Plan, exec: string, signal: AbortSignal, by?: Actor): AsyncIterable<ExecEvent>
}

export type KillResult = { readonly result: 'gone' } | { readonly result: 'left'; readonly pid?: number }

export type CheckLine = { readonly ok: boolean | 'warn'; readonly what: string; readonly detail?: string; readonly next?: string }

/** The append-only record of runs. Every method is durable when its promise settles; a rejection means nothing was kept. */
export interface Ledger {
  /** Stores the request and its `accepted` event; `duplicate` when this run id was accepted before. */
  accept(request: RunRequest): Promise<'accepted' | 'duplicate'>
  /**
   * Appends to the run's hash chain, all of them or none. `resolved` also makes one pending row for each target. What may follow
   * `finished` goes alone, and nothing follows `finished` in one call. Returns the number, from 1, of the last of them.
   */
  append(run: RunId, ...events: readonly [RunEvent, ...RunEvent[]]): Promise<number>
  /** pending → started, once, with its `started` event; false: someone has it or had it. Never goes back. */
  claim(run: RunId, target: TargetId, owner: Owner): Promise<boolean>
  /**
   * Calls back with each event that this ledger writes to the run from now on, in order, when it is durable and before the promise
   * that asked for it settles. What another process writes is not told: it shows as a gap in `seq`. Returns the way to stop.
   */
  follow(run: RunId, listener: (event: StoredEvent) => void): () => void
  /** All events of a run in order, `output` events without their chunks; empty when there is no such run. */
  read(run: RunId): Promise<readonly StoredEvent[]>
  /** Calls back with each of them as it is read, for whoever keeps only what they amount to. */
  replay(run: RunId, listener: (event: StoredEvent) => void): Promise<void>
  /** What one target wrote, as kept, in order. */
  output(run: RunId, target: TargetId): Promise<readonly OutputChunk[]>
  /** Newest first. */
  list(query: RunQuery): Promise<readonly RunSummary[]>
  /** Runs that are not finished, or finished and not delivered, whose next attempt is due. Oldest first. */
  due(now: Instant, limit: number): Promise<readonly RunId[]>
  /** Puts the next attempt of an undelivered run off until `at`. */
  postpone(run: RunId, at: Instant): Promise<void>
  /** True the first time a key is seen within `ttlMs`; across restarts. */
  firstTime(key: string, ttlMs: number): Promise<boolean>
  /** Recomputes every hash of every run and of the ledger-wide chain. */
  verify(): Promise<VerifyReport>
  close(): Promise<void>
}

export type RunQuery = { readonly place?: Place; readonly actor?: Actor; readonly limit: number; readonly before?: Instant }

export type RunSummary = {
  readonly id: RunId
  readonly at: Instant
  readonly actor: Actor
  readonly place: Place
  readonly argv: readonly string[]
  readonly status: RunState['status']
  /** `done`, `refused`, `cancelled`, `interrupted`; absent while it runs. */
  readonly outcome?: string
  readonly targets: number
  /** How many executions ended `exited` with code 0. */
  readonly succeeded: number
  /** How many of the others ended how, as `countedAs` calls it; of finished runs, and absent where there are very many. */
  readonly others?: Readonly<Record<string, number>>
}

export type VerifyReport =
  | { readonly ok: true; readonly runs: number; readonly events: number; readonly head: string }
  | {
      readonly ok: false
      readonly runs: number
      readonly events: number
      readonly problem: string
      readonly run?: RunId
      readonly seq?: number
    }

/** Delivers a key at least once, at or after a time; may be late or doubled. Losing one costs latency, never a run. */
export interface Wake {
  wake(run: RunId, at?: Instant): Promise<void>
}

/** Answers where a request said to. Called only by the run's owner, one call at a time for a run. */
export interface Reporter {
  /** Shows how the run stands; best effort, coalesced by the caller to once a second. Returns parts newly posted. */
  progress(state: RunState): Promise<readonly PostedPart[]>
  /**
   * Delivers the final answer. Parts in `state.posted` are there already: edit or skip them. Calls `posted` after each new
   * part, before the next one, so that a crash in between repeats at most one. Throws DroverError `reply_failed` to be retried.
   */
  deliver(
    state: RunState,
    output: (target: TargetId) => Promise<readonly OutputChunk[]>,
    posted: (part: PostedPart) => Promise<void>,
  ): Promise<void>
  /** Posts the stored result somewhere else. */
  share(state: RunState, output: (target: TargetId) => Promise<readonly OutputChunk[]>, to: Place, by: Actor): Promise<void>
}

export type PostedPart = { readonly part: string; readonly ref: string }

/** Facts about people and places that policy judges by. A throw means "cannot tell", and cannot tell means no. */
export interface Directory {
  facts(actor: Actor, place: Place, groups: readonly string[], signal: AbortSignal): Promise<Facts>
}

export type Facts = {
  /** Group keys the actor is in, `<team>/<usergroup>`, out of those asked about. */
  readonly groups: readonly string[]
  /** Set when this actor or place must be refused whatever the rules say. */
  readonly refuse?: DroverError
}

/** What a frontend may ask of drover. On Workers the same calls go to a Durable Object: arguments and results are plain JSON. */
export interface Gateway {
  /** Durable before it resolves; nothing slow. */
  submit(request: RunRequest): Promise<'accepted' | 'duplicate'>
  read(run: RunId): Promise<RunState | undefined>
  output(run: RunId, target: TargetId): Promise<readonly OutputChunk[]>
  list(query: RunQuery): Promise<readonly RunSummary[]>
  /** Rights are checked for `by`, not for who started it. Returns a failure to show, or undefined when done. */
  cancel(run: RunId, by: Actor, place: Place): Promise<Failure | undefined>
  share(run: RunId, by: Actor, from: Place, to: Place): Promise<Failure | undefined>
  /** What a selector means now, for someone who may look: nothing runs. */
  targets(selector: Selector, by: Actor, place: Place): Promise<TargetsAnswer>
  /** Why `by` may not read results from here, or not this run's; undefined when they may. */
  mayRead(by: Actor, place: Place, run?: RunId): Promise<Failure | undefined>
  /** What would happen to this request now, and by which rule: nothing runs, nothing is recorded. */
  why(request: RunRequest): Promise<Judgement>
  /** True the first time a delivery key is seen; for replays and repeated clicks. */
  firstTime(key: string, ttlMs: number): Promise<boolean>
}

export type Judgement =
  | {
      readonly ok: true
      readonly targets: readonly Target[]
      readonly notes: readonly string[]
      readonly decision: Decision
      readonly timeoutMs: number
      /** Of a rollout: one for each target. */
      readonly plans?: Readonly<Record<TargetId, Plan>>
    }
  | { readonly ok: false; readonly decision: Extract<Decision, { effect: 'deny' }>; readonly failure: Failure }

export type TargetsAnswer =
  /** `hidden`: how many more match in which the asker may run nothing; told on terminals alone. */
  | { readonly ok: true; readonly targets: readonly Target[]; readonly notes: readonly string[]; readonly hidden?: number }
  | { readonly ok: false; readonly failure: Failure }
