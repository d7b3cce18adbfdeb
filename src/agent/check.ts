/** What `drover check` says of agents: the gateway that serves is asked, for they are connected to it and to nobody else. */

import * as z from 'zod'
import type { CheckLine } from '../core/ports.ts'
import type { AgentEntries } from './hub.ts'

/** Who holds drover.yaml knows the key of an agent, and may ask how it stands. */
export const STATE_PATH = '/agents/state'
export const KEY_HEADER = 'x-drover-agent-key'
const ASK_MS = 40_000

const State = z.object({
  connected: z.boolean(),
  since: z.number().optional(),
  says: z.string().optional(),
  why: z.string().optional(),
  by: z.enum(['key', 'nextKey']).optional(),
  checks: z
    .array(
      z
        .object({ ok: z.union([z.boolean(), z.literal('warn')]), what: z.string(), detail: z.string(), next: z.string() })
        .partial({ detail: true, next: true }),
    )
    .optional(),
})

export async function checkAgents(
  config: { readonly agents: AgentEntries; readonly backends: Readonly<Record<string, { readonly through?: string }>> },
  gateway: string,
): Promise<readonly CheckLine[]> {
  const lines = await Promise.all(
    Object.entries(config.agents).map(async ([name, { key, nextKey }]): Promise<readonly CheckLine[]> => {
      const what = `agent ${name}`
      const idle = Object.values(config.backends).some(({ through }) => through === name)
        ? []
        : [
            {
              ok: 'warn' as const,
              what,
              detail: 'no backend is reached through it',
              next: `Say through: ${name} at one, or take it out.`,
            },
          ]
      try {
        const response = await fetch(`${gateway}${STATE_PATH}?${new URLSearchParams({ agent: name })}`, {
          headers: { [KEY_HEADER]: key },
          redirect: 'manual',
          signal: AbortSignal.timeout(ASK_MS),
        })
        if (response.status !== 200) throw new Error(`HTTP ${response.status}`)
        const state = State.parse(await response.json())
        return [...linesOf(what, state), ...(nextKey === undefined ? [] : [twoKeys(what, state)]), ...idle]
      } catch {
        const next = `Start it with: drover serve. It was asked at ${gateway}; on Workers, and behind another address, name it with --gateway.`
        const silent: CheckLine = { ok: 'warn', what, detail: 'the gateway that it connects to does not answer', next }
        return [silent, ...(nextKey === undefined ? [] : [twoKeys(what, { connected: false })]), ...idle]
      }
    }),
  )
  return lines.flat()
}

function linesOf(what: string, { connected, since, says, why, checks = [] }: z.infer<typeof State>): readonly CheckLine[] {
  const at = since === undefined ? '' : ` since ${new Date(since).toISOString()}`
  if (!connected)
    return [
      {
        ok: false,
        what,
        detail: `not connected${at}${why ? ` (${why})` : ''}`,
        next: 'Start it beside its engine: drover agent --config agent.yaml; its own output says why it cannot connect.',
      },
    ]
  const found = checks.map(({ detail, next, ...line }) => ({
    ...line,
    what: `${what}: ${line.what}`,
    ...(detail === undefined ? {} : { detail }),
    ...(next === undefined ? {} : { next }),
  }))
  return [{ ok: true, what, detail: `connected${at}, ${says ?? ''}` }, ...found]
}

/** Both are good, so the old one is not yet worth nothing. */
function twoKeys(what: string, { connected, by }: Pick<z.infer<typeof State>, 'connected' | 'by'>): CheckLine {
  const detail = 'two keys are good for it, key: and nextKey:'
  const next =
    connected && by === 'nextKey'
      ? 'It has changed over to nextKey: make that key:, take nextKey: out, and start the gateway again.'
      : 'Give the agent the new key, in a moment in which nothing runs through it; docs/agent.md has the steps.'
  return { ok: 'warn', what, detail: connected && by ? `${detail}; it is connected by ${by}:` : detail, next }
}
