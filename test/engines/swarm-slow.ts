/** A way to a manager that holds one kind of request back for a while, and hands it on also when nobody waits any more: as a busy one does. */

import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

export type SlowWay = { readonly host: string; close(): Promise<void> }

export async function slowWay(socketPath: string, isSlow: (body: string) => boolean, ms: number): Promise<SlowWay> {
  const server = createServer((asked, answer) => {
    const parts: Buffer[] = []
    const handOn = (body: Buffer) => {
      const { url: path, method, headers } = asked
      const onward = request({ socketPath, path, method, headers }, (said) => {
        answer.writeHead(said.statusCode ?? 500, said.headers)
        said.pipe(answer)
      })
      onward.on('error', () => answer.destroy())
      onward.end(body)
    }
    answer.on('error', () => undefined)
    asked.on('data', (part: Buffer) => parts.push(part))
    asked.on('end', () => {
      const body = Buffer.concat(parts)
      setTimeout(() => handOn(body), isSlow(body.toString()) ? ms : 0)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
