/** Configuration and what a runtime offers become the rooms of a house: backends, policy, redactor, the reporter of each place. */

import { backendByOrder, checkByOrder, workloadsByOrder } from './agent/by-order.ts'
import type { ContainerdSettings } from './backends/containerd/settings.ts'
import type { docker } from './backends/docker/backend.ts'
import type { Files, kubernetes } from './backends/kubernetes/connect.ts'
import type { Machine } from './backends/machine.ts'
import type { rancher1 } from './backends/rancher1/backend.ts'
import type { rancher2 } from './backends/rancher2/backend.ts'
import type { swarm } from './backends/swarm/backend.ts'
import type { Transport, Transports } from './backends/transport.ts'
import { type BackendConfig, type Config, policyOf, secretsOf } from './config.ts'
import { DroverError } from './core/errors.ts'
import { createGate } from './core/fan-out.ts'
import type { House } from './core/house.ts'
import type { BackendKind, Owner } from './core/model.ts'
import type { Backend, Directory, Ledger, Reporter, Wake } from './core/ports.ts'
import { createRedactor, type Redactor } from './core/redact.ts'
import type { Earlier } from './core/settle.ts'
import { createTurns, type Turns } from './core/turns.ts'
import type { createSlackSide } from './slack-side.ts'

export type Log = (event: Readonly<Record<string, unknown>>) => void

/** What makes the backends of each kind, brought from outside: a bundle for Workers and a command in a terminal hold no more than they need. */
export type Kinds = {
  readonly rancher1?: typeof rancher1
  readonly rancher2?: typeof rancher2
  readonly kubernetes?: typeof kubernetes
  readonly docker?: typeof docker
  /** Absent on Workers, for its size. */
  readonly swarm?: typeof swarm
  /** Absent on Workers: it is reached on its own machine, by gRPC. */
  readonly containerd?: (settings: ContainerdSettings & { readonly name: string }) => Backend
}

/** The ways out of a runtime. */
export type Outside = {
  readonly transport: Transports
  readonly kinds: Kinds
  /** Absent on Workers. */
  readonly machine?: Machine
  /** The ways through agents, by name. */
  readonly agents?: ((name: string) => Transport) | undefined
  /** Kubeconfigs, service accounts and CAs in files; absent on Workers. */
  readonly kubernetesFiles?: Files
}

/** What a runtime brings. */
export type Runtime = Outside & {
  readonly ledger: Ledger
  readonly wake: Wake
  readonly log: Log
  /** Needed where `slack:` is configured. */
  readonly slackSide: typeof createSlackSide | undefined
  /** What a whole run may take here at most. */
  readonly runMs?: number
  /** Answers for requests that came from a terminal. */
  readonly terminal?: Reporter
  now?(): number
  /** Where not all runs are in this process. */
  readonly turns?: Turns
  /** Where each run has a ledger of its own. */
  readonly earlier?: Earlier
}

/** Puts the rooms together. */
export async function createHouse(config: Config, runtime: Runtime): Promise<House> {
  const redactor = redactorOf(config)
  const log: Log = (event) => runtime.log(maskLog(event, redactor))
  const slack = config.slack && runtime.slackSide?.(config.slack, redactor, log)
  return {
    ledger: runtime.ledger,
    backends: createBackends(config, runtime),
    policy: await policyOf(config),
    directory: slack ? whereSlackKnows(slack.directory) : nobodyKnown,
    reporter: ({ place }) => {
      const reporter = place.kind === 'slack' ? slack?.reporter : runtime.terminal
      if (!reporter)
        throw new DroverError({
          code: 'config',
          message: place.kind === 'slack' ? 'No Slack is configured to answer in.' : 'This drover answers no terminal.',
          next: 'Configure slack: in drover.yaml.',
        })
      return reporter
    },
    redactor,
    owner: crypto.randomUUID() as Owner,
    since: (runtime.now ?? Date.now)(),
    limits: {
      targets: config.limits.targets,
      timeoutMs: config.limits.timeout,
      maxTimeoutMs: config.limits.maxTimeout,
      parallel: config.limits.parallel,
      outputBytes: config.limits.outputBytes,
      runOutputBytes: config.limits.runOutputBytes,
      ...(runtime.runMs === undefined ? {} : { runMs: runtime.runMs }),
    },
    handshake: createGate(config.limits.handshakes),
    turns: runtime.turns ?? createTurns(config.limits.runsPerActor),
    now: runtime.now ?? Date.now,
    ...(runtime.earlier ? { earlier: runtime.earlier } : {}),
    log,
  }
}

/** Throws DroverError `config` for what this runtime cannot reach. */
export function createBackends(config: Config, outside: Outside): readonly Backend[] {
  return Object.entries(config.backends).map(([name, settings]) =>
    settings.through === undefined
      ? createBackend(name, settings, outside)
      : throughAgent(name, settings, settings.through, outside),
  )
}

/** One more transport; and where an engine's calls could not be fenced one by one, drover's own words on it. */
function throughAgent(name: string, settings: BackendConfig, agent: string, outside: Outside): Backend {
  const way = outside.agents?.(agent)
  if (!way)
    throw new DroverError({
      code: 'config',
      message: `Nothing here takes the connection of the agent ${agent}.`,
      next: 'Agents connect to `drover serve` and to Workers: ask there.',
    })
  const { kind } = settings
  if (kind === 'containerd' || kind === 'swarm')
    return backendByOrder(
      kind === 'swarm'
        ? { name, kind, hasUser: true }
        : { name, kind, hasUser: settings.api === undefined, bounds: settings.newContainers },
      way,
    )
  const backend = createBackend(name, settings, { ...outside, transport: () => way })
  const { workloads } = backend
  return {
    ...backend,
    // Of the key, which is the agent's, only the agent can tell.
    ...(kind === 'rancher2' ? { check: checkByOrder(way) } : {}),
    ...(workloads ? { workloads: workloadsByOrder(backend, workloads.verbs, way) } : {}),
  }
}

function createBackend(name: string, settings: BackendConfig, { transport, machine, kinds, kubernetesFiles }: Outside): Backend {
  const here = <K extends BackendKind>(kind: K): NonNullable<Kinds[K]> => kinds[kind] ?? notHere(name, kind)
  switch (settings.kind) {
    case 'rancher1': {
      const { accessKey, secretKey, project, url } = settings
      const keys = { accessKey: accessKey.reveal(), secretKey: secretKey.reveal() }
      return here('rancher1')({ name, url, ...keys, ...(project === undefined ? {} : { project }) }, transport({}))
    }
    case 'rancher2':
      return here('rancher2')({ name, ...settings, token: settings.token.reveal() }, { transport, machine })
    case 'kubernetes':
      return here('kubernetes')(name, settings, { transport, files: kubernetesFiles })
    case 'docker':
      return here('docker')({ name, ...settings }, { transport, machine })
    case 'containerd':
      return here('containerd')({ ...settings, name })
    case 'swarm':
      return here('swarm')({ ...settings, name }, { transport, ...(machine ? { machine } : {}) })
    default:
      return settings satisfies never
  }
}

function notHere(name: string, kind: BackendKind): never {
  const why =
    kind === 'containerd'
      ? 'containerd has to be on the same machine as drover, and Workers has none'
      : `a backend of kind ${kind} does not work on Workers`
  throw new DroverError({
    code: 'config',
    message: `backends.${name}: ${why}.`,
    next: `Run drover on Node or Deno${kind === 'containerd' ? ' beside it' : ''}, or say through: and run drover agent beside it (docs/agent.md).`,
  })
}

const redactors = new WeakMap<Config, Redactor>()

/** Made once for a configuration: on Workers an app is made for every request. */
export function redactorOf(config: Config): Redactor {
  const redactor = redactors.get(config) ?? createRedactor(secretsOf(config))
  redactors.set(config, redactor)
  return redactor
}

/** A log without the secrets of the configuration. */
export function maskedLog(config: Config, log: Log): Log {
  return (event) => log(maskLog(event, redactorOf(config)))
}

/** Masks every text in a log line, and keeps it a line of data. */
function maskLog(event: Readonly<Record<string, unknown>>, redactor: Redactor): Readonly<Record<string, unknown>> {
  return JSON.parse(JSON.stringify(event), (_, value: unknown) => (typeof value === 'string' ? redactor.text(value).text : value))
}

const nobodyKnown: Directory = { facts: async () => ({ groups: [] }) }

/** Terminals are in no group and no channel: no Slack call says anything about them. */
function whereSlackKnows(slack: Directory): Directory {
  return { facts: (actor, place, ...rest) => (place.kind === 'slack' ? slack : nobodyKnown).facts(actor, place, ...rest) }
}
