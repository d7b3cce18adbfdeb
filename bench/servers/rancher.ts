/**
 * A pretend Rancher 1.x that costs next to nothing, in a process of its own: lists, `execute`, and a websocket that answers as the wrapper's
 * frames would, with no process behind it. `/nCOUNT` before the path says how many containers there are.
 */

import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'

/** The proxy's messages hold 4096 bytes of the host's stream at most; with Docker's header each. */
const READ_BYTES = 4096
const HIGH_WATER = 1024 * 1024
/** A real container takes about 6 kB of JSON. */
const filling = Object.fromEntries(
  Array.from({ length: 60 }, (_, i) => [`field${i}`, `a value of some length that nobody asks for ${i}`]),
)

const server = createServer({ maxHeaderSize: 1024 * 1024 }, (request, response) => {
  const url = new URL(request.url ?? '/', 'http://peer')
  const count = Number(/^\/n(\d+)\//.exec(url.pathname)?.[1] ?? 10)
  const path = url.pathname.replace(/^\/n\d+/, '')
  if (request.method === 'GET' && path === '/v2-beta') return json(response, { id: 'v2-beta', type: 'apiVersion', links: {} })
  if (request.method === 'GET' && path === '/v2-beta/hosts')
    return json(response, collection([{ id: '1h1', type: 'host', name: 'host-1' }], undefined))
  if (request.method === 'GET' && path === '/v2-beta/containers') return list(response, url, count)
  const id = /^\/v2-beta\/containers\/(1i\d+)\/?$/.exec(path)?.[1]
  if (request.method !== 'POST' || id === undefined) {
    response.writeHead(404).end()
    return
  }
  const body: Buffer[] = []
  request.on('data', (data: Buffer) => body.push(data))
  request.on('end', () => {
    const { command, attachStdin } = JSON.parse(Buffer.concat(body).toString()) as { command: string[]; attachStdin: boolean }
    const token = Buffer.from(JSON.stringify({ id, command, attachStdin })).toString('base64url')
    json(response, { type: 'hostAccess', url: `ws://${request.headers.host}/v1/exec/`, token })
  })
})

function list(response: ServerResponse, url: URL, count: number): void {
  const from = Number(/^m(\d+)$/.exec(url.searchParams.get('marker') ?? '')?.[1] ?? 0)
  const name = url.searchParams.get('name')
  if (name !== null) {
    json(response, collection([container(Number(/\d+$/.exec(name)?.[0] ?? 1))], undefined))
    return
  }
  const to = Math.min(count, from + Number(url.searchParams.get('limit') ?? 100))
  const rows = Array.from({ length: to - from }, (_, i) => container(from + i + 1))
  const next = new URL(url.pathname + url.search, `http://127.0.0.1:${port()}`)
  next.searchParams.set('marker', `m${to}`)
  json(response, collection(rows, to < count ? next.href : undefined))
}

function container(n: number): object {
  const labels = { app: 'bench', 'io.rancher.stack.name': 'bench', 'io.rancher.stack_service.name': 'bench/web' }
  return {
    id: `1i${n}`,
    type: 'container',
    name: `bench-${n}`,
    state: 'running',
    hostId: '1h1',
    imageUuid: 'docker:bench:1',
    labels,
    ...filling,
  }
}

function collection(data: readonly object[], next: string | undefined): object {
  return { type: 'collection', data, pagination: { limit: 1000, next: next ?? null, partial: next !== undefined } }
}

function json(response: ServerResponse, value: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}

const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
server.on('upgrade', (request, socket, head) => {
  const token = new URL(request.url ?? '/', 'http://peer').searchParams.get('token') ?? ''
  const { command } = JSON.parse(Buffer.from(token, 'base64url').toString()) as { command: string[] }
  sockets.handleUpgrade(request, socket, head, (ws) => {
    ws.on('error', () => {})
    if (command[3] !== 'drover') {
      void run(ws, command, undefined)
      return
    }
    ws.once('message', (data) => {
      const nonce = Buffer.from(String(data), 'base64').toString().trim()
      void run(ws, command.slice(command.indexOf('--') + 1), nonce)
    })
  })
})

/** `ok`, `wait MS`, `bytes N`, `odd`: what a command of the bench does. */
async function run(ws: WebSocket, [, what = 'ok', number = '0']: readonly string[], nonce: string | undefined): Promise<void> {
  const frame = (content: string) => nonce !== undefined && say(ws, Buffer.from(`\x1e${nonce} ${content}\x1f${nonce}`))
  frame('p4711')
  if (what === 'wait') await new Promise((resolve) => setTimeout(resolve, Number(number)))
  if (what === 'bytes') await flood(ws, Number(number))
  else say(ws, Buffer.from('ok\n'))
  frame('x0')
  frame('z')
  if (nonce === undefined) ws.close(1000)
}

const lines = Buffer.from(
  Array.from(
    { length: 2000 },
    (_, i) =>
      `2026-01-01T00:00:${String(i % 60).padStart(2, '0')}Z level=info msg="GET /orders/${i * 7919} 200" took=${i % 97}ms user=${i}\n`,
  ).join(''),
)

async function flood(ws: WebSocket, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes && ws.readyState === ws.OPEN; ) {
    const at = sent % lines.length
    const piece = lines.subarray(at, at + Math.min(READ_BYTES - 8, bytes - sent, lines.length - at))
    say(ws, piece)
    sent += piece.length
    while (ws.bufferedAmount > HIGH_WATER) await new Promise((resolve) => setImmediate(resolve))
  }
}

function say(ws: WebSocket, data: Buffer): void {
  const header = Buffer.alloc(8)
  header[0] = 1
  header.writeUInt32BE(data.length, 4)
  ws.send(Buffer.concat([header, data]).toString('base64'))
}

const port = (): number => (server.address() as AddressInfo).port
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${port()}` })))
