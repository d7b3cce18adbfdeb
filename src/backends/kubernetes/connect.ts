/** From what drover.yaml says to a way to an API server: a kubeconfig's context, a pod's service account, or an address and a token. */

import { BackendError, DroverError } from '../../core/errors.ts'
import type { Actor } from '../../core/model.ts'
import type { Backend, CheckLine } from '../../core/ports.ts'
import { Secret } from '../../core/secret.ts'
import type { Fields, Reach, Transport, Transports } from '../transport.ts'
import type { Connect, Connecting } from './api.ts'
import { kubernetesOver } from './backend.ts'
import type { Credential, Source } from './credentials.ts'
import { mistake } from './mistake.ts'
import type { KubernetesSettings } from './settings.ts'
import { expiryOf, FILE_MS } from './token.ts'

/** `files` is `filesOf(machine)` of `files.ts`: handed in, so that a Worker's bundle does without it. */
export type Ways = { readonly transport: Transports; readonly files?: Files | undefined }

/** What can be read of the machine that drover runs on. */
export type Files = {
  kubeconfig(file: string, context: string | undefined, transport: Transports): Promise<Plan>
  serviceAccount(): Promise<Plan>
  pem(path: string, where: string): Promise<string>
}

/** Throws DroverError `config` for what this runtime cannot do; what a file gets wrong is said by the first use, and by `check`. */
export function kubernetes(name: string, settings: KubernetesSettings, ways: Ways): Backend {
  const connect = kubernetesConnect(settings, ways)
  return kubernetesOver(connect, {
    name,
    ...(settings.allNamespaces ? { namespaces: 'all' } : settings.namespaces ? { namespaces: settings.namespaces } : {}),
    ...(settings.impersonate === 'actor' ? { headersFor: (by) => impersonation(by, settings.impersonateGroup) } : {}),
    checkFirst: (signal) => checkWay(connect, settings, signal),
  })
}

/** Where the credentials come from, as it was read. */
export type Plan = {
  /** For the reader: `~/.kube/config, context prod`. */
  readonly says: string
  readonly server: string
  readonly namespace?: string | undefined
  readonly reach: Reach
  readonly headers?: Fields
  readonly credential: Credential | { readonly source: () => Source; readonly of: unknown }
}

type Way = {
  readonly plan: Plan
  readonly source: Source | undefined
  readonly transportFor: (credential: Credential) => Transport
}

export type KubernetesConnect = Connecting & {
  /** For the reader. */
  says(signal: AbortSignal): Promise<{ readonly says: string; readonly insecure: boolean; readonly expires?: number | undefined }>
}

export function kubernetesConnect(settings: KubernetesSettings, ways: Ways): KubernetesConnect {
  const read = reader(settings, ways)
  let current: { readonly way: Way; readonly at: number } | undefined

  /** Files change while drover runs: they are read again once a minute, and what is the same keeps its connections and tokens. */
  async function way(): Promise<Way> {
    if (current !== undefined && Date.now() - current.at < FILE_MS) return current.way
    const plan = await read()
    if (plan.headers !== undefined && settings.impersonate === 'actor')
      throw mistake(`${plan.says} has an as: of its own, beside impersonate: actor.`, 'Take one of the two out.')
    const same = current !== undefined && JSON.stringify(current.way.plan) === JSON.stringify(plan)
    const next = same && current !== undefined ? current.way : wayOf(plan, ways.transport)
    current = { way: next, at: Date.now() }
    return next
  }

  async function open(
    signal: AbortSignal,
  ): Promise<{ readonly way: Way; readonly credential: Credential; readonly transport: Transport }> {
    try {
      const found = await way()
      const { plan, source } = found
      const credential = source ? await source.get(signal) : 'source' in plan.credential ? {} : plan.credential
      return { way: found, credential, transport: found.transportFor(credential) }
    } catch (error) {
      if (error instanceof DroverError && !(error instanceof BackendError))
        throw new BackendError(error.toFailure(), { ran: 'no', cause: error })
      throw error
    }
  }

  const connect = async (signal: AbortSignal): Promise<Connect> => {
    const { way: found, credential, transport } = await open(signal)
    const { plan, source } = found
    const headers = {
      ...plan.headers,
      ...(credential.token === undefined ? {} : { authorization: `Bearer ${credential.token}` }),
    }
    return {
      server: plan.server,
      transport,
      headers: async () => headers,
      ...(plan.namespace === undefined ? {} : { namespace: plan.namespace }),
      renew() {
        source?.forget()
        return source !== undefined
      },
    }
  }
  return Object.assign(connect, {
    async says(signal: AbortSignal) {
      const { way: found, credential } = await open(signal)
      // Of what drover renews itself nobody has to know.
      const expires = found.source === undefined && credential.token !== undefined ? expiryOf(credential.token) : undefined
      return { says: found.plan.says, insecure: found.plan.reach.insecure ?? false, expires }
    },
  })
}

function wayOf(plan: Plan, transport: Transports): Way {
  const made = new Map<string, Transport>()
  return {
    plan,
    source: 'source' in plan.credential ? plan.credential.source() : undefined,
    transportFor({ certificate }) {
      const key = certificate?.cert ?? ''
      const known = made.get(key) ?? transport(certificate ? { ...plan.reach, certificate } : plan.reach)
      // Of certificates only the last one is of use.
      if (!made.has(key)) made.clear()
      made.set(key, known)
      return known
    },
  }
}

// ---- what was said -----------------------------------------------------------------------------

function reader(settings: KubernetesSettings, ways: Ways): () => Promise<Plan> {
  const { server, token, ca, kubeconfig } = settings
  if (server !== undefined && token !== undefined) {
    const plan: Plan = {
      says: server,
      server: server.replace(/\/+$/, ''),
      reach: {
        ...(settings.insecureSkipVerify ? { insecure: true } : {}),
        ...(ca instanceof Secret ? only(ca.reveal()) : {}),
        ...(Array.isArray(settings.impersonateGroup) ? { repeats: true } : {}),
      },
      credential: { token: token.reveal() },
    }
    if (typeof ca !== 'string') {
      // At start-up: what the runtime lacks is said then.
      ways.transport(plan.reach)
      return async () => plan
    }
    const files = filesOf(ways, 'ca: as a file')
    return async () => ({ ...plan, reach: { ...plan.reach, ...only(await files.pem(ca, 'ca')) } })
  }
  if (kubeconfig !== undefined) {
    const files = filesOf(ways, 'kubeconfig')
    if (/[:;].*\//.test(kubeconfig.replace(/^[A-Za-z]:[\\/]/, '')))
      throw mistake('kubeconfig: names several files.', 'Name one; `kubectl config view --flatten` writes them into one.')
    return () => files.kubeconfig(kubeconfig, settings.context, ways.transport)
  }
  const files = filesOf(ways, 'inCluster')
  return () => files.serviceAccount()
}

/** As for kubectl, a CA that is named is the only one. */
export const only = (ca: string): Reach => ({ ca, caOnly: true })

function filesOf({ files }: Ways, what: string): Files {
  if (files) return files
  throw new DroverError({
    code: 'config',
    message: `${what} needs files, and there are none on Workers.`,
    next: 'Say server: and token: { env: NAME } instead; the server needs a public certificate.',
  })
}

// ---- who asks ----------------------------------------------------------------------------------

/** `slack:<team>/<user>` and the like: what the cluster's audit names, and what its RBAC decides by. */
export function impersonation(by: Actor | undefined, groups: KubernetesSettings['impersonateGroup']): Fields {
  // Never in drover's own name what was to run in a person's.
  if (by === undefined)
    throw new BackendError(
      { code: 'identity', message: 'Nothing says who asked for this, and this cluster wants to know (impersonate: actor).' },
      { ran: 'no' },
    )
  // One header for each: Kubernetes takes a comma for a part of the name.
  return { 'Impersonate-User': userName(by), ...(groups === undefined ? {} : { 'Impersonate-Group': groups }) }
}

function userName(by: Actor): string {
  switch (by.kind) {
    case 'slack-user':
      return `slack:${by.team}/${by.user}`
    case 'cli':
      return `cli:${encodeURIComponent(by.user)}`
    case 'api-key':
    case 'webhook':
    case 'schedule':
      return `${by.kind}:${encodeURIComponent(by.name)}`
    default:
      return by satisfies never
  }
}

async function checkWay(
  connect: KubernetesConnect,
  settings: KubernetesSettings,
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  try {
    const { says, insecure, expires } = await connect.says(signal)
    const { server } = await connect(signal)
    return [
      { ok: true, what: 'connection', detail: says === server ? server : `${says}: ${server}` },
      ...(server.startsWith('http:')
        ? [
            {
              ok: 'warn' as const,
              what: 'the connection is not encrypted',
              next: 'Anyone on the way can read the token and the commands: use https.',
            },
          ]
        : []),
      ...(insecure
        ? [
            {
              ok: 'warn' as const,
              what: 'the server’s certificate is not verified',
              next: 'Anyone on the way can take the token: name the CA instead.',
            },
          ]
        : []),
      ...expiry(expires),
      ...(settings.impersonate === 'actor'
        ? [
            {
              ok: true as const,
              what: 'commands go out in the name of who asked for them',
              detail: 'their rights decide; drover’s account needs the verb impersonate',
            },
          ]
        : []),
    ]
  } catch {
    // The first request of the check meets the same, and says it.
    return []
  }
}

const EXPIRY_WARN_MS = 14 * 24 * 3_600_000

function expiry(at: number | undefined): readonly CheckLine[] {
  if (at === undefined) return []
  const isOver = at <= Date.now()
  return [
    {
      ok: isOver ? false : at - Date.now() < EXPIRY_WARN_MS ? 'warn' : true,
      what: `the token ${isOver ? 'has expired' : 'is good until'}`,
      detail: new Date(at).toISOString(),
      next: 'Make a new one: kubectl create token --duration=… or a Secret of type kubernetes.io/service-account-token.',
    },
  ]
}
