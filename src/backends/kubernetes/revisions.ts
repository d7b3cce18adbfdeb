/** What a workload was before: the ReplicaSets of a Deployment, the ControllerRevisions of a StatefulSet or DaemonSet. */

import * as z from 'zod'
import type { Api } from './api.ts'
import { imagesIn, type Kind, Metadata, REVISION, selectorQuery, Template, type Workload } from './workload.ts'

export type Revision = {
  readonly number: number
  readonly template: Template
  readonly says: string
  /** What brings it back. */
  readonly patch: { readonly contentType: string; readonly body: unknown }
}

const ReplicaSet = z.object({ metadata: Metadata, spec: z.object({ template: Template }) })
const ControllerRevision = z.object({
  metadata: Metadata,
  revision: z.number(),
  data: z.looseObject({ spec: z.looseObject({ template: Template }) }),
})

export const JSON_PATCH = 'application/json-patch+json'
export const STRATEGIC = 'application/strategic-merge-patch+json'

/** Newest first; the first one is what there is now. A number is good only as long as nothing else is rolled out: a revision that comes back gets a new one (kubernetes.md §12). */
export async function revisionsOf(api: Api, kind: Kind, workload: Workload, signal: AbortSignal): Promise<readonly Revision[]> {
  const { namespace, name, uid } = workload.metadata
  const base = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}`
  const options = { what: `the revisions of ${kind}/${name}`, query: selectorQuery(workload.spec.selector), signal }
  const isOwn = ({ metadata }: { readonly metadata: z.infer<typeof Metadata> }) =>
    metadata.ownerReferences?.some((one) => one.controller === true && one.uid === uid) ?? false
  const found =
    kind === 'deployment'
      ? (await api.list(`${base}/replicasets`, ReplicaSet, options)).filter(isOwn).map(ofReplicaSet)
      : (await api.list(`${base}/controllerrevisions`, ControllerRevision, options)).filter(isOwn).map(ofControllerRevision)
  return found.filter(({ number }) => number > 0).sort((a, b) => b.number - a.number)
}

/** kubectl pkg/polymorphichelpers/rollback.go: the hash is the ReplicaSet's own. */
function ofReplicaSet({ metadata, spec }: z.infer<typeof ReplicaSet>): Revision {
  const { 'pod-template-hash': _, ...labels } = spec.template.metadata?.labels ?? {}
  const template = { ...spec.template, metadata: { ...spec.template.metadata, labels } }
  const number = Number(metadata.annotations?.[REVISION] ?? 0)
  return {
    number,
    template,
    says: `revision ${number}: ${imagesIn(template)}`,
    patch: { contentType: JSON_PATCH, body: [{ op: 'replace', path: '/spec/template', value: template }] },
  }
}

function ofControllerRevision({ revision, data }: z.infer<typeof ControllerRevision>): Revision {
  const { template } = data.spec
  return {
    number: revision,
    template,
    says: `revision ${revision}: ${imagesIn(template)}`,
    patch: { contentType: STRATEGIC, body: data },
  }
}
