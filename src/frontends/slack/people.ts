/** People as Slack shows them. */

import type { Actor } from '../../core/model.ts'
import { makeVisible } from '../../core/output.ts'
import { bold, cut, type Leaf } from './blocks.ts'
import { formatActor } from './request-text.ts'

export function person(actor: Actor): readonly Leaf[] {
  return actor.kind === 'slack-user' ? [{ type: 'user', user_id: actor.user }] : [bold(cut(makeVisible(formatActor(actor)), 200))]
}
