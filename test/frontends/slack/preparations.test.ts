/** A run whose image is being fetched: how far that is stands in its parent message, and goes when the command has begun. */

import { expect, it } from 'vitest'
import type { Execution, RunEvent, RunRequest, StoredEvent, Target, TargetId } from '../../../src/core/model.ts'
import { createRedactor } from '../../../src/core/redact.ts'
import { reduce } from '../../../src/core/run-state.ts'
import { parentMessage } from '../../../src/frontends/slack/run-views.ts'

const target = {
  ...{ id: 'd/new/tools:1' as TargetId, backend: 'd', kind: 'docker', native: 'new', labels: {}, facets: {} },
  name: 'new container of tools:1 with src',
} as Target
const request = {
  id: 'r1',
  actor: { kind: 'slack-user', team: 'T1', user: 'U1' },
  trigger: { kind: 'slash', delivery: 'd' },
  place: { kind: 'slack', team: 'T1', channel: 'C1' },
  selector: {},
  newContainer: { image: 'tools:1', mounts: ['src'] },
  command: { argv: ['wc', '-c'] },
  receivedAt: 0,
} as unknown as RunRequest
const handle: NonNullable<Execution['handle']> = { target: target.id, exec: 'e' }
const events: readonly RunEvent[] = [
  { type: 'accepted', request },
  { type: 'resolved', targets: [target] },
  { type: 'decided', decision: { effect: 'allow', rule: 'ops', limits: {} }, policy: 'p' },
  { type: 'started', target: target.id, owner: 'o' as never },
  { type: 'progressed', target: target.id, text: 'pulling tools:1: 1 of 2 layers, 1.0 of 4.0 MB' },
  { type: 'handle', target: target.id, handle },
]
const shown = (count: number) => {
  const stored = events.slice(0, count).map((event, i): StoredEvent => ({ seq: i + 1, at: i, hash: '', event }))
  return JSON.stringify(parentMessage(reduce(stored)!, 10, { redactor: createRedactor([]), shareTo: [] }))
}

it('is told while it goes on, and no longer', () => {
  expect(shown(4)).not.toContain('pulling')
  expect(shown(5)).toContain('new container of tools:1 with src: pulling tools:1: 1 of 2 layers, 1.0 of 4.0 MB')
  expect(shown(6)).not.toContain('pulling')
})

it('the message says what the container was asked to have', () => {
  expect(shown(4)).toContain('image=tools:1 mounts=src')
})
