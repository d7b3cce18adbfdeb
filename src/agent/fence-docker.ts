/** What an agent beside a Docker Engine lets pass: the calls of an exec, in containers that its list names. */

import * as z from 'zod'
import { hasHost, ImageNames, Inspected } from '../backends/docker/container.ts'
import type { LabelTerm } from '../core/model.ts'
import { matches } from '../core/selector.ts'
import {
  bodyOf,
  type Call,
  type Fence,
  jsonOf,
  only,
  type Parts,
  type Passed,
  partsOf,
  quoted,
  Refusal,
  unknownCall,
} from './fence.ts'
import { type ContainersAllowed, madeByDrover, newContainerCall } from './fence-docker-new.ts'

export type DockerAllowed = ContainersAllowed & {
  /** Globs. Absent: any name. */
  readonly names?: readonly string[] | undefined
  readonly labels?: readonly LabelTerm[] | undefined
  /** Commands in containers that are as good as root on the host. */
  readonly privileged?: true | undefined
}

/** Asks the engine itself: of the gateway's word about a container nothing is taken. */
export type AskEngine = (path: string, signal: AbortSignal) => Promise<{ readonly status: number; readonly body: string }>

const ID = /^[0-9a-f]{64}$/
const IMAGE_ID = /^(sha256:)?[0-9a-f]{64}$/
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/
/** Executions whose containers are remembered. */
const MOST_EXECS = 10_000

const Container = Inspected.extend({
  Id: z.string().regex(ID),
  Name: z.string(),
  Created: z.string().nullish(),
  Config: z.object({ Image: z.string().nullish(), Labels: z.record(z.string(), z.string()).nullish() }).nullish(),
})
export type Container = z.infer<typeof Container>

/** Keys exactly as here: Docker takes them in any case, so another case would be another reader's key. */
const ExecBody = z.strictObject({
  AttachStdin: z.boolean().optional(),
  AttachStdout: z.boolean().optional(),
  AttachStderr: z.boolean().optional(),
  Tty: z.boolean().optional(),
  Cmd: z.array(z.string()).min(1),
  Env: z.array(z.string()).optional(),
  WorkingDir: z.string().optional(),
  User: z.string().optional(),
})
const StartBody = z.strictObject({ Detach: z.literal(false), Tty: z.boolean().optional() })
const Created = z.object({ Id: z.string().regex(ID) })
const ExecInspected = z.object({
  ID: z.string(),
  Running: z.boolean(),
  ExitCode: z.number().nullish(),
  Pid: z.number().nullish(),
  ContainerID: z.string(),
})
const Listed = z.array(
  z.looseObject({ Id: z.string(), Names: z.array(z.string()).nullish(), Labels: z.record(z.string(), z.string()).nullish() }),
)

export function dockerFence(allowed: DockerAllowed, ask: AskEngine): Fence {
  /** Made through this agent: nobody else's may be started. */
  const execs = new Map<string, string>()

  const isNamed = (name: string, labels: Readonly<Record<string, string>>): boolean =>
    (allowed.names === undefined || allowed.names.some((glob) => matches({ name: glob }, aboutOf(name, labels)))) &&
    (allowed.labels === undefined || matches({ labels: allowed.labels }, aboutOf(name, labels)))

  /** Undefined: the engine knows none by that name. */
  async function find(reference: string, signal: AbortSignal): Promise<Container | undefined> {
    if (!ID.test(reference) && !NAME.test(reference)) throw new Refusal(`${quoted(reference)} is no container`)
    const { status, body } = await ask(`/containers/${reference}/json`, signal)
    if (status === 404) return undefined
    const found = status === 200 ? Container.safeParse(jsonOf(body)) : undefined
    if (!found?.success) throw new Refusal(`its engine does not say what the container ${quoted(reference)} is`)
    return found.data
  }

  async function findAllowed(reference: string, signal: AbortSignal): Promise<Container | undefined> {
    const found = await find(reference, signal)
    if (found && !isNamed(nameOf(found), found.Config?.Labels ?? {}) && !madeByDrover(allowed, found))
      throw new Refusal(`the container ${quoted(nameOf(found))} is not on its list`)
    return found
  }

  async function list({ query }: Parts): Promise<Passed> {
    const search = only(query, ['all', 'filters'])
    return {
      method: 'GET',
      path: `/containers/json${search}`,
      answer: ({ status, body }) => {
        if (status !== 200) return body
        const listed = Listed.parse(jsonOf(body))
        return JSON.stringify(
          listed.filter(({ Names, Labels }) => {
            const labels = Labels ?? {}
            return 'drover.helper' in labels || (Names ?? []).some((name) => isNamed(name.replace(/^\//, ''), labels))
          }),
        )
      },
    }
  }

  async function inspect(reference: string, signal: AbortSignal): Promise<Passed> {
    const found = await findAllowed(reference, signal)
    return {
      method: 'GET',
      path: `/containers/${found?.Id ?? reference}/json`,
      // The environment of a container, where its secrets are, stays here.
      answer: ({ status, body }) => (status === 200 ? JSON.stringify(Container.parse(jsonOf(body))) : body),
    }
  }

  async function create(reference: string, call: Call, signal: AbortSignal): Promise<Passed> {
    const body = bodyOf(ExecBody, call, 'an exec')
    const found = await findAllowed(reference, signal)
    if (found && !allowed.privileged && (await hasHost(found, (id) => find(id, signal))))
      throw new Refusal(`the container ${quoted(nameOf(found))} is privileged, and its list does not say privileged: true`)
    return {
      method: 'POST',
      path: `/containers/${found?.Id ?? reference}/exec`,
      body,
      answer: ({ status, body: told }) => {
        const made = status === 201 ? Created.safeParse(jsonOf(told)) : undefined
        if (made?.success && found) {
          execs.set(made.data.Id, found.Id)
          const [oldest] = execs.keys()
          if (execs.size > MOST_EXECS && oldest !== undefined) execs.delete(oldest)
        }
        return told
      },
    }
  }

  function start(id: string, call: Call): Passed {
    if (!execs.has(id)) throw new Refusal('that exec was not made through it')
    return { method: 'POST', path: `/exec/${id}/start`, body: bodyOf(StartBody, call, 'the start of an exec') }
  }

  async function record(id: string, signal: AbortSignal): Promise<Passed> {
    if (!execs.has(id)) {
      const { status, body } = await ask(`/exec/${id}/json`, signal)
      const known = status === 200 ? ExecInspected.safeParse(jsonOf(body)) : undefined
      if (known?.success) await findAllowed(known.data.ContainerID, signal)
      else if (status !== 404) throw new Refusal('its engine does not say what that exec is')
    }
    // The command line of somebody else's exec is not told.
    return {
      method: 'GET',
      path: `/exec/${id}/json`,
      answer: ({ status, body }) => (status === 200 ? JSON.stringify(ExecInspected.parse(jsonOf(body))) : body),
    }
  }

  async function judge(call: Call, parts: Parts, signal: AbortSignal): Promise<Passed | undefined> {
    const { segments, query } = parts
    const [first, second = '', third] = segments
    const is = (kind: Call['kind'], method: string) => call.kind === kind && call.method === method
    if (segments.length === 1 && is('http', 'GET') && (first === '_ping' || first === 'version' || first === 'info'))
      return { method: 'GET', path: `/${first}${only(query, [])}` }
    if (first === 'containers' && second === 'json' && segments.length === 2 && is('http', 'GET')) return list(parts)
    if (first === 'containers' && segments.length === 3 && third === 'json' && is('http', 'GET')) {
      only(query, [])
      return inspect(second, signal)
    }
    if (first === 'containers' && segments.length === 3 && third === 'exec' && is('http', 'POST')) {
      only(query, [])
      return create(second, call, signal)
    }
    if (first === 'images' && segments.length === 3 && third === 'json' && IMAGE_ID.test(second) && is('http', 'GET'))
      return imageNames(second, query)
    if (first === 'exec' && segments.length === 3 && ID.test(second)) {
      only(query, [])
      if (third === 'start' && (is('http', 'POST') || is('upgrade', 'POST'))) return start(second, call)
      if (third === 'json' && is('http', 'GET')) return record(second, signal)
    }
    return newContainerCall(allowed, call, parts, {
      find: (reference) => find(reference, signal),
      findAllowed: (reference) => findAllowed(reference, signal),
    })
  }

  return async (call, signal) => {
    if (call.kind === 'socket') throw unknownCall(call)
    const { path, version } = withoutVersion(call.path)
    const passed = (await imagePath(allowed, call, path)) ?? (await judge(call, partsOf(path), signal))
    if (!passed) throw unknownCall(call)
    return { ...passed, path: `${version}${passed.path}` }
  }
}

/** What an image is called, for containers that were made from its id; nothing else about it. */
const imageNames = (id: string, query: URLSearchParams): Passed => ({
  method: 'GET',
  path: `/images/${id}/json${only(query, [])}`,
  answer: ({ status, body }) => (status === 200 ? JSON.stringify(ImageNames.parse(jsonOf(body))) : body),
})

/** An image's name is the one thing in a path that has to be encoded: only the very one that is allowed is taken. */
async function imagePath({ helperImage }: DockerAllowed, call: Call, path: string): Promise<Passed | undefined> {
  if (helperImage === undefined || call.kind !== 'http' || call.method !== 'GET') return undefined
  const own = `/images/${encodeURIComponent(helperImage)}/json`
  return path === own ? { method: 'GET', path: own } : undefined
}

function withoutVersion(path: string): { readonly path: string; readonly version: string } {
  const [, version = '', rest = path] = /^(\/v\d{1,2}\.\d{1,3})(\/.*)$/.exec(path) ?? []
  return { path: rest, version }
}

const nameOf = ({ Name }: Container): string => Name.replace(/^\//, '')

function aboutOf(name: string, labels: Readonly<Record<string, string>>): Parameters<typeof matches>[1] {
  return { id: '' as never, backend: '', kind: 'docker', native: '', name, labels, facets: {} }
}
