/** What a gateway may ask in drover's own words, read strictly: a field that is not known refuses the whole. */

import * as z from 'zod'
import type { Command, NewContainer, Rollout, Selector } from '../core/model.ts'
import { facetNames } from '../core/selector.ts'
import { jsonOf, quoted, Refusal } from './fence.ts'
import { type Order, Planned } from './order.ts'

const text = z.string().max(4096)
const EXEC = z.string().regex(/^[0-9a-f]{32}$/)
const terms = z.union([
  z.strictObject({ op: z.enum(['exists', 'absent']), key: text }),
  z.strictObject({ op: z.enum(['eq', 'ne']), key: text, value: text }),
  z.strictObject({ op: z.literal('in'), key: text, values: z.array(text).max(1000) }),
  z.strictObject({ op: z.literal('word'), word: text }),
])
const facets = z.partialRecord(z.enum(facetNames as [string, ...string[]]), text)
const SelectorOf = z.strictObject({
  ...{ name: text.optional(), id: text.optional(), labels: z.array(terms).max(1000).optional() },
  ...{ facets: facets.optional(), any: z.number().optional(), all: z.number().optional(), system: z.boolean().optional() },
}) as unknown as z.ZodType<Selector>
const Named = z.strictObject({ native: text.min(1), uid: text.optional(), facets: facets.optional() })
export type Meant = z.infer<typeof Named>
const Creates = z.strictObject({
  image: text.min(1),
  network: text.optional(),
  memoryBytes: z.number().optional(),
  cpus: z.number().optional(),
  mounts: z.array(text).max(100).optional(),
}) as unknown as z.ZodType<NewContainer>
/** One that is there, or one to be made. */
const one = { target: Named.optional(), creates: Creates.optional() }
const line = z.string()
const CommandOf = z.strictObject({
  argv: z.array(line).min(1),
  ...{ env: z.record(line, line).optional(), dir: line.optional(), user: line.optional() },
  ...{ stdin: line.optional(), tty: z.boolean().optional() },
}) as unknown as z.ZodType<Command>
const RolloutOf = z.union([
  z.strictObject({ verb: z.literal('image'), image: text.min(1), container: text.optional() }),
  z.strictObject({ verb: z.literal('scale'), replicas: z.int().min(0) }),
  z.strictObject({ verb: z.literal('undo'), to: text.optional() }),
  z.strictObject({ verb: z.enum(['restart', 'pause', 'resume', 'finish', 'status']) }),
]) as unknown as z.ZodType<Rollout>

const bodies = {
  list: z.strictObject({ selector: SelectorOf }),
  exec: z.strictObject({ ...one, exec: EXEC, command: CommandOf, timeoutMs: z.number().min(0).optional() }),
  kill: z.strictObject({
    ...one,
    // Behind the execution's own id what each backend adds: the user, the engine's id.
    handle: z.strictObject({
      exec: z.string().regex(/^[0-9a-f]{32}([@./][^\0]{0,300})?$/),
      pid: z.int().min(1).optional(),
      way: text.optional(),
    }),
  }),
  check: z.strictObject({}),
  sweep: z.strictObject({}),
  workloads: z.strictObject({ selector: SelectorOf }),
  plan: z.strictObject({ target: Named, rollout: RolloutOf }),
  apply: z.strictObject({ target: Named, rollout: RolloutOf, plan: Planned, exec: EXEC }),
} satisfies Record<Order, z.ZodType>

export const isOrder = (name: string): name is Order => Object.hasOwn(bodies, name)

/** Throws Refusal. */
export function read<O extends Order>(order: O, body: string): z.output<(typeof bodies)[O]> {
  const result = bodies[order].safeParse(jsonOf(body))
  if (result.success) return result.data as z.output<(typeof bodies)[O]>
  const issue = result.error.issues[0]
  const where = issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : issue?.path.join('.')
  throw new Refusal(`${quoted(where || 'the body')} of ${order} is not on its list`)
}
