/** A Docker Swarm as it stands in drover.yaml: a manager, the engines of other nodes, and what may be started where there is no way. */

import * as z from 'zod'
import { engineShape, refuseUnclear } from '../docker/settings.ts'

/** A tag can be moved by whoever may push, and what it names would hold the socket of every engine; a digest cannot. */
const pinned = z
  .string()
  .regex(
    /^(?:[a-z0-9][a-zA-Z0-9._/:-]*@)?sha256:[0-9a-f]{64}$/,
    'name it by digest, name@sha256:… or sha256:…: what a mere tag names can change, and it gets the socket of every engine',
  )

const nodeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/

export const swarmSettings = () =>
  z
    .strictObject({
      kind: z.literal('swarm'),
      /** A manager. */
      ...engineShape(),
      /** By id or hostname: the engines of nodes, each reached as a docker backend's is. */
      nodes: z
        .record(z.string(), z.strictObject(engineShape()).superRefine(refuseUnclear))
        .superRefine((nodes, context) => {
          for (const name of Object.keys(nodes).filter((one) => !nodeName.test(one)))
            context.addIssue({
              code: 'custom',
              path: [name],
              message: 'the id or the hostname of a node, as `docker node ls` shows it',
            })
        })
        .optional(),
      /** Where a node is not in `nodes`, run the command from a service made for it on that node. Absent: never. */
      temporaryService: z
        .strictObject({
          /** Has a docker client; on every node already. */
          image: pinned,
          /** The engine's socket on the nodes. */
          socket: z
            .string()
            .regex(/^\/[^\0:]+$/, 'an absolute path')
            .default('/var/run/docker.sock'),
        })
        .optional(),
    })
    .superRefine(refuseUnclear)

export type SwarmSettings = z.output<ReturnType<typeof swarmSettings>>
export type TemporarySettings = NonNullable<SwarmSettings['temporaryService']>
