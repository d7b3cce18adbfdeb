/** An image as containerd holds it: found by the name that people type, and what a container of it begins with. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import { type Engine, EngineError, type Image, type Platform } from './engine.ts'
import { refusal } from './errors.ts'

/** What a container of an image begins with. */
export type ImageConfig = {
  /** `amd64`, `arm64`, … as Go names them. */
  readonly architecture: string
  /** The committed snapshot that holds its files. */
  readonly snapshot: string
  readonly env: readonly string[]
  readonly dir: string | undefined
  /** As it stands in the image: a name or a number, perhaps with a group. */
  readonly user: string | undefined
}

/** Only `linux` is asked for, and only what the image's own platform list may say (OCI image spec, image-index.md). */
const Index = z.object({
  manifests: z.array(
    z.object({
      digest: z.string(),
      platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().nullish() }).nullish(),
    }),
  ),
})
const Manifest = z.object({ config: z.object({ digest: z.string() }) })
const Config = z.object({
  architecture: z.string().default(''),
  rootfs: z.object({ diff_ids: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)).min(1) }),
  config: z
    .object({
      Env: z.array(z.string()).nullish(),
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
    })
    .nullish(),
})

/** Where `namespace` has none of that name. */
const notThere = (image: string, namespace: string) =>
  new BackendError(
    {
      code: 'backend_not_found',
      message: `The image ${image} is not in containerd’s namespace ${namespace}.`,
      next: `drover pulls nothing: pull it there first, with \`ctr -n ${namespace} images pull\` and its whole name, or \`ctr -n ${namespace} images import\`.`,
    },
    { ran: 'no' },
  )

export type Images = {
  /** Throws BackendError `ran: 'no'`. */
  configOf(image: string, signal: AbortSignal): Promise<ImageConfig>
}

const DIGEST = /^sha256:[0-9a-f]{64}$/
/** Digests name their content, so what was read of one stays good. */
const KEPT = 64

export function imagesOf(
  engine: Engine,
  where: { readonly namespace: string; readonly address: string; readonly snapshotter: string },
): Images {
  const { namespace, address, snapshotter } = where
  const known = new Map<string, ImageConfig>()
  let platforms: readonly Platform[] | undefined

  async function find(name: string, signal: AbortSignal): Promise<Image | undefined> {
    const { repository, digest } = partsOf(name)
    for (const candidate of namesOf(name)) {
      const found = await engine.image(candidate, signal)
      // Names are only names: what was asked for by its content has to have it.
      if (found && (digest === undefined || found.target.digest === digest)) return found
    }
    if (digest === undefined || !DIGEST.test(digest)) return undefined
    const all = await engine.imagesOf(digest, signal)
    return all.find((one) => partsOf(one.name).repository === repository)
  }

  async function config(name: string, { target }: Image, signal: AbortSignal): Promise<ImageConfig> {
    const cached = known.get(target.digest)
    if (cached) return cached
    platforms ??= await engine.platforms(snapshotter, signal)
    if (platforms === undefined) throw noSnapshotter(snapshotter)
    const read = async <T>(digest: string, schema: z.ZodType<T>): Promise<T> => {
      const parsed = schema.safeParse(jsonOf(await engine.blob(digest, signal)))
      if (parsed.success) return parsed.data
      throw new BackendError(
        { code: 'unsupported', message: `${name} is not an image that containers can be made of.`, next: 'Name another image.' },
        { ran: 'no' },
      )
    }
    const isIndex = /(image\.index|manifest\.list)\./.test(target.mediaType)
    const digest = isIndex ? forPlatform(name, await read(target.digest, Index), platforms) : target.digest
    const manifest = await read(digest, Manifest)
    const { architecture, rootfs, config: own } = await read(manifest.config.digest, Config)
    const made: ImageConfig = {
      architecture,
      snapshot: await chainOf(rootfs.diff_ids),
      env: own?.Env ?? [],
      dir: own?.WorkingDir || undefined,
      user: own?.User || undefined,
    }
    known.set(target.digest, made)
    for (const [oldest] of known) {
      if (known.size <= KEPT) break
      known.delete(oldest)
    }
    return made
  }

  return {
    async configOf(name, signal) {
      try {
        const image = await find(name, signal)
        if (image === undefined) throw notThere(name, namespace)
        return await config(name, image, signal)
      } catch (error) {
        if (error instanceof EngineError && error.code === 'NOT_FOUND') throw incomplete(name, namespace, error)
        throw refusal(error, { address, about: `the image ${name}` })
      }
    },
  }
}

export function noSnapshotter(snapshotter: string): BackendError {
  return new BackendError(
    {
      code: 'config',
      message: `This containerd has no snapshotter ${snapshotter} that works.`,
      next: 'Set newContainers.snapshotter of this backend to one that `ctr plugins ls` calls ok.',
    },
    { ran: 'no' },
  )
}

/** Its name is there, and some of what it means is not: another platform was pulled, or its content was cleaned away. */
export function incomplete(image: string, namespace: string, cause: unknown): BackendError {
  return new BackendError(
    {
      code: 'backend_not_found',
      message: `The image ${image} is in containerd’s namespace ${namespace}, but not whole, or not unpacked for this machine.`,
      next: `Pull it there again: \`ctr -n ${namespace} images pull\` with its whole name unpacks it too.`,
    },
    { ran: 'no', cause },
  )
}

/** Docker's short names, for containerd has only whole ones: `alpine` is `docker.io/library/alpine:latest` (distribution/reference). */
export function namesOf(name: string): readonly string[] {
  const { repository, tag, digest } = partsOf(name)
  if (digest !== undefined) return [name, `${repository}@${digest}`].filter((one, at, all) => all.indexOf(one) === at)
  return [name, `${repository}:${tag ?? 'latest'}`].filter((one, at, all) => all.indexOf(one) === at)
}

/** `repository` is whole. */
export function partsOf(name: string): {
  readonly repository: string
  readonly tag: string | undefined
  readonly digest: string | undefined
} {
  const [rest = '', digest] = name.split('@', 2)
  const at = rest.indexOf(':', rest.lastIndexOf('/') + 1)
  const short = at < 0 ? rest : rest.slice(0, at)
  const [first = '', ...more] = short.split('/')
  const hasHost = more.length > 0 && (/[.:]/.test(first) || first === 'localhost')
  const repository = hasHost ? short : `docker.io/${more.length === 0 ? 'library/' : ''}${short}`
  return { repository, tag: at < 0 ? undefined : rest.slice(at + 1), digest }
}

function forPlatform(name: string, { manifests }: z.infer<typeof Index>, platforms: readonly Platform[]): string {
  for (const { os, architecture, variant } of platforms) {
    const fitting = manifests.filter(({ platform }) => platform?.os === os && platform.architecture === architecture)
    const found = fitting.find(({ platform }) => (platform?.variant ?? '') === variant) ?? fitting[0]
    if (found) return found.digest
  }
  const wanted = platforms.map(({ os, architecture }) => `${os}/${architecture}`).join(', ')
  throw new BackendError(
    { code: 'unsupported', message: `The image ${name} has nothing for ${wanted}.`, next: 'Name another image.' },
    { ran: 'no' },
  )
}

/** The name of the snapshot that holds all layers (OCI image spec, config.md, "Layer ChainID"). */
export async function chainOf(diffIds: readonly string[]): Promise<string> {
  const [first = '', ...others] = diffIds
  let chain = first
  for (const diffId of others) {
    const bytes = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`${chain} ${diffId}`))
    chain = `sha256:${Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')}`
  }
  return chain
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
