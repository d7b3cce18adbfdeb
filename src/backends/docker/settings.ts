/** A Docker Engine as it stands in drover.yaml. */

import * as z from 'zod'
import { readHost } from './host.ts'

const path = z.string().min(1)

export const dockerSettings = () =>
  z
    .strictObject({
      kind: z.literal('docker'),
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
      /** Lets rules with images: run commands in containers made for them, within these bounds; absent: none is made. */
      newContainers: z
        .strictObject({
          /** Those that may be asked for; the first is what a request gets that names none. */
          networks: z
            .array(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, 'the name of a network'))
            .min(1)
            .default(['none']),
          /** What one gets, and the most that may be asked for. */
          memory: z
            .string()
            .regex(/^[1-9]\d{0,5}[mg]$/, 'a size like 256m or 2g')
            .default('256m'),
          cpus: z.number().min(0.01).max(256).default(1),
          processes: z.int().min(2).max(100_000).default(256),
        })
        .optional(),
    })
    .superRefine((value, context) => {
      const say = (at: string, message: string) => context.addIssue({ code: 'custom', path: [at], message })
      const ways = (['host', 'context', 'fromEnvironment'] as const).filter((way) => value[way] !== undefined)
      if (ways.length !== 1) return say(ways[1] ?? 'host', 'say exactly one of host:, context: or fromEnvironment: true')
      if (value.tls && value.host === undefined) return say('tls', 'only with host:')
      if (value.host === undefined) return undefined
      const host = readHost(value.host, { tls: value.tls !== undefined, plaintext: value.plaintext === true })
      return host.way === 'problem' ? say('host', host.problem) : undefined
    })

export type DockerSettings = z.output<ReturnType<typeof dockerSettings>>
