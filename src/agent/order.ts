/** What a gateway asks of an agent in drover's own words, and how it is answered; docs/decisions/0011 says where and why. */

import * as z from 'zod'
import type { Failure } from '../core/errors.ts'
import type { ExecEvent, Plan, Target } from '../core/model.ts'
import type { CheckLine } from '../core/ports.ts'

/** Of the paths on a link: no engine's begins so. */
export const ORDERS = '/drover/v1/'

export type Order = 'list' | 'exec' | 'kill' | 'check' | 'sweep' | 'workloads' | 'plan' | 'apply'

/**
 * What is told between the bytes that a command writes. `answer` is the last word on a question; `failed` on anything.
 * `dropped` counts as in `ExecEvent`.
 */
export type Told =
  | Exclude<ExecEvent, { type: 'output' }>
  | { readonly type: 'dropped'; readonly stream: 'stdout' | 'stderr'; readonly bytes: number }
  | { readonly type: 'answer'; readonly value?: unknown }
  | { readonly type: 'failed'; readonly error: Failure; readonly ran: 'no' | 'maybe' }

const failure = z.object({ code: z.string(), message: z.string(), next: z.string().optional() })
const stream = z.enum(['stdout', 'stderr'])

const ToldSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('connected') }),
  z.object({
    type: z.literal('started'),
    handle: z.object({ exec: z.string(), pid: z.number().optional(), way: z.string().optional() }),
  }),
  z.object({ type: z.literal('dropped'), stream, bytes: z.number() }),
  z.object({ type: z.literal('progress'), text: z.string() }),
  z.object({ type: z.literal('exit'), code: z.int() }),
  z.object({ type: z.literal('exit-unknown'), error: failure }),
  z.object({ type: z.literal('answer'), value: z.unknown().optional() }),
  z.object({ type: z.literal('failed'), error: failure, ran: z.enum(['no', 'maybe']) }),
])

/** Throws where it is none of these words. */
export const readTold = (text: string): Told => ToldSchema.parse(JSON.parse(text)) as Told

const texts = z.record(z.string(), z.string())
/** Ids are the agent's own, without the name of a backend before them. */
export const FoundTargets = z.array(
  z.object({
    ...{ id: z.string(), native: z.string(), uid: z.string().optional(), name: z.string(), engineId: z.string().optional() },
    ...{ labels: texts, facets: texts, system: z.boolean().optional(), privileged: z.boolean().optional() },
    parts: z.array(z.object({ labels: texts, facets: texts })).optional(),
  }),
) as unknown as z.ZodType<readonly Omit<Target, 'backend' | 'kind'>[]>

/** As it went out it comes back, and its seal says whether it is the same. */
export const Planned = z.strictObject({
  facts: z.array(z.strictObject({ name: z.string(), before: z.string(), after: z.string().optional() })),
  change: z.string(),
  seal: z.string(),
  undo: z.strictObject({ to: z.string(), says: z.string() }).optional(),
  back: z.string().optional(),
  finishes: z.literal(true).optional(),
}) as unknown as z.ZodType<Plan>

export const Checked = z.array(
  z.object({
    ok: z.union([z.boolean(), z.literal('warn')]),
    what: z.string(),
    detail: z.string().optional(),
    next: z.string().optional(),
  }),
) as unknown as z.ZodType<readonly CheckLine[]>

export const Killed = z.object({ result: z.enum(['gone', 'left']), pid: z.number().optional() })
