/** A Rancher 1.x server as it stands in drover.yaml. */

import * as z from 'zod'
import type { SettingsContext } from '../settings.ts'

export const rancher1Settings = ({ secret }: SettingsContext) =>
  z.strictObject({
    kind: z.literal('rancher1'),
    url: z.url({ protocol: /^https?$/, error: 'an http(s) URL, for example https://rancher.example.com/v2-beta' }),
    accessKey: secret,
    secretKey: secret,
    project: z
      .string()
      .regex(/^1a\d+$/, 'an environment id like 1a5')
      .optional(),
  })
