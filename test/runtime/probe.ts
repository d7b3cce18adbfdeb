/** Uses a transport as it is told to by JSON and answers in JSON: the same steps can so be taken inside Node, Deno and workerd. */

import type { ResponseHeaders, Socket, SocketMessage, Transport } from '../../src/backends/transport.ts'

export type Step =
  | {
      readonly do: 'http'
      readonly url: string
      readonly method?: 'GET' | 'POST'
      readonly body?: string
      readonly maxBytes?: number
      readonly timeoutMs?: number
      readonly headers?: Record<string, string>
      readonly isRepeatable?: boolean
    }
  | {
      readonly do: 'socket'
      readonly url: string
      readonly headers?: Record<string, string>
      readonly protocols?: readonly string[]
      readonly send?: readonly string[]
      /** Sent as binary. */
      readonly sendBytes?: readonly number[]
      readonly closeAfter?: number
      readonly abortAfter?: number
      readonly maxBufferedBytes?: number
      readonly timeoutMs?: number
      /** Waits this long before it reads. */
      readonly readAfterMs?: number
      readonly pings?: number
    }
  | {
      readonly do: 'stream'
      readonly url: string
      readonly timeoutMs?: number
      /** Asked for after the first piece. */
      readonly meanwhile?: string
      /** Asked for before anything is read. */
      readonly first?: string
      readonly leaveAfter?: number
      readonly abortAfter?: number
    }
  | {
      readonly do: 'upgrade'
      readonly url: string
      readonly timeoutMs?: number
      readonly write?: readonly string[]
      readonly leaveAfter?: number
      readonly abortAfter?: number
    }

export type Answer = Readonly<Record<string, unknown>>

export async function probe(transport: Transport, step: Step): Promise<Answer> {
  try {
    switch (step.do) {
      case 'http':
        return await http(transport, step)
      case 'socket':
        return await socket(transport, step)
      case 'stream':
        return await stream(transport, step)
      case 'upgrade':
        return await upgrade(transport, step)
      default:
        return step satisfies never
    }
  } catch (error) {
    const { name, message, reason, status, body } = error as Record<string, unknown>
    const said = `${message} ${error instanceof Error ? error.stack : ''} ${String((error as Error).cause)}`
    return { error: name, message, reason, status, body, said }
  }
}

/** Those that the far side of these tests sends. */
function told(headers: ResponseHeaders): Record<string, string | null> {
  return Object.fromEntries(['location', 'x-kind', 'X-Seen'].map((name) => [name.toLowerCase(), headers.get(name)]))
}

async function http(transport: Transport, step: Step & { do: 'http' }): Promise<Answer> {
  const { status, headers, body } = await transport.http({
    method: step.method ?? 'GET',
    url: step.url,
    signal: AbortSignal.timeout(step.timeoutMs ?? 5000),
    ...(step.body === undefined ? {} : { body: step.body }),
    ...(step.maxBytes === undefined ? {} : { maxBytes: step.maxBytes }),
    ...(step.headers === undefined ? {} : { headers: step.headers }),
    ...(step.isRepeatable ? { isRepeatable: true } : {}),
  })
  return { status, headers: told(headers), body }
}

async function socket(transport: Transport, step: Step & { do: 'socket' }): Promise<Answer> {
  const connection = new AbortController()
  const timer = setTimeout(() => connection.abort(), step.timeoutMs ?? 5000)
  try {
    const open: Socket = await transport.socket(step.url, {
      signal: connection.signal,
      ...(step.headers === undefined ? {} : { headers: step.headers }),
      ...(step.protocols === undefined ? {} : { protocols: step.protocols }),
      ...(step.maxBufferedBytes === undefined ? {} : { maxBufferedBytes: step.maxBufferedBytes }),
    })
    for (const text of step.send ?? []) open.send(text)
    if (step.sendBytes) open.send(new Uint8Array(step.sendBytes))
    for (let i = 0; i < (step.pings ?? 0); i += 1) open.ping()
    if (step.readAfterMs) await new Promise((resolve) => setTimeout(resolve, step.readAfterMs))
    const messages: string[] = []
    let bytes = 0
    for await (const message of open.messages) {
      bytes += message.data.length
      if (messages.length < 20) messages.push(shown(message))
      if (messages.length === step.closeAfter) open.close(1000, 'enough')
      if (messages.length === step.abortAfter) connection.abort()
    }
    open.send('too late')
    open.close()
    return { protocol: open.protocol, messages, bytes, ended: await open.ended }
  } finally {
    clearTimeout(timer)
  }
}

async function stream(transport: Transport, step: Step & { do: 'stream' }): Promise<Answer> {
  const signal = AbortSignal.timeout(step.timeoutMs ?? 5000)
  const connection = new AbortController()
  const ask = async (url: string) => (await transport.http({ method: 'GET', url, signal })).body
  const { status, headers, body } = await transport.stream({
    method: 'POST',
    url: step.url,
    body: '{}',
    signal: AbortSignal.any([signal, connection.signal]),
  })
  const before = step.first === undefined ? undefined : await ask(step.first)
  let bytes = 0
  let text = ''
  try {
    for await (const piece of body) {
      if (bytes === 0 && step.meanwhile !== undefined) await ask(step.meanwhile)
      bytes += piece.byteLength
      if (text.length < 100) text += new TextDecoder().decode(piece).slice(0, 100)
      if (step.abortAfter !== undefined && bytes >= step.abortAfter) connection.abort()
      if (step.leaveAfter !== undefined && bytes >= step.leaveAfter) break
    }
  } catch (error) {
    const { name, message, reason } = error as Record<string, unknown>
    return { status, bytes, text, error: name, message, reason }
  }
  return { status, headers: told(headers), bytes, text, before }
}

async function upgrade(transport: Transport, step: Step & { do: 'upgrade' }): Promise<Answer> {
  if (transport.upgrade === undefined) return { absent: true }
  const connection = new AbortController()
  const open = await transport.upgrade({
    method: 'POST',
    url: step.url,
    protocol: 'tcp',
    body: '{"a":1}',
    headers: { 'content-type': 'application/json' },
    signal: AbortSignal.any([AbortSignal.timeout(step.timeoutMs ?? 5000), connection.signal]),
  })
  let text = ''
  const writing = (async () => {
    for (const one of step.write ?? []) await open.write(new TextEncoder().encode(one))
    open.end()
  })()
  try {
    for await (const piece of open.incoming) {
      text += new TextDecoder().decode(piece)
      if (step.abortAfter !== undefined && text.length >= step.abortAfter) connection.abort()
      if (step.leaveAfter !== undefined && text.length >= step.leaveAfter) break
    }
    await writing
  } catch (error) {
    await writing.catch(() => undefined)
    const { name, message, reason } = error as Record<string, unknown>
    return { text, error: name, message, reason }
  }
  return { text }
}

function shown(message: SocketMessage): string {
  return message.type === 'text' ? `text ${message.data.slice(0, 100)}` : `binary ${[...message.data.subarray(0, 20)].join(' ')}`
}
