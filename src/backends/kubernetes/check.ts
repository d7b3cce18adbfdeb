/** What `drover check` says of a Kubernetes connection. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { CheckLine } from '../../core/ports.ts'
import type { Api } from './api.ts'

const Version = z.object({ gitVersion: z.string() })

export async function check(api: Api, _options: { readonly name: string }, signal: AbortSignal): Promise<readonly CheckLine[]> {
  try {
    const version = await api.read('GET', '/version', Version, { what: 'its version', signal })
    return [{ ok: true, what: 'Kubernetes answers', detail: version.gitVersion }]
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    return [{ ok: false, what: error.message, ...(error.next ? { next: error.next } : {}) }]
  }
}
