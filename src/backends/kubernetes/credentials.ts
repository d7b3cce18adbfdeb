/** Credentials that change while drover runs: token files, exec plugins (client-go's protocol), and OIDC tokens that expire. */

import * as z from 'zod'
import { BackendError, DroverError } from '../../core/errors.ts'
import type { Learn } from '../../core/redact.ts'
import type { Machine } from '../machine.ts'
import { type Transport, TransportError } from '../transport.ts'
import type { Cluster, Plugin } from './kubeconfig.ts'
import { mistake } from './mistake.ts'
import { expiryOf, FILE_MS } from './token.ts'

export type Credential = {
  readonly token?: string
  readonly certificate?: { readonly cert: string; readonly key: string }
  /** Until when it may be used, in ms since 1970; absent: until it is refused. */
  readonly until?: number
}

/** Gives the credential of the moment, made anew when its time is over. */
export type Source = {
  get(signal: AbortSignal): Promise<Credential>
  /** It was refused: the next `get` makes another. */
  forget(): void
}

/** A credential is not handed out in its last seconds, for it has to arrive before it expires; of a short life half is used. */
const MARGIN_MS = 10_000
const PLUGIN_MS = 30_000

/** One at a time; one that fails is not kept. Its own deadline, for several callers wait for it. */
export function source(make: (signal: AbortSignal) => Promise<Credential>): Source {
  let current: Promise<Credential> | undefined
  let until = Number.POSITIVE_INFINITY
  return {
    async get(signal) {
      signal.throwIfAborted()
      if (Date.now() > until) current = undefined
      if (current === undefined) {
        until = Number.POSITIVE_INFINITY
        const made = make(AbortSignal.timeout(PLUGIN_MS))
        current = made
        made.then(
          (credential) => {
            if (current === made && credential.until !== undefined) until = usableUntil(credential.until)
          },
          () => {
            if (current === made) current = undefined
          },
        )
      }
      return await orAborted(current, signal)
    },
    forget() {
      current = undefined
    },
  }
}

function usableUntil(expiry: number): number {
  const now = Date.now()
  return expiry - Math.min(MARGIN_MS, Math.max(0, expiry - now) / 2)
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

export function tokenFile(machine: Machine, path: string): Source {
  return source(async () => {
    const token = (await machine.readText(path))?.trim()
    if (!token) throw mistake(`The token file ${path} is not there, or is empty.`, 'Check the path, and that drover may read it.')
    return { token, until: Date.now() + FILE_MS }
  })
}

// ---- exec plugins (client-go plugin/pkg/client/auth/exec/exec.go) ------------------------------

const ExecCredential = z.object({
  apiVersion: z.string(),
  kind: z.literal('ExecCredential'),
  status: z.object({
    token: z.string().nullish(),
    clientCertificateData: z.string().nullish(),
    clientKeyData: z.string().nullish(),
    expirationTimestamp: z.string().nullish(),
  }),
})

/** Where a plugin's configuration for one cluster stands in a kubeconfig. */
const EXTENSION = 'client.authentication.k8s.io/exec'

export type PluginContext = {
  /** The kubeconfig's folder: a command with a slash begins there. */
  readonly resolve: (path: string) => string
  readonly cluster: Cluster
  /** PEM, when there is one. */
  readonly ca: string | undefined
  /** `<file>, context <name>` */
  readonly where: string
}

export function execPlugin(machine: Machine, plugin: Plugin, context: PluginContext): Source {
  return source(async (signal) => {
    const command = plugin.command.includes('/') ? context.resolve(plugin.command) : plugin.command
    const hint = plugin.installHint ? ` ${plugin.installHint.trim().slice(0, 500)}` : ''
    const no = (message: string, next: string, cause?: unknown) =>
      mistake(`${context.where}: the exec plugin ${plugin.command} ${message}`, `${next}${hint}`, cause)
    const ran = await machine
      .run([command, ...(plugin.args ?? [])], { env: pluginEnv(machine, plugin, context), signal })
      .catch((cause: unknown) => {
        if (!(cause instanceof DroverError)) throw cause
        throw no(`did not run: ${cause.message}`, cause.next ?? 'Look why.', cause)
      })
    if (ran.code !== 0)
      throw no(
        // What it wrote may hold what it knows, and this text goes to the thread.
        `ended with exit code ${ran.code}.`,
        'Run it by hand, with no more environment than the kubeconfig gives it.',
      )
    const answer = answerOf(ran.stdout)
    if (answer === undefined) throw no('did not answer with an ExecCredential.', 'Run it by hand and look at what it prints.')
    if (answer.apiVersion !== plugin.apiVersion)
      throw no(`answered with ${answer.apiVersion} where the kubeconfig says ${plugin.apiVersion}.`, 'Make the two agree.')
    const { token, clientCertificateData: cert, clientKeyData: key, expirationTimestamp } = answer.status
    if (Boolean(cert) !== Boolean(key)) throw no('gave a certificate without its key, or a key alone.', 'Update it.')
    if (!token && !cert) throw no('gave neither a token nor a certificate.', 'Run it by hand and look at what it prints.')
    const until = Date.parse(expirationTimestamp ?? '')
    return {
      ...(token ? { token } : {}),
      ...(cert && key ? { certificate: { cert, key } } : {}),
      ...(Number.isNaN(until) ? {} : { until }),
    }
  })
}

/** Never drover's own environment (S46): what the kubeconfig names, and what a program needs to be found and to find its files. */
function pluginEnv(machine: Machine, plugin: Plugin, context: PluginContext): Record<string, string> {
  const { cluster, ca } = context
  const info = {
    kind: 'ExecCredential',
    apiVersion: plugin.apiVersion,
    spec: {
      interactive: false,
      ...(plugin.provideClusterInfo
        ? {
            cluster: {
              server: cluster.server,
              ...(cluster['tls-server-name'] ? { 'tls-server-name': cluster['tls-server-name'] } : {}),
              ...(cluster['insecure-skip-tls-verify'] ? { 'insecure-skip-tls-verify': true } : {}),
              ...(ca === undefined ? {} : { 'certificate-authority-data': base64(ca) }),
              ...(cluster['proxy-url'] ? { 'proxy-url': cluster['proxy-url'] } : {}),
              config: cluster.extensions?.find(({ name }) => name === EXTENSION)?.extension ?? null,
            },
          }
        : {}),
    },
  }
  return {
    ...(machine.env.PATH === undefined ? {} : { PATH: machine.env.PATH }),
    HOME: machine.home,
    ...Object.fromEntries((plugin.env ?? []).map(({ name, value }) => [name, value])),
    KUBERNETES_EXEC_INFO: JSON.stringify(info),
  }
}

function answerOf(stdout: string): z.infer<typeof ExecCredential> | undefined {
  try {
    return ExecCredential.parse(JSON.parse(stdout))
  } catch {
    return undefined
  }
}

// ---- OIDC (client-go plugin/pkg/client/auth/oidc) ----------------------------------------------

const Discovery = z.object({ token_endpoint: z.url({ protocol: /^https?$/ }) })
const Tokens = z.object({ id_token: z.string().min(1), refresh_token: z.string().nullish() })

/** What is refreshed stays in memory: the kubeconfig is not drover's to write. */
export function oidc(
  config: Readonly<Record<string, string>>,
  { transport, where, learn }: { readonly transport: Transport; readonly where: string; readonly learn: Learn },
): Source {
  const issuer = config['idp-issuer-url']?.replace(/\/$/, '')
  let refreshToken = config['refresh-token']
  let given = config['id-token']
  const no = (message: string, cause?: unknown) =>
    mistake(
      `${where}: ${message}`,
      'Log in again with the tool that wrote the kubeconfig, or use a service account’s token.',
      cause,
    )

  async function refresh(signal: AbortSignal): Promise<string> {
    if (!issuer || !refreshToken || !config['client-id'])
      throw no('the OIDC token has expired, and without idp-issuer-url, client-id and refresh-token there is no other.')
    const discovered = await transport.http({ method: 'GET', url: `${issuer}/.well-known/openid-configuration`, signal })
    const { token_endpoint: endpoint } = fitting(Discovery, discovered.body) ?? {}
    if (discovered.status !== 200 || endpoint === undefined)
      throw no(`the OIDC issuer does not say where its tokens are (HTTP ${discovered.status}).`)
    if (new URL(issuer).protocol === 'https:' && new URL(endpoint).protocol !== 'https:')
      throw no('the OIDC issuer sends its tokens’ requests to an address that is not encrypted.')
    const form: Record<string, string> = {
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
      client_id: config['client-id'],
    }
    const secret = config['client-secret']
    const post = (body: Record<string, string>, headers: Record<string, string> = {}) =>
      transport.http({
        method: 'POST',
        url: endpoint,
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json', ...headers },
        body: new URLSearchParams(body).toString(),
        signal,
      })
    const basic = `Basic ${base64(`${encodeURIComponent(config['client-id'])}:${encodeURIComponent(secret ?? '')}`)}`
    let response = await post(form, secret ? { authorization: basic } : {})
    // Some providers want the secret in the form: this one was refused before the refresh token was looked at.
    if (response.status === 401 && secret) response = await post({ ...form, client_secret: secret })
    const tokens = fitting(Tokens, response.body)
    if (response.status !== 200 || tokens === undefined)
      throw no(`the OIDC issuer refused to refresh the token (HTTP ${response.status}).`)
    refreshToken = tokens.refresh_token ?? refreshToken
    learn([refreshToken, tokens.id_token])
    return tokens.id_token
  }

  const made = source(async (signal) => {
    const usable = given !== undefined && given !== '' && (expiryOf(given) ?? 0) > Date.now() + MARGIN_MS
    try {
      const token = usable && given !== undefined ? given : await refresh(signal)
      given = undefined
      const until = expiryOf(token)
      return { token, ...(until === undefined ? {} : { until }) }
    } catch (error) {
      if (error instanceof TransportError) throw no(`the OIDC issuer cannot be reached: ${error.message}.`, error)
      throw error
    }
  })
  return made
}

function fitting<T>(schema: z.ZodType<T>, body: string): T | undefined {
  try {
    return schema.parse(JSON.parse(body))
  } catch {
    return undefined
  }
}

export function base64(text: string): string {
  let binary = ''
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte)
  return btoa(binary)
}

/** PEM that stands in a kubeconfig as base64. */
export function fromBase64(data: string, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(
      Uint8Array.from(atob(data.replaceAll(/\s/g, '')), (char) => char.charCodeAt(0)),
    )
  } catch (cause) {
    throw new BackendError(
      { code: 'config', message: `${where} is not base64.`, next: 'Write the PEM in base64, on one line.' },
      { ran: 'no', cause },
    )
  }
}
