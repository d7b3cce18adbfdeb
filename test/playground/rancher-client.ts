/** What the tests of the pretend Rancher share: an API caller, a websocket client that sees raw frames, and the recordings. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { KeyPair, RancherPeer } from '../../src/playground/rancher/peer.ts'

// biome-ignore lint/suspicious/noExplicitAny: answers of a JSON API, looked at field by field
export type Json = any

export type Called = { readonly status: number; readonly headers: Headers; readonly body: Json; readonly text: string }

export async function call(
  peer: RancherPeer,
  path: string,
  options: { key?: KeyPair | null; method?: string; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Called> {
  const key = options.key === undefined ? peer.environmentKey : options.key
  const response = await fetch(path.startsWith('http') ? path : `${peer.url}${path}`, {
    method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(key ? { authorization: `Basic ${Buffer.from(`${key.accessKey}:${key.secretKey}`).toString('base64')}` } : {}),
      ...options.headers,
    },
    ...(options.body === undefined
      ? {}
      : { body: typeof options.body === 'string' ? options.body : JSON.stringify(options.body) }),
    signal: AbortSignal.timeout(10_000),
  })
  const text = await response.text()
  let body: Json
  try {
    body = JSON.parse(text)
  } catch {
    body = undefined
  }
  return { status: response.status, headers: response.headers, body, text }
}

export type ExecBody = { command: readonly string[]; tty?: boolean; attachStdin?: boolean; attachStdout?: boolean }

/** A token and URL for one command in a container, as the API gives them. */
export async function execute(
  peer: RancherPeer,
  body: ExecBody,
  container = 'shop-web-1',
): Promise<{ url: string; token: string }> {
  const { id } = peer.containers.get(container)
  const answer = await call(peer, `/v2-beta/containers/${id}/?action=execute`, {
    body: { tty: false, attachStdin: false, attachStdout: true, ...body },
  })
  if (answer.status !== 200) throw new Error(`execute: ${answer.status} ${answer.text}`)
  return answer.body
}

export type Frame = { readonly opcode: number; readonly fin: boolean; readonly payload: Buffer }
export type Message = { readonly opcode: number; readonly fragments: readonly number[]; readonly payload: Buffer }

export type RawSocket = {
  /** Status line and headers of the answer to the upgrade. */
  readonly handshake: readonly string[]
  readonly status: number
  /** Body of a refusal, once it has ended. */
  readonly body: () => string
  readonly frames: readonly Frame[]
  /** Data messages put together from their frames. */
  messages(): readonly Message[]
  /** All output as the client decodes it: each message on its own. */
  output(): Buffer
  send(opcode: number, payload: string | Uint8Array): void
  /** Stdin as base64 text. */
  type(text: string): void
  /** Settles when the answer to a ping came: all that was sent before it has been seen by both. */
  roundTrip(): Promise<void>
  until(test: (socket: RawSocket) => boolean): Promise<void>
  destroy(): void
  pause(): void
  /** How the TCP connection ended. */
  readonly ended: Promise<'tcp-fin' | 'tcp-close'>
  isOpen(): boolean
}

export async function openRaw(
  access: { url: string; token?: string },
  options: { headers?: Record<string, string>; upgrade?: boolean } = {},
): Promise<RawSocket> {
  const url = new URL(access.url)
  const socket = connect(Number(url.port), url.hostname)
  await once(socket, 'connect')
  const query = access.token === undefined ? url.search : `?token=${access.token}`
  const upgrade = options.upgrade === false ? [] : ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13']
  const lines = [
    `GET ${url.pathname}${query} HTTP/1.1`,
    `Host: ${url.host}`,
    ...upgrade,
    ...(upgrade.length > 0 ? [`Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`] : []),
    ...Object.entries(options.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)

  const frames: Frame[] = []
  const waiting = new Set<() => void>()
  let handshake: string[] | undefined
  let rest = Buffer.alloc(0)
  let fin = false
  const wake = (): void => {
    for (const one of waiting) one()
  }
  const ended = new Promise<'tcp-fin' | 'tcp-close'>((resolve) => {
    socket.on('end', () => {
      fin = true
    })
    socket.on('close', () => {
      resolve(fin ? 'tcp-fin' : 'tcp-close')
      wake()
    })
  })
  socket.on('error', () => {})
  socket.on('data', (data: Buffer) => {
    rest = Buffer.concat([rest, data])
    if (!handshake) {
      const at = rest.indexOf('\r\n\r\n')
      if (at < 0) return
      handshake = rest.subarray(0, at).toString('latin1').split('\r\n')
      rest = rest.subarray(at + 4)
    }
    if (handshake[0]?.includes(' 101 ')) {
      for (let frame = cut(); frame; frame = cut()) {
        frames.push(frame)
        // As a client must: answer the close frame, so that the server ends the connection.
        if (frame.opcode === 8) write(8, frame.payload)
      }
    }
    wake()
  })
  const cut = (): Frame | undefined => {
    if (rest.length < 2) return undefined
    const [first = 0, second = 0] = rest
    let length = second & 127
    let at = 2
    if (length === 126) {
      if (rest.length < 4) return undefined
      length = rest.readUInt16BE(2)
      at = 4
    } else if (length === 127) {
      if (rest.length < 10) return undefined
      length = Number(rest.readBigUInt64BE(2))
      at = 10
    }
    if (rest.length < at + length) return undefined
    const payload = Buffer.from(rest.subarray(at, at + length))
    rest = rest.subarray(at + length)
    return { opcode: first & 15, fin: (first & 128) !== 0, payload }
  }
  const write = (opcode: number, payload: string | Uint8Array): void => {
    const bytes = Buffer.from(payload)
    const mask = randomBytes(4)
    const head =
      bytes.length < 126
        ? Buffer.from([128 | opcode, 128 | bytes.length])
        : Buffer.from([128 | opcode, 128 | 127, 0, 0, 0, 0, ...new Uint8Array(4)])
    if (bytes.length >= 126) head.writeUInt32BE(bytes.length, 6)
    const masked = Buffer.from(bytes.map((byte, i) => byte ^ (mask[i & 3] ?? 0)))
    if (!socket.destroyed) socket.write(Buffer.concat([head, mask, masked]))
  }
  const until = (test: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer)
        waiting.delete(check)
        act()
      }
      const check = (): void => {
        if (test()) settle(resolve)
        else if (socket.closed)
          settle(() => reject(new Error(`closed before it happened: ${JSON.stringify(handshake)} ${frames.length} frames`)))
      }
      const timer = setTimeout(() => settle(() => reject(new Error(`did not happen within 15 s: ${test}`))), 15_000)
      waiting.add(check)
      check()
    })
  await until(() => handshake !== undefined)

  const raw: RawSocket = {
    handshake: handshake ?? [],
    status: Number((handshake as string[] | undefined)?.[0]?.split(' ')[1]),
    body: () => rest.toString(),
    frames,
    messages: () => assemble(frames),
    output: () =>
      Buffer.concat(
        assemble(frames).map((one) => (one.opcode === 2 ? one.payload : Buffer.from(one.payload.toString(), 'base64'))),
      ),
    send: write,
    type: (text) => write(1, Buffer.from(text, 'latin1').toString('base64')),
    async roundTrip() {
      const mark = randomBytes(4)
      write(9, mark)
      await until(() => frames.some((one) => one.opcode === 10 && one.payload.equals(mark)))
    },
    until: (test) => until(() => test(raw)),
    destroy: () => socket.destroy(),
    pause: () => socket.pause(),
    ended,
    isOpen: () => !socket.closed && !frames.some((one) => one.opcode === 8),
  }
  return raw
}

function assemble(frames: readonly Frame[]): readonly Message[] {
  const all: { opcode: number; fragments: number[]; payload: Buffer }[] = []
  for (const { opcode, payload } of frames) {
    const last = all.at(-1)
    if (opcode === 0 && last) {
      last.fragments.push(payload.length)
      last.payload = Buffer.concat([last.payload, payload])
    } else if (opcode === 1 || opcode === 2) all.push({ opcode, fragments: [payload.length], payload })
  }
  return all
}

/** One command from call to close. */
export async function runToEnd(peer: RancherPeer, body: ExecBody, container?: string): Promise<RawSocket> {
  const socket = await openRaw(await execute(peer, body, container))
  await socket.ended
  return socket
}

export type Recorded = {
  readonly title: string
  readonly handshake: readonly string[]
  readonly body: string | undefined
  /** As written in the recording: `text fin=1 len=8 payload="…"`, without the time. */
  readonly lines: readonly string[]
  readonly output: Buffer
  readonly end: string
}

export function recording(number: number): readonly Recorded[] {
  const text = readFileSync(new URL(`./rancher-recordings/recording-${number}.txt`, import.meta.url), 'utf8')
  return text
    .split(/^#### /m)
    .slice(1)
    .map((block) => {
      const [title = '', ...rest] = block.split('\n')
      const lines = rest.flatMap((line) => /^\+\d+ms (.*)$/.exec(line)?.[1] ?? [])
      const handshake = rest.find((line) => line.startsWith('HANDSHAKE '))
      const body = rest.find((line) => line.startsWith('BODY '))
      return {
        title,
        handshake: handshake ? (JSON.parse(handshake.slice(10)) as string[]) : [],
        body: body ? (JSON.parse(body.slice(5)) as string) : undefined,
        lines,
        output: Buffer.concat(
          lines.flatMap((line) => {
            const payload = /^text .*payload="([^"]*)"/.exec(line)?.[1]
            const hex = /^binary .*hex=([0-9a-f]*)/.exec(line)?.[1]
            return payload !== undefined ? [Buffer.from(payload, 'base64')] : hex !== undefined ? [Buffer.from(hex, 'hex')] : []
          }),
        ),
        end: /^END (\S+)/m.exec(block)?.[1] ?? '',
      }
    })
}

/** What a socket saw, written as the recordings write it. */
export function asRecorded(socket: RawSocket): readonly string[] {
  const names: Readonly<Record<number, string>> = { 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' }
  return socket.frames.map(({ opcode, fin, payload }) => {
    const head = `${names[opcode] ?? 'continuation'} fin=${fin ? 1 : 0} len=${payload.length}`
    if (opcode === 8) return `${head} code=${payload.readUInt16BE(0)} reason="" hex=${payload.toString('hex')}`
    if (opcode === 1) {
      const decoded = Buffer.from(payload.toString(), 'base64')
      return `${head} payload="${payload}" decoded(${decoded.length})=${JSON.stringify(decoded.toString())}`
    }
    return opcode === 2
      ? `${head} hex=${payload.toString('hex')} latin1=${JSON.stringify(payload.toString('latin1'))}`
      : `${head} hex=${payload.toString('hex')}`
  })
}
