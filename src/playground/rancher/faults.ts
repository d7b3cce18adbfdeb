/** Everything that can be made to go wrong with a pretend Rancher, as plain settings that may change while it runs. */

/** One prepared answer for the next request that matches; used `times` times (default 1), then gone. */
export type HttpFault = {
  /** Tested against `METHOD /path?query`. Absent: any request. */
  readonly match?: RegExp | string
  readonly status: number
  /** Default: an error body as cattle writes it. A string is sent as `text/plain`. */
  readonly body?: unknown
  /** Seconds, or an HTTP date. */
  readonly retryAfter?: number | string
  readonly headers?: Readonly<Record<string, string>>
  times?: number
}

export type Faults = {
  /** Generation A only: the close races the last output and wins. */
  loseLastChunk: boolean
  /** The websocket stays open after the command has ended, as B0 does. */
  neverClose: boolean
  /** After this many bytes of output the TCP connection ends without a close frame (proxy or balancer gone). */
  dropTcpAfterBytes: number | undefined
  /** After this many bytes of output: close 1000, as when the host's tunnel is lost. The command goes on. */
  closeAfterBytes: number | undefined
  /** Close 1000 at once and with no output; nothing runs. */
  closeWithoutOutput: boolean
  /** Id of a host (`1h1`) whose streams deliver nothing until this is cleared. */
  stallHost: string | undefined
  /** How far the proxy's clock is ahead of the server's that signs tokens. */
  clockSkewSeconds: number
  /** Largest read of the host agent; 4096 is the real one, smaller ones break frames in more places. */
  readBytes: number
  /** How long proxy and host wait: for a client to read before its stream is dropped, for stdin to be taken before (B) the tunnel is lost. */
  patienceMs: number
  /** Prepared answers, first match first. */
  http: HttpFault[]
  /** Delay before every HTTP answer. */
  slowMs: number
  /** How long an upgrade of a service takes for each of its containers. */
  servicePaceMs: number
  /** Answer every websocket upgrade with this status and body. */
  refuseUpgrade: { readonly status: number; readonly body?: string } | undefined
  /** The proxy runs, the server behind it does not: 502 for all but the websockets. */
  cattleDown: boolean
  /** The server runs with its websocket proxy off: 501 to `execute`. */
  proxyDisabled: boolean
}

export function noFaults(): Faults {
  return {
    loseLastChunk: false,
    neverClose: false,
    dropTcpAfterBytes: undefined,
    closeAfterBytes: undefined,
    closeWithoutOutput: false,
    stallHost: undefined,
    clockSkewSeconds: 0,
    readBytes: 4096,
    patienceMs: 10_000,
    http: [],
    slowMs: 0,
    servicePaceMs: 400,
    refuseUpgrade: undefined,
    cattleDown: false,
    proxyDisabled: false,
  }
}

/** The prepared answer for a request, taken from the queue. */
export function takeHttpFault(faults: Faults, requestLine: string): HttpFault | undefined {
  const index = faults.http.findIndex(({ match }) =>
    match === undefined ? true : typeof match === 'string' ? requestLine.includes(match) : match.test(requestLine),
  )
  const fault = faults.http[index]
  if (!fault) return undefined
  fault.times = (fault.times ?? 1) - 1
  if (fault.times <= 0) faults.http.splice(index, 1)
  return fault
}
