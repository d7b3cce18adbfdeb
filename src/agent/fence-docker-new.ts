/** Containers that drover makes: none unless the agent's list names their images, and then nothing that reaches the host. */

import * as z from 'zod'
import { HELPER_LABEL } from '../backends/docker/container.ts'
import { USUAL_CAPABILITIES } from '../backends/wire/capabilities.ts'
import { killCommand } from '../backends/wire/kill.ts'
import { sizeSchema, TMP_OPTIONS } from '../backends/wire/new-container.ts'
import { coversImage } from '../core/images.ts'
import { bodyOf, type Call, only, type Parts, type Passed, quoted, Refusal } from './fence.ts'
import type { Container } from './fence-docker.ts'

export type ContainersAllowed = {
  /** Globs of the images that new containers may be made from. Absent: none is made. */
  readonly images?: readonly string[] | undefined
  /** Networks that they may have; `none` alone where it is absent. */
  readonly networks?: readonly string[] | undefined
  /** Ends commands in containers without a shell; see docs/backends/docker.md. */
  readonly helperImage?: string | undefined
}

type Find = {
  find(reference: string): Promise<Container | undefined>
  findAllowed(reference: string): Promise<Container | undefined>
}

const labels = z.record(z.string().startsWith('drover.'), z.string()).refine((all) => HELPER_LABEL in all)
const noNewPrivileges = z.tuple([z.literal('no-new-privileges')])

/** All that drover asks for, and no key more: no Binds, no Mounts, no Privileged, no namespaces of the host, no capabilities besides the usual. */
const NewBody = z.strictObject({
  Image: z.string(),
  Entrypoint: z.array(z.string()).min(1),
  Cmd: z.tuple([]),
  Healthcheck: z.strictObject({ Test: z.tuple([z.literal('NONE')]) }).optional(),
  Env: z.array(z.string()).optional(),
  Tty: z.boolean().optional(),
  AttachStdin: z.boolean().optional(),
  AttachStdout: z.boolean().optional(),
  AttachStderr: z.boolean().optional(),
  OpenStdin: z.boolean().optional(),
  StdinOnce: z.boolean().optional(),
  WorkingDir: z.string().optional(),
  User: z.string().optional(),
  Labels: labels,
  HostConfig: z.strictObject({
    NetworkMode: z.string(),
    Memory: z.int().min(1),
    MemorySwap: z.int().min(1),
    NanoCpus: z.int().min(1),
    PidsLimit: z.int().min(1),
    Init: z.boolean().optional(),
    SecurityOpt: noNewPrivileges,
    /** Only that there are none. */
    Mounts: z.tuple([]).optional(),
    CapDrop: z.tuple([z.literal('ALL')]).optional(),
    /** Of those that it would have without them. */
    CapAdd: z.array(z.enum(USUAL_CAPABILITIES)).optional(),
    ReadonlyRootfs: z.literal(true).optional(),
    Tmpfs: z.strictObject({ '/tmp': z.literal(TMP_OPTIONS.join(',')) }).optional(),
    StorageOpt: z.strictObject({ size: sizeSchema() }).optional(),
    LogConfig: z.strictObject({ Type: z.enum(['none', 'local']) }).optional(),
  }),
})

/** It sees the processes of one container, as root with two capabilities: so its program is drover's own, word for word. */
const HelperBody = z.strictObject({
  Image: z.string(),
  Entrypoint: z.array(z.string()).refine(isKill, 'another program than the one that ends an exec'),
  Cmd: z.tuple([]),
  User: z.literal('0:0'),
  Labels: labels,
  HostConfig: z.strictObject({
    PidMode: z.string().regex(/^container:[0-9a-f]{64}$/),
    NetworkMode: z.literal('none'),
    CapDrop: z.tuple([z.literal('ALL')]),
    CapAdd: z.array(z.enum(['KILL', 'SYS_PTRACE'])).max(2),
    SecurityOpt: noNewPrivileges,
    ReadonlyRootfs: z.literal(true),
    LogConfig: z.strictObject({ Type: z.enum(['none', 'local']) }).optional(),
  }),
})

function isKill(argv: readonly string[]): boolean {
  const exec = `${argv[4] ?? ''}${argv[6] ?? ''}`
  return /^[A-Za-z0-9-]{16,64}$/.test(exec) && JSON.stringify(argv) === JSON.stringify(killCommand(exec, undefined).argv)
}

/** `docker commit` hands the label on to images of other names, and those to containers that are none of drover's. */
export function madeByDrover({ images, helperImage }: ContainersAllowed, { Config }: Container): boolean {
  const image = Config?.Image
  if (!image || !(HELPER_LABEL in (Config.Labels ?? {}))) return false
  return image === helperImage || (images ?? []).some((glob) => coversImage(glob, image))
}

/** Undefined: this is none of its calls. */
export async function newContainerCall(
  allowed: ContainersAllowed,
  call: Call,
  parts: Parts,
  find: Find,
): Promise<Passed | undefined> {
  const { segments, query } = parts
  const [first, reference = '', verb] = segments
  if (first !== 'containers') return undefined
  const is = (kind: Call['kind'], method: string, name?: string) => call.kind === kind && call.method === method && verb === name
  if (is('http', 'POST') && reference === 'create' && segments.length === 2) {
    only(query, [])
    return { method: 'POST', path: '/containers/create', body: await createBody(allowed, call, find) }
  }
  const keys = is('http', 'DELETE')
    ? ['force', 'v']
    : is('http', 'POST', 'start')
      ? []
      : is('http', 'POST', 'stop')
        ? ['t']
        : is('http', 'POST', 'wait')
          ? ['condition']
          : is('http', 'POST', 'attach') || is('upgrade', 'POST', 'attach')
            ? ['stream', 'stdin', 'stdout', 'stderr', 'logs']
            : is('http', 'GET', 'logs')
              ? ['stdout', 'stderr']
              : undefined
  if (keys === undefined || segments.length > 3) return undefined
  const search = only(query, keys)
  const found = await find.find(reference)
  if (found && !madeByDrover(allowed, found))
    throw new Refusal(
      `the container ${quoted(found.Name.replace(/^\//, ''))} was not made by drover, and only those are ${verb ?? 'removed'}${verb ? 'ed' : ''}`,
    )
  const path = `/containers/${found?.Id ?? reference}${verb === undefined ? '' : `/${verb}`}${search}`
  return { method: verb === undefined ? 'DELETE' : verb === 'logs' ? 'GET' : 'POST', path }
}

async function createBody(allowed: ContainersAllowed, call: Call, { findAllowed }: Find): Promise<string> {
  const image = imageOf(call.body)
  const shared = sharedContainer(call.body)
  if (shared !== undefined) {
    if (allowed.helperImage === undefined || image !== allowed.helperImage)
      throw new Refusal(`${quoted(image)} is not its helperImage, and nothing else may see into another container`)
    if (!(await findAllowed(shared))) throw new Refusal('there is no container for the helper to look into')
    return bodyOf(HelperBody, call, 'a helper container')
  }
  if (!allowed.images?.some((glob) => coversImage(glob, image)))
    throw new Refusal(`new containers of ${quoted(image)} are not on its list (images:)`)
  const body = bodyOf(NewBody, call, 'a new container')
  const { NetworkMode } = NewBody.parse(JSON.parse(body)).HostConfig
  if (!(allowed.networks ?? ['none']).includes(NetworkMode) || NetworkMode === 'host' || NetworkMode.startsWith('container:'))
    throw new Refusal(`the network ${quoted(NetworkMode)} is not on its list (networks:)`)
  return body
}

const Shape = z.object({
  Image: z.string(),
  HostConfig: z.object({ PidMode: z.string().optional() }).optional(),
})

function shapeOf(body: string): z.infer<typeof Shape> {
  try {
    return Shape.parse(JSON.parse(body))
  } catch {
    throw new Refusal('what was sent is no container')
  }
}

const imageOf = (body: string): string => shapeOf(body).Image
const sharedContainer = (body: string): string | undefined => shapeOf(body).HostConfig?.PidMode?.replace(/^container:/, '')
