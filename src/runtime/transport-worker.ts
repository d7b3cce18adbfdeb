/** The transport of workerd: `fetch` for both, an upgrade being a request with a header. */

import type {
  Fields,
  HttpRequest,
  HttpResponse,
  HttpStream,
  Reach,
  Socket,
  SocketOptions,
  Transport,
} from '../backends/transport.ts'
import { UpgradeRefused } from '../backends/transport.ts'
import { DroverError } from '../core/errors.ts'
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
  transportError,
} from './socket.ts'

type WorkerSocket = WebSocket & { accept(): void }
type UpgradeResponse = Response & { readonly webSocket?: WorkerSocket | null }

/** Workers verifies by the public CAs, and offers nothing else. */
export function workerTransport(reach: Reach = {}): Transport {
  for (const [need, what] of Object.entries(lacking)) {
    if (reach[need as keyof Reach])
      throw new DroverError({
        code: 'config',
        message: `${what} does not work on Workers.`,
        next: 'Put a public certificate or a tunnel in front of the backend, or run drover on Node or Deno.',
      })
  }
  return { http: sendRequest, socket: openSocket, stream: openStream }
}

const lacking: Readonly<Record<keyof Reach, string>> = {
  ca: 'A private CA',
  caOnly: 'A private CA',
  certificate: 'A client certificate',
  serverName: 'A server name of its own',
  insecure: 'An unverified connection',
  repeats: 'A header that comes more than once',
  proxy: 'A proxy',
  unixSocket: 'A unix socket',
  program: 'A program',
}

function sendRequest(request: HttpRequest): Promise<HttpResponse> {
  return asked(request, async (response, url) => {
    const body = await readText(chunksOf(response), request.maxBytes ?? DEFAULT_MAX_BODY_BYTES, url.host)
    return { status: response.status, headers: response.headers, body }
  })
}

function openStream(request: HttpRequest): Promise<HttpStream> {
  return asked(request, async (response, url, signal) => {
    return { status: response.status, headers: response.headers, body: bytesOf(response, url, signal) }
  })
}

/** The answer, as soon as its headers are there, and what is made of it. */
async function asked<T>(
  { method, url: address, headers, body, signal: given }: HttpRequest,
  read: (response: Response, url: URL, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const url = parseUrl(address, ['http:', 'https:'])
  // Not `AbortSignal.timeout`: it stays until its time has passed.
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error('no answer')), LONGEST_REQUEST_MS)
  const signal = AbortSignal.any([given, late.signal])
  try {
    const response = await fetch(url, { method, headers: once(headers), body: body ?? null, redirect: 'manual', signal })
    return await read(response, url, signal)
  } catch (error) {
    throw transportError(url, error, signal)
  } finally {
    clearTimeout(timer)
  }
}

/** `fetch` joins what comes more than once; `repeats` of the reach has refused that at start-up. */
function once(headers: Fields = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

async function* bytesOf(response: Response, url: URL, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* chunksOf(response)
  } catch (error) {
    throw transportError(url, error, signal)
  }
}

async function* chunksOf(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return
  const reader = response.body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

async function openSocket(address: string, options: SocketOptions): Promise<Socket> {
  const url = parseUrl(address, ['ws:', 'wss:'])
  const target = new URL(url)
  target.protocol = url.protocol === 'wss:' ? 'https:' : 'http:'
  // Only for the handshake: a signal that also covered the open socket would keep its timer for the life of it.
  const handshake = new AbortController()
  const timer = setTimeout(() => handshake.abort(new Error('handshake deadline')), LONGEST_HANDSHAKE_MS)
  const signal = AbortSignal.any([options.signal, handshake.signal])
  try {
    const response: UpgradeResponse = await fetch(target, {
      headers: {
        ...once(options.headers),
        Upgrade: 'websocket',
        ...(options.protocols?.length ? { 'Sec-WebSocket-Protocol': options.protocols.join(', ') } : {}),
      },
      redirect: 'manual',
      signal,
    })
    const socket = response.webSocket
    if (!socket)
      throw new UpgradeRefused(response.status, await readText(chunksOf(response), REFUSAL_BODY_BYTES, url.host, 'cut'))
    // `socket.protocol` stays empty in workerd: only the response header tells.
    const protocol = response.headers.get('sec-websocket-protocol') ?? ''
    return acceptedSocket(socket, protocol, options)
  } catch (error) {
    throw error instanceof UpgradeRefused ? error : transportError(url, error, signal)
  } finally {
    clearTimeout(timer)
  }
}

function acceptedSocket(ws: WorkerSocket, protocol: string, options: SocketOptions): Socket {
  const maxBytes = options.maxBufferedBytes ?? DEFAULT_MAX_BUFFERED_BYTES
  const queue = messageQueue(maxBytes)
  let grace: ReturnType<typeof setTimeout> | undefined

  const finish = (code: number, reason: string, clean: boolean) => {
    clearTimeout(grace)
    options.signal.removeEventListener('abort', abort)
    queue.end({ code, reason, clean })
  }
  const closeQuietly = (code: number, reason = '') => {
    try {
      ws.close(code, reason.slice(0, 40))
    } catch {
      // Already closed by the far side; there is nothing left to end.
    }
  }
  const abort = () => {
    finish(1006, 'aborted', false)
    closeQuietly(1000)
  }

  // Since compatibility date 2026-03-17 the default is Blob, which would have to be awaited.
  ws.binaryType = 'arraybuffer'
  ws.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
    const fits = queue.push(typeof data === 'string' ? { type: 'text', data } : { type: 'binary', data: new Uint8Array(data) })
    if (fits) return
    finish(1009, `more than ${maxBytes} bytes were waiting`, false)
    closeQuietly(1009)
  })
  // After a normal close workerd may report an error as well: the first of the two decides.
  ws.addEventListener('close', (event) => finish(event.code, event.reason, event.wasClean && event.code !== 1006))
  ws.addEventListener('error', (event) => {
    const message = 'message' in event && typeof event.message === 'string' ? event.message : 'the connection failed'
    finish(/too large/i.test(message) ? 1009 : 1006, message, false)
  })
  options.signal.addEventListener('abort', abort, { once: true })
  ws.accept()
  if (options.signal.aborted) abort()

  return {
    protocol,
    send(data) {
      if (!queue.isEnded()) ws.send(typeof data === 'string' ? data : new Uint8Array(data))
    },
    ping() {},
    close(code, reason) {
      if (queue.isEnded() || grace !== undefined) return
      grace = setTimeout(() => finish(1006, 'the far side did not finish the close', false), CLOSE_GRACE_MS)
      closeQuietly(code ?? 1000, reason)
    },
    messages: queue.messages,
    take: queue.take,
    ended: queue.ended,
  }
}
