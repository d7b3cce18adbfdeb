/** Uses a transport as it is told to by JSON and answers in JSON: the same steps can so be taken inside Node, Deno and workerd. */

import type { Socket, SocketMessage, Transport } from '../../src/backends/transport.ts'

export type Step =
  | {
      readonly do: 'http'
      readonly url: string
      readonly method?: 'GET' | 'POST'
      readonly body?: string
      readonly maxBytes?: number
      readonly timeoutMs?: number
      readonly headers?: Record<string, string>
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

export type Answer = Readonly<Record<string, unknown>>

export async function probe(transport: Transport, step: Step): Promise<Answer> {
  try {
    return step.do === 'http' ? await http(transport, step) : await socket(transport, step)
  } catch (error) {
    const { name, message, reason, status, body } = error as Record<string, unknown>
    const said = `${message} ${error instanceof Error ? error.stack : ''} ${String((error as Error).cause)}`
    return { error: name, message, reason, status, body, said }
  }
}

async function http(transport: Transport, step: Step & { do: 'http' }): Promise<Answer> {
  const { status, headers, body } = await transport.http({
    method: step.method ?? 'GET',
    url: step.url,
    signal: AbortSignal.timeout(step.timeoutMs ?? 5000),
    ...(step.body === undefined ? {} : { body: step.body }),
    ...(step.maxBytes === undefined ? {} : { maxBytes: step.maxBytes }),
    ...(step.headers === undefined ? {} : { headers: step.headers }),
  })
  return { status, headers: Object.fromEntries(headers), body }
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

function shown(message: SocketMessage): string {
  return message.type === 'text' ? `text ${message.data.slice(0, 100)}` : `binary ${[...message.data.subarray(0, 20)].join(' ')}`
}
