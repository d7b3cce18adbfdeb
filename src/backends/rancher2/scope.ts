/** Where a Rancher key may look: which clusters, and which namespaces of each. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { Selector } from '../../core/model.ts'
import { matchesGlob } from '../../core/selector.ts'
import type { Api } from '../kubernetes/api.ts'
import type { RancherApi } from './api.ts'
import { no } from './errors.ts'
import { Cluster, Namespace, Project } from './resources.ts'

export type Place = {
  readonly cluster?: string | undefined
  /** `p-def34`. */
  readonly project?: string | undefined
  readonly namespaces?: readonly string[] | undefined
}

/** The named one, or every active one that the key sees. `stack=` narrows: here it is the cluster. */
export async function clustersOf(
  api: RancherApi,
  place: Place,
  selector: Selector,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const clusters =
    place.cluster === undefined
      ? (await allClusters(api, signal)).filter(({ state }) => state === 'active').map(({ id }) => id)
      : [place.cluster]
  const meant = selector.facets?.stack
  return meant === undefined ? clusters : clusters.filter((id) => matchesGlob(meant, id))
}

export async function allClusters(api: RancherApi, signal: AbortSignal): Promise<readonly Cluster[]> {
  try {
    return await api.list('/v3/clusters', Cluster, signal)
  } catch (error) {
    throw isCode(error, 'backend_unauthorized') ? mayNotLook() : error
  }
}

/** A key of one cluster gets 401 wherever the path names no cluster, and so does one that expired (rancher-2.md §2). */
function mayNotLook(): BackendError {
  return no(
    'backend_unauthorized',
    'Rancher does not let this API key look for clusters: it is limited to one cluster, or it expired or was revoked.',
    'If the key has a scope, set `cluster` of this backend to the id of its cluster; else make a new key (your picture → Account & API Keys).',
  )
}

/** Pods of a whole cluster where the key may list them; else those of the projects that it sees. */
export async function namespacesOf(
  rancher: RancherApi,
  cluster: Api,
  place: Place & { readonly cluster: string },
  signal: AbortSignal,
): Promise<readonly string[] | 'all'> {
  if (place.namespaces !== undefined) return place.namespaces
  if (place.project !== undefined) return namespacesOfProjects(rancher, cluster, place.cluster, [place.project], signal)
  try {
    await cluster.request('GET', '/api/v1/pods', { what: 'the pods of the cluster', query: { limit: '1' }, signal })
    return 'all'
  } catch (error) {
    if (!isCode(error, 'backend_forbidden')) throw error
  }
  return namespacesOfProjects(rancher, cluster, place.cluster, await projectsOf(rancher, place.cluster, signal), signal)
}

/** Undefined: the key may not ask, and what it sees of namespaces has to do. */
export async function projectsOf(
  rancher: RancherApi,
  cluster: string,
  signal: AbortSignal,
): Promise<readonly string[] | undefined> {
  try {
    const projects = await rancher.list(`/v3/projects?clusterId=${cluster}`, Project, signal)
    // A filter that it does not know Rancher ignores.
    return projects.flatMap(({ id }) => (id.startsWith(`${cluster}:`) ? [id.slice(cluster.length + 1)] : []))
  } catch (error) {
    if (isCode(error, 'backend_unauthorized')) return undefined
    throw error
  }
}

const Labelled = z.object({ metadata: z.object({ name: z.string() }) })

/**
 * By Rancher's label on the namespaces (RR pkg/controllers/managementagent/nslabels). Members of a project may not list namespaces
 * in the cluster (rancher/rancher #11062, #14635); Rancher itself shows them theirs.
 */
async function namespacesOfProjects(
  rancher: RancherApi,
  api: Api,
  cluster: string,
  projects: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (projects?.length === 0) return []
  if (projects !== undefined) {
    const labelSelector = `field.cattle.io/projectId in (${projects.join(',')})`
    try {
      const query = { labelSelector }
      const found = await api.list('/api/v1/namespaces', Labelled, { what: 'the namespaces of the cluster', query, signal })
      return found.map(({ metadata }) => metadata.name)
    } catch (error) {
      if (!isCode(error, 'backend_forbidden')) throw error
    }
  }
  const seen = await rancher.list(`/v3/cluster/${cluster}/namespaces`, Namespace, signal)
  return seen.flatMap(({ id, projectId }) => {
    const project = projectId?.split(':')[1]
    return project !== undefined && (projects === undefined || projects.includes(project)) ? [id] : []
  })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof BackendError && error.code === code
}
