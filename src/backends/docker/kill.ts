/** Ends what an execution started in a container, and proves it: by a look inside as the same user, and by the engine's own record. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { ExecHandle, Target } from '../../core/model.ts'
import { pause } from '../../core/pause.ts'
import type { KillResult } from '../../core/ports.ts'
import { KILL_WORDS_BYTES, killCommand, killResult } from '../wire/kill.ts'
import { type Api, parsed } from './api.ts'
import { DEADLINE_LABEL, HELPER_LABEL, Inspected } from './container.ts'
import { type Connection, type ExecRecord, execute, recordOf } from './exec.ts'
import { dockerFrames } from './frames.ts'
import { readHandle } from './handle.ts'

/** A start that was asked for and then given up may still come. */
const MAY_COME_MS = 2_000
/** From the last process gone to the engine's record of it. */
const RECORD_MS = 2_000
const HELPER_MS = 30_000
const LOOKS = 2

export async function kill(
  connection: Connection & { readonly helperImage?: string },
  target: Target,
  handle: ExecHandle,
  signal: AbortSignal,
): Promise<KillResult> {
  const { api, begun } = connection
  const { exec, ...told } = readHandle(handle.exec)
  const known = begun.get(exec)
  known?.drain?.()
  const id = told.id ?? known?.id
  const user = told.user ?? known?.user
  if (await isDead(api, target, signal)) return { result: 'gone' }
  // The engine answers a start before it has started. One that was given up before its answer, and has not come by now, is not
  // coming: what is asked of the engine from here on is begun, ended and looked at after it.
  if (id !== undefined && (told.id !== undefined || known?.asked)) {
    if (!(await hasBegun(api, id, signal)) && told.id !== undefined) return { result: 'left' }
  }
  // What was only just beginning may have borne no mark yet when it was looked at: hence a second look.
  for (let looks = 1; ; looks += 1) {
    const inside = await lookInside(connection, target, exec, user, signal)
    const helped =
      inside === undefined && connection.helperImage
        ? await byHelper(api, connection.helperImage, target, exec, signal)
        : undefined
    const said = inside ?? helped
    const record = id === undefined ? undefined : await settled(api, id, said === undefined ? 0 : RECORD_MS, signal)
    // As the engine's host counts: for a reader who looks there, never for a signal.
    const left: KillResult = { result: 'left', ...(record?.Running && record.Pid ? { pid: record.Pid } : {}) }
    const result = said === undefined ? left : killResult(said, handle)
    if (result.result === 'gone' && record?.Running) {
      if (looks < LOOKS) continue
      return left
    }
    if (result.result === 'gone') begun.delete(exec)
    else if (await isDead(api, target, signal)) return { result: 'gone' }
    return result
  }
}

/** With its container every process of it ends. */
async function isDead(api: Api, target: Target, signal: AbortSignal): Promise<boolean> {
  const response = await api.request({ method: 'GET', path: `/containers/${target.native}/json`, signal })
  if (response.status === 404) return true
  const { Running, Paused } = parsed(response, Inspected, `the container ${target.name}`).State
  // To Podman a paused one does not run.
  return !Running && !Paused
}

/** Or has ended, or was forgotten after its end. */
async function hasBegun(api: Api, id: string, signal: AbortSignal): Promise<boolean> {
  for (let waited = 0; ; waited += 100) {
    const record = await recordOf(api, id, signal)
    if (record === undefined || record.Running || typeof record.ExitCode === 'number') return true
    if (waited >= MAY_COME_MS || signal.aborted) return false
    await pause(100, signal)
  }
}

async function settled(api: Api, id: string, ms: number, signal: AbortSignal): Promise<ExecRecord | undefined> {
  for (let waited = 0; ; waited += 100) {
    const record = await recordOf(api, id, signal)
    if (!record?.Running || waited >= ms || signal.aborted) return record
    await pause(100, signal)
  }
}

/** What the program says; undefined where it cannot be run, for want of a shell or because the container is paused. */
async function lookInside(
  connection: Connection,
  target: Target,
  marker: string,
  user: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const command = { ...killCommand(marker, undefined), ...(user === undefined ? {} : { user }) }
  const decoder = new TextDecoder()
  let said = ''
  let code: number | undefined
  try {
    for await (const event of execute(connection, { target, command, exec: newMarker(), signal })) {
      if (event.type === 'output' && event.stream === 'stdout')
        said = (said + decoder.decode(event.data, { stream: true })).slice(0, KILL_WORDS_BYTES)
      if (event.type === 'exit') code = event.code
    }
  } catch (error) {
    if (
      error instanceof BackendError &&
      error.ran === 'no' &&
      (error.code === 'command_not_found' || error.code === 'not_running')
    )
      return undefined
    throw error
  }
  // A shell that was ended itself has proved nothing.
  return code === 0 ? said : ''
}

const Made = z.object({ Id: z.string() })
const Waited = z.object({ StatusCode: z.number() })

/** Where there is no shell inside: the same program, from a container that sees the processes of this one and nothing else of the host. */
async function byHelper(
  api: Api,
  image: string,
  target: Target,
  marker: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(HELPER_MS)])
  await sweep(api, limited)
  const body = {
    Image: image,
    Entrypoint: killCommand(marker, undefined).argv,
    Cmd: [],
    User: '0:0',
    Labels: { [HELPER_LABEL]: 'kill', [DEADLINE_LABEL]: String(api.now() + HELPER_MS) },
    HostConfig: {
      PidMode: `container:${target.native}`,
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      // To signal, and to read the environment of, processes of other users.
      CapAdd: ['KILL', 'SYS_PTRACE'],
      SecurityOpt: ['no-new-privileges'],
      ReadonlyRootfs: true,
      LogConfig: { Type: 'local' },
    },
  }
  const { Id } = parsed(
    await api.request({ method: 'POST', path: '/containers/create', body, signal: limited }),
    Made,
    `the helper image ${image}`,
  )
  try {
    const started = await api.request({ method: 'POST', path: `/containers/${Id}/start`, signal: limited })
    // Without a shell it is no helper image.
    if (started.status >= 400) return undefined
    const waited = await api.request({ method: 'POST', path: `/containers/${Id}/wait`, signal: limited })
    if (parsed(waited, Waited, 'the helper’s end').StatusCode !== 0) return ''
    return await logOf(api, Id, limited)
  } finally {
    await remove(api, Id)
  }
}

async function logOf(api: Api, id: string, signal: AbortSignal): Promise<string> {
  const engine = await api.engine(signal)
  const { body } = await engine.transport.stream({
    method: 'GET',
    url: `${engine.endpoint.base}/v${engine.version}/containers/${id}/logs?stdout=1`,
    signal,
  })
  const frames = dockerFrames()
  const decoder = new TextDecoder()
  let said = ''
  for await (const data of body) {
    for (const piece of frames.write(data)) said += decoder.decode(piece.data, { stream: true })
    if (said.length > KILL_WORDS_BYTES) break
  }
  return said
}

const Helper = z.array(
  z.object({
    Id: z.string(),
    /** Seconds since 1970. */
    Created: z.number().nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
  }),
)

/** What a drover that was ended in the middle has left, of every kind. */
export async function sweep(api: Api, signal: AbortSignal): Promise<void> {
  const filters = JSON.stringify({ label: [HELPER_LABEL] })
  const response = await api.request({
    method: 'GET',
    path: `/containers/json?${new URLSearchParams({ all: '1', filters })}`,
    signal,
  })
  for (const { Id, Created, Labels } of parsed(response, Helper, 'the list of helpers')) {
    // Without a time it is somebody else's, whose label happens to be the same.
    const deadline = Number(Labels?.[DEADLINE_LABEL] ?? Number.NaN)
    // `docker commit` gives the labels of what drover made to an image, and so to containers that were late before they were made.
    if (deadline < api.now() && (Created ?? 0) * 1000 < deadline) await remove(api, Id)
  }
}

/** Also after the deadline of the rest. That it is gone already is no failure. */
export async function remove(api: Api, id: string): Promise<void> {
  await api
    .request({ method: 'DELETE', path: `/containers/${id}?force=1&v=1`, signal: AbortSignal.timeout(10_000) })
    .catch(() => undefined)
}

const newMarker = () => crypto.randomUUID().replaceAll('-', '')
