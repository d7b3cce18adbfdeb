/** What a manager tells of its swarm, and what it means when it does not. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import { type Api, messageOf, parsed } from '../docker/api.ts'
import type { HttpResponse } from '../transport.ts'

export const Node = z.object({
  ID: z.string().min(1),
  Spec: z.object({ Availability: z.string().nullish(), Role: z.string().nullish() }).nullish(),
  Description: z.object({ Hostname: z.string().nullish() }).nullish(),
  Status: z.object({ State: z.string().nullish() }).nullish(),
})
export type Node = z.infer<typeof Node>

export const Service = z.object({
  ID: z.string().min(1),
  Spec: z.object({ Name: z.string(), Labels: z.record(z.string(), z.string()).nullish() }),
})
export type Service = z.infer<typeof Service>

export const Task = z.object({
  ID: z.string().min(1),
  ServiceID: z.string().nullish(),
  NodeID: z.string().nullish(),
  /** Absent for a service that has one task on each node. */
  Slot: z.number().nullish(),
  Status: z.object({
    State: z.string(),
    Err: z.string().nullish(),
    Message: z.string().nullish(),
    ContainerStatus: z.object({ ContainerID: z.string().nullish(), ExitCode: z.number().int().nullish() }).nullish(),
  }),
  Spec: z.object({
    /** Absent for plugins and for networks that a container joined by itself. */
    ContainerSpec: z
      .object({
        Image: z.string().nullish(),
        Labels: z.record(z.string(), z.string()).nullish(),
        CapabilityAdd: z.array(z.string()).nullish(),
        Mounts: z.array(z.object({ Type: z.string().nullish(), Source: z.string().nullish() })).nullish(),
      })
      .nullish(),
    Networks: z.array(z.object({ Target: z.string().nullish() })).nullish(),
  }),
  NetworksAttachments: z
    .array(z.object({ Network: z.object({ Spec: z.object({ Name: z.string().nullish() }).nullish() }).nullish() }))
    .nullish(),
})
export type Task = z.infer<typeof Task>

export const Info = z.object({
  Name: z.string().nullish(),
  Swarm: z
    .object({ NodeID: z.string().nullish(), LocalNodeState: z.string().nullish(), ControlAvailable: z.boolean().nullish() })
    .nullish(),
})
export type Info = z.infer<typeof Info>

export const hostnameOf = ({ ID, Description }: Node): string => Description?.Hostname || ID

/** As people know it, and as nobody else is called. */
export const nameOf = (node: Node): string => `${hostnameOf(node)} (${node.ID.slice(0, 12)})`

export type Filters = Readonly<Record<string, readonly string[]>>

const withFilters = (path: string, filters: Filters | undefined) =>
  filters === undefined ? path : `${path}?${new URLSearchParams({ filters: JSON.stringify(filters) })}`

export async function read<T>(api: Api, path: string, schema: z.ZodType<T>, signal: AbortSignal, filters?: Filters): Promise<T> {
  const response = await api.request({ method: 'GET', path: withFilters(path, filters), signal })
  return told(response, schema, path)
}

/** Undefined: there is no such thing, or one of those that the filters name is not there. */
export async function readIfThere<T>(
  api: Api,
  path: string,
  schema: z.ZodType<T>,
  signal: AbortSignal,
  filters?: Filters,
): Promise<T | undefined> {
  const response = await api.request({ method: 'GET', path: withFilters(path, filters), signal })
  return response.status === 404 ? undefined : told(response, schema, path)
}

export function told<T>(response: HttpResponse, schema: z.ZodType<T>, what: string): T {
  const failure = response.status >= 500 ? notManaging(messageOf(response)) : undefined
  if (failure) throw failure
  return parsed(response, schema, what)
}

/** Asked of something that is no manager, or of a manager without the others [docker-swarm-containerd §3.1]. */
function notManaging(said: string): BackendError | undefined {
  const no = (code: 'config' | 'backend_unavailable', message: string, next: string) =>
    new BackendError({ code, message, next }, { ran: 'no' })
  if (/Worker nodes can.?t be used/i.test(said))
    return no(
      'config',
      'This engine is a worker of its swarm, and only a manager can tell what runs where.',
      'Give host: a manager; `docker node ls` on one shows which there are.',
    )
  if (/docker swarm init|not (part of )?a swarm|not a swarm manager/i.test(said))
    return no(
      'config',
      'This engine is in no swarm.',
      'Give host: a manager of one; an engine on its own is a backend of kind: docker.',
    )
  if (/does not have a leader|too few managers/i.test(said))
    return no(
      'backend_unavailable',
      'The swarm has no leader: too few of its managers can see each other.',
      'Bring back more than half of its managers.',
    )
  if (/needs to be unlocked|is encrypted/i.test(said))
    return no('backend_unavailable', 'The swarm is locked.', 'Unlock this manager with `docker swarm unlock`.')
  return undefined
}
