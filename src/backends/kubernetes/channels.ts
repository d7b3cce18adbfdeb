/** The channel protocol of Kubernetes' exec (kubernetes.md §2–§4): one websocket message is a channel byte and a payload. */

import * as z from 'zod'
import type { Stream } from '../../core/model.ts'
import type { Socket } from '../transport.ts'
import { protocol } from './api.ts'

/** New servers take v5 whatever the order, old ones ignore it. Anything else tells no exit code. */
export const V5 = 'v5.channel.k8s.io'
export const V4 = 'v4.channel.k8s.io'

const STDIN = 0
const STDOUT = 1
const STDERR = 2
const STATUS = 3
const CLOSE = 255
/** Larger ones a server may refuse. */
const STDIN_PIECE_BYTES = 32 * 1024

export type ChannelEvent =
  | { readonly type: 'output'; readonly stream: Stream; readonly data: Uint8Array }
  | { readonly type: 'ended'; readonly how: HowEnded }

/** What the last word said. `message` may quote the command. */
export type HowEnded = { readonly type: 'exited'; readonly code: number } | { readonly type: 'failed'; readonly message: string }

/** Newer runtimes leave `metadata`, `details` and `code` out. */
const ExecStatus = z.object({
  status: z.string().nullish(),
  message: z.string().nullish(),
  reason: z.string().nullish(),
  details: z
    .object({ causes: z.array(z.object({ reason: z.string().nullish(), message: z.string().nullish() })).nullish() })
    .nullish(),
})

/** Ends after `ended`, or without it when the connection does: then nobody said how the command ended. */
export async function* channels(socket: Socket): AsyncGenerator<ChannelEvent> {
  for await (const message of socket.messages) {
    if (message.type === 'text') throw protocol('Kubernetes sent text where bytes belong.', 'maybe')
    const channel = message.data[0]
    const data = message.data.subarray(1)
    // An empty message says "connected", on whatever channel.
    if (data.byteLength === 0) continue
    if (channel === STDOUT || channel === STDERR) yield { type: 'output', stream: channel === STDOUT ? 'stdout' : 'stderr', data }
    else if (channel === STATUS) {
      yield { type: 'ended', how: howEnded(new TextDecoder().decode(data)) }
      return
    } else throw protocol(`Kubernetes sent something on channel ${channel}, which is not one of its own.`, 'maybe')
  }
}

/** By reason and cause, never by the message: that differs between versions, and quotes the command. */
export function howEnded(text: string): HowEnded {
  let status: z.infer<typeof ExecStatus>
  try {
    status = ExecStatus.parse(JSON.parse(text))
  } catch (cause) {
    throw protocol('Kubernetes told the end of the command in a way that is not a Status.', 'maybe', cause)
  }
  if (status.status === 'Success') return { type: 'exited', code: 0 }
  if (status.reason === 'NonZeroExitCode') {
    const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message
    if (code && /^\d{1,3}$/.test(code)) return { type: 'exited', code: Number(code) }
    throw protocol('Kubernetes told an exit code that is none.', 'maybe')
  }
  return { type: 'failed', message: status.message ?? '' }
}

export function sendInput(socket: Socket, data: Uint8Array): void {
  for (let at = 0; at < data.byteLength; at += STDIN_PIECE_BYTES) {
    const piece = data.subarray(at, at + STDIN_PIECE_BYTES)
    const message = new Uint8Array(piece.byteLength + 1)
    message[0] = STDIN
    message.set(piece, 1)
    socket.send(message)
  }
}

/** v5 only; on v4 it is ignored, and stdin has no end. */
export function endInput(socket: Socket): void {
  socket.send(new Uint8Array([CLOSE, STDIN]))
}

/** An empty piece of stdin: nothing to the command, and the only thing that resets a server's idle limit; pings do not. */
export function keepAlive(socket: Socket): void {
  socket.send(new Uint8Array([STDIN]))
}
