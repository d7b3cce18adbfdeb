/** The signed tokens of cattle's `hostAccess` answers: RS256 JWTs, good for 300 s and for any number of connections. */

import { createSign, createVerify, generateKeyPairSync, type KeyObject } from 'node:crypto'

/** Seconds from `iat` to `exp` [CT defaults.properties]. */
export const TOKEN_LIFETIME_S = 300

export type ExecClaim = {
  readonly AttachStdin?: boolean
  readonly AttachStdout?: boolean
  /** Cattle never sets it; generation B honours it all the same. */
  readonly AttachStderr?: boolean
  readonly Tty?: boolean
  readonly Cmd?: readonly string[]
  readonly Container?: string
}

export type LogsClaim = {
  readonly Container: string
  readonly Lines: number
  readonly Follow: boolean
  readonly Timestamps: boolean
  readonly Since: string
}

export type Claims = { readonly hostUuid?: string; readonly exec?: ExecClaim; readonly logs?: LogsClaim }

export type Tokens = {
  sign(claims: Claims, atMs?: number): string
  /** Undefined for whatever the proxy answers with 401: garbage, a bad signature, expiry. There is no leeway. */
  verify(token: string, atMs: number): Claims | undefined
}

// One pair for the life of the process: making one costs more than a test.
let pair: { readonly privateKey: KeyObject; readonly publicKey: KeyObject } | undefined

export function createTokens(): Tokens {
  pair ??= generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { privateKey, publicKey } = pair
  return {
    sign(claims, atMs = Date.now()) {
      const iat = Math.floor(atMs / 1000)
      const { hostUuid, ...rest } = claims
      const head = encode({ alg: 'RS256' })
      // The order of a real one (decoded from rancher/rancher#3596).
      const body = encode({
        exp: iat + TOKEN_LIFETIME_S,
        sub: 'cattle',
        iss: 'http://cattle.io',
        ...(hostUuid === undefined ? {} : { hostUuid }),
        ...rest,
        iat,
        kid: 'default',
      })
      const signature = createSign('RSA-SHA256').update(`${head}.${body}`).sign(privateKey).toString('base64url')
      return `${head}.${body}.${signature}`
    },
    verify(token, atMs) {
      const [head, body, signature, ...more] = token.split('.')
      if (!head || !body || !signature || more.length > 0) return undefined
      const header = decode(head)
      const claims = decode(body)
      if (header?.alg !== 'RS256' || !claims) return undefined
      const good = createVerify('RSA-SHA256').update(`${head}.${body}`).verify(publicKey, Buffer.from(signature, 'base64url'))
      if (!good || typeof claims.exp !== 'number' || atMs / 1000 > claims.exp) return undefined
      return claims as Claims
    },
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decode(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
