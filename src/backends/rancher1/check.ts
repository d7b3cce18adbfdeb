/** What `drover check` says of a Rancher 1.x connection. */

import { counted } from '../../core/counted.ts'
import { BackendError } from '../../core/errors.ts'
import type { CheckLine } from '../../core/ports.ts'
import { type Api, refusal } from './api.ts'
import { Container, EXECUTABLE_STATE, Project } from './container.ts'

/** The token of a command lives 300 s by the clocks of server and host [CT JwtTokenServiceImpl]; ours shows whether the server's can be trusted. */
const SKEW_WARN_MS = 30_000
const SKEW_BAD_MS = 240_000

export async function check(
  api: Api,
  options: { readonly accessKey: string },
  signal: AbortSignal,
): Promise<readonly CheckLine[]> {
  const lines: CheckLine[] = []
  try {
    const before = Date.now()
    const root = await api.root(signal)
    const middle = (before + Date.now()) / 2
    const version = root.headers.get('x-rancher-version')
    lines.push({
      ok: true,
      what: `Rancher answers at ${api.origin.origin}`,
      detail: version ? `version ${version}` : 'it does not tell its version',
    })
    if (api.origin.protocol === 'http:')
      lines.push({
        ok: 'warn',
        what: 'the connection is not encrypted',
        next: 'Anyone on the way can read the key and the commands: use https.',
      })
    lines.push(...clock(root.headers.get('date'), middle))
    if (root.status >= 400) throw refusal(root, { what: 'its API', project: api.project })
    lines.push(...(await key(api, options.accessKey, signal)))
  } catch (error) {
    if (!(error instanceof BackendError)) throw error
    lines.push({ ok: false, what: error.message, ...(error.next ? { next: error.next } : {}) })
  }
  return lines
}

function clock(date: string | null, now: number): CheckLine[] {
  const server = Date.parse(date ?? '')
  if (Number.isNaN(server)) return []
  // The header has whole seconds.
  const skewMs = Math.max(0, Math.abs(server + 500 - now) - 500)
  if (skewMs < SKEW_WARN_MS) return [{ ok: true, what: 'the clocks agree' }]
  return [
    {
      ok: skewMs < SKEW_BAD_MS ? 'warn' : false,
      what: `the server’s clock is ${Math.round(skewMs / 1000)} s ${server > now ? 'ahead of' : 'behind'} this one`,
      next: 'Hosts refuse a command’s token when their clock is minutes from the server’s: set the time everywhere (NTP).',
    },
  ]
}

async function key(api: Api, accessKey: string, signal: AbortSignal): Promise<CheckLine[]> {
  const projects = await api.list('/projects', Project, signal)
  const containers = (await api.list(`containers?state=${EXECUTABLE_STATE}`, Container, signal)).filter(
    (one) => one.state === EXECUTABLE_STATE,
  )
  const named = projects.map((one) => (one.name ? `${one.id} (${one.name})` : one.id)).join(', ')
  if (api.project === undefined && containers.length === 0 && projects.length > 0) {
    const isAccount = projects.length > 1
    return [
      {
        ok: isAccount ? false : 'warn',
        what: isAccount ? 'an account key, and no environment is named' : 'no running container is visible',
        detail: `visible environments: ${named}`,
        next: 'Set `project` to the environment that is meant.',
      },
    ]
  }
  const executable = containers.filter((one) => one.actions && 'execute' in one.actions).length
  const role =
    executable === containers.length
      ? 'it may run commands in all of them'
      : executable === 0
        ? 'read-only: it may run nothing'
        : 'restricted: not in privileged and platform containers'
  return [
    { ok: true, what: `the key ${accessKey} is accepted`, detail: `environments: ${named || api.project || 'its own'}` },
    {
      ok:
        containers.length > 0 && executable === 0
          ? false
          : executable < containers.length || containers.length === 0
            ? 'warn'
            : true,
      what: `commands can be run in ${executable} of ${counted(containers.length, 'running container')}`,
      ...(containers.length === 0 ? {} : { detail: role }),
      ...(containers.length > 0 && executable === 0
        ? { next: 'Use a key of an owner or member of the environment, or an environment key.' }
        : {}),
    },
  ]
}
