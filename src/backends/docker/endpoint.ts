/** Where an engine is and what it takes to get there, from drover.yaml, the environment or a context of the docker client. */

import * as z from 'zod'
import { DroverError } from '../../core/errors.ts'
import type { Machine } from '../machine.ts'
import type { Reach } from '../transport.ts'
import { readHost } from './host.ts'
import type { DockerSettings } from './settings.ts'

export type Endpoint = {
  /** What comes before `/v1.41/…`. */
  readonly base: string
  readonly reach: Reach
  /** For readers: no secret is in it. */
  readonly address: string
  readonly plaintext: boolean
}

export type EndpointSettings = Pick<DockerSettings, 'host' | 'context' | 'fromEnvironment' | 'tls' | 'plaintext'>

type Files = { readonly ca?: string | undefined; readonly cert?: string | undefined; readonly key?: string | undefined }

const DEFAULT_HOST = 'unix:///var/run/docker.sock'

/** What can be refused without reading a file, so that it is refused at start-up. */
export function refuseWithoutMachine(settings: EndpointSettings, machine: Machine | undefined): void {
  if (machine) return
  const asked = (['fromEnvironment', 'context', 'tls'] as const).find((one) => settings[one] !== undefined)
  const isLocal = /^(unix|ssh):/.exec(settings.host ?? '')?.[1]
  if (asked === undefined && isLocal === undefined) return
  throw config(
    asked ? `${asked}: needs files and an environment, and Workers has none.` : `Workers cannot open ${isLocal}:// addresses.`,
    'Put an HTTPS address with a public certificate before the engine, or run drover on Node or Deno.',
  )
}

/** Throws DroverError `config` that names the file or variable that is wrong. */
export async function endpointOf(settings: EndpointSettings, machine: Machine | undefined): Promise<Endpoint> {
  refuseWithoutMachine(settings, machine)
  const plaintext = settings.plaintext === true
  if (settings.host !== undefined) {
    const { tls } = settings
    const files = tls && machine ? await read(tls, machine, 'all') : undefined
    return build(settings.host, { files, plaintext, from: 'host' }, machine)
  }
  if (!machine) throw config('This needs the machine’s files.', 'Say host: instead.')
  if (settings.context !== undefined) return fromContext(settings.context, plaintext, machine)
  return fromEnvironment(plaintext, machine)
}

/** docker/cli cli/command/cli.go, resolveContextName: DOCKER_HOST, then DOCKER_CONTEXT, then the configuration's own. */
async function fromEnvironment(plaintext: boolean, machine: Machine): Promise<Endpoint> {
  const { env } = machine
  if (!env.DOCKER_HOST) {
    const context = env.DOCKER_CONTEXT || (await currentContext(machine))
    if (context && context !== 'default') return fromContext(context, plaintext, machine)
  }
  const host = env.DOCKER_HOST || DEFAULT_HOST
  // An empty value switches it off.
  const isVerified = Boolean(env.DOCKER_TLS_VERIFY)
  if (env.DOCKER_TLS && !isVerified)
    throw config(
      'DOCKER_TLS without DOCKER_TLS_VERIFY asks for a server that is not verified.',
      'Set DOCKER_TLS_VERIFY=1 as well.',
    )
  const folder = env.DOCKER_CERT_PATH || configFolder(machine)
  const files = isVerified
    ? await read({ ca: `${folder}/ca.pem`, cert: `${folder}/cert.pem`, key: `${folder}/key.pem` }, machine, 'those there are')
    : undefined
  return build(host, { files, plaintext, from: env.DOCKER_HOST ? 'DOCKER_HOST' : 'the default host' }, machine)
}

const ConfigFile = z.object({ currentContext: z.string().optional() })
const Meta = z.object({
  Endpoints: z.object({ docker: z.object({ Host: z.string().min(1), SkipTLSVerify: z.boolean().optional() }) }),
})

async function currentContext(machine: Machine): Promise<string | undefined> {
  const path = `${configFolder(machine)}/config.json`
  const text = await machine.readText(path)
  return text === undefined ? undefined : parsed(ConfigFile, text, path).currentContext
}

/** docker/cli cli/context/store: folders are named by the SHA-256 of the context's name. */
async function fromContext(name: string, plaintext: boolean, machine: Machine): Promise<Endpoint> {
  if (name === 'default')
    throw config('The context default is DOCKER_HOST or the local socket.', 'Say fromEnvironment: true, or host:.')
  const contexts = `${configFolder(machine)}/contexts`
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name))
  const folder = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  const path = `${contexts}/meta/${folder}/meta.json`
  const text = await machine.readText(path)
  if (text === undefined)
    throw config(
      `There is no context ${name} (${path}).`,
      '`docker context ls`, as the user that drover runs as, shows which there are.',
    )
  const { Host, SkipTLSVerify } = parsed(Meta, text, path).Endpoints.docker
  if (SkipTLSVerify)
    throw config(
      `The context ${name} does not verify the engine (SkipTLSVerify).`,
      'Make it with the CA that signed the engine’s certificate.',
    )
  const certificates = `${contexts}/tls/${folder}/docker`
  const files = await read(
    { ca: `${certificates}/ca.pem`, cert: `${certificates}/cert.pem`, key: `${certificates}/key.pem` },
    machine,
    'those there are',
  )
  return build(Host, { files, plaintext, from: `the context ${name}` }, machine)
}

function build(
  text: string,
  { files, plaintext, from }: { readonly files: Files | undefined; readonly plaintext: boolean; readonly from: string },
  machine: Machine | undefined,
): Endpoint {
  const tls = files && Object.values(files).some((one) => one !== undefined) ? files : undefined
  const host = readHost(text, { tls: tls !== undefined, plaintext })
  switch (host.way) {
    case 'problem':
      throw config(`${from}: ${host.problem}.`, 'Correct the address; docs/backends/docker.md shows each kind.')
    case 'unix':
      return { base: 'http://docker', reach: { unixSocket: host.path }, address: text, plaintext: false }
    case 'ssh':
      return { base: 'http://docker', reach: { program: ssh(host, machine) }, address: text, plaintext: false }
    case 'http': {
      const { ca, cert, key } = tls ?? {}
      const reach: Reach = {
        // As the docker client: a CA that is named is the only one.
        ...(ca === undefined ? {} : { ca, caOnly: true }),
        ...(cert === undefined || key === undefined ? {} : { certificate: { cert, key } }),
      }
      return { base: host.base, reach, address: host.base, plaintext: host.plaintext }
    }
    default:
      return host satisfies never
  }
}

/** docker/cli cli/connhelper/ssh. It never asks for anything: nobody is there to answer. */
function ssh(
  { host, user, port }: { readonly host: string; readonly user?: string; readonly port?: string },
  machine: Machine | undefined,
): NonNullable<Reach['program']> {
  const given = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SSH_AUTH_SOCK'].flatMap((name) => {
    const value = machine?.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  const options = [
    '-o',
    'BatchMode=yes',
    '-o',
    'ConnectTimeout=30',
    '-T',
    ...(user ? ['-l', user] : []),
    ...(port ? ['-p', port] : []),
  ]
  return { argv: ['ssh', ...options, '--', host, 'docker', 'system', 'dial-stdio'], env: Object.fromEntries(given) }
}

async function read(paths: Files, machine: Machine, which: 'all' | 'those there are'): Promise<Files> {
  const entries = await Promise.all(
    Object.entries(paths).map(async ([name, path]) => {
      if (path === undefined) return [name, undefined] as const
      const whole = path.replace(/^~(?=\/)/, machine.home)
      const text = await machine.readText(whole)
      if (text === undefined && which === 'all') throw config(`There is no file ${whole} (tls.${name}).`, 'Name the PEM file.')
      return [name, text] as const
    }),
  )
  return Object.fromEntries(entries)
}

function configFolder({ env, home }: Machine): string {
  return env.DOCKER_CONFIG || `${home}/.docker`
}

function parsed<T>(schema: z.ZodType<T>, text: string, path: string): T {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw config(`${path} is not what the docker client writes.`, 'Make the context again, or say host:.', cause)
  }
}

function config(message: string, next: string, cause?: unknown): DroverError {
  return new DroverError({ code: 'config', message, next }, { cause })
}
