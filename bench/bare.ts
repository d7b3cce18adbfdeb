/**
 * The protocol and nothing else: list, `execute`, websocket, wait for the end. What any client of Rancher 1.x has to do; and with
 * `isWrapped` what one has to do that tells an exit code: the wrapper goes along, gets its nonce, and says how it ended.
 */

import { request } from 'node:http'
import { WebSocket } from 'ws'
import { wrapped } from '../src/backends/rancher1/wrapper.ts'

const nonce = 'a-nonce-of-the-bench'

export type BareOptions = {
  readonly url: string
  readonly count: number
  readonly parallel: number
  readonly command: readonly [string, ...string[]]
  readonly isWrapped?: boolean
}

/** Bytes that came over all websockets, as sent. */
export async function bareRun({ url, count, parallel, command, isWrapped = false }: BareOptions): Promise<number> {
  const ids: string[] = []
  for (let next: string | undefined = `${url}/v2-beta/containers?limit=1000${count === 1 ? '&name=bench-1' : ''}`; next; ) {
    const page = JSON.parse(await call('GET', next)) as { data: { id: string }[]; pagination: { next: string | null } }
    ids.push(...page.data.map(({ id }) => id))
    next = page.pagination.next ?? undefined
  }
  const queue = ids.slice(0, count).values()
  let bytes = 0
  const lane = async () => {
    for (const id of queue) bytes += await bareExec(url, id, command, isWrapped)
  }
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, lane))
  return bytes
}

async function bareExec(url: string, id: string, argv: BareOptions['command'], isWrapped: boolean): Promise<number> {
  const command = isWrapped ? wrapped({ argv }, 'bench') : argv
  const body = JSON.stringify({ command, attachStdin: isWrapped, attachStdout: true, tty: false })
  const access = JSON.parse(await call('POST', `${url}/v2-beta/containers/${id}/?action=execute`, body)) as {
    url: string
    token: string
  }
  const ws = new WebSocket(`${access.url}?token=${access.token}`, { perMessageDeflate: false })
  let bytes = 0
  ws.on('message', (data: Buffer) => {
    bytes += data.length
    // The last frame of the wrapper, which leaves the connection open.
    if (isWrapped && data.length < 200 && Buffer.from(data.toString(), 'base64').includes(`\x1e${nonce} z`)) ws.terminate()
  })
  if (isWrapped) ws.once('open', () => ws.send(Buffer.from(`${nonce}\n`).toString('base64')))
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
