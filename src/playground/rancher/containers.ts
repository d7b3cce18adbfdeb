/** The containers, hosts and projects of a pretend Rancher, and what may be done to them while it runs. */

import { createHash } from 'node:crypto'
import type { EngineContainer } from './engine.ts'

/** One container to put into the world. Everything but the name has a plain default: a running container of no stack on `1h1`. */
export type PeerContainerSpec = {
  readonly name: string
  readonly project?: string
  /** `1h1` or `1h2` in project `1a5`, `1h3` in `1a7`; null: not on any host. */
  readonly host?: string | null
  readonly stack?: string
  readonly service?: string
  /** Makes the service name of its labels `stack/service/sidekick` [CT DeploymentUnit.getLabels]. */
  readonly sidekick?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly image?: string
  readonly state?: string
  readonly healthState?: string
  readonly system?: boolean
  readonly privileged?: boolean
  readonly capAdd?: readonly string[]
  /** Not started by Rancher: no labels or stack of its own. */
  readonly native?: boolean
  readonly shell?: boolean
  /** Of the launch configuration of its service. */
  readonly environment?: Readonly<Record<string, string>>
  /** Version of the launch configuration it was made from; `0` for the first. */
  readonly version?: string
  /** What it has written so far, for the `logs` action. */
  readonly logs?: readonly { readonly stream: 'stdout' | 'stderr'; readonly line: string }[]
}

export type PeerContainer = EngineContainer & {
  /** Row number: `1i160` is 160. */
  readonly row: number
  readonly id: string
  readonly uuid: string
  readonly project: string
  readonly spec: PeerContainerSpec
  readonly stackRow: number | undefined
  readonly serviceRow: number | undefined
  readonly createdMs: number
  startCount: number
  state: string
  /** Why it is in `error`. */
  problem?: string
}

export type PeerHost = {
  readonly id: string
  readonly uuid: string
  readonly hostname: string
  readonly project: string
  connected: boolean
}
export type PeerGroup = { readonly row: number; readonly name: string; readonly project: string; readonly stackRow?: number }

export type World = {
  readonly containers: PeerContainer[]
  readonly hosts: readonly PeerHost[]
  readonly stacks: PeerGroup[]
  readonly services: PeerGroup[]
  add(specs: readonly PeerContainerSpec[]): readonly PeerContainer[]
}

export const PROJECTS = ['1a5', '1a7'] as const

export function createWorld(specs: readonly PeerContainerSpec[]): World {
  const containers: PeerContainer[] = []
  const stacks: PeerGroup[] = []
  const services: PeerGroup[] = []
  const hosts: PeerHost[] = [
    { id: '1h1', uuid: uuidOf('host 1'), hostname: 'host-1', project: '1a5', connected: true },
    { id: '1h2', uuid: uuidOf('host 2'), hostname: 'host-2', project: '1a5', connected: true },
    { id: '1h3', uuid: uuidOf('host 3'), hostname: 'host-3', project: '1a7', connected: true },
  ]

  const group = (list: PeerGroup[], name: string, project: string, stackRow?: number): number => {
    const found = list.find((one) => one.name === name && one.project === project && one.stackRow === stackRow)
    if (found) return found.row
    const row = list.length + (list === stacks ? 4 : 20)
    list.push({ row, name, project, ...(stackRow === undefined ? {} : { stackRow }) })
    return row
  }

  const add = (more: readonly PeerContainerSpec[]): readonly PeerContainer[] => {
    const added = more.map((spec) => {
      const row = 160 + containers.length
      const project = spec.project ?? '1a5'
      const stackRow = spec.stack === undefined ? undefined : group(stacks, spec.stack, project)
      const serviceRow = spec.service === undefined ? undefined : group(services, spec.service, project, stackRow)
      const image = spec.image ?? 'drover-test/busybox:1'
      const engineId = createHash('sha256').update(`container ${project} ${spec.name} ${row}`).digest('hex')
      const container: PeerContainer = {
        row,
        id: `1i${row}`,
        uuid: uuidOf(`container ${row}`),
        engineId,
        hostname: engineId.slice(0, 12),
        project,
        host: spec.host === null ? '' : (spec.host ?? (project === '1a5' ? '1h1' : '1h3')),
        name: spec.name,
        image,
        labels: labelsOf(spec),
        shell: spec.shell ?? true,
        spec,
        stackRow,
        serviceRow,
        createdMs: Date.UTC(2017, 2, 6, 10, 0, 0) + row * 60_000,
        startCount: 1,
        state: spec.state ?? 'running',
      }
      containers.push(container)
      return container
    })
    return added
  }

  add(specs)
  return { containers, hosts, stacks, services, add }
}

function labelsOf(spec: PeerContainerSpec): Readonly<Record<string, string>> {
  if (spec.stack === undefined || spec.service === undefined) return { ...spec.labels }
  const service = `${spec.stack}/${spec.service}${spec.sidekick === undefined ? '' : `/${spec.sidekick}`}`
  return {
    ...spec.labels,
    'io.rancher.stack.name': spec.stack,
    'io.rancher.stack_service.name': service,
    'io.rancher.project.name': spec.stack,
    'io.rancher.project_service.name': service,
    'io.rancher.service.launch.config': spec.sidekick ?? 'io.rancher.service.primary.launch.config',
    'io.rancher.service.deployment.unit': uuidOf(`unit ${service} ${spec.name}`),
  }
}

export function uuidOf(seed: string): string {
  const hex = createHash('sha256').update(seed).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
