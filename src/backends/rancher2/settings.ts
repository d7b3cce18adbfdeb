/** A Rancher 2.x server as it stands in drover.yaml. */

import * as z from 'zod'
import type { Secret } from '../../core/secret.ts'
import type { SettingsContext } from '../settings.ts'
import { readAddress } from './address.ts'
import { parseFingerprint } from './fingerprint.ts'

const dnsLabel = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

export const rancher2Settings = ({ secret }: SettingsContext) =>
  z
    .strictObject({
      kind: z.literal('rancher2'),
      url: z.url({ protocol: /^https?$/, error: 'an http(s) URL, for example https://rancher.example.com' }),
      token: secret.superRefine((value: Secret, context) => {
        const problem = keyProblem(value.reveal())
        if (problem) context.addIssue({ code: 'custom', message: problem })
      }),
      cluster: z.string().regex(dnsLabel, 'the id of a cluster like c-abc12 or local, not its name').optional(),
      project: z
        .string()
        .regex(
          /^([a-z0-9][a-z0-9-]{0,62}:)?p-[a-z0-9-]{1,62}$/,
          'the id of a project like c-abc12:p-def34, as the address of its page has it',
        )
        .optional(),
      namespaces: z.array(z.string().regex(dnsLabel, 'the name of a namespace')).min(1).optional(),
      ca: z.string().min(1).optional(),
      caFingerprint: z
        .string()
        .refine((text) => parseFingerprint(text) !== undefined, 'SHA256: and 64 hex digits, as `drover trust <url>` prints it')
        .optional(),
      insecureSkipVerify: z.literal(true).optional(),
      /** How rollouts are done: by Kubernetes' own API, or by Rancher's. */
      mode: z.enum(['proxy', 'v3']).default('proxy'),
    })
    .superRefine((settings, context) => {
      const trust = [settings.ca, settings.caFingerprint, settings.insecureSkipVerify]
      if (trust.filter((one) => one !== undefined).length > 1)
        context.addIssue({ code: 'custom', message: 'ca, caFingerprint and insecureSkipVerify exclude each other: keep one' })
      const read = readAddress(settings)
      if ('problem' in read) context.addIssue({ code: 'custom', path: [read.where], message: read.problem })
    })

/** RR pkg/auth/tokens/token_util.go: the value holds exactly one colon. */
const KEY = /^(?:ext\/)?[A-Za-z0-9][A-Za-z0-9._-]*:[A-Za-z0-9._~+/=-]+$/

function keyProblem(value: string): string | undefined {
  if (value === '' || KEY.test(value)) return undefined
  if (!value.includes(':'))
    return 'the value is half of an API key: Rancher’s keys are two parts with a colon between, token-xxxxx:secret (“Bearer Token” on the page that shows a new key)'
  return 'the value is not an API key of Rancher: write token-xxxxx:secret, with one colon and no spaces'
}
