/** Ways to a cluster that stand in files: a kubeconfig's context, a pod's service account, a CA. Node and Deno. */

import type { Learn } from '../../core/redact.ts'
import type { Machine } from '../machine.ts'
import type { Transports } from '../transport.ts'
import { type Files, only, type Plan } from './connect.ts'
import { execPlugin, fromBase64, oidc, tokenFile } from './credentials.ts'
import { type Entry, readEntry, type User } from './kubeconfig.ts'
import { mistake } from './mistake.ts'

/** `learn`: what these files hold must be shown nowhere; what goes out as a credential its transport tells (`runtime/credentials.ts`). */
export function filesOf(machine: Machine, learn: Learn = () => {}): Files {
  return {
    kubeconfig: (file, context, transport) => kubeconfig({ machine, transport, learn }, file, context),
    serviceAccount: () => serviceAccount(machine),
    pem: (path, where) => pem(machine, path, where),
  }
}

/** client-go rest/config.go InClusterConfig. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

async function serviceAccount(machine: Machine): Promise<Plan> {
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

type Outside = { readonly machine: Machine; readonly transport: Transports; readonly learn: Learn }

async function kubeconfig({ machine, transport, learn }: Outside, path: string, context: string | undefined): Promise<Plan> {
  const file = path.replace(/^~(?=\/)/, machine.home)
  const text = await machine.readText(file)
  if (text === undefined) throw mistake(`There is no kubeconfig at ${file}.`, 'Check the path, and that drover may read it.')
  const entry = readEntry(text, file, context)
  const where = `${file}, context ${entry.context}`
  const { cluster, user } = entry
  learn(secretsOf(user))
  const resolve = (path: string) => (path.startsWith('/') ? path : `${file.slice(0, file.lastIndexOf('/') + 1)}${path}`)
  // As for client-go, the data wins over the file.
  const read = async (data: string | null | undefined, path: string | null | undefined, what: string) =>
    data ? fromBase64(data, `${where}: ${what}-data`) : path ? await pem(machine, resolve(path), `${where}: ${what}`) : undefined
  const ca = await read(cluster['certificate-authority-data'], cluster['certificate-authority'], 'certificate-authority')
  const cert = await read(user['client-certificate-data'], user['client-certificate'], 'client-certificate')
  const key = await read(user['client-key-data'], user['client-key'], 'client-key')
  const groups = user['as-groups'] ?? []
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
      ? { headers: { 'Impersonate-User': user.as, ...(groups.length > 0 ? { 'Impersonate-Group': groups } : {}) } }
      : {}),
    credential: await credentialOf(entry, { machine, resolve, ca, where, transport, learn, read }),
  }
}

/** Before any of it is used. Of a plugin's environment, what its name calls a secret: a region or a profile is none. */
function secretsOf(user: User): readonly string[] {
  const {
    'id-token': id,
    'access-token': access,
    'refresh-token': refresh,
    'client-secret': secret,
  } = user['auth-provider']?.config ?? {}
  const given = (user.exec?.env ?? []).flatMap(({ name, value }) => (/secret|token|passw|key/i.test(name) ? [value] : []))
  return [user.token, user['client-key-data'], id, access, refresh, secret, ...given].filter((one) => typeof one === 'string')
}

type Reading = Outside & {
  readonly resolve: (path: string) => string
  readonly ca: string | undefined
  readonly where: string
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
    const { learn } = reading
    const way = reading.transport(ca === undefined ? {} : only(ca))
    return { source: () => oidc(config, { transport: way, where, learn }), of: config }
  }
  return {}
}

async function pem(machine: Machine, path: string, where: string): Promise<string> {
  const text = await machine.readText(path)
  if (text === undefined) throw mistake(`${where}: there is no file ${path}.`, 'Check the path, and that drover may read it.')
  if (!text.includes('-----BEGIN '))
    throw mistake(`${where}: ${path} is not a PEM file.`, 'It begins with -----BEGIN; convert it with openssl.')
  return text
}
