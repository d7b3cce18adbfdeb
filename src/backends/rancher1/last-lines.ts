/** The last lines that a Rancher 1.x container has written, by its `logs` action (rancher-1.md §4). */

import * as z from 'zod'
import { BackendError } from '../../core/errors.ts'
import { type Transport, TransportError, UpgradeRefused } from '../transport.ts'
import { type Api, parsed, protocol, refusal, unreachable } from './api.ts'
import { socketUrl } from './exec-connect.ts'

const HostAccess = z.object({ url: z.string(), token: z.string().min(1) })
const LOGS_PATH = /^\/(v1|v2-beta|v2)\/logs\/?$/
const LINES = 20
const MAX_BYTES = 8192

/** `id`: `1i160`. A generation A agent sends its last hundred lines with their times, whatever it is asked. */
export async function lastLines(api: Api, transport: Transport, id: string, signal: AbortSignal): Promise<string> {
  if (!/^1i\d+$/.test(id)) throw protocol('This is not the id of a Rancher 1.x container.')
  const body = { follow: false, lines: LINES, timestamps: false, since: '' }
  const response = await api.request('POST', `containers/${id}/?action=logs`, signal, body, 'repeatable')
  if (response.status !== 200) throw refusal(response, { what: `the log of ${id}`, project: api.project })
  const access = parsed(response, HostAccess)
  const url = socketUrl(api.origin, access.url, LOGS_PATH)
  url.searchParams.set('token', access.token)
  const enough = new AbortController()
  const socket = await transport
    .socket(url.href, { signal: AbortSignal.any([signal, enough.signal]) })
    .catch((error: unknown) => {
      if (error instanceof TransportError) throw unreachable(error)
      if (!(error instanceof UpgradeRefused)) throw error
      const message = `The log of ${id} was refused with HTTP ${error.status}.`
      throw new BackendError({ code: 'backend_unavailable', message, next: 'Check whether its host is active.' }, { ran: 'no' })
    })
  let text = ''
  try {
    for await (const { type, data } of socket.messages) {
      // Plain text, not base64: two digits for the stream, a space, the line.
      if (type === 'text') text += data.replace(/^\d\d /gm, '')
      if (text.length > 16 * MAX_BYTES) break
    }
  } finally {
    socket.close()
    enough.abort()
  }
  return text.replace(/\n$/, '').split('\n').slice(-LINES).join('\n').slice(-MAX_BYTES)
}
