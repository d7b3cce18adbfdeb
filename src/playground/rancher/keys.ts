/** API keys and what each may do: environment keys with full rights in one project, account keys with a role (rancher-1.md §1.1, §1.5). */

import { createHash } from 'node:crypto'

export type Role = 'owner' | 'member' | 'restricted' | 'readonly'
export type KeyPair = { readonly accessKey: string; readonly secretKey: string }

export type Identity = {
  readonly kind: 'environment' | 'account'
  /** Where requests land that name no environment: the key's project, or the user's own, empty account. */
  readonly home: string
  readonly roles: Readonly<Record<string, Role>>
}

export type PeerKeys = {
  readonly environmentKey: KeyPair
  readonly accountKey: KeyPair
  readonly restrictedKey: KeyPair
  readonly readonlyKey: KeyPair
  /** An environment key of the second project. */
  readonly otherEnvironmentKey: KeyPair
  /** Switched off: always 401. */
  readonly inactiveKey: KeyPair
}

export function createKeys(given: Partial<PeerKeys> = {}): PeerKeys {
  return {
    environmentKey: pairOf('environment'),
    accountKey: pairOf('account'),
    restrictedKey: pairOf('restricted'),
    readonlyKey: pairOf('readonly'),
    otherEnvironmentKey: pairOf('other environment'),
    inactiveKey: pairOf('inactive'),
    ...given,
  }
}

const ADMIN: Identity = { kind: 'account', home: '1a1', roles: { '1a5': 'owner', '1a7': 'owner' } }

/** Who the Basic header names; undefined is a 401. Without access control everyone is the admin [CT AdminAuthLookUp]. */
export function identify(keys: PeerKeys, authorization: string | undefined, accessControl: boolean): Identity | undefined {
  const encoded = /^Basic (.+)$/i.exec(authorization ?? '')?.[1]
  const given = encoded === undefined ? '' : Buffer.from(encoded, 'base64').toString()
  const is = (pair: KeyPair): boolean => given === `${pair.accessKey}:${pair.secretKey}`
  if (is(keys.environmentKey)) return { kind: 'environment', home: '1a5', roles: { '1a5': 'owner' } }
  if (is(keys.otherEnvironmentKey)) return { kind: 'environment', home: '1a7', roles: { '1a7': 'owner' } }
  if (is(keys.accountKey)) return { kind: 'account', home: '1a11', roles: { '1a5': 'member', '1a7': 'member' } }
  if (is(keys.restrictedKey)) return { kind: 'account', home: '1a12', roles: { '1a5': 'restricted' } }
  if (is(keys.readonlyKey)) return { kind: 'account', home: '1a13', roles: { '1a5': 'readonly' } }
  return accessControl ? undefined : ADMIN
}

function pairOf(seed: string): KeyPair {
  const hex = createHash('sha256').update(`pretend key ${seed}`).digest('hex').toUpperCase()
  return {
    accessKey: hex.slice(0, 20),
    secretKey: createHash('sha256').update(`pretend secret ${seed}`).digest('base64url').slice(0, 40),
  }
}
