/** A Docker Engine as it stands in drover.yaml. */

import * as z from 'zod'
import { mountsSchema } from '../wire/mounts.ts'
import { boundsSchema, sizeSchema } from '../wire/new-container.ts'
import { readHost } from './host.ts'

const path = z.string().min(1)

const bounds = boundsSchema(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, 'the name of a network')).extend({
  /** What one may write to its own file system, where the engine's storage can limit that; absent: as much as there is. */
  disk: sizeSchema().optional(),
  /** Whether the engine fetches an image that it does not have; absent: never. */
  pull: z.enum(['never', 'missing']).optional(),
  /** A file as `docker login` writes it, for registries that want one; not on Workers. */
  logins: path.optional(),
  /** What a request may ask for by name: `mounts=src`. */
  mounts: mountsSchema().optional(),
})
/** What an administrator lets a new container have. */
export type DockerBounds = z.output<typeof bounds>

/** Where an engine is, and what ends commands there in containers without a shell. */
export const engineShape = () => ({
  /** `unix:///…`, `tcp://…`, `https://…` or `ssh://…`. */
  host: z.string().min(1).optional(),
  /** A context of the docker client of the user that drover runs as; not on Workers. */
  context: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.+-]*$/, 'the name of a context, as `docker context ls` shows it')
    .optional(),
  /** DOCKER_HOST, DOCKER_CONTEXT and their like, as the docker client reads them; not on Workers. */
  fromEnvironment: z.literal(true).optional(),
  /** Paths of PEM files; not on Workers. */
  tls: z
    .strictObject({ ca: path, cert: path, key: path })
    .partial()
    .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'cert and key go together')
    .optional(),
  /** Speak to `tcp://` without TLS: who reaches it owns that host. */
  plaintext: z.literal(true).optional(),
  /** Ends commands in containers without a shell, from one of this image beside them. On the engine already. */
  helperImage: z.string().min(1).optional(),
})
export type EngineSettings = z.output<z.ZodObject<ReturnType<typeof engineShape>, z.core.$strict>>

/** Exactly one way there, and one that is safe or said to be none. */
export function refuseUnclear(value: EngineSettings, context: z.core.$RefinementCtx): void {
  const say = (at: string, message: string) => context.addIssue({ code: 'custom', path: [at], message })
  const ways = (['host', 'context', 'fromEnvironment'] as const).filter((way) => value[way] !== undefined)
  if (ways.length !== 1) say(ways[1] ?? 'host', 'say exactly one of host:, context: or fromEnvironment: true')
  else if (value.host === undefined) {
    if (value.tls) say('tls', 'only with host:')
  } else {
    const host = readHost(value.host, { tls: value.tls !== undefined, plaintext: value.plaintext === true })
    if (host.way === 'problem') say('host', host.problem)
  }
}

export const dockerSettings = () =>
  z
    .strictObject({
      kind: z.literal('docker'),
      ...engineShape(),
      /** Lets rules with images: run commands in containers made for them, within these bounds; absent: none is made. */
      newContainers: bounds
        .refine(({ pull, logins }) => logins === undefined || pull === 'missing', {
          path: ['logins'],
          error: 'only with pull: missing',
        })
        .optional(),
    })
    .superRefine(refuseUnclear)

export type DockerSettings = z.output<ReturnType<typeof dockerSettings>>
