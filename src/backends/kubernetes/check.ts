/** What `drover check` says of a Kubernetes connection: whether it answers, to whom, and what they may do where. */

import * as z from 'zod'
import { counted } from '../../core/counted.ts'
import { BackendError } from '../../core/errors.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { CheckLine } from '../../core/ports.ts'
import type { Api } from './api.ts'
import { execRights, PLACEHOLDER, type Right, roleYaml, rolloutRights, subjectOf } from './rights.ts'

const Version = z.object({ gitVersion: z.string() })
const Review = z.object({ status: z.object({ allowed: z.boolean() }) })
const Self = z.object({ status: z.object({ userInfo: z.object({ username: z.string() }) }) })

/** From here on a websocket exec needs `create` on pods/exec besides `get` (K PR 134577). */
const CREATE_SINCE_MINOR = 35
const MAX_NAMESPACES = 20
/** Questions at a time: over few connections, which are kept. */
const PARALLEL = 4

type Scope = (signal: AbortSignal) => Promise<readonly string[] | 'all'>

export async function check(api: Api, scopeOf: Scope, signal: AbortSignal): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  try {
    const version = await api.read('GET', '/version', Version, { what: 'its version', signal })
    lines.push({ ok: true, what: 'Kubernetes answers', detail: version.gitVersion })
    const minor = Number(/^v?1\.(\d+)/.exec(version.gitVersion)?.[1] ?? Number.NaN)
    const user = await userName(api, signal)
    const scope = await scopeOf(signal)
    for (const namespace of scope === 'all' ? [undefined] : scope.slice(0, MAX_NAMESPACES))
      lines.push(...(await rightsIn(api, { namespace, user, wantsCreate: !(minor < CREATE_SINCE_MINOR), signal })))
    if (scope.length > MAX_NAMESPACES)
      lines.push({
        ok: 'warn',
        what: `${counted(scope.length - MAX_NAMESPACES, 'more namespace was', 'more namespaces were')} not looked at`,
      })
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    lines.push({ ok: false, what: error.message, ...(error.next ? { next: error.next } : {}) })
  }
  return lines
}

/** Servers before 1.28 cannot say it. */
async function userName(api: Api, signal: AbortSignal): Promise<string | undefined> {
  try {
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }
    const asked = { what: 'who drover is', body, signal }
    return (await api.read('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', Self, asked)).status.userInfo.username
  } catch (error) {
    if (error instanceof BackendError && (error.code === 'backend_not_found' || error.code === 'backend_forbidden'))
      return undefined
    throw error
  }
}

type Where = {
  readonly namespace: string | undefined
  readonly user: string | undefined
  readonly wantsCreate: boolean
  readonly signal: AbortSignal
}

async function rightsIn(api: Api, where: Where): Promise<readonly CheckLine[]> {
  const { namespace, user, wantsCreate, signal } = where
  const place = namespace === undefined ? 'in all namespaces' : `in namespace ${namespace}`
  const as = user === undefined ? '' : ` (as ${user})`
  const yaml = (rights: readonly Right[]) =>
    `Apply this, as somebody who may (kubectl apply -f -)${user === undefined ? `; ${PLACEHOLDER} stands for the user, which this server does not tell: kubectl auth whoami, asked with drover’s credentials, may` : ''}:\n${roleYaml(rights, namespace === undefined ? 'all' : [namespace], subjectOf(user))}`
  const lacking = await lack(api, execRights, namespace, signal)
  // What an older server does not ask for yet.
  const isLater = (one: string) => one === 'create pods/exec' && !wantsCreate
  const now = lacking.filter((one) => !isLater(one))
  const lines: CheckLine[] = []
  if (now.length > 0) lines.push({ ok: false, what: `drover may not ${now.join(', ')} ${place}${as}`, next: yaml(execRights) })
  else lines.push({ ok: true, what: `drover may list pods and run commands ${place}${as}` })
  if (lacking.some(isLater))
    lines.push({
      ok: 'warn',
      what: `drover may not create pods/exec ${place}, which API servers want from 1.${CREATE_SINCE_MINOR} on`,
      next: yaml(execRights),
    })
  const rollouts = await lack(api, rolloutRights, namespace, signal)
  if (rollouts.length > 0)
    lines.push({
      ok: 'warn',
      what: `for rollouts ${place} these rights are missing`,
      detail: rollouts.join(', '),
      next: 'Only if rollouts are wanted: docs/backends/kubernetes.md has the Role for them.',
    })
  return lines
}

/** `verb resource` of each right that is not there. */
async function lack(
  api: Api,
  rights: readonly Right[],
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const wanted = rights.flatMap(({ group, resource, verbs }) => verbs.map((verb) => ({ group, resource, verb })))
  const lacking = new Set<string>()
  const ask = async ({ group, resource, verb }: (typeof wanted)[number]) => {
    const [name, subresource] = resource.split('/')
    const attributes = {
      verb,
      group,
      resource: name,
      ...(subresource ? { subresource } : {}),
      ...(namespace ? { namespace } : {}),
    }
    const body = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: attributes },
    }
    const asked = { what: 'drover’s rights', body, signal, isRepeatable: true }
    const review = await api.read('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', Review, asked)
    if (!review.status.allowed) lacking.add(`${verb} ${resource}`)
  }
  let failure: { readonly error: unknown } | undefined
  await fanOut(wanted, PARALLEL, async (right) => {
    if (failure) return
    await ask(right).catch((error: unknown) => {
      failure ??= { error }
    })
  })
  if (failure) throw failure.error
  return wanted.map(({ verb, resource }) => `${verb} ${resource}`).filter((one) => lacking.has(one))
}
