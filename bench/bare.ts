/** The protocol and nothing else: list, `execute`, websocket, wait for the end. What any client of Rancher 1.x has to do. */

import { request } from 'node:http'
import { WebSocket } from 'ws'

export type BareOptions = {
  readonly url: string
  readonly count: number
  readonly parallel: number
  readonly command: readonly string[]
}

/** Bytes that came over all websockets, as sent. */
export async function bareRun({ url, count, parallel, command }: BareOptions): Promise<number> {
  const ids: string[] = []
  for (let next: string | undefined = `${url}/v2-beta/containers?limit=1000${count === 1 ? '&name=bench-1' : ''}`; next; ) {
    const page = JSON.parse(await call('GET', next)) as { data: { id: string }[]; pagination: { next: string | null } }
    ids.push(...page.data.map(({ id }) => id))
    next = page.pagination.next ?? undefined
  }
  const queue = ids.slice(0, count).values()
  let bytes = 0
  const lane = async () => {
    for (const id of queue) bytes += await bareExec(url, id, command)
  }
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, lane))
  return bytes
}

async function bareExec(url: string, id: string, command: readonly string[]): Promise<number> {
  const body = JSON.stringify({ command, attachStdin: false, attachStdout: true, tty: false })
  const access = JSON.parse(await call('POST', `${url}/v2-beta/containers/${id}/?action=execute`, body)) as {
    url: string
    token: string
  }
  const ws = new WebSocket(`${access.url}?token=${access.token}`, { perMessageDeflate: false })
  let bytes = 0
  ws.on('message', (data: Buffer) => {
    bytes += data.length
  })
  await new Promise((resolve, reject) => {
    ws.once('close', resolve)
    ws.once('error', reject)
  })
  return bytes
}

function call(method: string, url: string, body?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: 'Basic a2V5OnNlY3JldA==',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const sent = request(url, { method, headers }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (data: Buffer) => parts.push(data))
      response.on('end', () => resolve(Buffer.concat(parts).toString()))
    })
    sent.once('error', reject)
    sent.end(body)
  })
}
