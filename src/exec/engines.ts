/** What a program may ask of an engine, and the Docker Engine, which can do all of it. */

import * as z from 'zod'
import { dockerApi, parsed } from '../backends/docker/api.ts'
import { type EndpointSettings, endpointOf } from '../backends/docker/endpoint.ts'
import { type Connection, execute } from '../backends/docker/exec.ts'
import { kill } from '../backends/docker/kill.ts'
import { loginsOf } from '../backends/docker/logins.ts'
import { executeNew, killNew } from '../backends/docker/new-container.ts'
import type { USUAL_CAPABILITIES } from '../backends/wire/capabilities.ts'
import type { Mounts } from '../backends/wire/mounts.ts'
import type { Command, ExecEvent, ExecHandle, Target, TargetId } from '../core/model.ts'
import type { KillResult } from '../core/ports.ts'
import { nodeMachine } from '../runtime/machine-node.ts'
import { nodeTransport } from '../runtime/transport-node.ts'

/** A path of the engine's host, or the name of a volume, in the new container. */
export type Mount = { readonly source: string; readonly target: string; readonly writable?: true }

/** A container of its own, made for the command and removed after it. */
export type NewContainer = {
  readonly image: string
  /** Fetch the image when the engine does not have it. */
  readonly pull?: boolean
  /** Default `none`: no network but its own loopback. */
  readonly network?: string
  /** Absent: as much as the engine has. */
  readonly memoryBytes?: number
  readonly cpus?: number
  readonly processes?: number
  readonly mounts?: readonly Mount[]
  /** Nothing of the image can be written to; it has a /tmp of 64 MiB, in memory. */
  readonly readOnly?: boolean
  /** What is left of Docker's 14, without `CAP_`; absent: all of them. */
  readonly capabilities?: readonly Capability[]
}
export type Capability = (typeof USUAL_CAPABILITIES)[number]

/** One that runs already, by name or id. */
export type RunningContainer = { readonly container: string }

export type Where = NewContainer | RunningContainer

export type Job = {
  readonly where: Where
  readonly command: Command
  /** Names this execution. */
  readonly exec: string
  readonly stdin: AsyncIterable<Uint8Array> | undefined
  readonly lastsMs: number
  readonly signal: AbortSignal
  /** Before anything is begun in it. */
  readonly onTarget: (target: Target) => void
  readonly onContainer: (id: string) => void
}

export interface Engine {
  /** Of a new container: `connected` follows `started` when it runs. */
  readonly tellsWhenItRuns: boolean
  /** As `Backend.exec`. */
  exec(job: Job): AsyncIterable<ExecEvent>
  kill(target: Target, handle: ExecHandle, signal: AbortSignal): Promise<KillResult>
}

export type DockerOptions = EndpointSettings & {
  /** Ends commands in running containers that have no shell. */
  readonly helperImage?: string
  /** A file as `docker login` writes it, for what `pull: true` fetches from registries that want one. */
  readonly logins?: string
}

const Found = z.object({ Id: z.string().regex(/^[0-9a-f]{64}$/), Name: z.string() })

/** A Docker Engine: the one that the docker client would use, where nothing else is said. */
export function docker(options: DockerOptions = { fromEnvironment: true }): Engine {
  const machine = nodeMachine()
  const settings =
    options.host === undefined && options.context === undefined ? { ...options, fromEnvironment: true as const } : options
  const api = dockerApi({ endpoint: () => endpointOf(settings, machine), transports: nodeTransport })
  const logins = options.logins === undefined ? undefined : loginsOf(options.logins, machine)
  const connection = { api, begun: new Map(), logins } satisfies Connection & { readonly logins: unknown }
  const helper = options.helperImage === undefined ? {} : { helperImage: options.helperImage }

  /** The engine itself takes names and the begins of ids. */
  async function find({ container }: RunningContainer, signal: AbortSignal): Promise<Target> {
    const path = `/containers/${encodeURIComponent(container)}/json`
    const { Id, Name } = parsed(await api.request({ method: 'GET', path, signal }), Found, `the container ${container}`)
    return targetOf(Id, Name.replace(/^\//, ''))
  }

  return {
    tellsWhenItRuns: true,
    async *exec({ where, onTarget, onContainer, ...job }) {
      if ('image' in where) {
        const { bounds, creates } = made(where)
        const target = { ...targetOf('new', where.image), creates }
        onTarget(target)
        yield* executeNew(connection, bounds, { ...job, target, creates, onMade: onContainer })
        return
      }
      const target = await find(where, job.signal)
      onTarget(target)
      onContainer(target.native)
      yield* execute(connection, { ...job, target })
    },
    kill: (target, handle, signal) =>
      target.creates ? killNew(connection, handle, signal) : kill({ ...connection, ...helper }, target, handle, signal),
  }
}

/** What the caller asks for is what is allowed: there is nobody else to ask. */
function made({ image, pull, network = 'none', memoryBytes = 0, cpus = 0, processes = 0, mounts = [], ...less }: NewContainer) {
  const named: Mounts = Object.fromEntries(mounts.map((mount, i) => [`m${i}`, mount]))
  return {
    bounds: {
      networks: [network],
      memory: '0m',
      cpus,
      processes,
      pull: pull ? ('missing' as const) : ('never' as const),
      mounts: named,
      readOnly: less.readOnly ? (true as const) : undefined,
      capabilities: less.capabilities && [...less.capabilities],
    },
    creates: { image, network, memoryBytes, cpus, mounts: Object.keys(named) },
  }
}

const targetOf = (native: string, name: string): Target => ({
  id: `docker/${native}` as TargetId,
  backend: 'docker',
  kind: 'docker',
  native,
  name,
  labels: {},
  facets: {},
})
