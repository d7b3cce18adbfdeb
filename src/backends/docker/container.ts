/** A container of a Docker Engine as drover's target. */

import * as z from 'zod'
import type { BackendKind, Facet, Selector, Target, TargetId } from '../../core/model.ts'
import { isStrongCapability } from '../wire/capabilities.ts'
import { givesHost } from '../wire/mounts.ts'
import { HELPER_LABEL } from '../wire/new-container.ts'

export { DEADLINE_LABEL, HELPER_LABEL } from '../wire/new-container.ts'

export const Listed = z.object({
  Id: z.string().regex(/^[0-9a-f]{64}$/),
  Names: z.array(z.string()).nullish(),
  Image: z.string().nullish(),
  Labels: z.record(z.string(), z.string()).nullish(),
  State: z.string(),
})
export type Listed = z.infer<typeof Listed>

export const Inspected = z.object({
  /** The id of its image. */
  Image: z.string().nullish(),
  State: z.object({ Running: z.boolean(), Paused: z.boolean().nullish(), Status: z.string().nullish() }),
  HostConfig: z
    .object({
      Privileged: z.boolean().nullish(),
      PidMode: z.string().nullish(),
      NetworkMode: z.string().nullish(),
      IpcMode: z.string().nullish(),
      UsernsMode: z.string().nullish(),
      CapAdd: z.array(z.string()).nullish(),
      Devices: z.array(z.unknown()).nullish(),
      DeviceCgroupRules: z.array(z.string()).nullish(),
    })
    .nullish(),
  Mounts: z.array(z.object({ Source: z.string().nullish(), Type: z.string().nullish() })).nullish(),
  /** `Image` is the name that it was made from, whatever that name means by now. */
  Config: z.object({ Image: z.string().nullish() }).nullish(),
})
export type Inspected = z.infer<typeof Inspected>

export function targetOf(
  listed: Listed,
  about: { readonly backend: string; readonly kind: BackendKind; readonly host?: string },
): Target {
  const labels = listed.Labels ?? {}
  const name = nameOf(listed)
  const stack = labels['com.docker.compose.project'] ?? labels['com.docker.stack.namespace']
  const swarmService = labels['com.docker.swarm.service.name']
  // `docker stack deploy` calls the service web of the stack shop `shop_web`.
  const shortService = stack && swarmService?.startsWith(`${stack}_`) ? swarmService.slice(stack.length + 1) : swarmService
  const facets: Partial<Record<Facet, string | undefined>> = {
    stack,
    service: labels['com.docker.compose.service'] ?? shortService,
    container: name,
    image: listed.Image ?? undefined,
    host: about.host,
  }
  return {
    id: `${about.backend}/${listed.Id}` as TargetId,
    backend: about.backend,
    kind: about.kind,
    native: listed.Id,
    name,
    engineId: listed.Id,
    labels,
    facets: Object.fromEntries(Object.entries(facets).filter(([, value]) => value)),
    ...(HELPER_LABEL in labels ? { system: true } : {}),
  }
}

/** Links of the old kind give further names, with a slash inside. */
function nameOf({ Id, Names }: Listed): string {
  const own = Names?.find((name) => !name.slice(1).includes('/')) ?? Names?.[0]
  return own?.replace(/^\//, '') || Id.slice(0, 12)
}

/** Rights over the host, by what Docker was told when it was made (S45). */
export function isPrivileged({ HostConfig: host, Mounts }: Inspected): boolean {
  return (
    host?.Privileged === true ||
    [host?.PidMode, host?.NetworkMode, host?.IpcMode, host?.UsernsMode].includes('host') ||
    (host?.CapAdd ?? []).some(isStrongCapability) ||
    (host?.Devices ?? []).length > 0 ||
    // With CAP_MKNOD, which is given by default, they are as good as the devices.
    (host?.DeviceCgroupRules ?? []).length > 0 ||
    (Mounts ?? []).some(({ Type, Source }) => Type === 'bind' && givesHost(Source ?? ''))
  )
}

/** In the place of a name that means another image by now, or none (moby daemon/list.go, refreshImage); or as a container was made. */
export const mayBeImageId = (image: string | undefined): boolean => /^(sha256:)?[0-9a-f]{1,64}$/.test(image ?? '')

/** Whether a container was made from an image by its id, or the begin of one, and not by a name. */
export function isMadeById({ Image, Config }: Inspected): boolean {
  const from = Config?.Image?.replace(/^sha256:/, '') ?? ''
  return from !== '' && (Image ?? '').replace(/^sha256:/, '').startsWith(from)
}

export const ImageNames = z.object({ RepoTags: z.array(z.string()).nullish(), RepoDigests: z.array(z.string()).nullish() })

/** The name of an image that is called so and nothing else; of several none is more its own than the others. */
export function onlyName({ RepoTags, RepoDigests }: z.infer<typeof ImageNames>): string | undefined {
  const digests = RepoDigests ?? []
  const [name, ...others] = RepoTags?.length ? RepoTags : digests
  const repository = name?.replace(/@.*$|:[^:/]*$/, '')
  const isElsewhere = digests.some((digest) => digest.replace(/@.*$/, '') !== repository)
  return others.length > 0 || isElsewhere || name?.includes('<none>') ? undefined : name
}

type Namespace = 'PidMode' | 'NetworkMode' | 'IpcMode'

/** Containers whose namespaces this one is in. */
function sharedWith({ HostConfig: host }: Inspected): readonly { readonly namespace: Namespace; readonly id: string }[] {
  return (['PidMode', 'NetworkMode', 'IpcMode'] as const).flatMap((namespace) => {
    const id = /^container:(.+)$/.exec(host?.[namespace] ?? '')?.[1]
    return id === undefined ? [] : [{ namespace, id }]
  })
}

/** Whether that namespace of it leads to the host: it is the host's own, or that of processes which have rights over the host. */
function leadsToHost(other: Inspected, namespace: Namespace): boolean {
  return other.HostConfig?.[namespace] === 'host' || (namespace === 'PidMode' && isPrivileged(other))
}

/** Also by a namespace that is another container's. What `inspect` cannot tell of that one counts as the worst. */
export async function hasHost(found: Inspected, inspect: (id: string) => Promise<Inspected | undefined>): Promise<boolean> {
  if (isPrivileged(found)) return true
  for (const { namespace, id } of sharedWith(found)) {
    const other = await inspect(id)
    if (!other || leadsToHost(other, namespace)) return true
  }
  return false
}

/** What the engine can narrow without leaving any out [§2.2]; the caller matches again. */
export function listPath(selector: Selector): string {
  const labels = (selector.labels ?? []).flatMap((term) =>
    term.op === 'eq' ? [`${term.key}=${term.value}`] : term.op === 'exists' ? [term.key] : [],
  )
  const filters = {
    status: ['running'],
    ...(labels.length > 0 ? { label: labels } : {}),
    ...(selector.name ? { name: [namePattern(selector.name)] } : {}),
  }
  return `/containers/json?${new URLSearchParams({ filters: JSON.stringify(filters) })}`
}

/** Docker matches with RE2, with and without the slash; Podman without. */
function namePattern(glob: string): string {
  const escaped = glob.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
  return `^/?${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`
}
