/** The name of a run, made from the key of the delivery that asked for it: one delivery, one run. */

import type { RunId } from './model.ts'

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** 75 bits of SHA-256 over the key, as `r` and 15 characters of base32 (RFC 4648, lower case). */
export async function runIdFor(deliveryKey: string): Promise<RunId> {
  return named(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(preimage(deliveryKey)))))
}

/** The same at once, by a SHA-256 of UTF-8 that the caller brings: Web Crypto hands it to another thread, which costs many times what it takes. */
export function runIdBy(sha256: (text: string) => Uint8Array, deliveryKey: string): RunId {
  return named(sha256(preimage(deliveryKey)))
}

const preimage = (deliveryKey: string) => `drover-run:${deliveryKey}`

function named(digest: Uint8Array): RunId {
  let id = 'r'
  for (let i = 0; i < 15; i++) id += alphabet[digest[i]! & 31]
  return id as RunId
}

/** Whether a text from outside may be a run id: checked before it is used as a key or a name. */
export function isRunId(text: string): text is RunId {
  return /^r[a-z2-7]{15}$/.test(text)
}
