/** An engine for the link's own tests: a real HTTP server that streams, switches protocols, speaks websockets, and counts what is open. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket as NetSocket } from 'node:net'
import { WebSocketServer } from 'ws'
import type { Serving } from '../../src/agent/serve.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { everything } from './link.ts'

export type PlainEngine = {
  readonly beside: Pick<Serving, 'engine' | 'fence'>
  readonly server: Server
  /** Bytes that `/endless` has got rid of. */
  written(): number
  openConnections(): number
  close(): Promise<void>
}

const PIECE = Buffer.alloc(64 * 1024, 'x')

export async function startEngine(): Promise<PlainEngine> {
  const open = new Set<NetSocket>()
  let written = 0
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://engine')
    if (url.pathname === '/echo') return void request.pipe(response.writeHead(200, { 'content-type': 'text/plain' }))
    if (url.pathname === '/headers') return void response.end(JSON.stringify(request.headers))
    if (url.pathname === '/late') return void setTimeout(() => response.end('late'), 300)
    if (url.pathname === '/never') return
    if (url.pathname === '/cut') return void response.write('half', () => response.socket?.destroy())
    if (url.pathname === '/bytes' || url.pathname === '/endless') {
      let left = url.pathname === '/endless' ? Number.POSITIVE_INFINITY : Number(url.searchParams.get('n'))
      response.writeHead(200)
      const more = () => {
        while (left > 0) {
          const piece = PIECE.subarray(0, Math.min(left, PIECE.byteLength))
          left -= piece.byteLength
          written += piece.byteLength
          if (!response.write(piece)) return void response.once('drain', more)
        }
        response.end()
      }
      return more()
    }
    return void response.writeHead(404).end('nothing here')
  })
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered][0] ?? false })
  server.on('upgrade', (request, connection: NetSocket, head) => {
    if (request.url === '/refused') return void connection.end('HTTP/1.1 409 Conflict\r\ncontent-length: 9\r\n\r\nnot today')
    if (request.headers.upgrade === 'websocket')
      return sockets.handleUpgrade(request, connection, head, (ws) => {
        ws.on('message', (data, isBinary) => {
          if (String(data) === 'close, please') ws.close(4321, 'as asked')
          else if (String(data) === 'cut, please') ws.terminate()
          else ws.send(data, { binary: isBinary })
        })
      })
    connection.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
    // Tells what came, once there is no more: only a half-close gets an answer.
    let bytes = head.byteLength
    connection.on('data', (data) => {
      bytes += data.byteLength
    })
    connection.on('end', () => connection.end(`${bytes} bytes`))
  })
  server.on('connection', (connection) => {
    open.add(connection)
    connection.on('error', () => undefined)
    connection.on('close', () => open.delete(connection))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const engine = { base, transport: nodeTransport(), headers: {} }
  return {
    beside: { engine: async () => engine, fence: everything },
    server,
    written: () => written,
    openConnections: () => open.size,
    close: () =>
      new Promise((resolve) => {
        for (const connection of open) connection.destroy()
        server.close(() => resolve())
      }),
  }
}
