/** A containerd as it stands in drover.yaml. */

import * as z from 'zod'
import { mountsSchema } from '../wire/mounts.ts'
import { boundsSchema } from '../wire/new-container.ts'

/** sockaddr_un's path, unix(7). */
const LONGEST_SOCKET_PATH = 107
const ONE_NAMESPACE = 'one namespace as `ctr namespaces list` shows them, for example k8s.io or default'
/** Others are made by programs that containerd does not run. */
const NETWORKS = 'none or host'
const path = z.string().regex(/^\/[^\0\n]+$/, 'an absolute path')

export const containerdSettings = () =>
  z
    .strictObject({
      kind: z.literal('containerd'),
      /** Only a socket on this machine: a command's streams are named pipes, which do not travel. */
      address: path
        .max(LONGEST_SOCKET_PATH, `a socket's path has at most ${LONGEST_SOCKET_PATH} characters`)
        .default('/run/containerd/containerd.sock'),
      /** `cri`: Kubernetes' interface to its nodes, in the place of containerd's own; the pods of a node without its API server. */
      api: z.literal('cri').optional(),
      /** One of containerd's; not with `api: cri`. */
      namespace: z
        .string(ONE_NAMESPACE)
        .max(76)
        .regex(/^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$/, ONE_NAMESPACE)
        // dockerd deletes exec processes that are not its own at their end, and with them the proof of how they ended.
        .refine((name) => name !== 'moby', 'the containers in moby are Docker’s own; use a backend of kind docker for them')
        .optional(),
      /** Where named pipes are made, each in a private folder; containerd has to see it under the same path. */
      fifoDirectory: path.optional(),
      /** Commands at a time in one container; with more than 16 the shim of containerd 1.6 stalls. */
      parallel: z.int().min(1).max(64).default(8),
      /** Lets rules with images: run commands in containers made for them, within these bounds; absent: none is made. */
      newContainers: boundsSchema(z.enum(['none', 'host'], NETWORKS))
        .extend({
          /** One of `ctr plugins ls`: where images are unpacked, and where a container writes. */
          snapshotter: z
            .string()
            .regex(/^[a-z][a-z0-9-]{0,31}$/, 'the name of a snapshotter')
            .default('overlayfs'),
          /** What a request may ask for by name: `mounts=src`. */
          mounts: mountsSchema()
            .refine(
              (all) => Object.values(all).every(({ source }) => source.startsWith('/')),
              'only paths: containerd has no volumes',
            )
            .optional(),
        })
        .optional(),
    })
    .superRefine((value, context) => {
      const say = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
      if (value.api === undefined) return value.namespace === undefined ? say('namespace', ONE_NAMESPACE) : undefined
      for (const key of ['namespace', 'fifoDirectory', 'newContainers'] as const)
        if (value[key] !== undefined) say(key, 'not with api: cri')
      return undefined
    })

export type ContainerdSettings = z.output<ReturnType<typeof containerdSettings>>
