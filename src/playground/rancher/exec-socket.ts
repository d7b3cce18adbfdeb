/** The websocket proxy: lets a signed token in, and carries messages between the client and the host's agent (rancher-1.md §2, §3). */

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import type { PeerContainer, PeerHost, World } from './containers.ts'
import type { Faults } from './faults.ts'
import type { Client, Generation, HostAgent, HostStream } from './host-agent.ts'
import { playLogs } from './logs.ts'
import type { Claims, Tokens } from './tokens.ts'
import type { TrafficLog } from './traffic.ts'

/** The proxy cuts a message after this many characters: FIN=0, then a continuation [REC 2]. */
const FRAME_BYTES = 4096
/** Bytes in flight to one client above which the proxy waits for it. */
const CLIENT_BUFFER = 64 * 1024
const EXEC_PATH = /^\/(?:v1|v2|v2-beta)\/(?:exec|logs)\/?$/

export type PlainAnswer = { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: string }

export type SocketSeen = { upgrades: number; refusedUpgrades: number; pings: number; messages: number }

const UNAUTHORIZED: PlainAnswer = plain(401, 'Failed authentication\n')

export function createExecSocket(options: {
  readonly world: World
  readonly tokens: Tokens
  readonly faults: Faults
  readonly generation: () => Generation
  readonly agent: (host: PeerHost) => HostAgent
  readonly seen: SocketSeen
  readonly traffic: TrafficLog
}) {
  const { world, tokens, faults, seen, traffic } = options
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: 64 * 1024 * 1024,
    handleProtocols: (offered) => (offered.has('binary') ? 'binary' : false),
  })
  server.on('headers', (headers) => {
    const at = headers.findIndex((line) => line.startsWith('Sec-WebSocket-Protocol:'))
    if (at >= 0) headers[at] = 'Sec-Websocket-Protocol: binary'
  })

  /** The same answer for a bad token and for a host that is not connected: they cannot be told apart. */
  const authenticate = (
    url: URL,
    request: IncomingMessage,
  ): { claims: Claims; host: PeerHost; byHeader: boolean } | undefined => {
    const inQuery = url.searchParams.get('token')
    const inHeader = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
    const token = inQuery ?? inHeader
    const claims = token ? tokens.verify(token, Date.now() + faults.clockSkewSeconds * 1000) : undefined
    const host = claims && world.hosts.find((one) => one.uuid === claims.hostUuid && one.connected)
    return host && { claims, host, byHeader: inQuery === null }
  }

  const serve = (ws: WebSocket, url: URL, pass: { claims: Claims; host: PeerHost; byHeader: boolean }): void => {
    seen.upgrades++
    const binary = ws.protocol === 'binary'
    // Log lines are plain text; the output of a command is base64, or bytes with the subprotocol.
    const logs = /\/logs\/?$/.test(url.pathname)
    const socket = traffic.nextSocket()
    const argv = pass.claims.exec?.Cmd
    traffic.tell({ type: 'open', socket, path: url.pathname, ...(argv === undefined ? {} : { argv }) })
    const encoding = logs ? 'text' : binary ? 'binary' : 'base64'
    let endedByHost = false
    const client = watched(clientOf(ws, encoding), {
      sent: (data) => traffic.tell({ type: 'message', socket, from: 'host', base64: encoding === 'base64', data }),
      ended: () => {
        endedByHost = true
      },
    })
    const agent = options.agent(pass.host)
    let stream: HostStream | undefined
    ws.on('ping', () => seen.pings++)
    ws.on('error', () => {})
    ws.on('close', (code) => {
      traffic.tell({ type: 'closed', socket, by: endedByHost ? 'host' : 'client', code })
      stream?.clientGone()
    })
    ws.on('message', (data) => {
      seen.messages++
      const said = asBuffer(data)
      traffic.tell({
        type: 'message',
        socket,
        from: 'client',
        base64: !binary,
        data: binary ? said : Buffer.from(said.toString('latin1'), 'base64'),
      })
      take(asBuffer(data), binary, stream)
    })

    // The proxy lets a bearer header in, the host reads only the query: open, then closed at once [REC P].
    const { exec, logs: claim } = pass.claims
    if (pass.byHeader || (logs && !claim)) {
      client.close()
      return
    }
    if (logs && claim) {
      const container = containerOf(world, claim.Container, pass.host)
      void playLogs(container, claim, options.generation(), (text) => agent.deliver(client, text), client.close)
      return
    }
    // Without an exec claim the host's handler panics and takes the whole agent with it [REC S].
    if (!exec) {
      client.close()
      pass.host.connected = false
      agent.loseTunnel()
      return
    }
    const container = containerOf(world, exec.Container ?? '', pass.host)
    stream = agent.open(
      container && runs(container) ? container : undefined,
      {
        argv: exec.Cmd ?? [],
        tty: exec.Tty === true,
        stdin: exec.AttachStdin === true,
        stdout: exec.AttachStdout === true,
        stderr: exec.AttachStderr === true,
      },
      client,
    )
  }

  return {
    /** Paths that the proxy keeps for itself; `/v2-beta/projects/…/exec/` is not one of them. */
    owns: (url: URL) => EXEC_PATH.test(url.pathname),
    /** A request without an upgrade [REC R, R2]. */
    answer(url: URL, request: IncomingMessage): PlainAnswer {
      return authenticate(url, request) ? plain(400, 'Bad Request\nFailed to upgrade connection.\n') : UNAUTHORIZED
    },
    upgrade(url: URL, request: IncomingMessage, socket: Duplex, head: Buffer): void {
      const refusal = faults.refuseUpgrade && plain(faults.refuseUpgrade.status, faults.refuseUpgrade.body ?? '')
      const pass = refusal ? undefined : authenticate(url, request)
      if (!pass) {
        seen.refusedUpgrades++
        const given = refusal ?? UNAUTHORIZED
        traffic.tell({ type: 'refused', path: url.pathname, status: given.status, response: given.body })
        refuse(socket, given)
        return
      }
      server.handleUpgrade(request, socket, head, (ws) => serve(ws, url, pass))
    },
    openSockets: () => server.clients.size,
    close(): void {
      for (const ws of server.clients) ws.terminate()
      server.close()
    },
  }
}

function clientOf(ws: WebSocket, encoding: 'base64' | 'binary' | 'text'): Client {
  const waiting = new Set<(taken: boolean) => void>()
  ws.on('close', () => {
    for (const settle of waiting) settle(false)
  })
  return {
    send: (data) =>
      new Promise((resolve) => {
        if (ws.readyState !== ws.OPEN) return resolve(false)
        waiting.add(resolve)
        const sent = (): void => {
          waiting.delete(resolve)
          resolve(true)
        }
        if (encoding === 'binary') ws.send(data, { binary: true }, sent)
        else {
          const text = Buffer.from(data).toString(encoding === 'text' ? 'utf8' : 'base64')
          if (text.length > FRAME_BYTES) ws.send(text.slice(0, FRAME_BYTES), { fin: false })
          ws.send(text.length > FRAME_BYTES ? text.slice(FRAME_BYTES) : text, { fin: true }, sent)
        }
        if (ws.bufferedAmount < CLIENT_BUFFER) sent()
      }),
    close: () => ws.close(1000),
    drop: () => ws.terminate(),
  }
}

/** The same client, with somebody who is told what it is given. */
function watched(client: Client, told: { sent(data: Uint8Array): void; ended(): void }): Client {
  return {
    send(data) {
      told.sent(data)
      return client.send(data)
    },
    close() {
      told.ended()
      client.close()
    },
    drop() {
      told.ended()
      client.drop()
    },
  }
}

/** Client → server: base64 text in a text or binary frame, or a resize; what cannot be decoded is ignored [REC E3, E6]. */
function take(message: Buffer, binary: boolean, stream: HostStream | undefined): void {
  if (binary) {
    stream?.input(message)
    return
  }
  const text = message.toString('latin1')
  const resize = /^:resizeTTY:(\d+),(\d+)$/.exec(text)
  if (resize) stream?.resize(Number(resize[1]), Number(resize[2]))
  const clean = text.replace(/[\r\n]/g, '')
  if (clean.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(clean)) return
  stream?.input(Buffer.from(clean, 'base64'))
}

function containerOf(world: World, id: string, host: PeerHost): PeerContainer | undefined {
  return world.containers.find((one) => (one.engineId === id || one.uuid === id) && one.host === host.id)
}

/** What the engine of the host would say, whatever cattle believes. */
function runs(container: PeerContainer): boolean {
  return !['stopped', 'paused', 'removed', 'purged', 'error', 'requested', 'creating'].includes(container.state)
}

function asBuffer(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data)
  return Buffer.isBuffer(data) ? data : Buffer.from(data)
}

export function plain(status: number, body: string): PlainAnswer {
  return { status, headers: { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' }, body }
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
}

/** Answers an upgrade with an ordinary response and ends the connection. */
export function refuse(socket: Duplex, answer: PlainAnswer): void {
  const body = Buffer.from(answer.body)
  const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.on('error', () => {})
  socket.end(
    Buffer.concat([
      Buffer.from(
        `HTTP/1.1 ${answer.status} ${REASONS[answer.status] ?? 'Refused'}\r\n${lines.join('')}Date: ${new Date().toUTCString()}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
      ),
      body,
    ]),
  )
}
