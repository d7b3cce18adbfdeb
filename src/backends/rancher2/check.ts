/** What `drover check` says of a Rancher 2.x connection: the server, the key and its days, each cluster, and then what Kubernetes says. */

import type * as z from 'zod'
import { counted } from '../../core/counted.ts'
import { BackendError } from '../../core/errors.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { Backend, CheckLine } from '../../core/ports.ts'
import type { RancherApi } from './api.ts'
import type { Trust } from './reach.ts'
import { Cluster, ExtToken, Setting, Token, Version } from './resources.ts'
import { allClusters, type Place } from './scope.ts'

export type Checked = {
  readonly rancher: RancherApi
  readonly place: Place
  readonly options: Trust & { readonly token: string }
  scopeIn(cluster: string, signal: AbortSignal): Promise<readonly string[] | 'all'>
  over(cluster: string, namespaces: readonly string[] | 'all'): Backend
}

const DAY_MS = 86_400_000
const WARN_DAYS = 14
/** Of more clusters only the state is told. */
const MAX_CLUSTERS = 10
const PARALLEL_CLUSTERS = 4
/** Each takes a dozen questions; a project's namespaces have the same rights. */
const MAX_NAMESPACES = 5

export async function check(checked: Checked, signal: AbortSignal): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  try {
    lines.push(await server(checked.rancher, signal), ...safety(checked))
    const clusters = await clustersToCheck(checked, signal)
    lines.push(await key(checked, signal), ...clusters.map(state))
    const active = clusters.filter(isActive)
    const found = new Map<string, readonly CheckLine[]>()
    const looked = active.slice(0, MAX_CLUSTERS)
    await fanOut(looked, PARALLEL_CLUSTERS, async (cluster) => {
      found.set(cluster.id, await inside(checked, cluster, signal))
    })
    lines.push(...looked.flatMap(({ id }) => found.get(id) ?? []))
    if (active.length > MAX_CLUSTERS)
      lines.push({ ok: 'warn', what: `only the first ${MAX_CLUSTERS} of ${active.length} clusters were looked at` })
  } catch (error) {
    lines.push(failed(error))
  }
  return lines
}

function failed(error: unknown): CheckLine {
  if (!(error instanceof BackendError)) throw error
  return { ok: false, what: error.message, ...(error.next ? { next: error.next } : {}) }
}

async function server(rancher: RancherApi, signal: AbortSignal): Promise<CheckLine> {
  const open = await rancher.get('/rancherversion', signal, 'anonymous')
  const version =
    parsed(open, Version)?.Version ?? parsed(await rancher.get('/v3/settings/server-version', signal), Setting)?.value
  return {
    ok: true,
    what: `Rancher answers at ${new URL(rancher.base).origin}`,
    detail: version ? `version ${version}` : 'it does not tell its version',
  }
}

function safety({ rancher, options }: Checked): CheckLine[] {
  if (rancher.base.startsWith('http:'))
    return [
      {
        ok: 'warn',
        what: 'the connection is not encrypted',
        next: 'Anyone on the way can read the key and the commands: use https.',
      },
    ]
  if (!options.insecureSkipVerify) return []
  return [
    {
      ok: 'warn',
      what: 'Rancher’s certificate is not verified (insecureSkipVerify)',
      next: `Anyone on the way can read the key and the commands. Pin the CA instead: drover trust ${rancher.base}`,
    },
  ]
}

async function clustersToCheck({ rancher, place }: Checked, signal: AbortSignal): Promise<readonly Cluster[]> {
  if (place.cluster !== undefined) return [await rancher.one(`/v3/clusters/${place.cluster}`, Cluster, signal)]
  return allClusters(rancher, signal)
}

const called = ({ id, name }: Cluster): string => (name && name !== id ? `${id} (${name})` : id)
const isActive = ({ state }: Cluster): boolean => state === 'active'

function state(cluster: Cluster): CheckLine {
  if (isActive(cluster)) return { ok: true, what: `cluster ${called(cluster)} is active` }
  const why = cluster.transitioningMessage ? `: ${cluster.transitioningMessage}` : ''
  return {
    ok: 'warn',
    what: `cluster ${called(cluster)} is ${cluster.state ?? 'in no state'}${why}`,
    next: 'Nothing of it is listed until it is active; look at it in Rancher.',
  }
}

/** Since 2.8 every key ends, after 90 days unless an administrator says otherwise (RR pkg/settings/setting.go). */
async function key({ rancher, place, options }: Checked, signal: AbortSignal): Promise<CheckLine> {
  const [access = ''] = options.token.split(':')
  const name = access.replace(/^ext\//, '')
  const isExt = access !== name
  const path = isExt ? `/k8s/clusters/local/apis/ext.cattle.io/v1/tokens/${name}` : `/v3/tokens/${encodeURIComponent(name)}`
  const response = await rancher.get(path, signal)
  const token = isExt ? parsed(response, ExtToken)?.status : parsed(response, Token)
  if (!token) {
    // It was good for the cluster a moment ago.
    const why =
      response.status === 401 && place.cluster !== undefined ? 'it is limited to its cluster' : `HTTP ${response.status}`
    return {
      ok: true,
      what: `the key ${access} is accepted`,
      detail: `when it expires cannot be read with it (${why}); Rancher’s Account & API Keys shows it`,
    }
  }
  const expires = Date.parse(token.expiresAt ?? '')
  if (Number.isNaN(expires)) return { ok: true, what: `the key ${access} is accepted`, detail: 'it never expires' }
  const days = Math.floor((expires - Date.now()) / DAY_MS)
  const day = new Date(expires).toISOString().slice(0, 10)
  if (days >= WARN_DAYS) return { ok: true, what: `the key ${access} is accepted`, detail: `until ${day}, ${days} days` }
  return {
    ok: days < 0 || token.expired ? false : 'warn',
    what:
      days < 0
        ? `the key ${access} expired on ${day}`
        : `the key ${access} expires on ${day}, ${days === 0 ? 'in less than a day' : `in ${counted(days, 'day')}`}`,
    next: 'Make a new one (your picture → Account & API Keys) and put it where drover reads this one.',
  }
}

async function inside({ scopeIn, over }: Checked, cluster: Cluster, signal: AbortSignal): Promise<readonly CheckLine[]> {
  const named = (line: CheckLine): CheckLine => ({ ...line, what: `${called(cluster)}: ${line.what}` })
  try {
    const namespaces = await scopeIn(cluster.id, signal)
    const scope: CheckLine =
      namespaces === 'all'
        ? { ok: true, what: 'all namespaces are in scope' }
        : namespaces.length === 0
          ? {
              ok: 'warn',
              what: 'no namespace is in scope',
              next: 'Make the key’s user a member of a project that has namespaces, or set `namespaces`.',
            }
          : {
              ok: true,
              what: `${counted(namespaces.length, 'namespace is', 'namespaces are')} in scope`,
              detail: shortened(namespaces, MAX_NAMESPACES),
            }
    const looked = namespaces === 'all' ? namespaces : namespaces.slice(0, MAX_NAMESPACES)
    const found = looked.length === 0 ? [] : await over(cluster.id, looked).check(signal)
    return [scope, ...found.map(remedied)].map(named)
  } catch (error) {
    return [named(failed(error))]
  }
}

/** Rancher hands out rights by project: a Role of one's own is the second choice. */
function remedied(line: CheckLine): CheckLine {
  if (line.ok === true || !line.next?.startsWith('Apply this')) return line
  return { ...line, next: `In Rancher, make the key’s user a Project Member. Or: ${line.next}` }
}

const shortened = (names: readonly string[], looked: number): string =>
  names.length <= looked
    ? names.join(', ')
    : `${names.slice(0, looked).join(', ')} and ${names.length - looked} more; rights were looked at in the first ${looked}`

/** Undefined where the answer is no 200, or not that. */
function parsed<T>(response: { readonly status: number; readonly body: string }, schema: z.ZodType<T>): T | undefined {
  if (response.status !== 200) return undefined
  try {
    return schema.parse(JSON.parse(response.body))
  } catch {
    return undefined
  }
}
