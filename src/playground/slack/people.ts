/** What people do in the pretend Slack: they type, edit, press buttons and fill in modals; and the app is told of it. */

import type { Json } from './block-rules.ts'
import { type Delivery, type Sender, sendEvent, sendRaw } from './deliver.ts'
import * as write from './interactions.ts'
import { Refusal } from './refusal.ts'
import { answerWith } from './response-url.ts'
import type { PeerMessage, PeerView, Store } from './store.ts'
import { escapeText } from './typed-text.ts'
import { checkedView, pushed, replaced } from './view-api.ts'
import { botUserId, type Channel, type Person, type Workplace } from './workplace.ts'

export type People = {
  /** `text` as typed. */
  slash(user: string, channel: string, text: string, options?: { readonly command?: string }): Promise<Delivery>
  /** Posts the message and sends `app_mention`; `text` as typed, with `@drover` put in front when it is missing. */
  mention(
    user: string,
    channel: string,
    text: string,
    options?: { readonly threadTs?: string; readonly edited?: boolean },
  ): Promise<Delivery & { readonly ts: string }>
  /** A message that mentions nobody: the app is not told. */
  say(user: string, channel: string, text: string, options?: { readonly threadTs?: string }): PeerMessage
  /** The person edits a message: `message_changed` is sent, and the mention again as edited when there is one. */
  edit(user: string, channel: string, ts: string, text: string): Promise<Delivery>
  /** `value` chooses an option of a menu. */
  click(
    user: string,
    channel: string,
    messageTs: string,
    actionId: string,
    options?: { readonly value?: string },
  ): Promise<Delivery>
  clickInView(user: string, viewId: string, actionId: string, options?: { readonly value?: string }): Promise<Delivery>
  /** `values` by block id or action id. */
  submitView(user: string, viewId: string, values?: write.Values): Promise<Delivery>
  /** Sends `view_closed` only where the view asked for it; undefined otherwise. */
  closeView(user: string, viewId: string): Promise<Delivery | undefined>
}

export function peopleOf(options: {
  readonly workplace: Workplace
  readonly store: Store
  readonly sender: Sender
  readonly baseUrl: string
  /** Slash text arrives as message text does. */
  readonly escapesSlashText: boolean
}): People {
  const { workplace, store, sender, baseUrl } = options
  const personOf = (id: string): Person => workplace.people.find((one) => one.id === id) ?? absent(`person ${id}`)
  const channelOf = (id: string): Channel => {
    const imWith = store.imUser(id)
    if (imWith !== undefined) return { id, name: imWith, topic: '', imWith, members: [imWith, botUserId] }
    return workplace.channels.find((one) => one.id === id) ?? absent(`channel ${id}`)
  }
  const scene = (user: string, viewId?: string): write.Scene => {
    const triggerId = `${Date.now()}.${store.newId('')}`
    store.triggers.set(triggerId, { user, issuedAt: Date.now(), used: false, ...(viewId === undefined ? {} : { viewId }) })
    return { store, baseUrl, person: personOf(user), triggerId }
  }
  const responseUrl = (user: string, channel: string, message?: PeerMessage): string => {
    const secret = store.secret()
    store.responseUrls.set(secret, { channel, user, issuedAt: Date.now(), uses: 0, ...(message ? { message } : {}) })
    return `${baseUrl}/response/${secret}`
  }
  const slackbot = (user: string, channel: string, text: string): void => {
    store.post({ channel, user: 'USLACKBOT', text, onlyFor: user })
  }
  const viewOf = (user: string, id: string): PeerView => store.views(user).find((one) => one.id === id) ?? absent(`view ${id}`)
  const send = (at: write.Scene, body: string) => sendRaw(sender, { body, triggerId: at.triggerId })

  return {
    async slash(user, channel, text, { command = '/exec' } = {}) {
      const at = scene(user)
      const sent = options.escapesSlashText ? escapeText(text) : text
      const delivery = await send(at, write.slashBody(at, channelOf(channel), command, sent, responseUrl(user, channel)))
      if (delivery.failure === 'http_timeout' || delivery.failure === 'connection_failed') {
        slackbot(user, channel, `\`${command}\` failed because the app did not respond.`)
      } else if (delivery.failure === 'http_error') {
        slackbot(user, channel, `\`${command}\` failed with the error "dispatch_failed".`)
      } else showAnswer(delivery.body, user, channel)
      return delivery
    },

    async mention(user, channel, text, { threadTs, edited } = {}) {
      const person = personOf(user)
      const typed = /@drover\b/i.test(text) ? text : `@drover ${text}`
      const { message, blocks } = write.postTyped(store, person, channelOf(channel), typed, threadTs)
      const event = mentionEvent(message, blocks, edited === true)
      return { ...(await sendEvent(sender, write.eventBody(store, person, event))), ts: message.ts }
    },

    say(user, channel, text, { threadTs } = {}) {
      return write.postTyped(store, personOf(user), channelOf(channel), text, threadTs).message
    },

    async edit(user, channel, ts, text) {
      const person = personOf(user)
      const old = store.find(channel, ts) ?? absent(`message ${ts}`)
      if (old.user !== user) throw new Error('only its author can edit a message')
      const typed = write.postTyped(store, person, channelOf(channel), text, old.threadTs)
      store.remove(typed.message)
      const changed = store.replace(old, { ...old, text: typed.message.text, edited: true })
      const delivery = await sendEvent(
        sender,
        write.eventBody(store, person, {
          type: 'message',
          subtype: 'message_changed',
          hidden: true,
          channel,
          ts: store.nextTs(),
          message: messageOf(changed),
          previous_message: messageOf(old),
        }),
      )
      if (changed.text.includes(`<@${botUserId}>`)) {
        await sendEvent(sender, write.eventBody(store, person, mentionEvent(changed, typed.blocks, true)))
      }
      return delivery
    },

    click(user, channel, messageTs, actionId, { value } = {}) {
      const message = store.find(channel, messageTs)
      if (!message || (message.onlyFor !== undefined && message.onlyFor !== user)) return absent(`message ${messageTs}`)
      const placed = write.elementsOf(message.blocks ?? []).find(({ element }) => element.action_id === actionId)
      if (!placed) return absent(`button ${actionId} in message ${messageTs}`)
      const at = scene(user)
      const action = write.actionOf(placed, store.nextTs(), value)
      return send(at, write.clickBody(at, channelOf(channel), message, action, responseUrl(user, channel, message)))
    },

    clickInView(user, viewId, actionId, { value } = {}) {
      const view = viewOf(user, viewId)
      const blocks = (view.view.blocks ?? []) as readonly Json[]
      const placed = write.elementsOf(blocks).find(({ element }) => element.action_id === actionId)
      if (!placed) return absent(`element ${actionId} in view ${viewId}`)
      const at = scene(user, viewId)
      return send(at, write.viewClickBody(at, view, write.actionOf(placed, store.nextTs(), value)))
    },

    async submitView(user, viewId, values = {}) {
      const view = viewOf(user, viewId)
      const at = scene(user, viewId)
      const delivery = await send(at, write.submitBody(at, view, values))
      if (delivery.failure === undefined) applySubmit(view, delivery.body)
      return delivery
    },

    async closeView(user, viewId) {
      const view = viewOf(user, viewId)
      store.setViews(
        user,
        store.views(user).filter((one) => one !== view),
      )
      if (view.view.notify_on_close !== true) return undefined
      const at = scene(user)
      return send(at, write.viewClosedBody(at, view))
    },
  }

  function mentionEvent(message: PeerMessage, blocks: readonly unknown[], edited: boolean): Json {
    return {
      type: 'app_mention',
      ...messageOf(message),
      channel: message.channel,
      event_ts: message.ts,
      blocks,
      ...(edited ? { edited: { user: message.user, ts: store.nextTs() } } : {}),
    }
  }

  function messageOf({ user, ts, text, threadTs, channel }: PeerMessage): Json {
    const parent = threadTs === undefined ? undefined : store.find(channel, threadTs)
    return { user, ts, text, ...(threadTs === undefined ? {} : { thread_ts: threadTs, parent_user_id: parent?.user }) }
  }

  /** The answer to a slash command: empty, plain text, or a message. */
  function showAnswer(body: unknown, user: string, channel: string) {
    if (body === '' || body === undefined || body === null) return
    try {
      answerWith(typeof body === 'object' ? (body as Json) : { text: String(body) }, { channel, user }, { store })
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      slackbot(user, channel, `The app's answer could not be shown: ${error.message} ${JSON.stringify(error.extra)}`)
    }
  }

  function applySubmit(view: PeerView, body: unknown) {
    const answer = typeof body === 'object' && body !== null ? (body as Json) : {}
    const stack = store.views(view.user)
    switch (answer.response_action) {
      case 'errors':
        return store.setViews(
          view.user,
          stack.map((one) => (one === view ? { ...one, errors: answer.errors as Record<string, string> } : one)),
        )
      case 'update':
        replaced(view, checkedView(answer.view), { store })
        return
      case 'push':
        pushed(view.user, checkedView(answer.view), { store })
        return
      case 'clear':
        return store.setViews(view.user, [])
      default:
        return store.setViews(
          view.user,
          stack.filter((one) => one.id !== view.id),
        )
    }
  }
}

function absent(what: string): never {
  throw new Error(`the playground has no ${what}`)
}
