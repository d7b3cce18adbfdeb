/** What a stream between gateway and agent is opened with and answered by: JSON, read with care on both sides. */

import * as z from 'zod'
import type { HttpRequest } from '../backends/transport.ts'

const headers = z.record(z.string().max(200), z.string().max(16_384)).default({})

/** `path` is the engine's, as it comes: nothing is done with it before the agent's list has read it. */
const Asked = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('http'), method: z.string().max(10), path: z.string(), headers }),
  z.strictObject({
    kind: z.literal('upgrade'),
    method: z.string().max(10),
    path: z.string(),
    headers,
    protocol: z.string().max(100),
    body: z.string(),
  }),
  z.strictObject({
    kind: z.literal('socket'),
    method: z.literal('GET'),
    path: z.string(),
    headers,
    protocols: z.array(z.string().max(100)).max(10),
  }),
])
export type Asked = z.infer<typeof Asked>
export type Method = HttpRequest['method']

export function readAsked(value: unknown): Asked | undefined {
  const result = Asked.safeParse(value)
  return result.success ? result.data : undefined
}

const Head = z.object({
  status: z.int().min(100).max(599),
  headers: z
    .array(z.tuple([z.string().regex(/^[a-z0-9-]{1,100}$/), z.string()]))
    .max(100)
    .default([]),
  protocol: z.string().max(100).optional(),
})
export type Head = z.infer<typeof Head>

export function readHead(value: unknown): Head | undefined {
  const result = Head.safeParse(value)
  if (!result.success) return undefined
  // What is no header's value would be thrown at the reader as a mistake of its own.
  return { ...result.data, headers: result.data.headers.filter(([, text]) => /^[\t\x20-\x7e\x80-\xff]*$/.test(text)) }
}
