/** Proof that a request comes from Slack: signature v0 over the raw bytes, fresh in both directions. */

import { createHmac, timingSafeEqual } from 'node:crypto'
import { DroverError } from '../../core/errors.ts'

/** docs.slack.dev, "Verifying requests from Slack": five minutes. Slack's libraries check only the past; drover both ways. */
const MAX_SKEW_MS = 5 * 60_000

export type Verdict = 'genuine' | 'stale' | 'forged'

export type Verify = (request: { readonly headers: Headers; readonly body: Uint8Array }, now: number) => Verdict

/** Throws `config` for an empty secret: with one, anybody could sign. */
export function createVerifier(signingSecret: string): Verify {
  if (signingSecret.trim() === '') {
    throw new DroverError({
      code: 'config',
      message: 'The Slack signing secret is empty.',
      next: 'Set it to the value under Basic Information → App Credentials.',
    })
  }
  return ({ headers, body }, now) => {
    const timestamp = headers.get('x-slack-request-timestamp') ?? ''
    const hex = /^v0=([0-9a-f]{64})$/.exec(headers.get('x-slack-signature') ?? '')?.[1]
    if (!/^\d{1,12}$/.test(timestamp) || hex === undefined) return 'forged'
    if (Math.abs(now - Number(timestamp) * 1000) > MAX_SKEW_MS) return 'stale'
    // At once: to hand it to another thread costs many times what it takes.
    const sum = createHmac('sha256', signingSecret).update(`v0:${timestamp}:`).update(body).digest()
    return timingSafeEqual(sum, Buffer.from(hex, 'hex')) ? 'genuine' : 'forged'
  }
}
