/** What a token says of itself. */

import * as z from 'zod'

/** Tokens in files are replaced by others, the kubelet among them, an hour before they expire. */
export const FILE_MS = 60_000

const Claims = z.object({ exp: z.number().nullish() })

/** What a token says of itself; not verified, for that is the server's part. */
function claimsOf(token: string): z.infer<typeof Claims> | undefined {
  const [, payload, signature] = token.split('.')
  if (!payload || signature === undefined) return undefined
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0))
    return Claims.parse(JSON.parse(new TextDecoder().decode(bytes)))
  } catch {
    return undefined
  }
}

export function expiryOf(token: string): number | undefined {
  const exp = claimsOf(token)?.exp
  return exp === undefined || exp === null ? undefined : exp * 1000
}
