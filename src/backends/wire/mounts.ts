/** What of the host a new container may see: only what an administrator named in drover.yaml, asked for by that name. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import { mountName } from '../../core/new-container.ts'

/** Absolute, and it says where it leads. */
const plainPath = /^(?!.*\/\.{1,2}(\/|$))\/[^\0]*$/

export const mountsSchema = () =>
  z.record(
    z.string().regex(mountName, 'lower case letters, digits, - and _'),
    z.strictObject({
      /** A path of the engine's host, or the name of a volume. */
      source: z
        .string()
        .refine(
          (text) => plainPath.test(text) || /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$/.test(text),
          'an absolute path without . and .., or the name of a volume',
        ),
      target: z
        .string()
        .regex(plainPath, 'an absolute path without . and ..')
        .refine((text) => !/^\/+$/.test(text), 'not the root of the container'),
      /** Read-only without it. */
      writable: z.literal(true).optional(),
    }),
  )

export type Mounts = Readonly<z.output<ReturnType<typeof mountsSchema>>>

/** The names asked for, once each. Throws BackendError for one that there is not. */
export function mountsOf(backend: string, mounts: Mounts = {}, wanted: readonly string[] = []): readonly string[] {
  const stranger = wanted.find((name) => !Object.hasOwn(mounts, name))
  if (stranger === undefined) return [...new Set(wanted)]
  const known = Object.keys(mounts)
  throw new BackendError(
    {
      code: 'denied',
      message: `There is no mount ${stranger} for new containers on ${backend}.`,
      next: known.length > 0 ? `Mounts: ${known.join(', ')}.` : 'None is configured for it.',
    },
    { ran: 'no' },
  )
}

/** Who may read or write here reads the host's secrets, or starts what it likes on it. */
const STRONG = [
  ...['/etc', '/root', '/proc', '/sys', '/dev', '/boot', '/bin', '/sbin', '/lib', '/usr', '/run', '/var/run'],
  ...['/var/lib/docker', '/var/lib/containerd', '/var/lib/kubelet', '/var/spool/cron'],
]

/** A path that leads to, or past, what is the host's own makes its container privileged for the rules (S45). */
export function isStrong({ source }: Mounts[string]): boolean {
  if (!source.startsWith('/')) return false
  const path = source.replaceAll(/\/+/g, '/').replace(/\/$/, '')
  const isWithin = (inner: string, outer: string) => inner === outer || inner.startsWith(`${outer}/`)
  return path.endsWith('.sock') || STRONG.some((strong) => isWithin(path, strong) || isWithin(strong, path))
}

/** Of a container that is there: a folder or socket of the host by which whoever is in it is as good as the host (S45). */
export function givesHost(path: string): boolean {
  return HOST.test(path.replaceAll(/\/+/g, '/'))
}

const HOST =
  /\/(docker|containerd|podman|crio|cri-dockerd)\.sock$|^\/$|^\/(run|var|var\/run|var\/lib|var\/lib\/(docker|containerd|containers|kubelet)|(var\/)?run\/(docker|containerd|podman|crio)|etc|root|proc|sys|dev|boot|usr|bin|sbin|lib)\/?$/
