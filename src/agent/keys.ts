/** An agent's key pair: Ed25519 by WebCrypto; the gateway is told the public half and nothing else. */

import { DroverError } from '../core/errors.ts'

const ALGORITHM = 'Ed25519'
const PREFIX = 'ed25519:'

/** `ed25519:` and 32 bytes in base64url. */
export const publicKeyPattern = /^ed25519:[A-Za-z0-9_-]{43}$/

export type KeyPair = {
  /** PKCS #8 in PEM: the whole file. */
  readonly privatePem: string
  readonly publicKey: string
}

export async function makeKeyPair(): Promise<KeyPair> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  if (!('privateKey' in pair)) throw new Error('Ed25519 makes pairs')
  const pkcs8 = await crypto.subtle.exportKey('pkcs8', pair.privateKey)
  const lines = btoa(String.fromCharCode(...new Uint8Array(pkcs8)))
    .match(/.{1,64}/g)
    ?.join('\n')
  return {
    privatePem: `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`,
    publicKey: textOf(new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))),
  }
}

export type PrivateKey = { readonly key: CryptoKey; readonly publicKey: string }

/** Throws DroverError `config`. */
export async function readPrivateKey(pem: string, file: string): Promise<PrivateKey> {
  const body = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(pem)?.[1]
  try {
    const bytes = Uint8Array.from(atob((body ?? '').replaceAll(/\s/g, '')), (char) => char.charCodeAt(0))
    const key = await crypto.subtle.importKey('pkcs8', bytes, ALGORITHM, true, ['sign'])
    const { x } = await crypto.subtle.exportKey('jwk', key)
    return { key, publicKey: `${PREFIX}${x}` }
  } catch {
    // Without its cause: that could quote the file.
    throw new DroverError({
      code: 'config',
      message: `${file} holds no Ed25519 key.`,
      next: 'Make one with: drover agent keygen --out FILE',
    })
  }
}

export async function sign({ key }: PrivateKey, text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.sign(ALGORITHM, key, new TextEncoder().encode(text))))
}

export async function isSignedBy(publicKey: string, text: string, signature: string): Promise<boolean> {
  try {
    const raw = bytesOf(publicKey.slice(PREFIX.length))
    const key = await crypto.subtle.importKey('raw', raw, ALGORITHM, false, ['verify'])
    return await crypto.subtle.verify(ALGORITHM, key, bytesOf(signature), new TextEncoder().encode(text))
  } catch {
    // What is no key and no signature proves nothing.
    return false
  }
}

/** For people, who compare it by eye. */
export async function fingerprintOf(publicKey: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(publicKey))
  return `SHA256:${base64url(new Uint8Array(digest)).slice(0, 16)}`
}

const textOf = (raw: Uint8Array): string => `${PREFIX}${base64url(raw)}`

export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0))
}
