/** What makes the record tamper-evident: canonical JSON, the two hash chains, and payloads kept beside their digest. */

import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { joined } from '../core/bytes.ts'
import type { RunEvent, RunId } from '../core/model.ts'

/** What the first event of a run, and the first link of the ledger, follow. */
export const GENESIS = '0'.repeat(64)

/** An event whose canonical JSON is longer keeps its payload in parts, and only the digest in its body. */
const MAX_BODY_CHARS = 64 * 1024
/** Shorter payloads are kept as they are: packing them costs more than it saves. */
const MIN_PACKED_BYTES = 4 * 1024
/** Far below the 1 MB that a Durable Object's row is kept under. */
const MAX_PART_BYTES = 256 * 1024

export type Bytes = Uint8Array<ArrayBuffer>

/** SHA-256 of the canonical JSON that was taken out of a body, before compression. */
export type Detached = { readonly bytes: number; readonly sha256: string }

/** JSON with sorted keys and no spaces: the same value is always the same text. */
export function canonical(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null'
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  const fields = value as Readonly<Record<string, unknown>>
  const parts: string[] = []
  for (const key of Object.keys(fields).sort())
    if (fields[key] !== undefined) parts.push(`${JSON.stringify(key)}:${canonical(fields[key])}`)
  return `{${parts.join(',')}}`
}

/** SHA-256, hex, of text as UTF-8 or of bytes. At once: a digest of a few hundred bytes is done sooner than it is waited for. */
export function sha256(data: string | Bytes): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Over the hash before, and the canonical JSON of `{at, event, run, seq}`; `body` is the event's canonical JSON. */
export function eventHash(prev: string, run: RunId, seq: number, at: number, body: string): string {
  return sha256(`${prev}{"at":${at},"event":${body},"run":${JSON.stringify(run)},"seq":${seq}}`)
}

/** Over the link before, and what this one seals. */
export function linkHash(prev: string, link: { n: number; run: string; seq: number; runHash: string }): string {
  return sha256(prev + canonical(link))
}

/** An event's canonical JSON as its hash covers it, and the payload beside it. */
export type Packed = { readonly body: string; readonly parts: readonly Bytes[] }

/** An event as it is stored: what its hash covers, and the payload beside it. */
export function pack(event: RunEvent): Packed {
  if (event.type === 'output') {
    const { chunks, ...rest } = event
    // Made with their keys in order: what `canonical` would make, without a copy of the text for each level of it.
    const { detached, parts } = detach(JSON.stringify(chunks.map(({ stream, text }) => ({ stream, text }))))
    return { body: canonical({ ...rest, detached }), parts }
  }
  const body = canonical(event)
  if (body.length <= MAX_BODY_CHARS) return { body, parts: [] }
  const { detached, parts } = detach(body)
  return { body: canonical({ type: event.type, detached }), parts }
}

/** The payload of a body, when it was kept beside it. */
export function detachedOf(body: string): Detached | undefined {
  return (JSON.parse(body) as { detached?: Detached }).detached
}

function detach(text: string): { detached: Detached; parts: readonly Bytes[] } {
  const bytes = new TextEncoder().encode(text)
  // At once and lightly: another thread, or a stream, costs several times what it does for 64 KiB.
  const kept = bytes.length < MIN_PACKED_BYTES ? bytes : gzipSync(bytes, { level: 1 })
  const parts: Bytes[] = []
  for (let from = 0; from < kept.length; from += MAX_PART_BYTES) parts.push(kept.slice(from, from + MAX_PART_BYTES))
  return { detached: { bytes: bytes.length, sha256: sha256(bytes) }, parts }
}

/** RFC 1952 §2.3.1. JSON begins with neither byte. */
function isGzip(bytes: Bytes): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
}

/** The canonical JSON that `detach` took out; undefined when the parts are not what the digest says. */
export function attach(detached: Detached, parts: readonly Bytes[]): string | undefined {
  const kept = parts.length === 1 ? parts[0]! : joined(parts)
  const bytes = isGzip(kept) ? unpacked(kept, detached.bytes) : kept
  if (bytes?.length !== detached.bytes || sha256(bytes) !== detached.sha256) return undefined
  return new TextDecoder().decode(bytes)
}

/** Undefined when it is damaged, or far more than it says. workerd counts the room it takes, doubled each time, and not what is in it. */
function unpacked(kept: Bytes, size: number): Bytes | undefined {
  try {
    return gunzipSync(kept, { maxOutputLength: 2 * size + MAX_PART_BYTES })
  } catch {
    return undefined
  }
}
