/** A running task of a swarm as drover's target: spoken of as the docker backend of its node would. */

import * as z from 'zod'
import type { Selector, Target, TargetId } from '../../core/model.ts'
import { matches } from '../../core/selector.ts'
import type { Api } from '../docker/api.ts'
import { targetOf as containerTarget, isPrivileged } from '../docker/container.ts'
import { hostnameOf, Node, read, Service, Task } from './cluster.ts'

/** What the engine of the node puts on the container; how a later life of drover finds the node again. */
export const NODE_LABEL = 'com.docker.swarm.node.id'

/** Undefined: it has no container that a command could run in. */
export function targetOf(task: Task, service: Service, node: Node, backend: string): Target | undefined {
  const container = task.Status.ContainerStatus?.ContainerID
  const spec = task.Spec.ContainerSpec
  if (task.Status.State !== 'running' || !spec || !/^[0-9a-f]{64}$/.test(container ?? '') || !container) return undefined
  const name = `${service.Spec.Name}.${task.Slot || node.ID}.${task.ID}`
  const labels = {
    ...service.Spec.Labels,
    // On a key that both have, what the container itself bears.
    ...spec.Labels,
    'com.docker.swarm.service.id': service.ID,
    'com.docker.swarm.service.name': service.Spec.Name,
    'com.docker.swarm.task': '',
    'com.docker.swarm.task.id': task.ID,
    'com.docker.swarm.task.name': name,
    [NODE_LABEL]: node.ID,
  }
  const known = containerTarget(
    { Id: container, Names: [`/${name}`], Image: spec.Image, Labels: labels, State: 'running' },
    { backend, kind: 'swarm', host: hostnameOf(node) },
  )
  return {
    ...known,
    id: `${backend}/${task.ID}` as TargetId,
    native: task.ID,
    facets: { ...known.facets, task: task.ID },
    ...(isStrong(task) ? { privileged: true } : {}),
  }
}

/** A swarm has no `--privileged` and no foreign pid namespace; the rest it has. */
function isStrong({ Spec: { ContainerSpec, Networks }, NetworksAttachments }: Task): boolean {
  const isOnHost =
    (Networks ?? []).some(({ Target: name }) => name === 'host') ||
    (NetworksAttachments ?? []).some(({ Network }) => Network?.Spec?.Name === 'host')
  return isPrivileged({
    State: { Running: true },
    HostConfig: { CapAdd: ContainerSpec?.CapabilityAdd, NetworkMode: isOnHost ? 'host' : undefined },
    Mounts: ContainerSpec?.Mounts,
  })
}

export async function list(api: Api, backend: string, selector: Selector, signal: AbortSignal): Promise<readonly Target[]> {
  // First the tasks: what they belong to is there when it is asked for, unless it is being removed.
  const tasks = await read(api, '/tasks', z.array(Task), signal, { 'desired-state': ['running'] })
  const [services, nodes] = await Promise.all([
    read(api, '/services', z.array(Service), signal).then(byId),
    read(api, '/nodes', z.array(Node), signal).then(byId),
  ])
  return tasks.flatMap((task) => {
    const [service, node] = [services.get(task.ServiceID ?? ''), nodes.get(task.NodeID ?? '')]
    const target = service && node && targetOf(task, service, node, backend)
    return target && matches(selector, target) ? [target] : []
  })
}

const byId = <T extends { readonly ID: string }>(all: readonly T[]): ReadonlyMap<string, T> =>
  new Map(all.map((one) => [one.ID, one]))
