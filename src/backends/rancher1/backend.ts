/** Rancher 1.x (cattle) as a backend: containers by the HTTP API, commands by `execute` and a wrapper that tells what Rancher does not. */

import { BackendError } from '../../core/errors.ts'
import type { ExecHandle, Selector, Target, Traits } from '../../core/model.ts'
import type { Backend, KillResult } from '../../core/ports.ts'
import type { Transport } from '../transport.ts'
import { killThroughExec } from '../wire/kill.ts'
import type { Pace } from '../wire/rollout.ts'
import { type Api, errorCode, parsed, rancherApi } from './api.ts'
import { check } from './check.ts'
import { Container, EXECUTABLE_STATE, Host, listPath, Project, targetOf } from './container.ts'
import { execute } from './exec.ts'
import type { Connection } from './exec-connect.ts'
import { rancher1Workloads } from './workloads.ts'

export type Rancher1Options = {
  /** `on=<name>`. */
  readonly name: string
  /** `https://rancher.example.com`, with or without `/v1`, `/v2-beta`, `/projects/1a5`. */
  readonly url: string
  readonly accessKey: string
  readonly secretKey: string
  /** Environment id, `1a5`; an environment key does not need it. */
  readonly project?: string
  /** One HTTP request; default 30 s. */
  readonly requestTimeoutMs?: number
  /** The websocket's handshake; default 15 s. */
  readonly connectTimeoutMs?: number
  /** The command's begin after that; default 30 s. */
  readonly startTimeoutMs?: number
  /** Between keep-alive pings; default 20 s. */
  readonly pingIntervalMs?: number
  /** How a rollout is watched. */
  readonly pace?: Pace
}

const traits: Traits = {
  exitCode: true,
  separateStderr: true,
  stdin: false,
  env: true,
  dir: true,
  user: false,
  tty: true,
  kill: true,
}

export function rancher1(options: Rancher1Options, transport: Transport): Backend {
  const api = rancherApi(options, transport)
  const times = {
    connectMs: options.connectTimeoutMs ?? 15_000,
    startMs: options.startTimeoutMs ?? 30_000,
    pingMs: options.pingIntervalMs ?? 20_000,
    restMs: 2_000,
  }
  const connection: Connection = { api, transport, times }
  return {
    name: options.name,
    kind: 'rancher1',
    traits,
    list: (selector, signal) => list(api, options.name, selector, signal),
    exec: (target, command, exec, signal) => execute(connection, { target, command, exec, signal }),
    kill: (target, handle, signal) => kill(connection, target, handle, signal),
    check: (signal) => check(api, options, signal),
    workloads: rancher1Workloads({ api, transport }, options.name, options.pace),
  }
}

async function list(api: Api, name: string, selector: Selector, signal: AbortSignal): Promise<readonly Target[]> {
  const path = listPath(selector)
  const hosts = api.list('hosts', Host, signal)
  // What is wrong with both is told of the containers.
  hosts.catch(() => {})
  const containers = await api.list(path, Container, signal)
  if (containers.length === 0 && api.project === undefined) await refuseUnnamedEnvironment(api, path, signal)
  const hostNames = new Map((await hosts).map((host) => [host.id, host.name || host.hostname || host.id]))
  // By id, for pages are row offsets and repeat a row when one before it goes; by state, for a filter that cattle does not take it ignores.
  const running = new Map(containers.filter((one) => one.state === EXECUTABLE_STATE).map((one) => [one.id, one]))
  return [...running.values()].map((one) => targetOf(one, name, hostNames))
}

/** An account key lists its own, empty account unless it names an environment; an environment key sees just the one that it belongs to. */
async function refuseUnnamedEnvironment(api: Api, path: string, signal: AbortSignal): Promise<void> {
  const projects = await api.list('/projects', Project, signal)
  const [only] = projects
  if (only === undefined) return
  if (projects.length === 1 && (await api.list(`/projects/${only.id}/${path}`, Container, signal)).length === 0) return
  throw new BackendError(
    {
      code: 'config',
      message: `This is an account key, and no environment is named. It can see: ${projects.map((one) => (one.name ? `${one.id} (${one.name})` : one.id)).join(', ')}.`,
      next: 'Set `project` of this backend to one of them, or use an environment key.',
    },
    { ran: 'no' },
  )
}

function kill(connection: Connection, target: Target, handle: ExecHandle, signal: AbortSignal): Promise<KillResult> {
  return killThroughExec({
    handle,
    run: (command, exec) => execute(connection, { target, command, exec, signal }),
    isDead: () => isDead(connection.api, target, signal),
  })
}

/** With its container every process of it ends; one that is only stopping may still hold them. */
async function isDead(api: Api, target: Target, signal: AbortSignal): Promise<boolean> {
  const response = await api.request('GET', `containers/${target.native}`, signal)
  return (
    (response.status === 404 && errorCode(response) !== undefined) ||
    (response.status === 200 && ['stopped', 'removed', 'purged'].includes(parsed(response, Container).state))
  )
}
