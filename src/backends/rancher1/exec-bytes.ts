/** The bytes of Rancher's websocket messages: base64 in texts, several at a time. */

import type { Socket } from '../transport.ts'
import { protocol } from './api.ts'
import { joined } from './frames.ts'

/** What waits is taken together: a message costs more than its bytes do. */
export async function* bytesOf(socket: Socket): AsyncGenerator<Uint8Array> {
  for await (const first of socket.messages) {
    let texts: string[] = []
    for (const message of [first, ...(socket.take?.() ?? [])]) {
      if (message.type === 'text') {
        texts.push(message.data)
        continue
      }
      if (texts.length > 0) yield decoded(texts)
      texts = []
      yield message.data
    }
    if (texts.length > 0) yield decoded(texts)
  }
}

/** What newer engines have, and what Node 24 and Deno have instead; neither is in the language's types yet. */
const platform = globalThis as {
  readonly Uint8Array: { fromBase64?(text: string): Uint8Array }
  readonly Buffer?: {
    allocUnsafeSlow(size: number): Uint8Array & { write(text: string, at: number, encoding: 'base64'): number }
  }
}

/** Each text message is base64 of its own [§3.2]. */
function decoded(texts: readonly string[]): Uint8Array {
  try {
    return decodedFast(texts) ?? texts.map(decodedStrictly).reduce(joined)
  } catch (cause) {
    throw protocol('Rancher sent a message that is not base64.', 'maybe', cause)
  }
}

/** A Buffer skips what is not base64 and takes the other alphabet: undefined where it does not add up, to be looked at strictly. */
function decodedFast(texts: readonly string[]): Uint8Array | undefined {
  const size = texts.reduce((sum, text) => sum + sizeOf(text), 0)
  const all = Number.isInteger(size) ? platform.Buffer?.allocUnsafeSlow(size) : undefined
  let at = 0
  for (const text of all ? texts : []) {
    const written = all?.write(text, at, 'base64')
    if (written !== sizeOf(text) || text.includes('-') || text.includes('_')) return undefined
    at += written
  }
  return all
}

function decodedStrictly(text: string): Uint8Array {
  return platform.Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}

function sizeOf(text: string): number {
  return (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0)
}
