/** Where agents come in on Node: websocket upgrades of the gateway's own HTTP server. */

import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { Entrance } from './agent-deno.ts'
import { wrap } from './transport-node.ts'

/** What may wait unread on one link: frames are taken as they come. */
const MOST_WAITING_BYTES = 8 * 1024 * 1024

export function takeAgents(server: Server, entrance: Entrance): void {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: entrance.maxMessageBytes, perMessageDeflate: false })
  server.on('upgrade', (request: IncomingMessage, connection: Duplex, head: Buffer) => {
    connection.on('error', () => connection.destroy())
    const url = URL.canParse(request.url ?? '', 'http://gateway') ? new URL(request.url ?? '', 'http://gateway') : undefined
    const agent = url?.searchParams.get('agent') ?? ''
    if (url?.pathname !== entrance.path) return refuse(connection, '404 Not Found')
    if (!entrance.isKnown(agent)) return refuse(connection, '403 Forbidden')
    return sockets.handleUpgrade(request, connection, head, (ws) => {
      const socket = wrap(ws, new AbortController().signal, MOST_WAITING_BYTES)
      entrance.accept(agent, socket, request.headers.host ?? '').catch(() => socket.close(1011))
    })
  })
}

function refuse(connection: Duplex, status: string): void {
  connection.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
}
