/** API keys of a pretend Rancher 2: who they are, when they expire, and which paths a cluster's own key is good for. */

import { randomBytes } from 'node:crypto'

export type PeerKey = {
  /** `token-xxxxx`, or `ext/token-xxxxx` as since 2.12. */
  readonly name: string
  readonly secret: string
  /** `u-abc12`: by this name the cluster judges. */
  readonly user: string
  readonly displayName: string
  /** A key of this cluster alone. */
  readonly cluster?: string
  /** RFC 3339; `''`: never. */
  expiresAt: string
  /** What this user sees of `/v3`; absent: everything. A member may list neither namespaces nor pods of a whole cluster. */
  readonly projects?: readonly string[]
  readonly groups?: readonly string[]
  /** Instead of the upstream's own, where that tells users apart by their tokens. */
  readonly upstreamToken?: string
}

export type PeerKeySpec = Partial<PeerKey> & { readonly user: string }

const random = (length: number) => randomBytes(length).toString('hex').slice(0, length)

export function newKey(spec: PeerKeySpec): PeerKey {
  return {
    name: `token-${random(5)}`,
    secret: random(54),
    displayName: spec.user,
    expiresAt: new Date(Date.now() + 90 * 86_400_000).toISOString().replace(/\.\d+Z$/, 'Z'),
    ...spec,
  }
}

/** What goes into a request: `token-xxxxx:secret`. */
export const bearerOf = (key: PeerKey): string => `${key.name}:${key.secret}`

/** Bearer, Basic or the cookie R_SESS all end in one look-up (RR pkg/auth/tokens/token_util.go). */
export function identify(
  keys: readonly PeerKey[],
  headers: Readonly<Record<string, string | string[] | undefined>>,
): PeerKey | undefined {
  const [scheme = '', value = ''] = String(headers.authorization ?? '').split(' ')
  const cookie = /(?:^|;\s*)R_SESS=([^;]+)/.exec(String(headers.cookie ?? ''))?.[1]
  const said =
    scheme.toLowerCase() === 'bearer'
      ? value
      : scheme.toLowerCase() === 'basic'
        ? Buffer.from(value, 'base64').toString()
        : cookie
  return keys.find((key) => bearerOf(key) === said && !isExpired(key))
}

export const isExpired = (key: PeerKey): boolean => key.expiresAt !== '' && Date.parse(key.expiresAt) < Date.now()

/** The cluster that a path names (RR pkg/clusterrouter/lookup.go); a project's path names none. */
export function clusterOfPath(path: string): string | undefined {
  return /^\/(?:k8s\/clusters|v3\/clusters?)\/([^/?]+)/.exec(path)?.[1]
}
