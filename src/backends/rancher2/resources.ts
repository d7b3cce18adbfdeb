/** What drover reads of Rancher's `/v3` resources (RR pkg/client/generated/management/v3). */

import * as z from 'zod'

export const Page = z.object({
  type: z.literal('collection'),
  data: z.array(z.unknown()),
  pagination: z.object({ next: z.string().nullish(), partial: z.boolean().nullish() }).nullish(),
})

export const Cluster = z.object({
  id: z.string(),
  name: z.string().nullish(),
  state: z.string().nullish(),
  transitioningMessage: z.string().nullish(),
})
export type Cluster = z.infer<typeof Cluster>

export const Project = z.object({ id: z.string(), name: z.string().nullish(), clusterId: z.string().nullish() })

export const Namespace = z.object({ id: z.string(), projectId: z.string().nullish() })

export const Token = z.object({
  id: z.string().nullish(),
  /** RFC 3339; empty: never. */
  expiresAt: z.string().nullish(),
  expired: z.boolean().nullish(),
  clusterId: z.string().nullish(),
  userId: z.string().nullish(),
})

/** The key's kind since Rancher 2.12: `kubectl get tokens.ext.cattle.io`. */
export const ExtToken = z.object({
  spec: z.object({ clusterName: z.string().nullish(), userID: z.string().nullish() }).nullish(),
  status: z.object({ expiresAt: z.string().nullish(), expired: z.boolean().nullish() }).nullish(),
})

export const User = z.object({ id: z.string(), name: z.string().nullish(), username: z.string().nullish() })

/** `GET /rancherversion`, 2.8 and later (RR pkg/version). */
export const Version = z.object({ Version: z.string() })
export const Setting = z.object({ value: z.string().nullish() })
