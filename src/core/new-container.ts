/** A command in a container made for it: `image=alpine:3 -- wc -c`, where nothing else says which containers are meant. */

import type { NewContainer } from './model.ts'
import { type Pair, usage } from './pairs.ts'

/** Only with an image to make a container from. */
export const newContainerKeys = ['network', 'memory', 'cpus', 'mounts'] as const
/** What stands beside `image=` when it does not narrow: everything else says which running containers are meant. */
const beside: readonly string[] = [...newContainerKeys, 'image', 'on', 'cmd', 'timeout', 'env', 'dir', 'user', 'stdin', 'tty']

/**
 * Undefined when running containers are meant: there `image=` is a glob that narrows. A lone image without `*` or `?` is one to
 * make a container from.
 */
export function newContainerOf(pairs: readonly Pair[]): NewContainer | undefined {
  const one = (key: string) => pairs.find((pair) => pair.key === key)
  const image = one('image')
  const isLone = image !== undefined && !/[*?]/.test(image.value) && pairs.every(({ key }) => beside.includes(key))
  if (!isLone) {
    const extra = pairs.find(({ key }) => newContainerKeys.some((known) => known === key))
    if (extra)
      throw usage(
        `${extra.key}= is for a new container, and this line means running ones.`,
        extra.word.start,
        'For a new one give image= and no other selector, for example: image=alpine:3 -- wc -c',
      )
    return undefined
  }
  const fault = imageFault(image.value)
  if (fault) throw usage(fault, image.valueAt, 'For example image=alpine:3 or image=registry.example.com/tools@sha256:…')
  const [network, memory, cpus, mounts] = [one('network'), one('memory'), one('cpus'), one('mounts')]
  return {
    image: image.value,
    ...(network ? { network: networkOf(network) } : {}),
    ...(memory ? { memoryBytes: memoryOf(memory) } : {}),
    ...(cpus ? { cpus: cpusOf(cpus) } : {}),
    ...(mounts ? { mounts: mountsOf(mounts) } : {}),
  }
}

/** The characters of an image reference (distribution/reference); whether it exists the engine says. */
export function imageFault(image: string): string | undefined {
  if (image.length > 512) return 'image= is longer than 512 characters.'
  return /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/.test(image) ? undefined : 'image= is not the name of an image.'
}

function networkOf({ value, valueAt }: Pair): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(value)) return value
  throw usage('network= takes the name of a network.', valueAt, 'For example network=none.')
}

/** What an administrator calls a mount. */
export const mountName = /^[a-z0-9][a-z0-9_-]{0,62}$/

function mountsOf({ value, valueAt }: Pair): readonly string[] {
  const names = value.split(',')
  if (names.every((name) => mountName.test(name)) && names.length <= 16) return names
  throw usage('mounts= takes the names of mounts, with commas between them.', valueAt, 'For example mounts=src,cache.')
}

const sizes: Readonly<Record<string, number>> = { k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

/** At least 6 MiB, as Docker demands. */
function memoryOf({ value, valueAt }: Pair): number {
  const match = /^([0-9]{1,7})([kmg])$/i.exec(value)
  const bytes = match ? Number(match[1]) * (sizes[match[2]!.toLowerCase()] ?? 0) : 0
  if (bytes < 6 * 1024 ** 2 || bytes > 1024 ** 4)
    throw usage('memory= takes a size between 6m and 1024g.', valueAt, 'For example memory=256m.')
  return bytes
}

function cpusOf({ value, valueAt }: Pair): number {
  const cpus = /^[0-9]{1,3}(\.[0-9]{1,3})?$/.test(value) ? Number(value) : 0
  if (cpus < 0.01 || cpus > 256) throw usage('cpus= takes a number between 0.01 and 256.', valueAt, 'For example cpus=0.5.')
  return cpus
}
