/** Requests, targets and events for tests of the ledger. */

import type { Actor, Ending, Place, RunEvent, RunId, RunRequest, Target, TargetId } from '../../src/core/model.ts'

export const ada: Actor = { kind: 'slack-user', team: 'T1', user: 'U1' }
export const ops: Place = { kind: 'slack', team: 'T1', channel: 'C1', threadTs: '1.2' }
const none = { stdout: 0, stderr: 0, dropped: 0, masked: 0 }

export function request(id: string, more: Partial<RunRequest> = {}): RunRequest {
  return {
    id: id as RunId,
    actor: ada,
    trigger: { kind: 'slash', delivery: `d-${id}` },
    selector: { labels: [{ op: 'word', word: 'web' }] },
    command: { argv: ['uptime', '-p'] },
    place: ops,
    receivedAt: 1_000,
    ...more,
  }
}

export function target(native: string): Target {
  const id = `prod/${native}` as TargetId
  return { id, backend: 'prod', kind: 'rancher1', native, name: native, labels: { web: '' }, facets: { stack: 'shop' } }
}

export const ended = (native: string, ending: Ending = { status: 'exited', code: 0 }): RunEvent => ({
  type: 'ended',
  target: target(native).id,
  ending,
  count: none,
})

export const output = (native: string, index: number, text: string): RunEvent => ({
  type: 'output',
  target: target(native).id,
  index,
  chunks: [{ stream: 'stdout', text }],
})
