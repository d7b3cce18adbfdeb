/** From what drover.yaml says to a way to an API server: a kubeconfig's context, a pod's service account, or an address and a token. */

import { BackendError, DroverError } from '../../core/errors.ts'
import type { Actor } from '../../core/model.ts'
import type { Backend, CheckLine } from '../../core/ports.ts'
import { Secret } from '../../core/secret.ts'
import type { Machine } from '../machine.ts'
import type { Reach, Transport, Transports } from '../transport.ts'
import type { Connect, Connecting } from './api.ts'
import { kubernetesOver } from './backend.ts'
import { type Credential, execPlugin, expiryOf, FILE_MS, fromBase64, oidc, type Source, tokenFile } from './credentials.ts'
import { type Entry, mistake, readEntry } from './kubeconfig.ts'
import type { KubernetesSettings } from './settings.ts'

export type Ways = { readonly transport: Transports; readonly machine?: Machine | undefined }

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
type Plan = {
  /** For the reader: `~/.kube/config, context prod`. */
  readonly says: string
  readonly server: string
  readonly namespace?: string | undefined
  readonly reach: Reach
  readonly headers?: Readonly<Record<string, string>>
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
      reach: { ...(settings.insecureSkipVerify ? { insecure: true } : {}), ...(ca instanceof Secret ? only(ca.reveal()) : {}) },
      credential: { token: token.reveal() },
    }
    if (typeof ca !== 'string') {
      // At start-up: what the runtime lacks is said then.
      ways.transport(plan.reach)
      return async () => plan
    }
    const machine = machineOf(ways, 'ca: as a file')
    return async () => ({ ...plan, reach: { ...plan.reach, ...only(await pem(machine, ca, 'ca')) } })
  }
  if (kubeconfig !== undefined) {
    const machine = machineOf(ways, 'kubeconfig')
    if (/[:;].*\//.test(kubeconfig.replace(/^[A-Za-z]:[\\/]/, '')))
      throw mistake('kubeconfig: names several files.', 'Name one; `kubectl config view --flatten` writes them into one.')
    const file = kubeconfig.replace(/^~(?=\/)/, machine.home)
    return () => fromKubeconfig(machine, file, settings.context, ways.transport)
  }
  const machine = machineOf(ways, 'inCluster')
  return () => fromServiceAccount(machine)
}

function machineOf({ machine }: Ways, what: string): Machine {
  if (machine) return machine
  throw new DroverError({
    code: 'config',
    message: `${what} needs files, and there are none on Workers.`,
    next: 'Say server: and token: { env: NAME } instead; the server needs a public certificate.',
  })
}

/** client-go rest/config.go InClusterConfig. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

async function fromServiceAccount(machine: Machine): Promise<Plan> {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = machine.env
  if (!host || !port)
    throw mistake(
      'inCluster: true, but drover does not run in a pod (KUBERNETES_SERVICE_HOST is not set).',
      'Outside a cluster say kubeconfig:, or server: with token:.',
    )
  const namespace = (await machine.readText(`${ACCOUNT}/namespace`))?.trim()
  return {
    says: 'the pod’s service account',
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    namespace: namespace || undefined,
    reach: only(await pem(machine, `${ACCOUNT}/ca.crt`, 'the pod’s service account')),
    credential: { source: () => tokenFile(machine, `${ACCOUNT}/token`), of: 'token' },
  }
}

async function fromKubeconfig(machine: Machine, file: string, context: string | undefined, transport: Transports): Promise<Plan> {
  const text = await machine.readText(file)
  if (text === undefined) throw mistake(`There is no kubeconfig at ${file}.`, 'Check the path, and that drover may read it.')
  const entry = readEntry(text, file, context)
  const where = `${file}, context ${entry.context}`
  const { cluster, user } = entry
  const resolve = (path: string) => (path.startsWith('/') ? path : `${file.slice(0, file.lastIndexOf('/') + 1)}${path}`)
  // As for client-go, the data wins over the file.
  const read = async (data: string | null | undefined, path: string | null | undefined, what: string) =>
    data ? fromBase64(data, `${where}: ${what}-data`) : path ? await pem(machine, resolve(path), `${where}: ${what}`) : undefined
  const ca = await read(cluster['certificate-authority-data'], cluster['certificate-authority'], 'certificate-authority')
  const cert = await read(user['client-certificate-data'], user['client-certificate'], 'client-certificate')
  const key = await read(user['client-key-data'], user['client-key'], 'client-key')
  const [group] = user['as-groups'] ?? []
  return {
    says: where,
    server: cluster.server.replace(/\/+$/, ''),
    namespace: entry.namespace,
    reach: {
      ...(ca === undefined ? {} : only(ca)),
      ...(cluster['tls-server-name'] ? { serverName: cluster['tls-server-name'] } : {}),
      ...(cluster['insecure-skip-tls-verify'] ? { insecure: true } : {}),
      ...(cluster['proxy-url'] ? { proxy: cluster['proxy-url'] } : {}),
      ...(cert !== undefined && key !== undefined ? { certificate: { cert, key } } : {}),
    },
    ...(user.as
      ? { headers: { 'Impersonate-User': user.as, ...(group === undefined ? {} : { 'Impersonate-Group': group }) } }
      : {}),
    credential: await credentialOf(entry, { machine, resolve, ca, where, transport, read }),
  }
}

type Reading = {
  readonly machine: Machine
  readonly resolve: (path: string) => string
  readonly ca: string | undefined
  readonly where: string
  readonly transport: Transports
  readonly read: (data: string | null | undefined, path: string | null | undefined, what: string) => Promise<string | undefined>
}

/** In client-go's order: a token, then its file (which wins over it), then a plugin or a provider. */
async function credentialOf({ user, cluster }: Entry, reading: Reading): Promise<Plan['credential']> {
  const { machine, resolve, where } = reading
  if (user.tokenFile) {
    const path = resolve(user.tokenFile)
    return { source: () => tokenFile(machine, path), of: path }
  }
  if (user.token) return { token: user.token }
  if (user.exec) {
    const { exec } = user
    return { source: () => execPlugin(machine, exec, { resolve, cluster, ca: reading.ca, where }), of: exec }
  }
  const config = user['auth-provider']?.config
  if (config) {
    const ca = await reading.read(
      config['idp-certificate-authority-data'],
      config['idp-certificate-authority'],
      'idp-certificate-authority',
    )
    return { source: () => oidc(config, reading.transport(ca === undefined ? {} : only(ca)), where), of: config }
  }
  return {}
}

/** As for kubectl, a CA that is named is the only one. */
const only = (ca: string): Reach => ({ ca, caOnly: true })

async function pem(machine: Machine, path: string, where: string): Promise<string> {
  const text = await machine.readText(path)
  if (text === undefined) throw mistake(`${where}: there is no file ${path}.`, 'Check the path, and that drover may read it.')
  if (!text.includes('-----BEGIN '))
    throw mistake(`${where}: ${path} is not a PEM file.`, 'It begins with -----BEGIN; convert it with openssl.')
  return text
}

// ---- who asks ----------------------------------------------------------------------------------

/** `slack:<team>/<user>` and the like: what the cluster's audit names, and what its RBAC decides by. */
export function impersonation(by: Actor | undefined, group: string | undefined): Readonly<Record<string, string>> {
  // Never in drover's own name what was to run in a person's.
  if (by === undefined)
    throw new BackendError(
      { code: 'identity', message: 'Nothing says who asked for this, and this cluster wants to know (impersonate: actor).' },
      { ran: 'no' },
    )
  return { 'Impersonate-User': userName(by), ...(group === undefined ? {} : { 'Impersonate-Group': group }) }
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
      { ok: true, what: 'its way', detail: says === server ? server : `${says}: ${server}` },
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
