/** The transport of Node and Deno: `node:http(s)` for requests, streams and raw upgrades, `ws` for websockets. */

import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import * as https from 'node:https'
import type { Socket as NetSocket } from 'node:net'
import process from 'node:process'
import type { Duplex as NodeDuplex } from 'node:stream'
import * as tls from 'node:tls'
import { WebSocket } from 'ws'
import type {
  Duplex,
  Fields,
  HttpRequest,
  HttpResponse,
  HttpStream,
  Reach,
  ResponseHeaders,
  Socket,
  SocketOptions,
  Transport,
} from '../backends/transport.ts'
import { TransportError, UpgradeRefused } from '../backends/transport.ts'
import { DroverError } from '../core/errors.ts'
import { pipe } from './machine-node.ts'
import {
  CLOSE_GRACE_MS,
  DEFAULT_MAX_BODY_BYTES,
  DEFAULT_MAX_BUFFERED_BYTES,
  LONGEST_HANDSHAKE_MS,
  LONGEST_REQUEST_MS,
  messageQueue,
  parseUrl,
  REFUSAL_BODY_BYTES,
  readText,
  tooLarge,
  transportError,
} from './socket.ts'

/** Not by `import`, which asks a module for all that it has: `http.WebSocket` alone loads undici, and with it 75 ms of CPU at each start. */
const http = process.getBuiltinModule('node:http')

/** NODE_EXTRA_CA_CERTS works without `ca`. */
export function nodeTransport(reach: Reach = {}): Transport {
  const way = wayOf(reach)
  if (reach.proxy !== undefined) return throughProxy(reach.proxy, way)
  const kept = way.createConnection ? undefined : keptConnections()
  return {
    http: (request) => sendRequest(request, way, request.isRepeatable ? kept : undefined),
    socket: (url, options) => openSocket(url, options, way),
    stream: (request) => openStream(request, way),
    upgrade: (request) => upgrade(request, way),
  }
}

/** As `node:http`, `node:tls` and `ws` take it. */
type Way = {
  readonly ca?: string[]
  readonly cert?: string
  readonly key?: string
  readonly secureContext?: tls.SecureContext
  readonly servername?: string
  readonly rejectUnauthorized?: false
  readonly socketPath?: string
  readonly createConnection?: () => NetSocket
  readonly agent?: Agent
}

function wayOf({ ca, caOnly, certificate, serverName, insecure, unixSocket, program }: Reach): Way {
  const trust = {
    ...(ca === undefined ? {} : { ca: caOnly ? [ca] : [...tls.rootCertificates, ca] }),
    ...(certificate ?? {}),
  }
  return {
    ...trust,
    ...(ca === undefined && certificate === undefined ? {} : { secureContext: contextOf(trust) }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(insecure ? { rejectUnauthorized: false } : {}),
    ...(unixSocket === undefined ? {} : { socketPath: unixSocket }),
    // Typed as a socket; any stream does.
    ...(program === undefined ? {} : { createConnection: () => pipe(program) as NetSocket }),
  }
}

/** Once: to read some 150 certificates for each connection takes ten milliseconds and most of a megabyte. */
function contextOf(trust: tls.SecureContextOptions): tls.SecureContext {
  try {
    return tls.createSecureContext(trust)
  } catch (cause) {
    throw new DroverError(
      {
        code: 'config',
        message: 'The client certificate or its key cannot be read.',
        next: 'Both are PEM, and the key is the certificate’s own, without a passphrase.',
      },
      { cause },
    )
  }
}

/** By CONNECT, so that the proxy sees the server's name and nothing else. Loaded only where there is one. */
function throughProxy(proxy: string, way: Way): Transport {
  if (!URL.canParse(proxy) || !/^https?:$/.test(new URL(proxy).protocol))
    throw new DroverError({
      code: 'config',
      message: 'The proxy is not an http(s) URL.',
      next: 'Name one that takes CONNECT, like http://proxy.example.com:3128; socks is not supported.',
    })
  let made: Promise<Way> | undefined
  const proxied = () => {
    made ??= import('https-proxy-agent').then(({ HttpsProxyAgent }) => ({ ...way, agent: new HttpsProxyAgent(proxy) }))
    return made
  }
  return {
    http: async (request) => sendRequest(request, await proxied()),
    socket: async (url, options) => openSocket(url, options, await proxied()),
    stream: async (request) => openStream(request, await proxied()),
    upgrade: async (request) => upgrade(request, await proxied()),
  }
}

/** By protocol. */
type Kept = Readonly<Record<string, Agent>>

/** Few, and not for long: each holds memory here and there. */
function keptConnections(): Kept {
  const options = { keepAlive: true, maxFreeSockets: 8, timeout: KEPT_MS }
  return { 'http:': new http.Agent(options), 'https:': new https.Agent(options) }
}

const KEPT_MS = 4_000

function sendRequest(request: HttpRequest, way: Way, kept?: Kept): Promise<HttpResponse> {
  const url = parseUrl(request.url, ['http:', 'https:'])
  return untilAnswered(url, request.signal, async (signal) => {
    const response = await respond(url, request, signal, way, kept)
    const body = await textOf(response, request.maxBytes ?? DEFAULT_MAX_BODY_BYTES, url.host)
    return { status: response.statusCode ?? 0, headers: headersOf(response), body }
  })
}

function respond(url: URL, request: HttpRequest, signal: AbortSignal, way: Way, kept?: Kept): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const outgoing = send(url, request, signal, way, kept?.[url.protocol])
  let isAnswered = false
  outgoing.on('response', (response) => {
    isAnswered = true
    resolve(response)
  })
  outgoing.on('error', (error) => {
    // The far side had just dropped it: that says nothing about the request, and this one may be asked again.
    if (outgoing.reusedSocket && !isAnswered && !signal.aborted) resolve(respond(url, request, signal, way))
    else reject(error)
  })
  return promise
}

/** The whole body. By its events: to iterate it, chunk by chunk, costs as much again as the request. */
function textOf(response: IncomingMessage, maxBytes: number, host: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const chunks: Buffer[] = []
  let bytes = 0
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength
    if (bytes > maxBytes) response.destroy(tooLarge(host, maxBytes))
    else chunks.push(chunk)
  })
  response.on('end', () => resolve(utf8.decode(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))))
  response.on('error', reject)
  response.on('close', () => reject(new Error('the body ended before its end')))
  return promise
}

const utf8 = new TextDecoder()

function listed(headers: Fields = {}): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]),
  )
}

function send(url: URL, request: HttpRequest, signal: AbortSignal, way: Way, agent?: Agent): ClientRequest {
  const { body } = request
  const outgoing = (url.protocol === 'https:' ? https : http).request(url, {
    method: request.method,
    headers: { ...listed(request.headers), ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }) },
    signal,
    // Else a connection of its own: a kept one that the far side has just dropped would fail a request that must not be repeated.
    ...(way.createConnection ? {} : { agent: agent ?? false }),
    ...way,
  })
  return outgoing.end(body)
}

/** A command may be silent for hours: what has gone away meanwhile is noticed by TCP. */
const KEEP_ALIVE_MS = 20_000

async function openStream(request: HttpRequest, way: Way): Promise<HttpStream> {
  const url = parseUrl(request.url, ['http:', 'https:'])
  return untilAnswered(url, request.signal, async (signal) => {
    const response = await respond(url, request, signal, way)
    response.socket.setKeepAlive?.(true, KEEP_ALIVE_MS)
    return { status: response.statusCode ?? 0, headers: headersOf(response), body: bytesOf(response, url, request.signal) }
  })
}

async function upgrade(request: HttpRequest & { readonly protocol: string }, way: Way): Promise<Duplex> {
  const url = parseUrl(request.url, ['http:', 'https:'])
  return untilAnswered(url, request.signal, (signal) => {
    const { promise, resolve, reject } = Promise.withResolvers<Duplex>()
    const headers = { ...request.headers, connection: 'Upgrade', upgrade: request.protocol }
    const outgoing = send(url, { ...request, headers }, signal, way)
    outgoing.on('error', reject)
    outgoing.on('upgrade', (_, socket: NetSocket, head) => {
      if (head.byteLength > 0) socket.unshift(head)
      resolve(duplex(socket, url, request.signal))
    })
    outgoing.on('response', (response) => {
      void readText(response, REFUSAL_BODY_BYTES, url.host, 'cut')
        .catch(() => '')
        .then((body) => {
          reject(new UpgradeRefused(response.statusCode ?? 0, body))
          outgoing.destroy()
        })
    })
    return promise
  })
}

/** A deadline for the answer; after that only the caller's own signal counts. Not `AbortSignal.timeout`, which stays until its time has passed. */
async function untilAnswered<T>(url: URL, caller: AbortSignal, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), LONGEST_REQUEST_MS)
  const signal = AbortSignal.any([caller, late.signal])
  try {
    signal.throwIfAborted()
    return await ask(signal)
  } catch (error) {
    throw error instanceof UpgradeRefused ? error : transportError(url, error, signal)
  } finally {
    clearTimeout(timer)
  }
}

async function* bytesOf(stream: NodeDuplex | IncomingMessage, url: URL, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* stream as AsyncIterable<Uint8Array>
  } catch (error) {
    throw transportError(url, error, signal)
  } finally {
    stream.destroy()
  }
}

function duplex(socket: NetSocket, url: URL, signal: AbortSignal): Duplex {
  const abort = () => socket.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
  signal.addEventListener('abort', abort, { once: true })
  socket.on('close', () => signal.removeEventListener('abort', abort))
  // Told by `incoming` and `write`; without a listener it would end the process.
  socket.on('error', () => undefined)
  socket.setKeepAlive?.(true, KEEP_ALIVE_MS)
  return {
    write: (data) =>
      new Promise((resolve, reject) => {
        socket.write(data, (error) => (error ? reject(transportError(url, error, signal)) : resolve()))
      }),
    end: () => void socket.end(),
    close: () => void socket.destroy(),
    incoming: bytesOf(socket, url, signal),
  }
}

function headersOf(response: IncomingMessage): ResponseHeaders {
  return { get: (name) => response.headersDistinct[name.toLowerCase()]?.join(', ') ?? null }
}

async function openSocket(address: string, options: SocketOptions, way: Way): Promise<Socket> {
  const url = parseUrl(address, ['ws:', 'wss:'])
  if (options.signal.aborted) throw transportError(url, undefined, options.signal)
  const maxBytes = options.maxBufferedBytes ?? DEFAULT_MAX_BUFFERED_BYTES
  const ws = new WebSocket(url, [...(options.protocols ?? [])], {
    headers: listed(options.headers),
    perMessageDeflate: false,
    followRedirects: false,
    handshakeTimeout: LONGEST_HANDSHAKE_MS,
    maxPayload: maxBytes,
    ...way,
  })
  // Listening before the handshake ends: a first message can arrive in the same packet as the answer to the upgrade.
  const socket = wrap(ws, options.signal, maxBytes)
  await handshake(ws, url, options.signal)
  return socket
}

async function handshake(ws: WebSocket, url: URL, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const abort = () => reject(transportError(url, undefined, signal))
  signal.addEventListener('abort', abort, { once: true })
  ws.once('open', resolve)
  ws.on('error', reject)
  ws.once('unexpected-response', (request, response) => {
    void readText(response, REFUSAL_BODY_BYTES, url.host, 'cut')
      .catch(() => '')
      .then((body) => {
        reject(new UpgradeRefused(response.statusCode ?? 0, body))
        request.destroy()
      })
  })
  try {
    await promise
  } catch (error) {
    ws.terminate()
    throw error instanceof UpgradeRefused || error instanceof TransportError ? error : transportError(url, error, signal)
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** One that is open or opening, ours or taken by a server. Aborting `signal` drops it. */
export function wrap(ws: WebSocket, signal: AbortSignal, maxBytes: number): Socket {
  const queue = messageQueue(maxBytes, { pause: () => ws.pause(), resume: () => ws.resume() })
  let grace: ReturnType<typeof setTimeout> | undefined
  let isPingOpen = false
  const drainers: (() => void)[] = []
  const isDrained = () => ws.readyState !== WebSocket.OPEN || ws.bufferedAmount <= DRAINED_BYTES
  const tellDrained = () => {
    if (drainers.length > 0 && isDrained()) for (const tell of drainers.splice(0)) tell()
  }

  const drop = (code: number, reason: string) => {
    queue.end({ code, reason, clean: false })
    ws.terminate()
  }
  const abort = () => drop(1006, 'aborted')
  const overflow = () => {
    // The close frame says why to the far side; the reader is told at once.
    queue.end({ code: 1009, reason: `more than ${maxBytes} bytes were waiting`, clean: false })
    close(1009)
  }
  const close = (code?: number, reason?: string) => {
    if (ws.readyState === WebSocket.CLOSED || grace !== undefined) return
    // The far side's close frame has to be read.
    ws.resume()
    ws.close(code ?? 1000, reason)
    grace = setTimeout(() => ws.terminate(), CLOSE_GRACE_MS)
  }

  ws.on('message', (data, isBinary) => {
    isPingOpen = false
    const bytes = toBytes(data)
    const fits = queue.push(isBinary ? { type: 'binary', data: bytes } : { type: 'late-text', data: bytes })
    if (!fits) overflow()
  })
  ws.on('pong', () => {
    isPingOpen = false
  })
  ws.on('error', (error: Error & { code?: string }) => {
    const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'
    queue.end({ code: isTooLarge ? 1009 : 1006, reason: error.message, clean: false })
  })
  ws.on('close', (code, reason) => {
    clearTimeout(grace)
    signal.removeEventListener('abort', abort)
    queue.end({ code, reason: reason.toString(), clean: code !== 1006 })
    for (const tell of drainers.splice(0)) tell()
  })
  signal.addEventListener('abort', abort, { once: true })

  return {
    get protocol() {
      return ws.protocol
    },
    send(data) {
      if (ws.readyState !== WebSocket.OPEN) return
      ws.send(data, tellDrained)
      if (ws.bufferedAmount > maxBytes) overflow()
    },
    async drained() {
      if (!isDrained()) await new Promise<void>((resolve) => drainers.push(resolve))
    },
    ping() {
      // A paused connection hears no pong.
      if (ws.readyState !== WebSocket.OPEN || ws.isPaused) return
      // Nothing came back since the last ping: the connection is half open and would stay so for many minutes.
      if (isPingOpen) return drop(1006, 'the far side no longer answers')
      isPingOpen = true
      ws.ping()
    },
    close,
    messages: queue.messages,
    take: queue.take,
    ended: queue.ended,
  }
}

const DRAINED_BYTES = 1024 * 1024

function toBytes(data: Buffer | ArrayBuffer | Buffer[]): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? Buffer.from(data) : data
}
