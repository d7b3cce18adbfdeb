/** Proof that a request comes from Slack: signature v0 over the raw bytes, fresh in both directions. */

import { DroverError } from '../../core/errors.ts'

/** docs.slack.dev, "Verifying requests from Slack": five minutes. Slack's libraries check only the past; drover both ways. */
const MAX_SKEW_MS = 5 * 60_000

export type Verdict = 'genuine' | 'stale' | 'forged'

export type Verify = (request: { readonly headers: Headers; readonly body: Uint8Array }, now: number) => Promise<Verdict>

/** Throws `config` for an empty secret: with one, anybody could sign. The key is imported once. */
export function createVerifier(signingSecret: string): Verify {
  if (signingSecret.trim() === '') {
    throw new DroverError({
      code: 'config',
      message: 'The Slack signing secret is empty.',
      next: 'Set it to the value under Basic Information → App Credentials.',
    })
  }
  const encoder = new TextEncoder()
  const secret = encoder.encode(signingSecret)
  let key: CryptoKey | undefined

  return async ({ headers, body }, now) => {
    const timestamp = headers.get('x-slack-request-timestamp') ?? ''
    const hex = /^v0=([0-9a-f]{64})$/.exec(headers.get('x-slack-signature') ?? '')?.[1]
    if (!/^\d{1,12}$/.test(timestamp) || hex === undefined) return 'forged'
    if (Math.abs(now - Number(timestamp) * 1000) > MAX_SKEW_MS) return 'stale'
    const prefix = encoder.encode(`v0:${timestamp}:`)
    const signed = new Uint8Array(prefix.length + body.length)
    signed.set(prefix)
    signed.set(body, prefix.length)
    key ??= await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify'])
    // subtle.verify compares in constant time.
    return (await crypto.subtle.verify('HMAC', key, bytesOf(hex), signed)) ? 'genuine' : 'forged'
  }
}

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(hex.length / 2)
  for (let index = 0; index < bytes.length; index++) bytes[index] = Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16)
  return bytes
}
