/** Logins for registries, out of a file of the docker client's: as they stand in it, or from the helper programs that it names. */

import * as z from 'zod'
import { DroverError } from '../../core/errors.ts'
import type { Learn } from '../../core/redact.ts'
import type { Machine } from '../machine.ts'

export type Login = {
  /** As image names begin with it. */
  readonly registry: string
  /** For the header X-Registry-Auth; undefined where there is none for this registry. */
  readonly header: string | undefined
}

export type Logins = {
  /** Read anew for each pull: a file changes with each `docker login`. Throws DroverError `config`. */
  for(image: string, signal: AbortSignal): Promise<Login>
  /** What a check says of the file. Throws DroverError `config`. */
  told(): Promise<string>
}

const Entry = z.object({
  /** base64 of `user:password`. */
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  /** In the place of a password: what a registry gave for one. */
  identitytoken: z.string().optional(),
  registrytoken: z.string().optional(),
})
/** docker/cli cli/config/configfile. */
const File = z.object({
  auths: z.record(z.string(), Entry).nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
  credsStore: z.string().nullish(),
})
/** docker-credential-helpers: what a program answers to `get`. */
const Answer = z.object({ Username: z.string(), Secret: z.string().min(1) })
/** A user of this name has a token for a secret. */
const TOKEN_USER = '<token>'

const HELPER_MS = 20_000
/** Under which Docker's own registry is kept. */
const HUB = 'https://index.docker.io/v1/'

type Known = {
  readonly username?: string
  readonly password?: string
  readonly identitytoken?: string
  readonly registrytoken?: string
}

/** `learn`: what is read here is never shown. */
export function loginsOf(file: string, machine: Machine, learn: Learn = () => undefined): Logins {
  const path = file.replace(/^~(?=\/)/, machine.home)

  async function read(): Promise<z.infer<typeof File>> {
    const text = await machine.readText(path)
    if (text === undefined) throw config(`There is no file ${path} (newContainers.logins).`, '`docker login` makes one.')
    try {
      return File.parse(JSON.parse(text))
    } catch {
      // Without its cause, which may quote what stands in the file.
      throw config(`${path} is not what the docker client writes.`, 'Make it anew with `docker login`.')
    }
  }

  async function fromHelper(helper: string, address: string, signal: AbortSignal): Promise<Known | undefined> {
    const program = `docker-credential-${helper}`
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(helper))
      throw config(`${path} names a credential helper that is no program.`, 'Correct credsStore or credHelpers.')
    const limited = AbortSignal.any([signal, AbortSignal.timeout(HELPER_MS)])
    const { code, stdout } = await machine.run([program, 'get'], { env: helperEnv(machine), stdin: address, signal: limited })
    if (code !== 0 && /credentials not found|no credentials/i.test(stdout)) return undefined
    const answer = code === 0 ? Answer.safeParse(jsonOf(stdout)) : undefined
    // What it wrote may hold what it knows.
    if (!answer?.success)
      throw config(
        code === 0 ? `${program} did not answer with a login.` : `${program} ended with exit code ${code}.`,
        `Run it as drover’s user: echo ${address} | ${program} get`,
      )
    const { Username: username, Secret: secret } = answer.data
    return username === TOKEN_USER ? { identitytoken: secret } : { username, password: secret }
  }

  return {
    async for(image, signal) {
      const registry = registryOf(image)
      const address = registry === 'docker.io' ? HUB : registry
      const { auths, credHelpers, credsStore } = await read()
      const helper = own(credHelpers, address) ?? own(credHelpers, registry) ?? credsStore
      const known = helper ? await fromHelper(helper, address, signal) : entryFor(auths ?? {}, address)
      const header = known && headerOf({ ...known, serveraddress: address })
      learn(Object.values(present({ header, ...known, username: undefined })))
      return { registry, header }
    },
    async told() {
      const { auths, credHelpers, credsStore } = await read()
      const names = [...new Set([...Object.keys(auths ?? {}), ...Object.keys(credHelpers ?? {})].map(hostOf))].sort()
      return [
        names.join(', ') || 'no registry by name',
        ...(credsStore ? [`others from docker-credential-${credsStore}`] : []),
      ].join('; ')
    },
  }
}

/** distribution/reference: what has no dot, colon or capital before its first slash has no registry in it. */
function registryOf(image: string): string {
  const [first = '', ...more] = image.split('/')
  const isHost = more.length > 0 && (/[.:A-Z]/.test(first) || first === 'localhost')
  return !isHost || /^(index|registry-1)\.docker\.io$/.test(first) ? 'docker.io' : first
}

/** Older clients wrote whole addresses (docker/cli credentials, ConvertToHostname). */
function entryFor(auths: z.infer<typeof File>['auths'] & object, address: string): Known | undefined {
  const found = own(auths, address) ?? Object.entries(auths).find(([key]) => hostOf(key) === hostOf(address))?.[1]
  if (found === undefined) return undefined
  const { auth, username, password, identitytoken, registrytoken } = found
  const [, user, word] = /^([^:]*):([\s\S]*?)\0*$/.exec(auth ? textOf(auth) : '') ?? []
  const known = present({ username: user ?? username, password: word ?? password, identitytoken, registrytoken })
  return Object.keys(known).length > 0 ? known : undefined
}

const hostOf = (address: string): string => address.replace(/^https?:\/\//, '').replace(/\/.*$/, '')

const own = <T>(all: Readonly<Record<string, T>> | null | undefined, key: string): T | undefined =>
  all && Object.hasOwn(all, key) ? all[key] : undefined

const present = (all: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(all).flatMap(([key, value]) => (value ? [[key, value]] : [])))

/** Never drover's own environment (S46): what a program needs to be found, and to find its files and the keyring of its user. */
function helperEnv({ env }: Machine): Readonly<Record<string, string>> {
  const names = ['PATH', 'HOME', 'USER', 'LOGNAME', 'XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS']
  return present(Object.fromEntries(names.map((name) => [name, env[name]])))
}

/** moby api/types/registry: base64 with the letters of URLs, padded. */
function headerOf(login: object): string {
  const bytes = new TextEncoder().encode(JSON.stringify(login))
  const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
  return base64.replaceAll('+', '-').replaceAll('/', '_')
}

/** Empty where it is no base64. */
function textOf(base64: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)))
  } catch {
    return ''
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const config = (message: string, next: string) => new DroverError({ code: 'config', message, next })
