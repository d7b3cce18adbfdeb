/** The name of the run that a delivery from Slack becomes, worked out at once: the acknowledgement waits for it. */

import { createHash } from 'node:crypto'
import type { RunId } from '../../core/model.ts'
import { runIdBy } from '../../core/run-id.ts'

export function runOf(delivery: string): RunId {
  return runIdBy((text) => createHash('sha256').update(text).digest(), delivery)
}
