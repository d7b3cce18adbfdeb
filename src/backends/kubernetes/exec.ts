/** One command through Kubernetes' exec: its websocket, the wrapper's marker on it, and how it ended, as events. */

import { BackendError } from '../../core/errors.ts'
import type { Actor, Argv, Command, ExecEvent, Stream, Target } from '../../core/model.ts'
import { type Socket, TransportError, UpgradeRefused } from '../transport.ts'
import { type Api, protocol, surelyUnsent, unreachable } from './api.ts'
import { channels, endInput, type HowEnded, keepAlive, sendInput, V4, V5 } from './channels.ts'
import {
  broken,
  commandNotFound,
  givenUp,
  noDirectory,
  notBegun,
  notProved,
  notStarted,
  streamFailed,
  unsupported,
} from './exec-failure.ts'
import { startFailure, toldAsExit } from './start-failure.ts'
import { markerParser, wrapped } from './wrapper.ts'

export type ExecTimes = {
  /** For the websocket to be open. */
  readonly connectMs: number
  /** From then on, for the wrapper's marker. */
  readonly startMs: number
  /** Between keep-alive messages; balancers cut idle connections after a minute or more. */
  readonly keepAliveMs: number
}

/** What a container is asked to run, as the server hears it. */
export type Ask = { readonly argv: Argv; readonly stdin: boolean; readonly tty: boolean; readonly protocols: readonly string[] }
export type Connection = {
  readonly times: ExecTimes
  /** Opens the websocket of one exec. Throws UpgradeRefused, TransportError, or BackendError when nothing was asked to run. */
  readonly dial: (
    target: Target,
    ask: Ask,
    by: { readonly by: Actor | undefined; readonly signal: AbortSignal },
  ) => Promise<Socket>
  /** What the server's ordinary response to it means. */
  readonly refusal: Api['refusal']
  /** After the wrapper's word on the exit code, for the rest of the output, which a background child may hold open; absent: as long as it takes. */
  readonly restMs?: number
}
export type What = {
  readonly target: Target
  readonly command: Command
  readonly exec: string
  readonly signal: AbortSignal
  readonly by?: Actor | undefined
}

/** What is kept of words before the marker. */
const HELD_BYTES = 64 * 1024
const MAX_STDIN_BYTES = 16 * 1024 * 1024

export async function* execute(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  refuseUnsupported(what.command)
  const outcome = yield* executeWrapped(connection, what)
  // Its shell could not be started, so the command was not either: this is its first and only run.
  if (outcome === 'no-shell') yield* executeBare(connection, what)
}

function refuseUnsupported(command: Command): void {
  const { argv, dir, env = {}, stdin, tty, user } = command
  if (user !== undefined)
    throw unsupported('Kubernetes cannot choose the user.', 'Run it without user=, or use su inside the command.')
  if (dir !== undefined && !dir.startsWith('/')) throw unsupported('The directory must be absolute.', 'Begin it with /.')
  if (tty && stdin !== undefined) throw unsupported('With a terminal, stdin cannot be ended.', 'Leave one of the two out.')
  if (stdin !== undefined && stdin.length > MAX_STDIN_BYTES) throw unsupported('stdin is larger than 16 MiB.', 'Send less.')
  if ([...argv, dir ?? '', ...Object.entries(env).flat()].some((one) => one.includes('\0')))
    throw unsupported('A NUL byte cannot be part of a command.', 'Take it out.')
  if ('DROVER_EXEC' in env) throw unsupported('DROVER_EXEC is how drover finds the command again.', 'Use another name.')
  const name = Object.keys(env).find((one) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(one))
  if (name !== undefined)
    throw unsupported(`A shell cannot set a variable named ${JSON.stringify(name)}.`, 'Use letters, digits and _ only.')
}

async function* executeWrapped(connection: Connection, what: What): AsyncGenerator<ExecEvent, 'done' | 'no-shell'> {
  const { command, exec, signal, target } = what
  const tty = command.tty ?? false
  const socket = await connect(connection, what, { argv: wrapped(command, exec), stdin: true, tty, protocols: [V5, V4] }, 'no')
  const nonce = newNonce()
  const opening = markerParser(exec)
  const closing = markerParser(nonce)
  /** On a terminal what comes first is the echo of the wrapper's line. */
  let isEcho = tty
  /** The exit code that the wrapper told. */
  let told: number | undefined
  let resting: ReturnType<typeof setTimeout> | undefined
  /** What came before the wrapper was there: the shell's own words, or a runtime's. */
  const held: ExecEvent[] = []
  let heldBytes = 0
  let began = false
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    socket.close()
  }, connection.times.startMs)
  // With stdin a command that reads nothing holds the server up, and a ping's answer with it.
  const alive = stayAlive(socket, connection.times.keepAliveMs, command.stdin === undefined)

  function* take(stream: Stream, data: Uint8Array): Generator<ExecEvent> {
    const isMarked = stream === (tty ? 'stdout' : 'stderr')
    if (began) return yield* isMarked ? own(stream, data) : output(stream, data)
    const { before, marker, after } = isMarked ? opening.write(data) : { before: data, marker: undefined, after: NOTHING }
    if (!tty && heldBytes < HELD_BYTES) held.push(...output(stream, before))
    heldBytes += before.byteLength
    if (marker === undefined) return
    if (marker.type === 'd') throw noDirectory(command.dir)
    if (marker.type === 'h')
      throw unsupported('There is no `head` in this container, and without it stdin has no end.', 'Run it without stdin.')
    clearTimeout(timer)
    sendInput(socket, new TextEncoder().encode(`${nonce}\n`))
    if (command.stdin !== undefined) sendInput(socket, new TextEncoder().encode(command.stdin))
    began = true
    yield { type: 'started', handle: { target: target.id, exec, ...(marker.number === undefined ? {} : { pid: marker.number }) } }
    yield* held.splice(0)
    yield* own(stream, after)
  }

  /** The stream that holds the markers, without them. A background child may go on writing after the last one. */
  function* own(stream: Stream, data: Uint8Array): Generator<ExecEvent> {
    for (let rest = data; ; ) {
      const { before, marker, after } = closing.write(rest)
      if (!isEcho) yield* output(stream, before)
      if (marker === undefined) return
      if (marker.type === 'b') isEcho = false
      else {
        told = marker.number
        if (connection.restMs !== undefined) resting = setTimeout(() => socket.close(), connection.restMs)
      }
      rest = after
    }
  }

  try {
    // A node that is gone takes its time to say so, and none of another's.
    yield { type: 'connected' }
    for await (const event of channels(socket)) {
      if (event.type === 'output') yield* take(event.stream, event.data)
      else {
        if (began) {
          yield* output(tty ? 'stdout' : 'stderr', closing.end())
          // Any other code is the runtime's own word; of a lost node only success is told.
          if (event.how.type === 'exited' && event.how.code === 0 && told !== 0)
            throw streamFailed('it told success, and the container did not')
          return yield* ended(event.how)
        }
        const failure = whyNotBegun(event.how, held)
        if (failure?.type === 'not-found') return 'no-shell'
        throw failure?.error ?? notBegun(event.how)
      }
    }
    // Its own word, by the nonce: what still holds the output open is not the command.
    if (told !== undefined && resting !== undefined && !signal.aborted) {
      yield { type: 'exit', code: told }
      return 'done'
    }
    // Without its line the wrapper runs nothing, and its line can no longer come.
    if (signal.aborted) throw givenUp(signal, began ? 'maybe' : 'no')
    if (isLate) throw notStarted(connection.times.startMs)
    throw broken(await socket.ended, began)
  } finally {
    clearTimeout(timer)
    clearTimeout(resting)
    clearInterval(alive)
    socket.close()
  }
}

const NOTHING = new Uint8Array()

function output(stream: Stream, data: Uint8Array): ExecEvent[] {
  return data.byteLength === 0 ? [] : [{ type: 'output', stream, data }]
}

function* ended(how: HowEnded): Generator<ExecEvent, 'done'> {
  // It had begun, so this is the stream that failed, not the command (S41).
  if (how.type === 'failed') throw streamFailed(how.message)
  yield { type: 'exit', code: how.code }
  return 'done'
}

function whyNotStarted(how: HowEnded, text: string, executable: string) {
  return how.type === 'failed' ? startFailure(how.message, executable) : toldAsExit(how.code, text, executable)
}

function whyNotBegun(how: HowEnded, held: readonly ExecEvent[]) {
  const decoder = new TextDecoder()
  const text = held.map((event) => (event.type === 'output' ? decoder.decode(event.data.subarray(0, 4096)) : '')).join('')
  return whyNotStarted(how, text, '/bin/sh')
}

/** Without a shell: the command itself, and no way to end it. */
export async function* executeBare(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  const { command, signal, target } = what
  const [executable] = command.argv
  if (command.env !== undefined || command.dir !== undefined)
    throw unsupported(
      'There is no /bin/sh in this container, and without it Kubernetes cannot set a directory or environment.',
      'Run it without dir= and env=.',
    )
  const stdin = command.stdin !== undefined
  // v4 is the runtime's own: with nobody inside to tell the exit code, only its word is good. The end of stdin takes v5.
  const ask = { argv: command.argv, stdin, tty: command.tty ?? false, protocols: [stdin ? V5 : V4] }
  const socket = await connect(connection, what, ask, 'maybe')
  const alive = stayAlive(socket, connection.times.keepAliveMs, !stdin)
  const held: ExecEvent[] = []
  let isHolding = true
  try {
    yield { type: 'started', handle: { target: target.id, exec: what.exec } }
    if (command.stdin !== undefined) {
      sendInput(socket, new TextEncoder().encode(command.stdin))
      endInput(socket)
    }
    for await (const event of channels(socket)) {
      if (event.type === 'output') {
        held.push({ type: 'output', stream: event.stream, data: event.data })
        // Only what may be an engine's refusal told as output waits for the exit code.
        isHolding &&=
          held.length === 1 &&
          event.stream === 'stdout' &&
          /^OCI runtime/.test(new TextDecoder().decode(event.data.subarray(0, 64)))
        if (!isHolding) yield* held.splice(0)
        continue
      }
      const { how } = event
      const text = held.map((one) => (one.type === 'output' ? new TextDecoder().decode(one.data) : '')).join('')
      // What has written has begun, whatever a lost container makes its runtime say (S41).
      const failure = isHolding ? whyNotStarted(how, text, executable) : undefined
      if (failure) throw failure.type === 'error' ? failure.error : commandNotFound(executable)
      yield* held.splice(0)
      if (stdin && how.type === 'exited' && how.code === 0) yield { type: 'exit-unknown', error: notProved }
      else yield* ended(how)
      return
    }
    if (signal.aborted) throw givenUp(signal)
    throw broken(await socket.ended, true)
  } finally {
    clearInterval(alive)
    socket.close()
  }
}

function newNonce(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function stayAlive(socket: Socket, everyMs: number, ping: boolean): ReturnType<typeof setInterval> {
  return setInterval(() => {
    keepAlive(socket)
    if (ping) socket.ping()
  }, everyMs)
}

/** There is one try and never a second. `ran` is what a broken handshake leaves open. */
async function connect(connection: Connection, what: What, ask: Ask, ran: 'no' | 'maybe'): Promise<Socket> {
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(), connection.times.connectMs)
  try {
    const signal = AbortSignal.any([what.signal, deadline.signal])
    const socket = await connection.dial(what.target, ask, { by: what.by, signal })
    if (ask.protocols.includes(socket.protocol)) return socket
    socket.close()
    throw protocol(
      `What answered speaks ${socket.protocol ? JSON.stringify(socket.protocol) : 'no protocol'} and not ${ask.protocols.join(' or ')}.`,
      ran,
    )
  } catch (error) {
    if (what.signal.aborted) throw givenUp(what.signal, ran)
    if (error instanceof UpgradeRefused) throw await upgradeRefused(connection, error, what, ask, ran)
    if (!(error instanceof TransportError)) throw error
    throw unreachable(error, { isLate: deadline.signal.aborted, ran: surelyUnsent(error) ? 'no' : ran })
  } finally {
    clearTimeout(timer)
  }
}

async function upgradeRefused(
  { refusal }: Connection,
  error: UpgradeRefused,
  what: What,
  ask: Ask,
  ran: 'no' | 'maybe',
): Promise<BackendError> {
  const { status, body } = error
  if (status === 403 && body.trim() === '') {
    // golang.org/x/net/websocket: none of the offered protocols is known. RBAC refuses with a Status.
    if (ask.protocols.includes(V4))
      return protocol('The API server speaks neither v4 nor v5 of the exec protocol over websockets.')
    return unsupported(
      'This server is older than Kubernetes 1.30 and cannot end a command’s stdin in a container without a shell.',
      'Run it without stdin.',
    )
  }
  const about = `commands in ${what.target.name}`
  const failure = startFailure(body, ask.argv[0])
  if (failure?.type === 'error') return failure.error
  if (status === 400 && /Upgrade request required/i.test(body))
    return new BackendError(
      {
        code: 'backend_unavailable',
        message: 'Something between drover and the API server took the websocket upgrade out of the request.',
        next: 'What stands before the API server must pass websockets on (nginx with Upgrade headers, a balancer in TCP mode).',
      },
      { ran: 'no', cause: error },
    )
  // A gateway that gave up waiting may have handed the request on before.
  const isGateway = status >= 502 && !/"kind":\s*"Status"/.test(body)
  return await refusal({ status, body }, { what: about, ran: isGateway ? ran : 'no' })
}
