/** Reads a kubeconfig: one context of one file, with every mistake named by file, context and what to write. */

import { parseDocument } from 'yaml'
import * as z from 'zod'
import { mistake } from './mistake.ts'

const Plugin = z.object({
  apiVersion: z.string(),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string().min(1), value: z.string() })).nullish(),
  installHint: z.string().nullish(),
  provideClusterInfo: z.boolean().nullish(),
  interactiveMode: z.enum(['Never', 'IfAvailable', 'Always']).nullish(),
})
export type Plugin = z.infer<typeof Plugin>

const User = z.object({
  token: z.string().nullish(),
  tokenFile: z.string().nullish(),
  'client-certificate': z.string().nullish(),
  'client-certificate-data': z.string().nullish(),
  'client-key': z.string().nullish(),
  'client-key-data': z.string().nullish(),
  username: z.string().nullish(),
  password: z.string().nullish(),
  exec: Plugin.nullish(),
  'auth-provider': z.object({ name: z.string(), config: z.record(z.string(), z.string()).nullish() }).nullish(),
  as: z.string().nullish(),
  'as-uid': z.string().nullish(),
  'as-groups': z.array(z.string()).nullish(),
  'as-user-extra': z.record(z.string(), z.unknown()).nullish(),
})
export type User = z.infer<typeof User>

const Cluster = z.object({
  server: z.string(),
  'certificate-authority': z.string().nullish(),
  'certificate-authority-data': z.string().nullish(),
  'tls-server-name': z.string().nullish(),
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'proxy-url': z.string().nullish(),
  extensions: z.array(z.object({ name: z.string(), extension: z.unknown() })).nullish(),
})
export type Cluster = z.infer<typeof Cluster>

const Context = z.object({ cluster: z.string(), user: z.string().nullish(), namespace: z.string().nullish() })

const Kubeconfig = z.object({
  kind: z.string().nullish(),
  'current-context': z.string().nullish(),
  // The parts that are not used may be whatever they are.
  contexts: z.array(z.object({ name: z.string(), context: z.unknown() })).nullish(),
  clusters: z.array(z.object({ name: z.string(), cluster: z.unknown() })).nullish(),
  users: z.array(z.object({ name: z.string(), user: z.unknown() })).nullish(),
})

/** One context, whole. */
export type Entry = {
  readonly file: string
  readonly context: string
  readonly cluster: Cluster
  readonly user: User
  readonly namespace: string | undefined
}

/** Throws BackendError `config`. No value of the file is quoted but names: it holds credentials. */
export function readEntry(text: string, file: string, wanted: string | undefined): Entry {
  const document = parseDocument(text, { schema: 'core', customTags: [], uniqueKeys: true })
  if (document.errors.length > 0)
    throw mistake(
      `${file} is not YAML that can be read (${document.errors[0]?.code}).`,
      'Correct it; `kubectl config view` shows how it is read.',
    )
  const data: unknown = document.toJS({ maxAliasCount: 20 })
  const config = fitting(Kubeconfig, data, file)
  const names = (config.contexts ?? []).map(({ name }) => name)
  const context = wanted ?? (config['current-context'] || undefined)
  if (context === undefined)
    throw mistake(
      `${file} has no current-context.`,
      `Set \`context\` of this backend to one of: ${names.join(', ') || 'none is there'}.`,
    )
  const where = `${file}, context ${context}`
  const found = config.contexts?.find(({ name }) => name === context)
  if (found === undefined)
    throw mistake(
      `${file} has no context called ${context}.`,
      `Set \`context\` to one of: ${names.join(', ') || 'none is there'}.`,
    )
  const { cluster, user, namespace } = fitting(Context, found.context, where)
  const clusterEntry = config.clusters?.find(({ name }) => name === cluster)
  if (clusterEntry === undefined)
    throw mistake(`${where}: there is no cluster called ${cluster}.`, 'Add it under clusters:, or name another.')
  const userEntry = user ? config.users?.find(({ name }) => name === user) : { user: {} }
  if (userEntry === undefined)
    throw mistake(`${where}: there is no user called ${user}.`, 'Add it under users:, or name another.')
  const entry: Entry = {
    file,
    context,
    cluster: fitting(Cluster, clusterEntry.cluster, `${where}, cluster ${cluster}`),
    user: fitting(User, userEntry.user ?? {}, `${where}, user ${user}`),
    namespace: namespace || undefined,
  }
  refuseWhatIsNot(entry, where)
  return entry
}

function refuseWhatIsNot({ cluster, user }: Entry, where: string): void {
  if (!URL.canParse(cluster.server) || !/^https?:$/.test(new URL(cluster.server).protocol))
    throw mistake(`${where}: server is not an http(s) URL.`, 'Write it like https://10.0.0.1:6443.')
  if (user.username || user.password)
    throw mistake(
      `${where}: user and password are not supported; Kubernetes has taken them out with 1.19.`,
      'Use a token, a client certificate or an exec plugin.',
    )
  const provider = user['auth-provider']
  if (provider && provider.name !== 'oidc')
    throw mistake(
      `${where}: the auth-provider ${provider.name} is not supported; Kubernetes has taken it out with 1.26.`,
      'Use the exec plugin that replaces it (gke-gcloud-auth-plugin, kubelogin).',
    )
  if (user['as-uid'] || user['as-user-extra'])
    throw mistake(`${where}: as-uid and as-user-extra are not supported.`, 'Leave them out: as: and as-groups: go.')
  if (user['as-groups']?.length && !user.as)
    throw mistake(`${where}: as-groups without as.`, 'Kubernetes wants a user too: add as:.')
  const { exec } = user
  if (exec && !/^client\.authentication\.k8s\.io\/(v1|v1beta1)$/.test(exec.apiVersion))
    throw mistake(
      `${where}: the exec plugin ${exec.command} speaks ${exec.apiVersion}, which is not supported.`,
      'Update the plugin and set apiVersion to client.authentication.k8s.io/v1.',
    )
  if (exec?.interactiveMode === 'Always')
    throw mistake(
      `${where}: the exec plugin ${exec.command} wants a terminal, and drover has none.`,
      'Set interactiveMode to Never or IfAvailable.',
    )
  const certificate = user['client-certificate-data'] || user['client-certificate']
  const key = user['client-key-data'] || user['client-key']
  if (Boolean(certificate) !== Boolean(key))
    throw mistake(
      `${where}: a client certificate needs its key, and a key its certificate.`,
      'Add client-certificate(-data) and client-key(-data), both.',
    )
  if (cluster['insecure-skip-tls-verify'] && (cluster['certificate-authority'] || cluster['certificate-authority-data']))
    throw mistake(
      `${where}: insecure-skip-tls-verify beside a certificate authority.`,
      'Say one of the two, as kubectl wants it.',
    )
}

function fitting<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw mistake(
    `${where}: ${issue?.path.join('.') || 'it'} is not what a kubeconfig holds there.`,
    'Compare it with `kubectl config view`.',
  )
}
