/** The rights that drover wants in a cluster: as questions to its RBAC, and as the YAML that grants them. */

export type Right = {
  readonly group: string
  /** With its subresource, `pods/exec`. */
  readonly resource: string
  readonly verbs: readonly string[]
}

/** A websocket exec is a GET, so `get` was enough for long; from 1.35 on the API server wants `create` as well (S40). */
export const execRights: readonly Right[] = [
  { group: '', resource: 'pods', verbs: ['get', 'list'] },
  { group: '', resource: 'pods/exec', verbs: ['get', 'create'] },
]

/** Only for `rollout`. */
export const rolloutRights: readonly Right[] = [
  { group: 'apps', resource: 'deployments', verbs: ['get', 'list', 'patch'] },
  { group: 'apps', resource: 'statefulsets', verbs: ['get', 'list', 'patch'] },
  { group: 'apps', resource: 'daemonsets', verbs: ['get', 'list', 'patch'] },
  { group: 'apps', resource: 'replicasets', verbs: ['get', 'list'] },
  { group: 'apps', resource: 'controllerrevisions', verbs: ['get', 'list'] },
  { group: '', resource: 'pods/log', verbs: ['get'] },
]

export type Subject =
  | { readonly kind: 'ServiceAccount'; readonly namespace: string; readonly name: string }
  | { readonly kind: 'User'; readonly name: string }

/** Where the server does not say who drover is to it. */
export const PLACEHOLDER = 'THE-USER-THAT-DROVER-COMES-AS'

/** `system:serviceaccount:<namespace>:<name>` is how a service account is called as a user. */
export function subjectOf(user: string | undefined): Subject {
  const [, namespace, name] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user ?? '') ?? []
  if (namespace !== undefined && name !== undefined) return { kind: 'ServiceAccount', namespace, name }
  return { kind: 'User', name: user ?? PLACEHOLDER }
}

/** What `kubectl apply -f -` takes: a Role for each namespace, or a ClusterRole, and its binding. */
export function roleYaml(rights: readonly Right[], scope: readonly string[] | 'all', subject: Subject, name = 'drover'): string {
  const rules = rights
    .map(
      ({ group, resource, verbs }) =>
        `- {apiGroups: [${JSON.stringify(group)}], resources: [${resource}], verbs: [${verbs.join(', ')}]}`,
    )
    .join('\n')
  const who =
    subject.kind === 'ServiceAccount'
      ? `{kind: ServiceAccount, name: ${subject.name}, namespace: ${subject.namespace}}`
      : `{apiGroup: rbac.authorization.k8s.io, kind: User, name: ${JSON.stringify(subject.name)}}`
  const one = (prefix: '' | 'Cluster', namespace: string) => `apiVersion: rbac.authorization.k8s.io/v1
kind: ${prefix}Role
metadata: {name: ${name}${namespace}}
rules:
${rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ${prefix}RoleBinding
metadata: {name: ${name}${namespace}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ${prefix}Role, name: ${name}}
subjects: [${who}]
`
  return scope === 'all' ? one('Cluster', '') : scope.map((namespace) => one('', `, namespace: ${namespace}`)).join('---\n')
}
