/** How a backend reaches its engine; each runtime fills it in (`src/runtime/transport-*.ts`). */

/** Of a list each entry goes out as a header of its own; with more than one the reach has to say `repeats`. */
export type Fields = Readonly<Record<string, string | readonly string[]>>

export type HttpRequest = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly url: string
  readonly headers?: Fields
  readonly body?: string
  /** Deadline and cancel; required: nothing here waits for ever. */
  readonly signal: AbortSignal
  /** Refuse bodies larger than this many bytes; default 16 MiB. */
  readonly maxBytes?: number
  /** Asking twice does no harm: `http` may use a kept connection, and asks once more on a new one when that was just dropped. */
  readonly isRepeatable?: boolean
}

/** No more of `Headers` than is asked for: the first one that is made takes Node 60 ms and more to load what makes it. */
export type ResponseHeaders = Pick<Headers, 'get'>

export type HttpResponse = { readonly status: number; readonly headers: ResponseHeaders; readonly body: string }

/** A body that is read as it comes. It may last as long as it likes: `signal` of its request ends it. */
export type HttpStream = {
  readonly status: number
  readonly headers: ResponseHeaders
  /**
   * Iterate once; leaving the loop closes the connection. What is not read slows the far side down. Throws TransportError when the
   * connection breaks, where that can be seen: a body without a length ends with its connection, however that ended.
   */
  readonly body: AsyncIterable<Uint8Array>
}

/** Raw bytes both ways, after `101 Switching Protocols`. */
export interface Duplex {
  /** Resolves when more may be written; rejects with TransportError when the connection is gone. */
  write(data: Uint8Array): Promise<void>
  /** Nothing more comes from here; what the far side still sends can be read. */
  end(): void
  close(): void
  /** Iterate once; leaving the loop closes the connection. Throws TransportError when it breaks. */
  readonly incoming: AsyncIterable<Uint8Array>
}

export type SocketMessage =
  | { readonly type: 'text'; readonly data: string }
  | { readonly type: 'binary'; readonly data: Uint8Array }

export type SocketEnd = {
  readonly code: number
  readonly reason: string /** a close frame was received */
  readonly clean: boolean
}

export interface Socket {
  /** The subprotocol the server chose, `''` when none. */
  readonly protocol: string
  send(data: string | Uint8Array): void
  /** Resolves when little of what was sent is still waiting here; absent where the runtime cannot tell. */
  drained?(): Promise<void>
  /** Sends a ping where the runtime can (Node, Deno); where it cannot (workerd) does nothing. */
  ping(): void
  /** Starts the closing handshake and drops the connection when it does not finish in 1 s. */
  close(code?: number, reason?: string): void
  /** Messages in order until the connection ends. Iterate once. Ends without throwing; then `ended` says how. */
  readonly messages: AsyncIterable<SocketMessage>
  /** What has come besides and waits for `messages`, or some of it: it is then not told again. Absent where nothing can be taken together. */
  take?(): readonly SocketMessage[]
  /** How the connection ended; the first cause wins. */
  readonly ended: Promise<SocketEnd>
}

export type SocketOptions = {
  readonly headers?: Fields
  readonly protocols?: readonly string[]
  /** Covers the handshake; abort afterwards closes the socket. */
  readonly signal: AbortSignal
  /** Bytes of undelivered messages after which the socket is closed with code 1009; default 32 MiB. */
  readonly maxBufferedBytes?: number
}

/**
 * What one backend's connections need beyond the system's trust and a plain way. A runtime that lacks it throws DroverError
 * `config` when the transport is made, which is at start-up.
 */
export type Reach = {
  /** PEM of the CAs to trust, besides the system's. */
  readonly ca?: string
  /** `ca` is the only one to trust: the system's are not. */
  readonly caOnly?: boolean
  /** PEM of a client certificate and its key. */
  readonly certificate?: { readonly cert: string; readonly key: string }
  /** Name to ask for and to verify (SNI), where it is not the URL's. */
  readonly serverName?: string
  /** Only where an operator wrote it for this very backend: the server is not verified (S31). */
  readonly insecure?: boolean
  /** Headers come more than once under one name. */
  readonly repeats?: true
  /** `http:` proxy for CONNECT, with its credentials if it needs any. */
  readonly proxy?: string
  /** Path of a unix socket; then the URL's host is only a header. */
  readonly unixSocket?: string
  /** A program whose stdin and stdout are the connection, one process for each, with this environment and no other; the URL's host is only a header. */
  readonly program?: { readonly argv: readonly [string, ...string[]]; readonly env: Readonly<Record<string, string>> }
}

export type Transports = (reach: Reach) => Transport

export interface Transport {
  /** Follows no redirect. Any status is an answer; throws TransportError when there is none. */
  http(request: HttpRequest): Promise<HttpResponse>
  /** Opens a websocket to a `ws:` or `wss:` URL. Throws UpgradeRefused when the server answers with something else. */
  socket(url: string, options: SocketOptions): Promise<Socket>
  /** As `http`, but resolves with the headers; `signal` covers the body too, and `maxBytes` does not count. */
  stream(request: HttpRequest): Promise<HttpStream>
  /** Asks to switch to `protocol`. Throws UpgradeRefused when the server answers with something else. Absent where the runtime has no raw connections. */
  upgrade?(request: HttpRequest & { readonly protocol: string }): Promise<Duplex>
}

/** No answer: connection refused, reset, name not found, TLS failure, deadline. `reason` is safe to show; it never holds a URL's query. */
export class TransportError extends Error {
  override readonly name = 'TransportError'
  readonly reason: 'refused' | 'dns' | 'tls' | 'reset' | 'aborted' | 'too_large' | 'other'
  /** With `tls`: what no other CA would mend. */
  readonly certificate: 'for another name' | 'expired' | undefined
  constructor(
    reason: TransportError['reason'],
    message: string,
    options?: { cause?: unknown; certificate?: TransportError['certificate'] },
  ) {
    super(message, options)
    this.reason = reason
    this.certificate = options?.certificate
  }
}

/** The server answered the upgrade with an ordinary response. */
export class UpgradeRefused extends Error {
  override readonly name = 'UpgradeRefused'
  readonly status: number
  /** First 4 KiB. */
  readonly body: string
  constructor(status: number, body: string) {
    super(`upgrade answered with HTTP ${status}`)
    this.status = status
    this.body = body
  }
}
