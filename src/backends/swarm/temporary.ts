/** A service made for one command on one node: made, watched to its end, removed; and swept away where nobody did. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { Gate } from '../../core/fan-out.ts'
import { pause } from '../../core/pause.ts'
import type { Api } from '../docker/api.ts'
import { DEADLINE_LABEL, HELPER_LABEL } from '../docker/container.ts'
import { givenUp } from '../docker/exec.ts'
import { TransportError } from '../transport.ts'
import { serviceCommand } from './client.ts'
import { type Node, Node as NodeSchema, nameOf, read, readIfThere, Task, told } from './cluster.ts'
import type { TemporarySettings } from './settings.ts'
import { lost, standingOf, tooLate } from './states.ts'

/** On the service; its value names the execution. */
export const EXEC_LABEL = 'drover.exec'
export const NAME_PREFIX = 'drover-exec-'

export type Temporary = TemporarySettings & {
  /** Of a manager. */
  readonly api: Api
  /** Bounds how many are being started at a time. */
  readonly gate: Gate
}

/** From made to started; a node that has its image takes half a second. */
const START_MS = 15_000
const STARTING_MS = 30_000
/** How long a manager may be out of reach while a command runs: longer than the election of a new leader takes. */
const CONTACT_MS = 20_000
const ASK_MS = 10_000
/** Between two looks at the node. */
const LOOK_MS = 2_000
/** What is done after the command’s own time: ending it, reading its log, removing. */
const AFTER_MS = 120_000
/** No command lasts longer. */
export const LONGEST_MS = 24 * 3_600_000

const SOCKET = '/var/run/docker.sock'

export const serviceName = (exec: string): string => `${NAME_PREFIX}${exec}`

export type Making = {
  readonly exec: string
  readonly node: Node
  /** Of the docker client, behind `docker exec`. */
  readonly args: readonly string[]
  readonly timeoutMs: number | undefined
}

/** Throws BackendError; `ran: 'maybe'` where the request may have arrived: the caller removes it by its name either way. */
export async function make(
  { api, image, socket }: Temporary,
  { exec, node, args, timeoutMs = LONGEST_MS }: Making,
): Promise<void> {
  const deadline = String(api.now() + timeoutMs + AFTER_MS)
  const body = {
    Name: serviceName(exec),
    Labels: { [EXEC_LABEL]: exec, [DEADLINE_LABEL]: deadline },
    TaskTemplate: {
      ContainerSpec: {
        Image: image,
        // Not Args and not Env: in those an engine of a swarm expands templates.
        Command: serviceCommand(exec, SOCKET, args),
        Labels: { [HELPER_LABEL]: 'service', [DEADLINE_LABEL]: deadline },
        User: '0:0',
        ReadOnly: true,
        CapabilityDrop: ['ALL'],
        Mounts: [{ Type: 'bind', Source: socket, Target: SOCKET }],
        StopGracePeriod: 1_000_000_000,
        // Of the others it would wait for the command's own end.
        StopSignal: 'SIGKILL',
      },
      RestartPolicy: { Condition: 'none' },
      // json-file splits characters and doubles bytes, and a driver that only ships has nothing to read back [§3.3].
      LogDriver: { Name: 'local', Options: { 'max-size': '64m', 'max-file': '2', compress: 'false' } },
      Placement: { Constraints: [`node.id==${node.ID}`] },
    },
    Mode: { Replicated: { Replicas: 1 } },
  }
  try {
    // Never given up: a manager might make it all the same, after it was looked for. The request has a deadline of its own.
    const response = await api.request({ method: 'POST', path: '/services/create', body, signal: new AbortController().signal })
    told(response, z.object({ ID: z.string() }), 'the temporary service')
  } catch (error) {
    const reason = error instanceof BackendError && error.cause instanceof TransportError ? error.cause.reason : undefined
    if (error instanceof BackendError && reason !== undefined && !['refused', 'dns', 'tls'].includes(reason))
      throw new BackendError(error.toFailure(), { ran: 'maybe', cause: error })
    throw error
  }
}

export type Watched = {
  readonly exec: string
  readonly node: Node
  /** Called once when it has begun, or has ended. */
  begun(): void
}

/** How the command ended, as the docker client passed it on. Throws BackendError where nobody can say, or nothing was started. */
export async function watch(temporary: Temporary, { exec, node, begun }: Watched, signal: AbortSignal): Promise<number> {
  const { api } = temporary
  const start = Date.now()
  const name = nameOf(node)
  let reached = start
  let lookedAt = 0
  for (;;) {
    if (signal.aborted) throw givenUp(signal)
    const now = Date.now()
    const isLookDue = now - lookedAt > LOOK_MS
    let seen: Seen | undefined
    try {
      seen = await look(api, exec, isLookDue ? node : undefined, signal)
      if (isLookDue) lookedAt = now
      reached = Date.now()
    } catch (error) {
      if (signal.aborted) throw givenUp(signal)
      if (!isAway(error)) throw error
      if (Date.now() - reached > CONTACT_MS)
        throw lost(`The manager cannot be asked any more how the command on the node ${name} ended.`, error)
    }
    const standing = seen?.task && standingOf(seen.task, name)
    switch (standing?.status) {
      case 'exited':
        begun()
        return standing.code
      case 'failed':
        throw standing.error
      case 'running':
        begun()
        if (seen?.isNodeDown) throw lost(`The node ${name} went down while the command ran there.`)
        break
      default:
        if (seen && now - start > (standing?.isTouched ? STARTING_MS : START_MS)) {
          await remove(api, serviceName(exec))
          const isIdle = !seen.task || (!standing?.isTouched && (await neverBegan(api, seen.task.ID, signal)))
          throw tooLate(seen.task, name, isIdle ? 'no' : 'maybe')
        }
    }
    await pause(now - start < 5_000 ? 60 : now - start < 60_000 ? 250 : 1000, signal)
  }
}

type Seen = { readonly task: Task | undefined; readonly isNodeDown: boolean }

/** A swarm knows in some 15 s that a node is dead; until then, and after it, its tasks count as running. */
async function look(api: Api, exec: string, node: Node | undefined, signal: AbortSignal): Promise<Seen> {
  const tasks = await tasksOf(api, exec, signal)
  if (tasks === undefined) throw lost('The temporary service was removed by somebody else before the command ended.')
  // With no restarts there is one; a second would be the command run twice.
  if (tasks.length > 1) throw lost('The swarm has started the temporary service twice.')
  if (!node) return { task: tasks[0], isNodeDown: false }
  const now = await readIfThere(api, `/nodes/${node.ID}`, NodeSchema, within(signal))
  return { task: tasks[0], isNodeDown: now === undefined || now.Status?.State === 'down' }
}

/** Worth asking again: no leader for a moment, no connection, an answer that was cut. */
const isAway = (error: unknown) =>
  error instanceof BackendError &&
  error.ran === 'no' &&
  (error.code === 'backend_unavailable' || error.code === 'timeout' || error.code === 'stream_broken')

const within = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)])

/** Undefined: there is no such service. */
export function tasksOf(api: Api, exec: string, signal: AbortSignal): Promise<readonly Task[] | undefined> {
  return readIfThere(api, '/tasks', z.array(Task), within(signal), { service: [serviceName(exec)] })
}

/** `given up`: the caller has had enough meanwhile, and it is removed; `gone`: and it is certain that its command was never started. */
export type Made = 'made' | 'given up' | 'gone'

/** As `make`, and knows what becomes of what the caller no longer wants. */
export async function makeUnlessGivenUp(temporary: Temporary, making: Making, signal: AbortSignal): Promise<Made> {
  await make(temporary, making)
  if (!signal.aborted) return 'made'
  const late = AbortSignal.timeout(ASK_MS)
  return (await endedBeforeItBegan(temporary, making, 0, late)) ? 'gone' : 'given up'
}

/** True when it is certain that the command was never started, and is not going to be. */
export async function endedBeforeItBegan(
  { api }: Pick<Temporary, 'api'>,
  { exec, node }: Pick<Making, 'exec' | 'node'>,
  mayComeMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  for (let waited = 0; ; waited += 100) {
    const tasks = await tasksOf(api, exec, signal)
    if (tasks === undefined && waited < mayComeMs) {
      await pause(100, signal)
      continue
    }
    const [task] = tasks ?? []
    if (tasks === undefined || (task && standingOf(task, nameOf(node)).status !== 'waiting')) return false
    await remove(api, serviceName(exec))
    if (task === undefined) return (await tasksOf(api, exec, signal)) === undefined
    return neverBegan(api, task.ID, signal)
  }
}

/** Of a service that was removed: true when it is certain that its container was never started. */
export async function neverBegan(api: Api, task: string, signal: AbortSignal): Promise<boolean> {
  for (let waited = 0; waited < 5_000 && !signal.aborted; waited += 100) {
    const now = await readIfThere(api, `/tasks/${task}`, Task, within(signal))
    if (now === undefined || now.Status.State === 'rejected') return true
    const standing = standingOf(now, '')
    if (standing.status !== 'waiting') return now.Status.State === 'shutdown' && !now.Status.ContainerStatus?.ContainerID
    await pause(100, signal)
  }
  return false
}

/** Also after the deadline of the rest. What cannot be removed now the sweep removes. */
export async function remove(api: Api, name: string): Promise<void> {
  const late = AbortSignal.timeout(ASK_MS)
  for (let waitMs = 500; !late.aborted; waitMs *= 2) {
    try {
      const { status } = await api.request({ method: 'DELETE', path: `/services/${name}`, signal: late })
      if (status < 300 || status === 404) return
    } catch {
      // Tried again.
    }
    await pause(waitMs, late)
  }
}

const Left = z.object({
  ID: z.string(),
  Spec: z.object({ Name: z.string(), Labels: z.record(z.string(), z.string()).nullish() }),
})

/** Removes what a drover that was ended in the middle has left, once its time has passed. */
export async function sweep(api: Api, signal: AbortSignal): Promise<void> {
  for (const { ID, Spec } of await read(api, '/services', z.array(Left), signal, { label: [EXEC_LABEL] })) {
    // Others may use such a label: only what bears all three marks is drover's.
    const deadline = Number(Spec.Labels?.[DEADLINE_LABEL] ?? Number.NaN)
    if (Spec.Name.startsWith(NAME_PREFIX) && deadline < api.now()) await remove(api, ID)
  }
}
