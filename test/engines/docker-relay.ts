/** A TCP way to an engine's unix socket, with what a network does to it: it counts, cuts and can speak TLS. */

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

export type Relay = {
  readonly port: number
  openConnections(): number
  /** From now on each connection is cut after so many bytes from the engine; 0 ends that. */
  breakAfter(bytes: number): void
  /** Ends what is open: politely, as a proxy does that has waited long enough, is for the client an end like any other. */
  cut(how: 'politely' | 'at once'): void
  close(): Promise<void>
}

export async function startRelay(socketPath: string, tls?: TlsOptions): Promise<Relay> {
  const open = new Set<Socket>()
  let limit = 0
  let broken = 0
  const serve = (client: Socket): void => {
    const engine = connect({ path: socketPath, allowHalfOpen: true })
    let bytes = 0
    let since = broken
    const end = () => {
      client.destroy()
      engine.destroy()
    }
    client.on('close', end).on('error', end)
    engine.on('error', end)
    client.pipe(engine)
    engine.on('data', (data: Buffer) => {
      bytes = since === broken ? bytes + data.byteLength : data.byteLength
      since = broken
      if (limit > 0 && bytes > limit) {
        client.write(data.subarray(0, Math.max(0, data.byteLength - (bytes - limit))), end)
        return
      }
      if (!client.write(data)) {
        engine.pause()
        client.once('drain', () => engine.resume())
      }
    })
    engine.on('end', () => client.end())
  }
  const server = tls ? createTlsServer({ ...tls, allowHalfOpen: true }, serve) : createServer({ allowHalfOpen: true }, serve)
  server.on('tlsClientError', () => undefined)
  // Below TLS, where it is TLS: one that fails its handshake is open, too.
  server.on('connection', (client: Socket) => {
    open.add(client)
    client.on('close', () => open.delete(client))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    openConnections: () => open.size,
    breakAfter: (bytes) => {
      limit = bytes
      broken += 1
    },
    cut: (how) => {
      for (const client of open) how === 'politely' ? client.end() : client.destroy()
    },
    close: () =>
      new Promise((resolve) => {
        for (const client of open) client.destroy()
        server.close(() => resolve())
      }),
  }
}
