/** A container made for one command: made, attached to, started, waited for, removed; ended with all that is in it. */

import * as z from 'zod'
import { BackendError, DroverError } from '../../core/errors.ts'
import type { Command, ExecEvent, ExecHandle, NewContainer } from '../../core/model.ts'
import { pause } from '../../core/pause.ts'
import type { KillResult } from '../../core/ports.ts'
import { TransportError, UpgradeRefused } from '../transport.ts'
import { EXEC_LABEL, LONGEST_MS, noneMade } from '../wire/new-container.ts'
import { type Api, messageOf, parsed, refusal } from './api.ts'
import { drainable } from './drain.ts'
import { brokenStream, type Connection, givenUp, outputOf, type What as RunWhat, refuseUnsupported } from './exec.ts'
import { remember } from './handle.ts'
import { feed, inputOf } from './input.ts'
import { remove, sweep } from './kill.ts'
import type { Login, Logins } from './logins.ts'
import { containerBody } from './new-body.ts'
import { pull } from './pull.ts'
import type { DockerBounds } from './settings.ts'
import { startFailure } from './start-failure.ts'

/** From the end of the output to the engine's word for it. */
const WORD_MS = 2_000
const TERM_SECONDS = 2
/** As dexec gives. */
const GRACE_MS = 300_000
const REMOVED_MS = 5_000

const Made = z.object({ Id: z.string().regex(/^[0-9a-f]{64}$/) })
const Waited = z.object({ StatusCode: z.number().int(), Error: z.object({ Message: z.string() }).nullish() })

export type What = RunWhat & {
  readonly creates: NewContainer
  /** How long it may last; whatever is there after that, and some minutes, is swept away. */
  readonly lastsMs?: number | undefined
  /** Called with its id, before it is started. */
  readonly onMade?: ((id: string) => void) | undefined
}

export async function* executeNew(
  { api, begun, logins }: Connection & { readonly logins?: Logins | undefined },
  bounds: DockerBounds | undefined,
  what: What,
): AsyncGenerator<ExecEvent> {
  if (bounds === undefined) throw noneMade()
  refuseUnsupported(what.command, inputOf(what) !== undefined)
  await sweep(api, what.signal)
  let made = await make(api, bounds, what)
  if (made === 'no image' && bounds.pull === 'missing') {
    yield* pull(api, what.creates.image, await loginFor(logins, what), what.signal)
    made = await make(api, bounds, what)
  }
  if (made === 'no image') throw noImage(what.creates.image)
  const { id } = made
  const left = new AbortController()
  try {
    if (what.signal.aborted) throw givenUp(what.signal, 'no')
    what.onMade?.(id)
    yield* run({ api, begun }, id, { ...what, signal: AbortSignal.any([what.signal, left.signal]) })
  } finally {
    begun.delete(what.exec)
    left.abort()
    // Whatever happened: nobody else ends it, and nobody else needs it.
    await remove(api, id)
  }
}

async function loginFor(logins: Logins | undefined, { creates, signal }: What): Promise<Login | undefined> {
  try {
    return await logins?.for(creates.image, signal)
  } catch (error) {
    if (signal.aborted) throw givenUp(signal, 'no')
    if (!(error instanceof DroverError)) throw error
    throw new BackendError(error.toFailure(), { ran: 'no', cause: error })
  }
}

/** Attached to and waited for before it is started: nothing it writes, and no ending, can be missed [§2.5]. */
async function* run({ api, begun }: Connection, id: string, what: What): AsyncGenerator<ExecEvent> {
  const { target, command, exec, signal } = what
  const bytes = await attach(api, id, what)
  const waiting = await api.stream({ path: `/containers/${id}/wait?condition=next-exit`, signal }).catch((error: unknown) => {
    throw unstarted(error, signal)
  })
  const word = textOf(waiting.body).then(
    (text) => ({ text }),
    (error: unknown) => ({ error }),
  )
  if (signal.aborted) throw givenUp(signal, 'no')
  yield { type: 'started', handle: { target: target.id, exec } }
  await start(api, id, command, signal)
  yield { type: 'connected' }

  let said = ''
  const decoder = new TextDecoder()
  const { events, drain } = drainable(outputOf(bytes, { tty: command.tty ?? false, signal }))
  remember(begun, exec, { id, user: command.user, asked: true, drain })
  for await (const event of events) {
    if (said.length < 300) said += decoder.decode(event.data.subarray(0, 300), { stream: true })
    yield event
  }
  let isLate = false
  const late = pause(WORD_MS, signal).then(() => {
    isLate = true
  })
  await Promise.race([word, late])
  const answer = await word
  if (signal.aborted) throw givenUp(signal)
  const { StatusCode: code } = ending(answer)
  if (isLate) throw brokenStream(`The connection ended before the command did; the engine says that it ended with ${code}.`)
  // Docker's own init says so when there is nothing for it to start.
  if ((code === 126 || code === 127) && said.startsWith('[FATAL tini')) throw startFailure(said, { executable: command.argv[0] })
  yield { type: 'exit', code }
}

function ending(answer: { readonly text: string } | { readonly error: unknown }): z.infer<typeof Waited> {
  if ('error' in answer) throw brokenStream('The engine did not say how the command ended.', answer.error)
  const word = Waited.safeParse(jsonOf(answer.text))
  if (!word.success || word.data.Error) throw brokenStream('The engine did not say how the command ended.')
  return word.data
}

async function make(api: Api, bounds: DockerBounds, what: What): Promise<{ readonly id: string } | 'no image'> {
  const { creates, signal, lastsMs } = what
  const deadlineMs = lastsMs === undefined ? LONGEST_MS : lastsMs + GRACE_MS
  const body = containerBody(bounds, what, api.now() + deadlineMs)
  if (signal.aborted) throw givenUp(signal, 'no')
  // Not given up with the rest: the engine might make it all the same, and nobody would know its id. The request has a deadline of its own.
  const response = await api.request({ method: 'POST', path: '/containers/create', body, signal: new AbortController().signal })
  if (response.status === 404) return 'no image'
  // Its own words name a path of the host.
  if (response.status >= 400 && bounds.disk !== undefined && /storage-opt|quota/i.test(response.body))
    throw no(
      'config',
      `This engine’s storage cannot limit what a new container writes: ${messageOf(response)}`,
      'An administrator can leave out newContainers.disk, and say readOnly: true instead.',
    )
  if (response.status === 400 && /bind source path does not exist/.test(response.body)) throw noSource(creates.mounts)
  return { id: parsed(response, Made, 'the new container').Id }
}

const no = (code: 'backend_not_found' | 'config', message: string, next: string) =>
  new BackendError({ code, message, next }, { ran: 'no' })

const noImage = (image: string) =>
  no(
    'backend_not_found',
    `The image ${image} is not on the engine.`,
    'Pull it there first; an administrator can let drover do so with newContainers: { pull: missing }.',
  )

const noSource = (mounts: readonly string[] = []) =>
  no(
    'config',
    `What is to be mounted is not on the engine’s host: ${mounts.join(', ')}.`,
    'An administrator has to make the folder, or correct newContainers.mounts.',
  )

async function attach(api: Api, id: string, what: What): Promise<AsyncIterable<Uint8Array>> {
  const path = `/containers/${id}/attach?stream=1&stdout=1&stderr=1`
  const { signal } = what
  const input = inputOf(what)
  try {
    if (input !== undefined) {
      const connection = await api.upgrade({ path: `${path}&stdin=1`, signal })
      void feed(connection, input).catch(() => undefined)
      return connection.incoming
    }
    const response = await api.stream({ path, signal })
    if (response.status === 200) return response.body
    throw refusal({ status: response.status, body: await textOf(response.body) }, 'the new container')
  } catch (error) {
    throw unstarted(error, signal)
  }
}

function unstarted(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return givenUp(signal, 'no')
  if (error instanceof UpgradeRefused) return refusal(error, 'the new container')
  if (!(error instanceof TransportError)) return error
  const broken = brokenStream(`The connection broke before the start: ${error.message}.`).toFailure()
  return new BackendError(broken, { ran: 'no', cause: error })
}

async function start(api: Api, id: string, command: Command, signal: AbortSignal): Promise<void> {
  try {
    const response = await api.request({ method: 'POST', path: `/containers/${id}/start`, signal })
    if (response.status < 300) return
    const network = /network (\S+) not found/.exec(messageOf(response))?.[1]
    if (network !== undefined)
      throw no('config', `There is no network ${network} on the engine.`, 'Make it there, or name another.')
    if (response.status === 404) throw refusal(response, 'the new container')
    throw startFailure(messageOf(response), {
      executable: command.argv[0],
      ...(command.dir === undefined ? {} : { dir: command.dir }),
      ...(command.user === undefined ? {} : { user: command.user }),
    })
  } catch (error) {
    if (signal.aborted) throw givenUp(signal)
    // The request may have arrived all the same; what it started is removed.
    if (
      error instanceof BackendError &&
      (error.code === 'backend_unavailable' || error.code === 'timeout') &&
      error.cause !== undefined
    )
      throw new BackendError(error.toFailure(), { ran: 'maybe', cause: error })
    throw error
  }
}

const Found = z.array(z.object({ Id: z.string(), State: z.string() }))

/** With its container every process of it ends; the engine proves that. */
export async function killNew({ api, begun }: Connection, handle: ExecHandle, signal: AbortSignal): Promise<KillResult> {
  begun.get(handle.exec)?.drain?.()
  const filters = JSON.stringify({ label: [`${EXEC_LABEL}=${handle.exec}`] })
  const list = async () =>
    parsed(
      await api.request({ method: 'GET', path: `/containers/json?${new URLSearchParams({ all: '1', filters })}`, signal }),
      Found,
      'the list of containers',
    )
  for (const { Id } of await list()) {
    // 304 and 404: it has ended or gone already.
    await api.request({ method: 'POST', path: `/containers/${Id}/stop?t=${TERM_SECONDS}`, signal })
    await remove(api, Id)
  }
  for (let waited = 0; ; waited += 100) {
    const found = await list()
    if (found.every(({ State }) => State === 'exited' || State === 'dead' || State === 'created')) return { result: 'gone' }
    if (waited >= REMOVED_MS || signal.aborted) return { result: 'left' }
    await pause(100, signal)
  }
}

const MAX_WORD = 64 * 1024

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const data of body) {
    text += decoder.decode(data, { stream: true })
    if (text.length > MAX_WORD) break
  }
  return text
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
