/** A container made for one command: what an administrator lets one have, the target that stands for it, and the labels it bears; one wording for every kind of engine. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { BackendKind, NewContainer, Target, TargetId } from '../../core/model.ts'
import { USUAL_CAPABILITIES } from './capabilities.ts'
import { isStrong, type Mounts, mountsOf } from './mounts.ts'

/** On containers that drover itself made. */
export const HELPER_LABEL = 'drover.helper'
/** In ms since 1970: past it the next drover removes the container. */
export const DEADLINE_LABEL = 'drover.deadline'
/** Names the execution, so that any process of drover finds the container again. */
export const EXEC_LABEL = 'drover.exec'
/** No command lasts longer; and some minutes, as dexec gives. */
export const LONGEST_MS = 24 * 3_600_000 + 300_000

export const sizeSchema = () => z.string().regex(/^[1-9]\d{0,5}[mg]$/, 'a size like 256m or 2g')

export const boundsSchema = (network: z.ZodType<string>) =>
  z.strictObject({
    /** Those that may be asked for; the first is what a request gets that names none. */
    networks: z.array(network).min(1).default(['none']),
    /** What one gets, and the most that may be asked for. */
    memory: sizeSchema().default('256m'),
    cpus: z.number().min(0.01).max(256).default(1),
    processes: z.int().min(2).max(100_000).default(256),
    /** What is left of the capabilities that the engine gives by itself; absent: all of them. */
    capabilities: z.array(z.enum(USUAL_CAPABILITIES, `of ${USUAL_CAPABILITIES.join(', ')}`)).optional(),
    /** Nothing of its image can be written to; it has /tmp, in memory. */
    readOnly: z.literal(true).optional(),
  })

/** Of /tmp where the rest is read-only; what is in it counts as memory. */
export const TMP_OPTIONS = ['rw', 'exec', 'nosuid', 'nodev', 'mode=1777', 'size=64m'] as const

/** What an administrator lets one have. */
export type Bounds = z.output<ReturnType<typeof boundsSchema>>

/** Throws BackendError for what the bounds do not allow. */
export function newTarget(
  { backend, kind }: { readonly backend: string; readonly kind: BackendKind },
  bounds: Bounds & { readonly mounts?: Mounts | undefined },
  wanted: NewContainer,
): Target {
  const no = (message: string, next: string) => new BackendError({ code: 'denied', message, next }, { ran: 'no' })
  const [usual = 'none'] = bounds.networks
  const network = wanted.network ?? usual
  const most = bytesOf(bounds.memory)
  if (!bounds.networks.includes(network))
    throw no(`The network ${network} is not one for new containers on ${backend}.`, `Networks: ${bounds.networks.join(', ')}.`)
  if ((wanted.memoryBytes ?? 0) > most) throw no(`memory= may be ${bounds.memory} at most on ${backend}.`, 'Ask for less.')
  if ((wanted.cpus ?? 0) > bounds.cpus) throw no(`cpus= may be ${bounds.cpus} at most on ${backend}.`, 'Ask for less.')
  const mounts = mountsOf(backend, bounds.mounts, wanted.mounts)
  const isOnHost = mounts.some((name) => isStrong(bounds.mounts![name]!))
  return {
    id: `${backend}/new/${wanted.image}` as TargetId,
    backend,
    kind,
    native: 'new',
    name: `new container of ${wanted.image}${mounts.length > 0 ? ` with ${mounts.join(', ')}` : ''}`,
    labels: {},
    facets: { image: wanted.image },
    creates: {
      image: wanted.image,
      network,
      memoryBytes: wanted.memoryBytes ?? most,
      cpus: wanted.cpus ?? bounds.cpus,
      ...(mounts.length > 0 ? { mounts } : {}),
    },
    // It sees the host's own sockets, and other containers through theirs.
    ...(isOnHost || network === 'host' || network.startsWith('container:') ? { privileged: true } : {}),
  }
}

export function noneMade(): BackendError {
  return new BackendError(
    {
      code: 'unsupported',
      message: 'No new container is made on this engine.',
      next: 'An administrator can set newContainers: for it.',
    },
    { ran: 'no' },
  )
}

export function bytesOf(size: string): number {
  return Number.parseInt(size, 10) * 1024 ** (size.endsWith('g') ? 3 : 2)
}
