/** The messages of one execution, however many come at once, and what is none of them. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { rancher1 } from '../../src/backends/rancher1/backend.ts'
import type { Target, TargetId } from '../../src/core/model.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, runOn } from '../contract/backend.ts'

const target: Target = {
  ...{ id: 'r/1i1' as TargetId, backend: 'r', kind: 'rancher1', native: '1i1', name: 'one', labels: {}, facets: {} },
}

/** A Rancher with one container; `speak` is its end of the websocket once the nonce is there. */
async function rancher(speak: (ws: WebSocket, nonce: string) => void) {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ type: 'hostAccess', url: `ws://${request.headers.host}/v1/exec/`, token: 't' }))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (ws) => ws.once('message', (data) => speak(ws, Buffer.from(String(data), 'base64').toString().trim())))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const ws of sockets.clients) ws.terminate()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2-beta`
  return rancher1({ name: 'r', url, accessKey: 'a', secretKey: 'b', project: '1a5' }, nodeTransport())
}

const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64')
/** Docker's header of generation B. */
const framed = (text: string) =>
  `\x01\0\0\0${String.fromCharCode(...Buffer.from([0, 0, text.length >> 8, text.length & 255]))}${text}`

it.each([1, 2, 7, 11, 4_096, 100_000])(
  'bytes in messages of %i are what they were, with headers and without, text and binary',
  async (size) => {
    const said = Array.from({ length: 3_000 }, (_, i) => `line ${i}\n`).join('')
    for (const wrap of [framed, (text: string) => text]) {
      const backend = await rancher((ws, nonce) => {
        const frame = (content: string) => wrap(`\x1e${nonce} ${content}\x1f${nonce}`)
        const pieces = Array.from({ length: 10 }, (_, i) =>
          wrap(said.slice((i * said.length) / 10, ((i + 1) * said.length) / 10)),
        )
        const all = [frame('p7'), ...pieces, frame('ea word'), frame('x3'), frame('z')].join('')
        for (let at = 0; at < all.length; at += size) {
          const piece = all.slice(at, at + size)
          if (at % 3 === 2) ws.send(Buffer.from(piece, 'latin1'))
          else ws.send(base64(piece))
        }
      })
      const { out, err, code } = await runOn(backend, target, { argv: ['x'] })
      expect([out.toString() === said, err.toString(), code]).toEqual([true, 'a word\n', 3])
    }
  },
)

it.each(['!!!!', 'YWJj-_8=', 'YW*j', 'a', '===='])(
  '[true-ending] S41 the message %j among others is no base64 and ends it as unknown, never as a success',
  async (wrong) => {
    const backend = await rancher((ws, nonce) => {
      ws.send(base64(`\x1e${nonce} p7\x1f${nonce}abc`))
      ws.send(wrong)
      ws.send(base64(`def\x1e${nonce} x0\x1f${nonce}\x1e${nonce} z\x1f${nonce}`))
    })
    const error = await failureOf(runOn(backend, target, { argv: ['x'] }))
    expect(error).toMatchObject({ code: 'backend_protocol', ran: 'maybe' })
    expect(error.message).toContain('not base64')
  },
)
