/** An expected "no" of Slack's: it becomes `{ ok: false, error }`. */

import type { Json } from './block-rules.ts'

export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly extra: Json
  constructor(error: string, extra: Json = {}) {
    super(error)
    this.extra = extra
  }
}

export function refuse(error: string, messages?: readonly string[]): never {
  throw new Refusal(error, messages ? { response_metadata: { messages } } : {})
}
