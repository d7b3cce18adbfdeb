/** A Kubernetes cluster as it stands in drover.yaml. */

import * as z from 'zod'
import type { Secret } from '../../core/secret.ts'
import type { SettingsContext } from '../settings.ts'

const namespace = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'the name of a namespace')

/** What an HTTP header can hold. */
const group = z.string().regex(/^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$/, 'the name of a group')

export const kubernetesSettings = ({ secret }: SettingsContext) =>
  z
    .strictObject({
      kind: z.literal('kubernetes'),
      /** Path of a kubeconfig; not on Workers. */
      kubeconfig: z.string().min(1).optional(),
      /** One of its contexts; absent: its current one. */
      context: z.string().min(1).optional(),
      /** drover runs in the cluster, with a service account. */
      inCluster: z.literal(true).optional(),
      server: z.url({ protocol: /^https?$/, error: 'an http(s) URL, for example https://10.0.0.1:6443' }).optional(),
      token: secret.optional(),
      /** Path of a PEM file, or { env: NAME } of a variable that holds the PEM. */
      ca: z.union([z.string().min(1), secret]).optional(),
      insecureSkipVerify: z.literal(true).optional(),
      namespaces: z.array(namespace).min(1).optional(),
      allNamespaces: z.literal(true).optional(),
      /** `actor`: each command goes out in the name of who asked for it. */
      impersonate: z.enum(['none', 'actor']).default('none'),
      /** Several: not on Workers. */
      impersonateGroup: z.union([group, z.array(group).min(1).max(20)]).optional(),
    })
    .superRefine((value, context) => {
      const say = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
      const ways = (['kubeconfig', 'inCluster', 'server'] as const).filter((way) => value[way] !== undefined)
      if (ways.length !== 1)
        say(ways[1] ?? 'kubeconfig', 'say exactly one of kubeconfig:, inCluster: true, or server: with token:')
      if (value.context !== undefined && value.kubeconfig === undefined) say('context', 'only with kubeconfig:')
      if (value.server !== undefined && value.token === undefined)
        say('token', 'write { env: NAME_OF_A_VARIABLE } that holds a service account’s token')
      if (value.server !== undefined && /[?#]|\/\/[^/]*@/.test(value.server))
        say('server', 'an address alone: no user, no query, no fragment')
      for (const key of ['token', 'ca', 'insecureSkipVerify'] as const)
        if (value[key] !== undefined && value.server === undefined) say(key, 'only with server:; a kubeconfig says it itself')
      if (value.namespaces !== undefined && value.allNamespaces !== undefined)
        say('allNamespaces', 'say namespaces: or allNamespaces:, not both')
      if (value.impersonateGroup !== undefined && value.impersonate === 'none')
        say('impersonateGroup', 'only with impersonate: actor')
    })

/** As it comes out of the schema. */
export type KubernetesSettings = {
  readonly kubeconfig?: string | undefined
  readonly context?: string | undefined
  readonly inCluster?: true | undefined
  readonly server?: string | undefined
  readonly token?: Secret | undefined
  readonly ca?: string | Secret | undefined
  readonly insecureSkipVerify?: true | undefined
  readonly namespaces?: readonly string[] | undefined
  readonly allNamespaces?: true | undefined
  readonly impersonate: 'none' | 'actor'
  readonly impersonateGroup?: string | readonly string[] | undefined
}
