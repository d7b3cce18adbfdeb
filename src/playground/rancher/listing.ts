/** Filters, order and pages of a cattle collection, with their silence: whatever is not understood is ignored (rancher-1.md §1.3). */

import type { Resource } from './resources.ts'

type FieldKind = 'string' | 'enum' | 'reference' | 'boolean' | 'number' | 'date'

/** Only columns can be filtered [CT InstanceTable]; labels, hostId, imageUuid and primaryIpAddress are none. */
const COLUMNS: Readonly<Record<string, FieldKind>> = {
  id: 'reference',
  name: 'string',
  state: 'enum',
  kind: 'string',
  uuid: 'string',
  externalId: 'string',
  healthState: 'enum',
  stackId: 'reference',
  serviceId: 'reference',
  system: 'boolean',
  nativeContainer: 'boolean',
  created: 'date',
  createIndex: 'number',
  deploymentUnitUuid: 'string',
  description: 'string',
  startCount: 'number',
}

const OPS: Readonly<Record<FieldKind, readonly string[]>> = {
  string: ['ne', 'prefix', 'like', 'notlike', 'null', 'notnull'],
  enum: ['ne', 'null', 'notnull'],
  reference: ['ne', 'null', 'notnull'],
  boolean: ['ne', 'null', 'notnull'],
  number: ['ne', 'null', 'notnull', 'lt', 'lte', 'gt', 'gte'],
  date: ['ne', 'null', 'notnull', 'lt', 'lte', 'gt', 'gte'],
}

export const DEFAULT_LIMIT = 100
export const MAX_LIMIT = 3000

export type Page = {
  readonly data: readonly Resource[]
  readonly limit: number
  readonly next: string | null
  readonly sort: string | null
}

/** `self` is the URL of this request; `next` repeats it with a marker, to be followed verbatim. */
export function pageOf(all: readonly Resource[], query: URLSearchParams, self: string): Page {
  const matching = filter(all, query)
  const sort = query.get('sort')
  const sorted = sort !== null && sort in COLUMNS ? [...matching].sort(by(sort, query.get('order') === 'desc')) : matching
  const limit = limitOf(query.get('limit'))
  // A plain row offset: rows are skipped or repeated when containers come and go between two pages.
  const from = Number(/^m(\d+)$/.exec(query.get('marker') ?? '')?.[1] ?? 0)
  const data = sorted.slice(from, from + limit)
  const more = from + limit < sorted.length
  return { data, limit, next: more ? withMarker(self, from + limit) : null, sort: sort !== null && sort in COLUMNS ? sort : null }
}

function limitOf(text: string | null): number {
  if (text === null || !/^-?\d+$/.test(text)) return DEFAULT_LIMIT
  const limit = Number(text)
  return limit <= 0 ? MAX_LIMIT : Math.min(limit, MAX_LIMIT)
}

function withMarker(self: string, offset: number): string {
  const url = new URL(self)
  url.searchParams.set('marker', `m${offset}`)
  return url.toString()
}

function filter(all: readonly Resource[], query: URLSearchParams): readonly Resource[] {
  // Of two ops on one field only one is kept; the same parameter twice is ANDed [CT JooqUtils].
  const kept = new Map<string, { op: string; values: string[] }>()
  for (const [key, value] of query) {
    const [field, op] = splitKey(key)
    if (field === undefined || op === undefined) continue
    const before = kept.get(field)
    if (before?.op === op) before.values.push(value)
    else kept.set(field, { op, values: [value] })
  }
  return all.filter((one) =>
    [...kept].every(([field, { op, values }]) =>
      values.every((value) => matches(COLUMNS[field] ?? 'string', fieldOf(one, field), op, value)),
    ),
  )
}

function splitKey(key: string): readonly [string?, string?] {
  if (key in COLUMNS) return [key, 'eq']
  const at = key.lastIndexOf('_')
  const field = key.slice(0, at)
  const op = key.slice(at + 1)
  const kind = COLUMNS[field]
  return at > 0 && kind !== undefined && OPS[kind].includes(op) ? [field, op] : []
}

function fieldOf(resource: Resource, field: string): unknown {
  if (field === 'serviceId') return (resource.serviceIds as readonly string[] | null | undefined)?.[0] ?? null
  return resource[field] ?? null
}

function matches(kind: FieldKind, actual: unknown, op: string, wanted: string): boolean {
  if (op === 'null') return actual === null
  if (op === 'notnull') return actual !== null
  if (actual === null) return false
  const text = String(actual)
  if (op === 'prefix') return like(text, `${wanted}%`)
  if (op === 'like') return like(text, wanted)
  if (op === 'notlike') return !like(text, wanted)
  // Only the number of an id counts, not its letters.
  const same = kind === 'reference' ? rowOf(text) === rowOf(wanted) : text === wanted
  if (op === 'eq') return same
  if (op === 'ne') return !same
  const left = kind === 'date' ? Date.parse(text) : Number(text)
  const right = kind === 'date' ? (/^\d+$/.test(wanted) ? Number(wanted) : Date.parse(wanted)) : Number(wanted)
  return op === 'lt' ? left < right : op === 'lte' ? left <= right : op === 'gt' ? left > right : left >= right
}

/** SQL LIKE; `%` and `_` of the caller are not escaped. */
function like(text: string, pattern: string): boolean {
  const source = [...pattern]
    .map((c) => (c === '%' ? '[^]*' : c === '_' ? '[^]' : c.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')))
    .join('')
  return new RegExp(`^${source}$`, 'u').test(text)
}

/** The number of `1i160`; undefined when it does not parse. */
export function rowOf(id: string): number | undefined {
  const number = /^1[a-z]+(\d+)$/i.exec(id)?.[1]
  return number === undefined ? undefined : Number(number)
}

function by(field: string, descending: boolean): (a: Resource, b: Resource) => number {
  return (a, b) => {
    const [left, right] = [fieldOf(a, field), fieldOf(b, field)]
    const order =
      typeof left === 'number' && typeof right === 'number' ? left - right : compare(String(left ?? ''), String(right ?? ''))
    return descending ? -order : order
  }
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
