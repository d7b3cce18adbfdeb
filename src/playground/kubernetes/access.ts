/** Who comes with which token, and what RBAC lets them do in the pretend cluster. */

import { createHash } from 'node:crypto'

export type Rule = {
  /** `*`: all. */
  readonly verbs: readonly string[]
  /** With subresources, `pods/exec`; `*`: all. */
  readonly resources: readonly string[]
  /** Absent: every API group. */
  readonly groups?: readonly string[]
  /** Absent: a ClusterRole, good everywhere and for lists of everything. */
  readonly namespaces?: readonly string[]
}

export type Person = {
  readonly name: string
  readonly groups?: readonly string[]
  readonly token: string
  readonly rules: readonly Rule[]
}

export type Asked = {
  readonly verb: string
  readonly group: string
  readonly resource: string
  readonly name: string
  /** Absent: at the cluster scope. */
  readonly namespace?: string | undefined
}

export function may(person: Pick<Person, 'rules'>, asked: Asked): boolean {
  const has = (list: readonly string[], value: string) => list.includes('*') || list.includes(value)
  return person.rules.some(
    ({ verbs, resources, groups, namespaces }) =>
      has(verbs, asked.verb) &&
      has(resources, asked.resource) &&
      (groups === undefined || has(groups, asked.group)) &&
      (namespaces === undefined || (asked.namespace !== undefined && namespaces.includes(asked.namespace))),
  )
}

/** Made of a name, so that a pretend cluster has the same ones each time. */
export function tokenFor(name: string): string {
  return createHash('sha256').update(`pretend token ${name}`).digest('hex').slice(0, 32)
}

const pods: Rule = { verbs: ['get', 'list'], resources: ['pods'] }
const exec = (...verbs: string[]): Rule => ({ verbs, resources: ['pods/exec'] })
const workloads: readonly Rule[] = [
  { verbs: ['get', 'list', 'patch'], resources: ['deployments', 'statefulsets', 'daemonsets'], groups: ['apps'] },
  { verbs: ['get', 'list'], resources: ['replicasets', 'controllerrevisions'], groups: ['apps'] },
  { verbs: ['get'], resources: ['pods/log'] },
]

export const PEOPLE = ['admin', 'exec-user', 'create-only-user', 'get-only-user', 'no-rights-user'] as const
export type PersonName = (typeof PEOPLE)[number]

/** As in the real cluster of the tests: one who may all, one with drover's Role, two with half of the exec right, one with nothing. */
export function defaultPeople(namespaces: readonly string[]): readonly Person[] {
  const rules: Readonly<Record<PersonName, readonly Rule[]>> = {
    admin: [{ verbs: ['*'], resources: ['*'] }],
    'exec-user': [pods, exec('get', 'create'), ...workloads].map((rule) => ({ ...rule, namespaces })),
    'create-only-user': [pods, exec('create')].map((rule) => ({ ...rule, namespaces })),
    'get-only-user': [pods, exec('get')].map((rule) => ({ ...rule, namespaces })),
    'no-rights-user': [],
  }
  return PEOPLE.map((name) => ({ name, token: tokenFor(name), rules: rules[name] }))
}
