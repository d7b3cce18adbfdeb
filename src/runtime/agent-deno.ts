/** Where agents come in on Deno: `Deno.upgradeWebSocket`, as a socket like every other. */

import type { Socket } from '../backends/transport.ts'
import { CLOSE_GRACE_MS, messageQueue } from './socket.ts'

type Upgrade = (
  request: Request,
  options: { readonly idleTimeout: number },
) => { readonly socket: WebSocket; readonly response: Response }

export type Entrance = {
  readonly path: string
  readonly maxMessageBytes: number
  readonly isKnown: (agent: string) => boolean
  readonly accept: (agent: string, socket: Socket, host: string) => Promise<void>
}

const MOST_WAITING_BYTES = 8 * 1024 * 1024
const DRAINED_BYTES = 1024 * 1024

/** Undefined: this request is not an agent's. */
export function takeAgent(request: Request, entrance: Entrance, upgrade: Upgrade): Response | undefined {
  const url = new URL(request.url)
  if (url.pathname !== entrance.path) return undefined
  const agent = url.searchParams.get('agent') ?? ''
  if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') return new Response(null, { status: 426 })
  if (!entrance.isKnown(agent)) return new Response(null, { status: 403 })
  // The request cannot be read once it is upgraded.
  const host = request.headers.get('host') ?? ''
  // Silence is noticed by the hub.
  const { socket, response } = upgrade(request, { idleTimeout: 0 })
  const wrapped = socketOf(socket, entrance.maxMessageBytes)
  socket.onopen = () => void entrance.accept(agent, wrapped, host).catch(() => wrapped.close(1011))
  return response
}

function socketOf(ws: WebSocket, maxMessageBytes: number): Socket {
  const queue = messageQueue(MOST_WAITING_BYTES)
  let grace: ReturnType<typeof setTimeout> | undefined
  const finish = (code: number, reason: string, clean: boolean) => {
    clearTimeout(grace)
    queue.end({ code, reason, clean })
  }
  const close = (code = 1000, reason = '') => {
    if (queue.isEnded() || grace !== undefined) return
    grace = setTimeout(() => finish(1006, 'the far side did not finish the close', false), CLOSE_GRACE_MS)
    try {
      ws.close(code, reason)
    } catch {
      // Already closed by the far side; there is nothing left to end.
    }
  }
  ws.binaryType = 'arraybuffer'
  ws.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    const size = typeof data === 'string' ? data.length : data.byteLength
    const message =
      typeof data === 'string' ? { type: 'text' as const, data } : { type: 'binary' as const, data: new Uint8Array(data) }
    if (size <= maxMessageBytes && queue.push(message)) return
    finish(1009, 'a message was larger than allowed', false)
    ws.close(1009)
  }
  ws.onclose = (event) => finish(event.code || 1006, event.reason, event.wasClean && event.code !== 1006)
  ws.onerror = () => finish(1006, 'the connection failed', false)
  return {
    protocol: '',
    send(data) {
      if (!queue.isEnded() && ws.readyState === WebSocket.OPEN) ws.send(typeof data === 'string' ? data : new Uint8Array(data))
    },
    async drained() {
      // There is no event for it.
      while (ws.readyState === WebSocket.OPEN && ws.bufferedAmount > DRAINED_BYTES)
        await new Promise((resolve) => setTimeout(resolve, 5))
    },
    ping() {},
    close,
    messages: queue.messages,
    ended: queue.ended,
  }
}
