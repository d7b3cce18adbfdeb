/** The words of drover as data. All of it is plain readonly JSON: it can be stored, sent and replayed. */

import type { Failure } from './errors.ts'

type Brand<T, B extends string> = T & { readonly __brand: B }

/** `r` and 15 characters of base32, derived from the delivery key: one delivery, one run. */
export type RunId = Brand<string, 'RunId'>
/** `<backend>/<native id>`, for example `prod/1i160`. */
export type TargetId = Brand<string, 'TargetId'>
/** Names one process or object that runs commands; a new one at each start. */
export type Owner = Brand<string, 'Owner'>
/** Milliseconds since 1970-01-01 UTC. */
export type Instant = number

// ---- who, why, where -------------------------------------------------------------------------

/** Who asks. Identity is ids only; names are labels and live elsewhere. */
export type Actor =
  | { readonly kind: 'slack-user'; readonly team: string; readonly user: string }
  | { readonly kind: 'api-key' | 'webhook' | 'schedule'; readonly name: string }
  | { readonly kind: 'cli'; readonly user: string }

/** What made them ask. `delivery` is the same for every retry of one delivery, and different for each new one. */
export type Trigger = {
  readonly kind: 'slash' | 'mention' | 'button' | 'webhook' | 'api' | 'cli'
  readonly delivery: string
}

/** Where a request was made and where its answer goes. */
export type Place =
  | { readonly kind: 'slack'; readonly team: string; readonly channel: string; readonly threadTs?: string }
  | { readonly kind: 'terminal' }

// ---- what ------------------------------------------------------------------------------------

export type LabelTerm =
  | { readonly op: 'exists' | 'absent'; readonly key: string }
  | { readonly op: 'eq' | 'ne'; readonly key: string; readonly value: string }
  | { readonly op: 'in'; readonly key: string; readonly values: readonly string[] }
  /** A bare word: a label key, or a whole label value. */
  | { readonly op: 'word'; readonly word: string }

/** Fields of a target that a selector and a policy can name besides labels. `workload`: `<kind>/<name>`, for example `deployment/api`. */
export type Facet = 'stack' | 'service' | 'task' | 'namespace' | 'workload' | 'pod' | 'container' | 'image' | 'host'

/** Which containers are meant. All parts narrow (AND). Strings are globs (`*`, `?`) unless said otherwise. */
export type Selector = {
  readonly on?: string
  readonly name?: string
  /** A prefix of the native id or of the engine's container id; must match exactly one. */
  readonly id?: string
  readonly labels?: readonly LabelTerm[]
  readonly facets?: Readonly<Partial<Record<Facet, string>>>
  /** Take any N of the matches. */
  readonly any?: number
  /** `all=N`: every container, and there are exactly N of them. A right of its own. */
  readonly all?: number
  /** `system=1`: containers of the platform count as well. A right of its own. */
  readonly system?: boolean
}

/** The array that policy judges, the ledger stores and the backend receives. */
export type Argv = readonly [string, ...string[]]

export type Command = {
  readonly argv: Argv
  readonly env?: Readonly<Record<string, string>>
  readonly dir?: string
  readonly user?: string
  readonly stdin?: string
  readonly tty?: boolean
}

/** A change of a workload, or a look at one. `finish` ends an upgrade of Rancher 1.x, after which it cannot be undone there. */
export type Rollout =
  /** `container` may be left out where there is one. */
  | { readonly verb: 'image'; readonly image: string; readonly container?: string }
  | { readonly verb: 'scale'; readonly replicas: number }
  /** Back to a revision; without `to` to the one before. */
  | { readonly verb: 'undo'; readonly to?: string }
  | { readonly verb: 'restart' | 'pause' | 'resume' | 'finish' | 'status' }

/**
 * What a rollout would change on one workload, made by looking and before anything is sent. Recorded before it is applied, and
 * shown to people: it holds no value of an environment variable and no other secret of a template.
 */
export type Plan = {
  /** Rows of before and after for the card: `image main`, `revision`, `replicas`, `paused`. `after` is absent where it stays or cannot be known. */
  readonly facts: readonly { readonly name: string; readonly before: string; readonly after?: string }[]
  /** The request that would be sent, for the reader: method, path and body, with values that may be secret left out. Empty for `status`. */
  readonly change: string
  /** SHA-256, hex, over what would be sent and the generation it is meant for: what is applied is what was shown (S21). */
  readonly seal: string
  /** What `undo` would return to afterwards; absent when there is nothing to return to. */
  readonly undo?: { readonly to: string; readonly says: string }
  /** Of an undo: the revision that it goes back to, as the `undo.to` of the rollout that it takes back. */
  readonly back?: string
  /** The engine keeps what was before until `finish`. Set by the core, for backends that have the verb. */
  readonly finishes?: true
}

/** A container made for one command, and removed after it. What else it has comes from the configuration alone. */
export type NewContainer = {
  readonly image: string
  readonly network?: string
  readonly memoryBytes?: number
  readonly cpus?: number
  /** Names out of the configuration, which alone says what they are. */
  readonly mounts?: readonly string[]
}

/**
 * With `newContainer`, `selector` holds no more than `on`: there is one target, and it does not exist yet.
 * With `rollout`, targets are workloads, and `command.argv` is the same request in words (`rolloutArgv`): policy judges it, the
 * ledger lists it.
 */
export type RunRequest = {
  readonly id: RunId
  readonly actor: Actor
  readonly trigger: Trigger
  readonly selector: Selector
  readonly command: Command
  readonly rollout?: Rollout
  readonly newContainer?: NewContainer
  /** The command's own time limit in ms, as asked for; policy and site limits may lower it. */
  readonly timeoutMs?: number
  readonly place: Place
  readonly receivedAt: Instant
  /** What was typed, redacted, for the reader; never parsed again. */
  readonly typed?: string
  /** Set when the text had to be restored (quotes, links): what was changed, for the reader. */
  readonly restored?: readonly string[]
  /** The run that *Run again* repeats. */
  readonly again?: RunId
  /** The rollout that *Undo* takes back, or *Finish* ends. */
  readonly after?: RunId
  /** With `after`: `uid` of the workload as that run saw it. Another one that has its name by now is not meant. */
  readonly uid?: string
}

// ---- containers ------------------------------------------------------------------------------

export type BackendKind = 'rancher1' | 'rancher2' | 'kubernetes' | 'docker' | 'swarm' | 'containerd'

export type Target = {
  readonly id: TargetId
  readonly backend: string
  readonly kind: BackendKind
  /** The backend's own id, for example `1i160`. */
  readonly native: string
  /** The engine's own id of this very one, where `native` is a name that can come again. */
  readonly uid?: string
  readonly name: string
  /** The engine's container id, when the backend tells it. */
  readonly engineId?: string
  readonly labels: Readonly<Record<string, string>>
  readonly facets: Readonly<Partial<Record<Facet, string>>>
  /** Part of the platform, not of the user's workload: runs there need a right of their own. */
  readonly system?: boolean
  readonly privileged?: boolean
  /** It does not exist yet: `exec` makes it, runs the command as its first process, and removes it. */
  readonly creates?: NewContainer
  /** Of a workload: the containers that a change of it touches. Policy judges each of them, in the place of the whole. */
  readonly parts?: readonly Part[]
}

/** What stands here takes the place of the workload's own; the facet `container` is its name. */
export type Part = Pick<Target, 'labels' | 'facets'>

/** What a backend can do. A request that needs more is refused before anything leaves. */
export type Traits = {
  readonly exitCode: boolean
  readonly separateStderr: boolean
  readonly stdin: boolean
  readonly env: boolean
  readonly dir: boolean
  readonly user: boolean
  readonly tty: boolean
  readonly kill: boolean
}

// ---- one command on one target ---------------------------------------------------------------

export type Stream = 'stdout' | 'stderr'

/** What `kill` needs to find the processes again, in any process of drover. Plain JSON. */
export type ExecHandle = {
  readonly target: TargetId
  readonly exec: string
  readonly pid?: number
  /** By which of several ways it was reached, in words that go on after "through"; where a backend has several. */
  readonly way?: string
}

export type ExecEvent =
  /** Nothing more is being opened; the command may not have begun. Where a backend can tell. */
  | { readonly type: 'connected' }
  | { readonly type: 'started'; readonly handle: ExecHandle }
  /** `dropped`: bytes of this stream before `data` that nobody took while the command was being ended. */
  | { readonly type: 'output'; readonly stream: Stream; readonly data: Uint8Array; readonly dropped?: number }
  /** How far a rollout is, in a few words; each replaces the one before. */
  | { readonly type: 'progress'; readonly text: string }
  | { readonly type: 'exit'; readonly code: number }
  /** It ended, and nothing can tell how. */
  | { readonly type: 'exit-unknown'; readonly error: Failure }

/** How one execution ended: exactly one of these, once. */
export type Ending =
  | { readonly status: 'exited'; readonly code: number }
  /** `left`: could not be proved gone; `pid` when known. */
  | { readonly status: 'timed_out' | 'cancelled'; readonly left?: { readonly pid?: number } }
  /** It did not run. */
  | { readonly status: 'failed'; readonly error: Failure }
  /** It may have run, or ended without saying how. */
  | { readonly status: 'unknown'; readonly error: Failure; readonly left?: { readonly pid?: number } }

/** Text as it may be shown: decoded, control codes made visible, masked. */
export type OutputChunk = { readonly stream: Stream; readonly text: string }

/** What was written and what was kept, in bytes as the command wrote them; `dropped` did not fit the cap. */
export type OutputCount = { readonly stdout: number; readonly stderr: number; readonly dropped: number; readonly masked: number }

// ---- decision --------------------------------------------------------------------------------

export type Decision =
  | { readonly effect: 'allow'; readonly rule: string; readonly limits: Limits }
  | { readonly effect: 'deny'; readonly rule?: string; readonly failure: Failure; readonly allowedFor?: readonly string[] }

/** Obligations of the rule that allowed it. */
export type Limits = { readonly maxTargets?: number; readonly timeoutMs?: number }

// ---- a run is its events ---------------------------------------------------------------------

export type Outcome =
  | { readonly status: 'done' }
  | { readonly status: 'refused'; readonly failure: Failure }
  | { readonly status: 'cancelled' }
  | { readonly status: 'interrupted'; readonly failure: Failure }

export type RunEvent =
  | { readonly type: 'accepted'; readonly request: RunRequest }
  | { readonly type: 'resolved'; readonly targets: readonly Target[]; readonly notes?: readonly string[] }
  | { readonly type: 'decided'; readonly decision: Decision; readonly policy: string; readonly timeoutMs?: number }
  /** Written by `claim`, before the command leaves. */
  | { readonly type: 'started'; readonly target: TargetId; readonly owner: Owner }
  /** Before `started` of a rollout: what is about to be changed. */
  | { readonly type: 'planned'; readonly target: TargetId; readonly plan: Plan }
  | { readonly type: 'progressed'; readonly target: TargetId; readonly text: string }
  | { readonly type: 'handle'; readonly target: TargetId; readonly handle: ExecHandle }
  /** `index` counts the chunks of one target from 0. */
  | { readonly type: 'output'; readonly target: TargetId; readonly index: number; readonly chunks: readonly OutputChunk[] }
  | { readonly type: 'ended'; readonly target: TargetId; readonly ending: Ending; readonly count: OutputCount }
  | { readonly type: 'cancel-asked'; readonly by: Actor }
  /** What an execution had left behind was ended later, and is proved gone. */
  | { readonly type: 'killed'; readonly target: TargetId; readonly by: Actor }
  /** What this rollout did was taken back, or finished, by a later run; `ref`: where that one's message is. */
  | {
      readonly type: 'settled'
      readonly target: TargetId
      readonly verb: 'undo' | 'finish'
      readonly by: Actor
      readonly run: RunId
      readonly ref?: string
    }
  | { readonly type: 'finished'; readonly outcome: Outcome }
  /** One part of the answer reached its reader; `part` is the reporter's own key, `ref` what it needs to edit it. */
  | { readonly type: 'posted'; readonly part: string; readonly ref: string }
  | { readonly type: 'delivered' }
  | { readonly type: 'shared'; readonly by: Actor; readonly to: Place }

export type StoredEvent = {
  readonly seq: number
  readonly at: Instant
  /** SHA-256, hex: over the hash before it and this event. */
  readonly hash: string
  readonly event: RunEvent
}

export type Settled = Extract<RunEvent, { type: 'settled' }>

/** One execution as its events tell it. */
export type Execution = {
  readonly target: Target
  readonly status: 'pending' | 'started' | Ending['status']
  readonly owner?: Owner
  readonly handle?: ExecHandle
  readonly plan?: Plan
  readonly progress?: string
  readonly ending?: Ending
  readonly count?: OutputCount
  readonly startedAt?: Instant
  readonly endedAt?: Instant
  readonly settled?: Settled
  /** Who had ended, after the run, what it had left; it is proved gone. */
  readonly killedBy?: Actor
}

/** A run as its events tell it: what every view renders from. Made by `core/run-state.ts`. */
export type RunState = {
  readonly request: RunRequest
  readonly status: 'accepted' | 'running' | 'finished'
  readonly decision?: Decision
  readonly timeoutMs?: number
  readonly notes: readonly string[]
  readonly executions: readonly Execution[]
  readonly cancelAskedBy?: Actor
  readonly outcome?: Outcome
  readonly posted: Readonly<Record<string, string>>
  readonly delivered: boolean
  readonly startedAt?: Instant
  readonly finishedAt?: Instant
}
