/** Containers, hosts, stacks and services as cattle writes them in JSON, for one reader: links and `actions` depend on who asks. */

import type { PeerContainer, PeerGroup, PeerHost } from './containers.ts'
import { PROJECTS, uuidOf } from './containers.ts'
import type { Role } from './keys.ts'

export type ApiVersion = 'v1' | 'v2-beta'
/** Who asks, and how the URLs in the answer begin. */
export type View = { readonly version: ApiVersion; readonly base: string; readonly role: Role }
export type Resource = Readonly<Record<string, unknown>> & { readonly id: string }

export function containerResource(container: PeerContainer, view: View): Resource {
  const self = `${view.base}/containers/${container.id}`
  const { spec } = container
  const transitioning = ['starting', 'stopping', 'restarting', 'removing', 'updating-running', 'creating'].includes(
    container.state,
  )
  const actions = Object.fromEntries(actionsOf(container, view.role).map((name) => [name, `${self}/?action=${name}`]))
  return {
    id: container.id,
    type: 'container',
    baseType: 'instance',
    links: { self, hosts: `${self}/hosts` },
    actions,
    name: container.name,
    state: container.state,
    transitioning: container.problem === undefined ? (transitioning ? 'yes' : 'no') : 'error',
    transitioningMessage: container.problem ?? (transitioning ? 'In Progress' : null),
    transitioningProgress: null,
    healthState: spec.healthState ?? null,
    kind: 'container',
    accountId: container.project,
    hostId: container.host === '' ? null : container.host,
    privileged: spec.privileged ?? false,
    capAdd: spec.capAdd ?? null,
    nativeContainer: spec.native ?? false,
    uuid: container.uuid,
    externalId: container.host === '' ? null : container.engineId,
    imageUuid: `docker:${container.image}`,
    primaryIpAddress: container.state === 'running' ? `10.42.${(container.row >> 8) & 255}.${container.row & 255}` : null,
    startCount: container.startCount,
    description: null,
    deploymentUnitUuid: container.labels['io.rancher.service.deployment.unit'] ?? null,
    created: new Date(container.createdMs).toISOString().replace('.000Z', 'Z'),
    createdTS: container.createdMs,
    createIndex: container.serviceRow === undefined ? null : container.row,
    labels: container.labels,
    ...(view.version === 'v1'
      ? { systemContainer: spec.system ? (container.labels['io.rancher.container.system'] ?? null) : null }
      : {
          system: spec.system ?? false,
          serviceIds: container.serviceRow === undefined ? null : [`1s${container.serviceRow}`],
          stackId: container.stackRow === undefined ? null : `1st${container.stackRow}`,
          mounts: null,
        }),
  }
}

/** By state and role (rancher-1.md §1.4, §1.5). */
export function actionsOf(container: PeerContainer, role: Role): readonly string[] {
  const { state, spec } = container
  const logs = ['running', 'stopping', 'stopped'].includes(state) ? ['logs'] : []
  if (role === 'readonly' || (role === 'restricted' && spec.system)) return logs
  const guarded =
    role === 'restricted' &&
    (spec.privileged === true || (spec.capAdd ?? []).length > 0 || 'io.rancher.container.create_agent' in container.labels)
  return [
    ...(state === 'running' && !guarded ? ['execute'] : []),
    ...logs,
    ...(['creating', 'starting', 'running', 'restarting', 'updating-running', 'updating-stopped'].includes(state)
      ? ['stop']
      : []),
    ...(['stopped', 'creating'].includes(state) ? ['start'] : []),
    ...(state === 'running' ? ['restart', 'update', 'proxy'] : []),
  ]
}

export function hostResource(host: PeerHost, view: View): Resource {
  const self = `${view.base}/hosts/${host.id}`
  return {
    id: host.id,
    type: 'host',
    baseType: 'host',
    links: { self, instances: `${self}/instances` },
    actions: {},
    name: null,
    hostname: host.hostname,
    state: host.connected ? 'active' : 'reconnecting',
    agentState: host.connected ? 'active' : 'reconnecting',
    transitioning: 'no',
    accountId: host.project,
    uuid: host.uuid,
    labels: { 'io.rancher.host.docker_version': '20.10' },
  }
}

export function stackResource(stack: PeerGroup, view: View): Resource {
  // The frozen /v1 calls a stack `environment`, `1e4`.
  const type = view.version === 'v1' ? 'environment' : 'stack'
  const id = `${view.version === 'v1' ? '1e' : '1st'}${stack.row}`
  const self = `${view.base}/${type}s/${id}`
  return {
    id,
    type,
    baseType: type,
    links: { self, services: `${self}/services` },
    actions: {},
    name: stack.name,
    state: 'active',
    accountId: stack.project,
  }
}

export function projectResource(id: string, view: View): Resource {
  const self = `${view.base}/projects/${id}`
  return {
    id,
    type: 'project',
    baseType: 'account',
    links: { self, containers: `${self}/containers`, hosts: `${self}/hosts`, services: `${self}/services` },
    actions: {},
    name: id === PROJECTS[0] ? 'Default' : 'Billing',
    state: 'active',
    uuid: uuidOf(`project ${id}`),
    kind: 'project',
  }
}
