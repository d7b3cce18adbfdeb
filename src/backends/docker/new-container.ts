/** A container made for one command: made, attached to, started, waited for, removed; ended with all that is in it. */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import type { Command, ExecEvent, ExecHandle, NewContainer, Target } from '../../core/model.ts'
import type { KillResult } from '../../core/ports.ts'
import { TransportError, UpgradeRefused } from '../transport.ts'
import { type Bounds, bytesOf, DEADLINE_LABEL, EXEC_LABEL, HELPER_LABEL, LONGEST_MS, noneMade } from '../wire/new-container.ts'
import { type Api, messageOf, parsed, refusal } from './api.ts'
import { brokenStream, feed, givenUp, MARKER, outputOf, pause, refuseUnsupported } from './exec.ts'
import { remove, sweep } from './kill.ts'
import { startFailure } from './start-failure.ts'

/** From the end of the output to the engine's word for it. */
const WORD_MS = 2_000
const TERM_SECONDS = 2
const REMOVED_MS = 5_000

const Made = z.object({ Id: z.string().regex(/^[0-9a-f]{64}$/) })
const Waited = z.object({ StatusCode: z.number().int(), Error: z.object({ Message: z.string() }).nullish() })

type What = {
  readonly target: Target
  readonly creates: NewContainer
  readonly command: Command
  readonly exec: string
  readonly signal: AbortSignal
}

export async function* executeNew(api: Api, bounds: Bounds | undefined, what: What): AsyncGenerator<ExecEvent> {
  if (bounds === undefined) throw noneMade()
  refuseUnsupported(what.command)
  await sweep(api, what.signal)
  const id = await make(api, bounds, what)
  const left = new AbortController()
  try {
    yield* run(api, id, { ...what, signal: AbortSignal.any([what.signal, left.signal]) })
  } finally {
    left.abort()
    // Whatever happened: nobody else ends it, and nobody else needs it.
    await remove(api, id)
  }
}

/** Attached to and waited for before it is started: nothing it writes, and no ending, can be missed [§2.5]. */
async function* run(api: Api, id: string, { target, command, exec, signal }: What): AsyncGenerator<ExecEvent> {
  const bytes = await attach(api, id, command, signal)
  const waiting = await api.stream({ path: `/containers/${id}/wait?condition=next-exit`, signal })
  const word = textOf(waiting.body).then(
    (text) => ({ text }),
    (error: unknown) => ({ error }),
  )
  if (signal.aborted) throw givenUp(signal, 'no')
  yield { type: 'started', handle: { target: target.id, exec } }
  await start(api, id, command, signal)

  let said = ''
  const decoder = new TextDecoder()
  for await (const event of outputOf(bytes, { tty: command.tty ?? false, signal })) {
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

async function make(api: Api, bounds: Bounds, { creates, command, exec, signal }: What): Promise<string> {
  const stdin = command.stdin !== undefined
  const memory = creates.memoryBytes ?? bytesOf(bounds.memory)
  const body = {
    Image: creates.image,
    // All of argv, so that no entrypoint of the image stands before what was judged.
    Entrypoint: command.argv,
    Cmd: [],
    Env: Object.entries({ ...command.env, [MARKER]: exec }).map(([name, value]) => `${name}=${value}`),
    Tty: command.tty ?? false,
    AttachStdin: stdin,
    OpenStdin: stdin,
    StdinOnce: stdin,
    AttachStdout: true,
    AttachStderr: true,
    ...(command.dir === undefined ? {} : { WorkingDir: command.dir }),
    ...(command.user === undefined ? {} : { User: command.user }),
    Labels: { [HELPER_LABEL]: 'new', [EXEC_LABEL]: exec, [DEADLINE_LABEL]: String(Date.now() + LONGEST_MS) },
    HostConfig: {
      NetworkMode: creates.network ?? 'none',
      Memory: memory,
      // The same: no swap beside it.
      MemorySwap: memory,
      NanoCpus: Math.round((creates.cpus ?? bounds.cpus) * 1e9),
      PidsLimit: bounds.processes,
      Init: true,
      SecurityOpt: ['no-new-privileges'],
      // What it writes is drover's to keep.
      LogConfig: { Type: 'none' },
    },
  }
  const response = await api.request({ method: 'POST', path: '/containers/create', body, signal })
  if (response.status === 404)
    throw new BackendError(
      {
        code: 'backend_not_found',
        message: `The image ${creates.image} is not on the engine: ${messageOf(response)}`,
        next: 'drover pulls nothing: pull it there first.',
      },
      { ran: 'no' },
    )
  return parsed(response, Made, 'the new container').Id
}

async function attach(api: Api, id: string, command: Command, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  const path = `/containers/${id}/attach?stream=1&stdout=1&stderr=1`
  try {
    if (command.stdin !== undefined) {
      const connection = await api.upgrade({ path: `${path}&stdin=1`, signal })
      void feed(connection, command.stdin).catch(() => undefined)
      return connection.incoming
    }
    const response = await api.stream({ path, signal })
    if (response.status === 200) return response.body
    throw refusal({ status: response.status, body: await textOf(response.body) }, 'the new container')
  } catch (error) {
    if (signal.aborted) throw givenUp(signal, 'no')
    if (error instanceof UpgradeRefused) throw refusal(error, 'the new container')
    if (!(error instanceof TransportError)) throw error
    throw new BackendError(brokenStream(`The connection broke before the start: ${error.message}.`).toFailure(), {
      ran: 'no',
      cause: error,
    })
  }
}

async function start(api: Api, id: string, command: Command, signal: AbortSignal): Promise<void> {
  try {
    const response = await api.request({ method: 'POST', path: `/containers/${id}/start`, signal })
    if (response.status < 300) return
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
export async function killNew(api: Api, handle: ExecHandle, signal: AbortSignal): Promise<KillResult> {
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
