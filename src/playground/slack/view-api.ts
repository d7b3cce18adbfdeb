/** Modals: checked as Slack checks them, opened once within three seconds, stacked three deep. */

import { blockProblems, type Json, withBlockIds } from './block-rules.ts'
import type { Context } from './places.ts'
import { refuse } from './refusal.ts'
import type { PeerView } from './store.ts'
import { appId, botId } from './workplace.ts'

export function checkedView(value: unknown): Json {
  if (typeof value !== 'object' || value === null) refuse('invalid_arguments', ['[ERROR] missing required field: view'])
  const view = value as Json
  const problems: string[] = []
  const plain = (key: 'title' | 'submit' | 'close', required: boolean) => {
    const part = view[key] as Json | undefined
    if (part === undefined || part === null) {
      if (required) problems.push(`missing required field: ${key} [json-pointer:/view]`)
    } else if (part.type !== 'plain_text' || typeof part.text !== 'string' || part.text === '') {
      problems.push(`must be plain text [json-pointer:/view/${key}]`)
    } else if ([...part.text].length > 24) problems.push(`must be less than 25 characters [json-pointer:/view/${key}/text]`)
  }
  if (view.type !== 'modal') problems.push(`unsupported type: ${String(view.type)} [json-pointer:/view/type]`)
  plain('title', true)
  plain('submit', false)
  plain('close', false)
  const tooLong = (key: string, most: number) => {
    if (String(view[key] ?? '').length > most)
      problems.push(`must be less than ${most + 1} characters [json-pointer:/view/${key}]`)
  }
  tooLong('private_metadata', 3000)
  tooLong('callback_id', 255)
  problems.push(...blockProblems(view.blocks, 'modal'))
  const hasInput = Array.isArray(view.blocks) && view.blocks.some((block: Json) => block?.type === 'input')
  if (hasInput && !view.submit) problems.push('missing required field: submit [json-pointer:/view]')
  if (problems.length > 0)
    refuse(
      'invalid_arguments',
      problems.map((problem) => `[ERROR] ${problem}`),
    )
  return { ...view, blocks: withBlockIds(view.blocks as readonly Json[]) }
}

/** A trigger id lives three seconds and works once. */
function spendTrigger(value: unknown, { store, triggerMs }: Context) {
  const trigger = store.triggers.get(String(value)) ?? refuse('invalid_trigger_id')
  if (trigger.used) refuse('exchanged_trigger_id')
  if (Date.now() - trigger.issuedAt > triggerMs) refuse('expired_trigger_id')
  trigger.used = true
  return trigger
}

export function viewJson(one: PeerView, state: Json = {}): Json {
  return {
    private_metadata: '',
    callback_id: '',
    clear_on_close: false,
    notify_on_close: false,
    close: null,
    submit: null,
    ...one.view,
    id: one.id,
    team_id: 'T0PLAY',
    app_id: appId,
    bot_id: botId,
    root_view_id: one.rootId,
    previous_view_id: one.previousId ?? null,
    hash: one.hash,
    state: { values: state },
  }
}

export function openView(args: Json, context: Context): Json {
  const view = checkedView(args.view)
  const { user } = spendTrigger(args.trigger_id, context)
  const id = context.store.newId('V')
  const opened: PeerView = { id, rootId: id, user, hash: context.store.newId(''), view }
  context.store.setViews(user, [opened])
  return { view: viewJson(opened) }
}

export function pushView(args: Json, context: Context): Json {
  const view = checkedView(args.view)
  const { user } = spendTrigger(args.trigger_id, context)
  return { view: viewJson(pushed(user, view, context)) }
}

export function pushed(user: string, view: Json, { store }: Pick<Context, 'store'>): PeerView {
  const stack = store.views(user)
  const top = stack.at(-1) ?? refuse('not_found')
  if (stack.length >= 3) refuse('push_limit_reached')
  const added: PeerView = { id: store.newId('V'), rootId: top.rootId, previousId: top.id, user, hash: store.newId(''), view }
  store.setViews(user, [...stack, added])
  return added
}

export function updateView(args: Json, context: Context): Json {
  const view = checkedView(args.view)
  const old = context.store.findView(String(args.view_id)) ?? refuse('not_found')
  if (args.hash !== undefined && args.hash !== old.hash) refuse('hash_conflict')
  return { view: viewJson(replaced(old, view, context)) }
}

export function replaced(old: PeerView, view: Json, { store }: Pick<Context, 'store'>): PeerView {
  const { errors: _, ...kept } = old
  const next: PeerView = { ...kept, view, hash: store.newId('') }
  store.setViews(
    old.user,
    store.views(old.user).map((one) => (one === old ? next : one)),
  )
  return next
}
