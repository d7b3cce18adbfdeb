/** The way to a Rancher server: whom to trust, and how often a question is asked again. */

import * as z from 'zod'
import { BackendError, DroverError } from '../../core/errors.ts'
import { pause } from '../../core/pause.ts'
import type { Machine } from '../machine.ts'
import { type HttpRequest, type HttpResponse, type Transport, TransportError, type Transports } from '../transport.ts'
import { no, notRancher, redirected, unreachable } from './errors.ts'
import { certificatesIn, fingerprintOf, parseFingerprint } from './fingerprint.ts'

export type Trust = {
  /** Path of a PEM file. */
  readonly ca?: string | undefined
  /** The CA whose certificate has this fingerprint, and no other. */
  readonly caFingerprint?: string | undefined
  readonly insecureSkipVerify?: boolean | undefined
}

export type Ways = { readonly transport: Transports; readonly machine?: Machine | undefined }

/** Throws DroverError `config` where the runtime cannot do it. `base` is Rancher's address without a slash at its end. */
export function wayTo(base: string, trust: Trust, ways: Ways): Transport {
  return patient(trusting(base, trust, ways))
}

function trusting(base: string, trust: Trust, { transport, machine }: Ways): Transport {
  const { ca, caFingerprint, insecureSkipVerify } = trust
  if ((ca !== undefined || caFingerprint !== undefined) && machine === undefined)
    throw new DroverError({
      code: 'config',
      message: 'A private CA cannot be pinned on Workers: ca and caFingerprint work on Node and Deno.',
      next: 'Put a public certificate or a tunnel in front of Rancher, or run drover on Node or Deno.',
    })
  if (caFingerprint !== undefined) return pinned(base, caFingerprint, transport)
  if (ca !== undefined && machine !== undefined)
    return later(async () => {
      const pem = await machine.readText(ca)
      if (pem !== undefined && certificatesIn(pem).length > 0) return transport({ ca: pem, caOnly: true })
      const problem = pem === undefined ? 'is not there' : 'holds no certificate in PEM'
      throw no('config', `The file ${ca} of Rancher’s CA ${problem}.`, `Make it with: drover trust ${base} --out ${ca}`)
    })
  return transport(insecureSkipVerify ? { insecure: true } : {})
}

/** The CA is asked of Rancher itself, unverified and without the key: whatever comes is good only if it has the fingerprint. */
function pinned(base: string, wanted: string, transports: Transports): Transport {
  const way = later(async () => {
    const signal = AbortSignal.timeout(CA_DEADLINE_MS)
    const offered = await offeredCa(transports({ insecure: true }), base, signal)
    const certificates = await Promise.all(
      certificatesIn(offered).map(async (pem) => ({ pem, fingerprint: await fingerprintOf(pem) })),
    )
    const found = certificates.find(({ fingerprint }) => fingerprint === parseFingerprint(wanted))
    if (found) return transports({ ca: found.pem, caOnly: true })
    const other = certificates.flatMap(({ fingerprint }) => fingerprint ?? []).join(' and ')
    throw new BackendError(
      {
        code: 'config',
        message: other
          ? `Rancher’s CA is not the pinned one: caFingerprint says ${wanted}, the server says ${other}. Nothing was sent to it.`
          : `Rancher names no CA of its own any more, and caFingerprint says ${wanted}. Nothing was sent to it.`,
        next: other
          ? `Ask whoever runs Rancher whether its CA was replaced. If so, look at the new one with: drover trust ${base}`
          : 'If Rancher now has a public certificate, leave caFingerprint out.',
      },
      { ran: 'no' },
    )
  })
  const again = <T>(work: () => Promise<T>): Promise<T> =>
    work().catch((error: unknown) => {
      // The CA was another when it was asked for, or the server is another now: the next try looks again.
      if (error instanceof TransportError && error.reason === 'tls') way.forget()
      throw error
    })
  return {
    http: (request) => again(() => way.http(request)),
    stream: (request) => again(() => way.stream(request)),
    socket: (url, options) => again(() => way.socket(url, options)),
  }
}

const CA_DEADLINE_MS = 15_000
const Setting = z.object({ value: z.string().nullish() })

/** What `GET /v3/settings/cacerts` says to anybody (RR pkg/multiclustermanager/routes.go); empty: the CA is a public one. */
export async function offeredCa(transport: Transport, base: string, signal: AbortSignal): Promise<string> {
  const headers = { accept: 'application/json', 'user-agent': 'drover' }
  let response: HttpResponse
  try {
    response = await transport.http({ method: 'GET', url: `${base}/v3/settings/cacerts`, headers, signal, maxBytes: 1024 * 1024 })
  } catch (error) {
    throw error instanceof TransportError ? unreachable(error, base) : error
  }
  if (response.status >= 300 && response.status < 400) throw redirected(response.headers.get('location'))
  if (response.status !== 200) throw notRancher(`HTTP ${response.status} to /v3/settings/cacerts`)
  try {
    return Setting.parse(JSON.parse(response.body)).value ?? ''
  } catch {
    throw notRancher('no setting at /v3/settings/cacerts')
  }
}

/** A transport that is made when it is first needed, once; a failure is tried again with the next request. */
function later(make: () => Promise<Transport>): Transport & { forget(): void } {
  let made: Promise<Transport> | undefined
  const get = () => {
    made ??= make().catch((error: unknown) => {
      made = undefined
      throw error
    })
    return made
  }
  return {
    http: async (request) => (await get()).http(request),
    stream: async (request) => (await get()).stream(request),
    socket: async (url, options) => (await get()).socket(url, options),
    forget() {
      made = undefined
    },
  }
}

const PAUSES_MS = [250, 1_000]

/** Questions are asked again when the way was the problem; what changes or starts something is never sent twice. */
function patient(transport: Transport): Transport {
  async function http(request: HttpRequest): Promise<HttpResponse> {
    if (request.method !== 'GET') return transport.http(request)
    for (const ms of PAUSES_MS) {
      const answer = await transport.http(request).catch((error: unknown) => {
        if (request.signal.aborted || !isPassing(error)) throw error
        return undefined
      })
      if (answer !== undefined && answer.status !== 502 && answer.status !== 503) return answer
      await pause(ms, request.signal)
    }
    return transport.http(request)
  }
  return { ...transport, http }
}

function isPassing(error: unknown): boolean {
  return error instanceof TransportError && ['refused', 'reset', 'dns', 'other'].includes(error.reason)
}
