/** What may be POSTed to a container: `execute` and `logs` answer with a token, `stop`, `start` and `restart` with a state on its way. */

import type { PeerContainer, World } from './containers.ts'
import type { Faults } from './faults.ts'
import { ApiError } from './http-api.ts'
import { actionsOf, containerResource, type View } from './resources.ts'
import type { Claims, Tokens } from './tokens.ts'

/** One accepted `execute`; nothing has run yet. */
export type SeenExecute = {
  readonly containerId: string
  readonly container: string
  readonly argv: readonly string[]
  readonly tty: boolean
  readonly attachStdin: boolean
  readonly attachStdout: boolean
}

export type ActionHost = {
  readonly world: World
  readonly tokens: Tokens
  readonly faults: Faults
  readonly executed: (seen: SeenExecute) => void
  readonly lifecycle: (container: PeerContainer, action: 'stop' | 'start' | 'restart') => void
}

const KNOWN = ['execute', 'logs', 'stop', 'start', 'restart']

export function runAction(
  container: PeerContainer,
  action: string,
  text: string,
  view: View,
  host: ActionHost,
): { status: number; body: unknown } {
  // The readonly role's schema has no other action than logs [CT read-user.json].
  if (!KNOWN.includes(action) || (view.role === 'readonly' && action !== 'logs'))
    throw new ApiError(422, 'InvalidAction', 'action')
  const body = bodyOf(text)
  const offered = actionsOf(container, view.role).includes(action)
  if (!offered) throw new ApiError(422, 'ActionNotAvailable', 'action')
  if (action === 'execute') return execute(container, body, view, host)
  if (action === 'logs') return logs(container, body, view, host)
  host.lifecycle(container, action as 'stop' | 'start' | 'restart')
  return { status: 202, body: containerResource(container, view) }
}

function execute(container: PeerContainer, body: Readonly<Record<string, unknown>>, view: View, host: ActionHost) {
  const { command } = body
  if (command === null) throw new ApiError(422, 'NotNullable', 'command')
  // One string is not split: it becomes an executable with spaces in its name [CT ValidationHandler.convertArray].
  const argv = (Array.isArray(command) ? command : command === undefined ? [] : [command]).map(String)
  if (argv.length === 0) throw new ApiError(422, 'MissingRequired', 'command')
  const flag = (name: string): boolean => (body[name] === undefined || body[name] === null ? true : String(body[name]) === 'true')
  const seen: SeenExecute = {
    containerId: container.id,
    container: container.name,
    argv,
    tty: flag('tty'),
    attachStdin: flag('attachStdin'),
    attachStdout: flag('attachStdout'),
  }
  const exec = {
    AttachStdin: seen.attachStdin,
    AttachStdout: seen.attachStdout,
    Tty: seen.tty,
    Cmd: argv,
    Container: container.engineId,
  }
  const answer = hostAccess(container, { exec }, 'exec', view, host)
  host.executed(seen)
  return answer
}

function logs(container: PeerContainer, body: Readonly<Record<string, unknown>>, view: View, host: ActionHost) {
  const claim = {
    Container: container.engineId,
    Lines: Number(body.lines ?? 100),
    Follow: String(body.follow ?? true) === 'true',
    Timestamps: String(body.timestamps ?? true) === 'true',
    Since: String(body.since ?? ''),
  }
  return hostAccess(container, { logs: claim }, 'logs', view, host)
}

/** The URL is always `/v1/exec/`, whatever version and scope were asked [CT HostApiServiceImpl]. */
function hostAccess(container: PeerContainer, claims: Claims, path: 'exec' | 'logs', view: View, host: ActionHost) {
  const on = host.world.hosts.find((one) => one.id === container.host)
  if (!on) throw new ApiError(404, 'Not Found')
  if (host.faults.proxyDisabled) throw new ApiError(501, 'HostApiProxyDisabled')
  const origin = new URL(view.base).origin.replace(/^http/, 'ws')
  return {
    status: 200,
    body: {
      id: null,
      type: 'hostAccess',
      links: {},
      actions: {},
      baseType: 'hostAccess',
      token: host.tokens.sign({ hostUuid: on.uuid, ...claims }),
      url: `${origin}/v1/${path}/`,
    },
  }
}

/** JSON whatever the Content-Type says. */
export function bodyOf(text: string): Readonly<Record<string, unknown>> {
  if (text.trim() === '') return {}
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // Answered below, like every other body that is not an object.
  }
  throw new ApiError(400, 'InvalidBodyContent')
}
