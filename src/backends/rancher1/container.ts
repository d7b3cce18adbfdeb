/** A Rancher 1.x container as drover's target. */

import * as z from 'zod'
import type { Facet, Selector, Target, TargetId } from '../../core/model.ts'
import { isStrongCapability } from '../wire/capabilities.ts'
import { givesHost } from '../wire/mounts.ts'

export const Container = z.object({
  id: z.string(),
  name: z.string().nullish(),
  state: z.string(),
  externalId: z.string().nullish(),
  hostId: z.string().nullish(),
  imageUuid: z.string().nullish(),
  labels: z.record(z.string(), z.unknown()).nullish(),
  system: z.boolean().nullish(),
  privileged: z.boolean().nullish(),
  capAdd: z.array(z.string()).nullish(),
  pidMode: z.string().nullish(),
  ipcMode: z.string().nullish(),
  networkMode: z.string().nullish(),
  devices: z.array(z.string()).nullish(),
  /** `/path/of/the/host:/inside:ro`, or the name of a volume before the first colon. */
  dataVolumes: z.array(z.string()).nullish(),
  actions: z.record(z.string(), z.unknown()).nullish(),
})
export type Container = z.infer<typeof Container>

export const Host = z.object({ id: z.string(), name: z.string().nullish(), hostname: z.string().nullish() })

export const Project = z.object({ id: z.string(), name: z.string().nullish() })

/** `execute` is offered only in exactly this state [CT docker.json]. */
export const EXECUTABLE_STATE = 'running'

export function targetOf(container: Container, backend: string, hosts: ReadonlyMap<string, string>): Target {
  const labels: Record<string, string> = {}
  for (const [key, value] of Object.entries(container.labels ?? {}))
    labels[key] = typeof value === 'string' ? value : String(value)
  const name = container.name || container.id
  // A sidekick is called `stack/service/sidekick`: its facet is `service/sidekick`, so that `service=web` means the service itself.
  const [stackOfService, ...service] = (
    labels['io.rancher.stack_service.name'] ??
    labels['io.rancher.project_service.name'] ??
    ''
  ).split('/')
  const facets: Record<Facet, string | undefined> = {
    stack: labels['io.rancher.stack.name'] ?? labels['io.rancher.project.name'] ?? stackOfService,
    service: service.join('/'),
    host: container.hostId ? (hosts.get(container.hostId) ?? container.hostId) : undefined,
    image: container.imageUuid?.replace(/^docker:/, ''),
    container: name,
    namespace: undefined,
    workload: undefined,
    task: undefined,
    pod: undefined,
  }
  return {
    id: `${backend}/${container.id}` as TargetId,
    backend,
    kind: 'rancher1',
    native: container.id,
    name,
    ...(container.externalId ? { engineId: container.externalId } : {}),
    labels,
    facets: Object.fromEntries(Object.entries(facets).filter(([, value]) => value)),
    ...(container.system || labels['io.rancher.container.system'] ? { system: true } : {}),
    ...(isPrivileged(container) ? { privileged: true } : {}),
  }
}

/** Of the host: privileges, namespaces, devices, and folders or sockets that lead back to it (S45). */
export function isPrivileged(one: Strength): boolean {
  return (
    one.privileged === true ||
    [one.pidMode, one.ipcMode, one.networkMode].includes('host') ||
    (one.capAdd ?? []).some(isStrongCapability) ||
    (one.devices ?? []).length > 0 ||
    (one.dataVolumes ?? []).some((each) => givesHost(each.split(':', 1)[0] ?? ''))
  )
}

/** What tells it, for schemas that pick. */
export const strength = {
  privileged: true,
  capAdd: true,
  pidMode: true,
  ipcMode: true,
  networkMode: true,
  devices: true,
  dataVolumes: true,
} as const
type Strength = Pick<Container, keyof typeof strength>

/**
 * What the server can narrow. Labels, host and image it cannot: those are no columns, and a filter it does not know it ignores [CT ParseCollectionAttributes].
 * `_prefix` is SQL LIKE with `_` and `%` unescaped, so it only ever finds more.
 */
export function listPath(selector: Selector): string {
  const query = new URLSearchParams({ state: EXECUTABLE_STATE })
  const { name } = selector
  if (name) {
    const fixed = /^[^*?[\]\\]*/.exec(name)?.[0] ?? ''
    // A container without a name goes by its id, which the server does not know as a name.
    if (fixed !== '' && !'1i'.startsWith(fixed) && !fixed.startsWith('1i'))
      query.set(fixed === name ? 'name' : 'name_prefix', fixed)
  }
  return `containers?${query}`
}
