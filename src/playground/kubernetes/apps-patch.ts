/** The three kinds of PATCH that an API server takes, as far as clients of apps/v1 send them (kubernetes.md §12). */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export type JsonObject = { readonly [key: string]: Json | undefined }

export const object = (value: Json | undefined): JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
export const array = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : [])

/** `bad-type` is 415; `invalid` is 422. */
export class PatchError extends Error {
  readonly kind: 'bad-type' | 'bad-body' | 'invalid'
  constructor(kind: PatchError['kind'], message: string) {
    super(message)
    this.kind = kind
  }
}

export function patched(now: JsonObject, contentType: string, text: string): JsonObject {
  let patch: Json
  try {
    patch = JSON.parse(text) as Json
  } catch {
    throw new PatchError('bad-body', 'the request body is not JSON')
  }
  switch (contentType) {
    case 'application/strategic-merge-patch+json':
      return object(merged(now, patch, true))
    case 'application/merge-patch+json':
      return object(merged(now, patch, false))
    case 'application/json-patch+json':
      return object(array(patch).reduce((value: Json, one) => operated(value, object(one)), now))
    default:
      throw new PatchError('bad-type', `the body of the request was in an unknown format: ${contentType}`)
  }
}

/** Lists that a strategic patch merges, and by which key (kubernetes/api core/v1 types.go, patchMergeKey). All others are replaced. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  env: 'name',
  volumes: 'name',
  imagePullSecrets: 'name',
  ports: 'containerPort',
  volumeMounts: 'mountPath',
  conditions: 'type',
}

function merged(now: Json | undefined, patch: Json, isStrategic: boolean, field = ''): Json {
  if (Array.isArray(patch)) {
    const key = isStrategic ? MERGE_KEYS[field] : undefined
    return key === undefined || !Array.isArray(now) ? patch : mergedList(now, patch as readonly Json[], key)
  }
  if (typeof patch !== 'object' || patch === null) return patch
  const { $patch: directive, ...rest } = patch as JsonObject
  if (isStrategic && directive === 'replace') return rest
  const result: Record<string, Json | undefined> = { ...object(now) }
  for (const [name, value] of Object.entries(rest)) {
    if (isStrategic && name.startsWith('$')) continue
    if (value === null) delete result[name]
    else if (value !== undefined) result[name] = merged(result[name], value, isStrategic, name)
  }
  return result
}

/** One whose key the list does not hold is added: that is how a wrong container name becomes a new container. */
function mergedList(now: readonly Json[], patch: readonly Json[], key: string): Json {
  const result = [...now]
  for (const one of patch) {
    const at = result.findIndex((other) => object(other)[key] === object(one)[key])
    if (object(one).$patch === 'delete') {
      if (at >= 0) result.splice(at, 1)
    } else if (at >= 0) result[at] = merged(result[at], one, true)
    else result.unshift(one)
  }
  return result
}

/** RFC 6902: add, replace, remove and test. */
function operated(value: Json, { op, path, value: given = null }: JsonObject): Json {
  const parts = String(path)
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
  return at(value, parts, String(op), given)
}

function at(value: Json, [part, ...rest]: readonly string[], op: string, given: Json): Json {
  if (part === undefined) return given
  if (Array.isArray(value)) {
    const index = part === '-' ? value.length : Number(part)
    if (!Number.isInteger(index) || index > value.length) throw invalid(op, part)
    if (rest.length > 0) return value.map((one: Json, i) => (i === index ? at(one, rest, op, given) : one))
    if (op === 'add') return [...value.slice(0, index), given, ...value.slice(index)]
    if (op === 'remove') return value.filter((_, i) => i !== index)
    return value.map((one: Json, i) => (i === index ? given : one))
  }
  const here = object(value)
  if (rest.length > 0) {
    if (here[part] === undefined) throw invalid(op, part)
    return { ...here, [part]: at(here[part] ?? null, rest, op, given) }
  }
  if (op !== 'add' && here[part] === undefined) throw invalid(op, part)
  if (op === 'test') {
    if (JSON.stringify(here[part]) !== JSON.stringify(given)) throw invalid(op, part)
    return value
  }
  if (op === 'remove') return Object.fromEntries(Object.entries(here).filter(([name]) => name !== part))
  return { ...here, [part]: given }
}

function invalid(op: string, part: string): PatchError {
  return new PatchError('invalid', `the server rejected our request due to an error in our request: ${op} ${part}`)
}
