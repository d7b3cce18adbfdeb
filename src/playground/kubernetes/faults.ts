/** Everything that can be made to go wrong with a pretend cluster, as plain settings that may change while it runs. */

/** One prepared answer for the next request that matches; used `times` times (default 1), then gone. */
export type HttpFault = {
  /** Tested against `METHOD /path?query`. Absent: any request. */
  readonly match?: RegExp | string
  readonly status: number
  /** A string is sent as `text/plain`, anything else as JSON. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  times?: number
}

export type Faults = {
  /** Prepared answers, first match first; they answer upgrades too. */
  http: HttpFault[]
  /** Delay before every HTTP answer. */
  slowMs: number
  /** After this many bytes of output the TCP connection ends without a close frame. The command goes on. */
  dropAfterBytes: number | undefined
  /** After this many bytes of output: Close 1000 and no status, as of a server that is replaced. The command goes on. */
  closeAfterBytes: number | undefined
  /** After this many bytes of output: the kubelet is lost, which v5 tells as Success. The command goes on. */
  loseKubeletAfterBytes: number | undefined
  /** After this many bytes of output: the container dies, and its runtime says that there is none. The command goes on. */
  loseContainerAfterBytes: number | undefined
  /** The upgrade is answered, and the runtime starts nothing for as long as this is set. */
  stallStart: boolean
  /** Continue tokens are answered with 410 as often as this says. */
  expireContinue: number
  /** The wrong protocol is answered, as by a proxy that knows better. */
  protocol: string | undefined
  /** Messages that a client sends are not read: no keep-alive, no stdin, no pong. */
  deaf: boolean
}

export function noFaults(): Faults {
  return {
    http: [],
    slowMs: 0,
    dropAfterBytes: undefined,
    closeAfterBytes: undefined,
    loseKubeletAfterBytes: undefined,
    loseContainerAfterBytes: undefined,
    stallStart: false,
    expireContinue: 0,
    protocol: undefined,
    deaf: false,
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
