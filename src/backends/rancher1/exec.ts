/** One command through Rancher 1.x: the `execute` action, its websocket, and the wrapper's frames on it as events. */

import { BackendError } from '../../core/errors.ts'
import type { Command, ExecEvent } from '../../core/model.ts'
import type { SocketEnd } from '../transport.ts'
import { base64, protocol } from './api.ts'
import { headerStripper } from './docker-headers.ts'
import { engineSays } from './engine-text.ts'
import { bytesOf } from './exec-bytes.ts'
import { type Connection, connect, givenUp, type What } from './exec-connect.ts'
import { type FrameEvent, frameParser, joined } from './frames.ts'
import { wrapped } from './wrapper.ts'

/** What an engine's error text can be at most; more is output. */
const ENGINE_TEXT_BYTES = 4096

export async function* execute(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  refuseUnsupported(what.command)
  const outcome = yield* executeWrapped(connection, what)
  // The wrapper never began, so the command did not either: this is its first and only run.
  if (outcome === 'no-shell') yield* executeBare(connection, what)
}

function refuseUnsupported(command: Command): void {
  const no = (message: string, next: string) => new BackendError({ code: 'unsupported', message, next }, { ran: 'no' })
  if (command.stdin !== undefined)
    throw no('Rancher 1.x cannot end a command’s stdin, so it is not offered.', 'Run it without stdin.')
  if (command.user !== undefined)
    throw no('Rancher 1.x cannot choose the user.', 'Run it without user=, or use su inside the command.')
  if (command.dir !== undefined && !command.dir.startsWith('/')) throw no('The directory must be absolute.', 'Begin it with /.')
  const strings = [...command.argv, command.dir ?? '', ...Object.entries(command.env ?? {}).flat()]
  if (strings.some((one) => one.includes('\0'))) throw no('A NUL byte cannot be part of a command.', 'Take it out.')
  const name = Object.keys(command.env ?? {}).find((one) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(one))
  if (command.env && 'DROVER_EXEC' in command.env)
    throw no('DROVER_EXEC is how drover finds the command again.', 'Use another name.')
  if (name !== undefined)
    throw no(`A shell cannot set a variable named ${JSON.stringify(name)}.`, 'Use letters, digits and _ only.')
}

async function* executeWrapped(connection: Connection, what: What): AsyncGenerator<ExecEvent, 'done' | 'no-shell'> {
  const { times } = connection
  const nonce = newNonce()
  const argv = wrapped(what.command, what.exec)
  // The wrapper waits for its nonce, so nothing has run until that was sent, however the handshake ended.
  const socket = await connect(connection, what, { command: argv, attachStdin: true, tty: what.command.tty ?? false }, 'no')
  const parser = frameParser(nonce)
  const headers = headerStripper()
  const keepAlive = setInterval(() => socket.ping(), times.pingMs)
  let deadline: 'start' | 'rest' | undefined
  const late = (which: 'start' | 'rest') => () => {
    deadline = which
    socket.close()
  }
  let timer = setTimeout(late('start'), times.startMs)
  let preamble: Uint8Array = new Uint8Array()
  let began = false
  let code: number | undefined

  // What the frames say, and whether the end is reached.
  function* take(events: readonly FrameEvent[]): Generator<ExecEvent, boolean> {
    let isOver = false
    for (const event of events) {
      switch (event.type) {
        case 'preamble':
          preamble = joined(preamble, event.data).slice(0, ENGINE_TEXT_BYTES)
          break
        case 'began': {
          clearTimeout(timer)
          began = true
          const pid = Number.isNaN(event.pid) ? {} : { pid: event.pid }
          yield { type: 'started', handle: { target: what.target.id, exec: what.exec, ...pid } }
          break
        }
        case 'stdout':
        case 'stderr':
          yield { type: 'output', stream: event.type, data: event.data }
          break
        case 'no-directory':
          throw new BackendError(
            {
              code: 'command_not_found',
              message: `The directory ${what.command.dir} is not there, or may not be entered, so the command was not started.`,
              next: 'Check dir= against the files of the container.',
            },
            { ran: 'no' },
          )
        case 'exited':
          if (Number.isNaN(event.code)) throw protocol('The wrapper told an exit code that is none.', 'maybe')
          code = event.code
          timer = setTimeout(late('rest'), times.restMs)
          break
        case 'stderr-ended':
          isOver = true
          break
        default:
          event satisfies never
      }
    }
    return isOver && code !== undefined
  }

  try {
    socket.send(base64(`${nonce}\n`))
    yield { type: 'connected' }
    for await (const data of bytesOf(socket)) {
      if (yield* take(parser.write(headers.write(data)))) break
      if (began || preamble.byteLength === 0) continue
      // B0 never closes, so an engine's refusal is recognised as it comes.
      const said = engineSays(preamble, '/bin/sh')
      if (said === 'not-found') return 'no-shell'
      if (said) throw said
    }
    if (code === undefined) yield* take(parser.write(headers.end()))
    if (code === undefined) yield* take(parser.end())
    if (code === undefined) {
      if (what.signal.aborted) throw givenUp(what.signal)
      if (deadline === 'start') throw notStarted(times.startMs)
      throw broken(await socket.ended, began, preamble)
    }
    yield { type: 'exit', code }
    return 'done'
  } finally {
    clearTimeout(timer)
    clearInterval(keepAlive)
    socket.close()
  }
}

/** Without a shell in the container there is neither stderr nor an exit code: what comes is shown, and the end says so. */
async function* executeBare(connection: Connection, what: What): AsyncGenerator<ExecEvent> {
  const { command, signal, target } = what
  if (command.env !== undefined || command.dir !== undefined)
    throw new BackendError(
      {
        code: 'unsupported',
        message: 'There is no /bin/sh in this container, and without it Rancher 1.x cannot set a directory or environment.',
        next: 'Run it without dir= and env=.',
      },
      { ran: 'no' },
    )
  const socket = await connect(
    connection,
    what,
    { command: command.argv, attachStdin: false, tty: command.tty ?? false },
    'maybe',
  )
  const headers = headerStripper()
  const keepAlive = setInterval(() => socket.ping(), connection.times.pingMs)
  let held: Uint8Array | undefined = new Uint8Array()
  const stdout = (data: Uint8Array): ExecEvent[] => (data.byteLength === 0 ? [] : [{ type: 'output', stream: 'stdout', data }])
  try {
    yield { type: 'started', handle: { target: target.id, exec: what.exec } }
    for await (const data of bytesOf(socket)) {
      const bytes = headers.write(data)
      if (held === undefined) {
        yield* stdout(bytes)
        continue
      }
      held = joined(held, bytes)
      // Held back only as long as it reads like the engine's refusal of this very executable.
      const said = engineSays(held, command.argv[0])
      if (said === 'not-found') throw commandNotFound(command.argv[0])
      if (said) throw said
      if (held.byteLength < ENGINE_TEXT_BYTES && mayBecomeEngineText(held)) continue
      yield* stdout(held)
      held = undefined
    }
    if (held !== undefined) yield* stdout(held)
    yield* stdout(headers.end())
    if (signal.aborted) throw givenUp(signal)
    const ended = await socket.ended
    if (ended.code !== 1000) throw broken(ended, true, new Uint8Array())
    yield {
      type: 'exit-unknown',
      error: {
        code: 'exit_code_unknown',
        message: 'It ended, but without a shell in the container Rancher 1.x cannot tell the exit code, and stderr is lost.',
        next: 'Judge by the output, or use an image with /bin/sh.',
      },
    }
  } finally {
    clearInterval(keepAlive)
    socket.close()
  }
}

function mayBecomeEngineText(data: Uint8Array): boolean {
  const text = new TextDecoder().decode(data.subarray(0, 12)).toLowerCase()
  return ['oci runtime ', 'rpc error: c', 'exec failed:', 'container_li', 'exec '].some((begin) =>
    begin.startsWith(text.slice(0, begin.length)),
  )
}

function newNonce(): string {
  return base64(crypto.getRandomValues(new Uint8Array(16))).replace(/[+/=]/g, (c) => ({ '+': '-', '/': '_', '=': '' })[c] ?? '')
}

function commandNotFound(executable: string): BackendError {
  return new BackendError(
    {
      code: 'command_not_found',
      message: `The container has neither ${executable} nor a shell.`,
      next: 'Use a program that the image has.',
    },
    { ran: 'no' },
  )
}

function notStarted(ms: number): BackendError {
  return new BackendError(
    {
      code: 'timeout',
      message: `The container did not begin the command within ${ms / 1000} s.`,
      next: 'Its host may be overloaded, or another client of that host has stalled it. Look before you run it again.',
    },
    { ran: 'maybe' },
  )
}

/** Close 1000 is every ending that Rancher knows, also of a lost tunnel: without the wrapper's last word it proves nothing (S41). */
function broken(ended: SocketEnd, began: boolean, preamble: Uint8Array): BackendError {
  const how = ended.clean ? `close ${ended.code}` : `no close frame: ${ended.reason || ended.code}`
  const text = new TextDecoder().decode(preamble).trim()
  const message = began
    ? `The connection ended (${how}) before the command said how it ended; it may still run.`
    : text === ''
      ? `The connection ended (${how}) before the command began: the container may just have stopped, be paused or be replaced, or its host lost its connection to Rancher.`
      : `The connection ended (${how}) before the command began, with the words: ${text.slice(0, 300)}`
  return new BackendError(
    { code: 'stream_broken', message, next: 'Look at the container and its host, then decide whether to run it again.' },
    { ran: 'maybe' },
  )
}
