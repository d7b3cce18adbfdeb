/** What the schema of a backend's entry in drover.yaml is made from. */

import type * as z from 'zod'
import type { Secret } from '../core/secret.ts'

export type SettingsContext = {
  /** `{ env: NAME }` as it stands in the file; the environment's value as it comes out. */
  readonly secret: z.ZodType<Secret>
}
