/** The bodies of what Slack sends: slash commands, mentions, clicks, submitted modals. */

import type { Json } from './block-rules.ts'
import type { PeerMessage, PeerView, Store } from './store.ts'
import { tokens, toMrkdwn, toRichText } from './typed-text.ts'
import { viewJson } from './view-api.ts'
import { messageJson } from './web-api.ts'
import { appId, botUserId, type Channel, type Person } from './workplace.ts'

export type Scene = { readonly store: Store; readonly baseUrl: string; readonly person: Person; readonly triggerId: string }

/** Legacy; Slack still sends it, nobody may rely on it. */
const legacyToken = 'legacy-verification-token'

export function slashBody(scene: Scene, channel: Channel, command: string, text: string, responseUrl: string): string {
  return new URLSearchParams({
    token: legacyToken,
    team_id: scene.person.teamId,
    team_domain: scene.person.teamId === scene.store.workplace.teamId ? 'playground' : 'acme',
    channel_id: channel.id,
    channel_name: channel.imWith === undefined ? channel.name : 'directmessage',
    user_id: scene.person.id,
    user_name: scene.person.name,
    command,
    text,
    api_app_id: appId,
    is_enterprise_install: 'false',
    response_url: responseUrl,
    trigger_id: scene.triggerId,
  }).toString()
}

/** Posts what the person typed, as Slack writes it. */
export function postTyped(
  store: Store,
  person: Person,
  channel: Channel,
  typed: string,
  threadTs: string | undefined,
): { readonly message: PeerMessage; readonly blocks: readonly unknown[] } {
  const parts = tokens(typed, store.workplace)
  const text = toMrkdwn(parts)
  const message = store.post({ channel: channel.id, user: person.id, text, ...(threadTs === undefined ? {} : { threadTs }) })
  return { message, blocks: toRichText(parts) }
}

export function eventBody(store: Store, person: Person, event: Json): string {
  return JSON.stringify({
    token: legacyToken,
    team_id: store.workplace.teamId,
    context_team_id: store.workplace.teamId,
    context_enterprise_id: null,
    api_app_id: appId,
    event: { user: person.id, team: person.teamId, user_team: person.teamId, source_team: person.teamId, ...event },
    type: 'event_callback',
    event_id: store.newId('Ev'),
    event_time: Math.floor(Date.now() / 1000),
    authorizations: [
      { enterprise_id: null, team_id: store.workplace.teamId, user_id: botUserId, is_bot: true, is_enterprise_install: false },
    ],
    is_ext_shared_channel: store.workplace.channels.find((one) => one.id === event.channel)?.isExtShared === true,
    event_context: store.newId('EC'),
  })
}

function interaction(scene: Scene, payload: Json): string {
  const { person, store } = scene
  return new URLSearchParams({
    payload: JSON.stringify({
      user: { id: person.id, username: person.name, name: person.name, team_id: person.teamId },
      team: { id: store.workplace.teamId, domain: 'playground' },
      enterprise: null,
      is_enterprise_install: false,
      api_app_id: appId,
      token: legacyToken,
      trigger_id: scene.triggerId,
      ...payload,
    }),
  }).toString()
}

export function clickBody(scene: Scene, channel: Channel, message: PeerMessage, action: Json, responseUrl: string): string {
  const isEphemeral = message.onlyFor !== undefined
  return interaction(scene, {
    type: 'block_actions',
    container: {
      type: 'message',
      message_ts: message.ts,
      channel_id: channel.id,
      is_ephemeral: isEphemeral,
      ...(message.threadTs === undefined ? {} : { thread_ts: message.threadTs }),
    },
    channel: { id: channel.id, name: channel.imWith === undefined ? channel.name : 'directmessage' },
    // Slack does not give the message of an ephemeral back.
    ...(isEphemeral ? {} : { message: messageJson(message, scene.store) }),
    state: { values: stateOf(message.blocks ?? [], {}) },
    response_url: responseUrl,
    actions: [action],
  })
}

export function viewClickBody(scene: Scene, view: PeerView, action: Json): string {
  return interaction(scene, {
    type: 'block_actions',
    container: { type: 'view', view_id: view.id },
    view: viewJson(view, stateOf((view.view.blocks ?? []) as readonly Json[], {})),
    actions: [action],
  })
}

export function submitBody(scene: Scene, view: PeerView, values: Values): string {
  const state = stateOf((view.view.blocks ?? []) as readonly Json[], values)
  return interaction(scene, { type: 'view_submission', view: viewJson(view, state), response_urls: [] })
}

export function viewClosedBody(scene: Scene, view: PeerView): string {
  return interaction(scene, { type: 'view_closed', view: viewJson(view), is_cleared: false })
}

// ---- elements and their state ----------------------------------------------------------------

/** By block id or action id: text, or the values of chosen options. */
export type Values = Readonly<Record<string, string | readonly string[]>>

type Placed = { readonly block: Json; readonly element: Json }

/** Every interactive element of a layout, with the block it stands in. */
export function elementsOf(blocks: readonly Json[]): readonly Placed[] {
  return blocks.flatMap((block) => {
    const children = (block.child_blocks ?? []) as readonly Json[]
    const own = [block.element, block.accessory, ...(block.type === 'actions' ? (block.elements as readonly Json[]) : [])]
    return [
      ...own.filter((one): one is Json => typeof one === 'object' && one !== null).map((element) => ({ block, element })),
      ...elementsOf(children),
    ]
  })
}

/** The `actions[0]` of a click. `value` chooses an option where the element has options. */
export function actionOf({ block, element }: Placed, ts: string, value?: string): Json {
  const { confirm: _, options: _options, ...shown } = element
  const chosen = options(element).find((one) => one.value === value)
  return {
    ...shown,
    block_id: block.block_id,
    action_ts: ts,
    ...(chosen === undefined ? {} : { selected_option: chosen }),
  }
}

function options(element: Json): readonly Json[] {
  return Array.isArray(element.options) ? (element.options as readonly Json[]) : []
}

export function stateOf(blocks: readonly Json[], values: Values): Json {
  const state: Record<string, Record<string, Json>> = {}
  for (const { block, element } of elementsOf(blocks)) {
    if (element.type === 'button' || element.type === 'image' || element.type === 'overflow') continue
    const given = values[String(element.action_id)] ?? values[String(block.block_id)]
    const slot = state[String(block.block_id)] ?? {}
    slot[String(element.action_id)] = stateOfElement(element, given)
    state[String(block.block_id)] = slot
  }
  return state
}

function stateOfElement(element: Json, given: string | readonly string[] | undefined): Json {
  const type = String(element.type)
  const wanted = given === undefined ? [] : typeof given === 'string' ? [given] : given
  const chosen = options(element).filter((one) => wanted.includes(String(one.value)))
  if (type === 'static_select' || type === 'radio_buttons') {
    return { type, selected_option: chosen[0] ?? (given === undefined ? (element.initial_option ?? null) : null) }
  }
  if (type === 'multi_static_select' || type === 'checkboxes') {
    return { type, selected_options: given === undefined ? (element.initial_options ?? []) : chosen }
  }
  if (type === 'channels_select') return { type, selected_channel: wanted[0] ?? element.initial_channel ?? null }
  if (type === 'conversations_select') return { type, selected_conversation: wanted[0] ?? element.initial_conversation ?? null }
  if (type === 'users_select') return { type, selected_user: wanted[0] ?? element.initial_user ?? null }
  return { type, value: wanted[0] ?? element.initial_value ?? null }
}
