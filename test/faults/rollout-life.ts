/** One life of drover with the drover.yaml at `argv[2]`: begins a rollout for each word after it, and works until every run of the ledger is delivered. */

import { writeSync } from 'node:fs'
import { parseCommandLine } from '../../src/core/command-line.ts'
import type { RunId } from '../../src/core/model.ts'
import { runIdFor } from '../../src/core/run-id.ts'
import { readConfig, startLocal } from '../../src/local.ts'

const [, , path = '', ...lines] = process.argv
const delivered = new Set<RunId>()
const local = await startLocal(readConfig(path, process.env), {
  log: () => {},
  terminal: {
    progress: async () => [],
    deliver: async ({ request }) => void delivered.add(request.id),
    share: async () => {},
  },
})
for (const text of lines) {
  const line = parseCommandLine(text, 'rollout')
  if (line.verb !== 'rollout') throw new Error(text)
  const { selector, command, rollout } = line
  const delivery = `life:${crypto.randomUUID()}`
  const id = await runIdFor(delivery)
  await local.gateway.submit({
    id,
    actor: { kind: 'cli', user: 'test' },
    trigger: { kind: 'cli', delivery },
    selector,
    command,
    rollout,
    place: { kind: 'terminal' },
    receivedAt: Date.now(),
  })
  writeSync(1, `accepted ${id}\n`)
}
for (;;) {
  const owed = await local.house.ledger.due(Date.now() + 3_600_000, 1_000)
  if (owed.length === 0) break
  await new Promise((resolve) => setTimeout(resolve, 50))
}
await local.stop(1_000)
