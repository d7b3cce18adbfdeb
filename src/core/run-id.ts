/** The name of a run, made from the key of the delivery that asked for it: one delivery, one run. */

import type { RunId } from './model.ts'

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** 75 bits of SHA-256 over the key, as `r` and 15 characters of base32 (RFC 4648, lower case). */
export async function runIdFor(deliveryKey: string): Promise<RunId> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`drover-run:${deliveryKey}`)))
  let id = 'r'
  for (let i = 0; i < 15; i++) id += alphabet[digest[i]! & 31]
  return id as RunId
}

/** Whether a text from outside may be a run id: checked before it is used as a key or a name. */
export function isRunId(text: string): text is RunId {
  return /^r[a-z2-7]{15}$/.test(text)
}
