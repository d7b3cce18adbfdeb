/** Images by name: what a rule's glob covers, and by which other names the same image goes. */

import { matchesGlob } from './selector.ts'

/** No tag is that long, so that only a glob that takes any tag takes this one. */
const anyTag = '\0'.repeat(129)

/**
 * For a rule that allows. `alpine:*` must not match `alpine:5000/other`, a registry: a glob reaches over `/` only where it ends in one
 * and a star, or is a star. A digest wins over the tag beside it: where a glob would not take every tag, it has to name the digest.
 * Both with or without the container's name before them.
 */
export function coversImage(glob: string, image: string): boolean {
  // An id is the begin of many names, and of none.
  if (!reaches(glob, image) || (isId(image) && /[^*]\*|\?/.test(glob) && !glob.startsWith('sha256:'))) return false
  return !image.includes('@') || glob.includes('@') || matchesGlob(glob, `${withoutTag(image)}:${anyTag}`)
}

/**
 * For a rule that forbids, which holds under every name of the image: Docker's own registry goes without saying, `:latest` too, and a
 * digest may be that of any tag. What an engine may take for the id of an image may be any of them.
 */
export function meansImage(glob: string, image: string, matches: (glob: string, image: string) => boolean = reaches): boolean {
  const globs = image.includes('@') && !glob.includes('@') ? [glob, withoutTag(glob)] : [glob]
  return isId(image) || globs.some((one) => spellings(image).some((spelled) => matches(one, spelled)))
}

export function reaches(glob: string, image: string): boolean {
  const depth = (text: string) => text.split('/').length
  return (/(^|[=/])\*$/.test(glob) || depth(glob) === depth(image)) && matchesGlob(glob, image)
}

/** Docker takes the begin of an id as well. */
export const isId = (image: string) => /^(sha256:)?[0-9a-f]{1,64}$/i.test(image)

function withoutTag(text: string): string {
  const [name = ''] = text.split('@', 1)
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1)
  return colon < 0 ? name : name.slice(0, colon)
}

/** Docker's registry; all but the first are also asked for by these names. */
const hub = ['', 'docker.io/', 'index.docker.io/', 'registry-1.docker.io/', 'registry.hub.docker.com/']

/** distribution/reference: what has no dot, colon or capital before its first slash has no registry in it. */
export function spellings(image: string): readonly string[] {
  const [rest = '', digest] = image.split('@', 2)
  const name = withoutTag(rest)
  const tag = rest.slice(name.length)
  const ends = [
    ...(tag === '' && digest === undefined ? ['', ':latest'] : [tag]),
    ...(tag === ':latest' ? [''] : []),
    ...(digest === undefined ? [] : [`@${digest}`, `${tag}@${digest}`, '']),
  ]
  const names = namesOf(name.toLowerCase().replace(/^([^/:]+):(443|80)(?=\/)/, '$1'))
  return [image, ...[name, ...names].flatMap((one) => ends.map((end) => one + end))]
}

function namesOf(name: string): readonly string[] {
  const isHub = !/^([^/]*[.:][^/]*|localhost)\//.test(name)
  const prefix = hub.find((one) => one !== '' && name.startsWith(one)) ?? ''
  if (!isHub && prefix === '') return [name]
  const short = name.slice(prefix.length).replace(/^library\/(?=[^/]+$)/, '')
  return hub.flatMap((one) => [one + short, ...(short.includes('/') ? [] : [`${one}library/${short}`])])
}
