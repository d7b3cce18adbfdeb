/** A Docker Engine as a backend: containers by its list, commands by its exec, and a kill that Docker does not offer. */

import * as z from 'zod'
import { BackendError, DroverError } from '../../core/errors.ts'
import { fanOut } from '../../core/fan-out.ts'
import type { Selector, Target } from '../../core/model.ts'
import type { Backend } from '../../core/ports.ts'
import { matches } from '../../core/selector.ts'
import type { Machine } from '../machine.ts'
import type { Transports } from '../transport.ts'
import { newTarget } from '../wire/new-container.ts'
import { everyTrait } from '../wire/traits.ts'
import { type Api, dockerApi, parsed } from './api.ts'
import { check } from './check.ts'
import { hasHost, ImageNames, Inspected, isMadeById, Listed, listPath, mayBeImageId, onlyName, targetOf } from './container.ts'
import { type EndpointSettings, endpointOf, refuseWithoutMachine } from './endpoint.ts'
import { type Connection, execute } from './exec.ts'
import { kill, sweep } from './kill.ts'
import type { Logins } from './logins.ts'
import { executeNew, killNew } from './new-container.ts'
import type { DockerBounds } from './settings.ts'

export type DockerOptions = EndpointSettings & {
  /** `on=<name>`. */
  readonly name: string
  readonly helperImage?: string | undefined
  readonly newContainers?: DockerBounds | undefined
  /** One HTTP request; default 60 s. */
  readonly requestTimeoutMs?: number
}

/** Throws DroverError `config` for what this runtime cannot reach. */
export function docker(
  options: DockerOptions,
  outside: {
    readonly transport: Transports
    readonly machine?: Machine | undefined
    /** Of a file of the docker client's; absent on Workers. */
    readonly loginsOf?: ((file: string) => Logins) | undefined
  },
): Backend {
  const { machine, transport } = outside
  refuseWithoutMachine(options, machine)
  const api = dockerApi({
    endpoint: () => endpointOf(options, machine),
    transports: transport,
    ...(options.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: options.requestTimeoutMs }),
  })
  const helper = options.helperImage === undefined ? {} : { helperImage: options.helperImage }
  const bounds = options.newContainers
  const logins = bounds?.logins === undefined ? undefined : (outside.loginsOf ?? noFiles)(bounds.logins)
  const connection = { api, begun: new Map(), logins } satisfies Connection & { readonly logins: unknown }
  const hostName = once((signal) => hostOf(api, signal))
  const known: Known = new Map()
  return {
    name: options.name,
    kind: 'docker',
    traits: { ...everyTrait, stdin: 'upgrade' in transport({}) },
    list: (selector, signal) => list(api, { backend: options.name, host: hostName, known, selector, signal }),
    exec: (target, command, exec, signal, _by, lastsMs) =>
      target.creates
        ? executeNew(connection, bounds, { target, command, exec, signal, creates: target.creates, lastsMs })
        : execute(connection, { target, command, exec, signal }),
    kill: (target, handle, signal) =>
      target.creates ? killNew(connection, handle, signal) : kill({ ...connection, ...helper }, target, handle, signal),
    check: (signal) => check(api, { ...helper, logins }, signal),
    // Without these it makes no container.
    ...(bounds === undefined && options.helperImage === undefined ? {} : { sweep: (signal) => sweep(api, signal) }),
    ...(bounds === undefined
      ? {}
      : { newContainer: (wanted) => newTarget({ backend: options.name, kind: 'docker' }, bounds, wanted) }),
  }
}

function noFiles(): never {
  throw new DroverError({
    code: 'config',
    message: 'newContainers.logins is a file, and there are none here.',
    next: 'Run drover on Node or Deno, or pull images on the engine’s host.',
  })
}

/** What an inspection tells of a container, by id: said when it is made, and never changed. */
type Known = Map<string, About>
type About = { readonly isPrivileged: boolean; readonly image: string | undefined }
const MAX_KNOWN = 10_000

type Asked = {
  readonly backend: string
  readonly known: Known
  readonly host: (signal: AbortSignal) => Promise<string | undefined>
  readonly selector: Selector
  readonly signal: AbortSignal
}

/** Inspections at a time. */
const PARALLEL = 8

async function list(api: Api, { backend, host, known, selector, signal }: Asked): Promise<readonly Target[]> {
  const [response, name] = await Promise.all([api.request({ method: 'GET', path: listPath(selector), signal }), host(signal)])
  const listed = parsed(response, z.array(Listed), 'the list of containers')
  const about = { backend, kind: 'docker' as const, ...(name === undefined ? {} : { host: name }) }
  const candidates = listed
    .filter((one) => one.State === 'running')
    .map((one) => targetOf(one, about))
    .filter((target) => matches(mayBeImageId(target.facets.image) ? withoutImage(selector) : selector, target))
  // The list says neither who is privileged, nor what an image was called when its name went to another.
  const gone = new Set<string>()
  let failure: unknown
  const told = new Map(candidates.flatMap(({ native }) => [[native, known.get(native)] as const]))
  const strangers = candidates.filter(({ native }) => told.get(native) === undefined)
  if (known.size + strangers.length > MAX_KNOWN) known.clear()
  await fanOut(strangers, PARALLEL, async (target) => {
    if (failure !== undefined) return
    try {
      const found = await inspect(api, target.native, signal)
      if (!found?.State.Running || found.State.Paused) gone.add(target.native)
      if (!found) return
      const one = {
        isPrivileged: await hasHost(found, (id) => unlessForbidden(inspect(api, id, signal))),
        image: await nameOf(api, found, signal),
      }
      told.set(target.native, one)
      known.set(target.native, one)
    } catch (error) {
      failure = error
    }
  })
  if (failure !== undefined) throw failure
  return candidates
    .filter(({ native }) => !gone.has(native))
    .map((target) => inspectedTarget(target, told.get(target.native)))
    .filter((target) => matches(selector, target))
}

function withoutImage({ facets: { image: _, ...facets } = {}, ...rest }: Selector): Selector {
  return { ...rest, facets }
}

function inspectedTarget(target: Target, about: About | undefined): Target {
  const image = mayBeImageId(target.facets.image) ? about?.image : undefined
  return {
    ...target,
    ...(image ? { facets: { ...target.facets, image } } : {}),
    ...(about?.isPrivileged === false ? {} : { privileged: true }),
  }
}

/** As it was called when the container was made; of one that was named by its id, what it is called now, if that is one name. */
async function nameOf(api: Api, found: Inspected, signal: AbortSignal): Promise<string | undefined> {
  const from = found.Config?.Image ?? undefined
  if (!isMadeById(found)) return from
  const response = await unlessForbidden(api.request({ method: 'GET', path: `/images/${found.Image}/json`, signal }))
  // The agent of an earlier day, or a proxy, keeps it back; an image may be removed under its container.
  if (response?.status !== 200) return from
  return onlyName(parsed(response, ImageNames, 'the names of an image')) ?? from
}

/** Undefined where a proxy before the engine, or an agent's list, keeps it back. */
async function unlessForbidden<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof BackendError && error.code === 'backend_forbidden') return undefined
    throw error
  }
}

/** Undefined: it has gone since it was listed. */
async function inspect(api: Api, id: string, signal: AbortSignal): Promise<Inspected | undefined> {
  const response = await api.request({ method: 'GET', path: `/containers/${encodeURIComponent(id)}/json`, signal })
  return response.status === 404 ? undefined : parsed(response, Inspected, `the container ${id.slice(0, 12)}`)
}

const Info = z.object({ Name: z.string().nullish() })

/** Undefined where a proxy before the engine keeps it back. */
async function hostOf(api: Api, signal: AbortSignal): Promise<string | undefined> {
  const ask = async () => parsed(await api.request({ method: 'GET', path: '/info', signal }), Info, '/info').Name ?? undefined
  return unlessForbidden(ask())
}

/** Asked until it is answered, then known. */
function once<T>(ask: (signal: AbortSignal) => Promise<T>): (signal: AbortSignal) => Promise<T> {
  let known: { readonly value: T } | undefined
  return async (signal) => {
    known ??= { value: await ask(signal) }
    return known.value
  }
}
