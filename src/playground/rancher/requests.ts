/** What the pretend Rancher's HTTP server does with any request, whoever answers it: its URL, its body, prepared answers, sending. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { PlainAnswer } from './exec-socket.ts'
import { type Faults, takeHttpFault } from './faults.ts'
import { errorBody } from './http-api.ts'

const MAX_BODY = 16 * 1024 * 1024

/** As the caller sees it: `X-Forwarded-*` before `Host` [CT ApiRequestParser]. */
export function urlOf(request: IncomingMessage): URL {
  const header = (name: string): string | undefined =>
    String(request.headers[name] ?? '')
      .split(',')[0]
      ?.trim() || undefined
  const scheme = header('x-forwarded-proto') === 'https' ? 'https' : 'http'
  const host = header('x-forwarded-host') ?? header('host') ?? '127.0.0.1'
  const port = header('x-forwarded-port')
  const url = new URL(`${scheme}://${host}${request.url ?? '/'}`)
  if (port !== undefined && header('x-forwarded-host') !== undefined) url.port = port
  return url
}

export async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length
    if (size > MAX_BODY) throw new Error('request body too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

export function send(response: ServerResponse, given: PlainAnswer): void {
  response.writeHead(given.status, { ...given.headers, 'Content-Length': Buffer.byteLength(given.body) })
  response.end(given.body)
}

function codeOf(status: number): string {
  const codes: Readonly<Record<number, string>> = {
    401: 'Unauthorized',
    403: 'Forbidden',
    404: 'Not Found',
    409: 'Conflict',
    500: 'Internal Server Error',
  }
  return codes[status] ?? String(status)
}

/** The answer that a test or a player has put into the queue for this request. */
export function preparedAnswer(faults: Faults, requestLine: string): PlainAnswer | undefined {
  const fault = takeHttpFault(faults, requestLine)
  if (!fault) return undefined
  const isText = typeof fault.body === 'string'
  return {
    status: fault.status,
    headers: {
      'Content-Type': isText ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8',
      ...(fault.retryAfter === undefined ? {} : { 'Retry-After': String(fault.retryAfter) }),
      ...fault.headers,
    },
    body: isText ? String(fault.body) : JSON.stringify(fault.body ?? errorBody(fault.status, codeOf(fault.status))),
  }
}
