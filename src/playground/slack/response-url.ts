/** A response URL: five uses in thirty minutes, for the person who asked. */

import type { Json } from './block-rules.ts'
import { type Context, checkedThread } from './places.ts'
import { Refusal } from './refusal.ts'
import { checkedContent } from './web-api.ts'
import { botId, botUserId } from './workplace.ts'

export type ResponseUrlAnswer = { readonly status: 200 | 400 | 404; readonly body: Json; readonly args: Json }

export function useResponseUrl(secret: string, args: Json, context: Context, livesMs: number): ResponseUrlAnswer {
  const { store } = context
  const url = store.responseUrls.get(secret)
  const no = (status: 400 | 404, error: string, extra: Json = {}): ResponseUrlAnswer => {
    return { status, body: { ok: false, error, ...extra }, args }
  }
  if (!url) return no(404, 'no_such_url')
  if (Date.now() - url.issuedAt > livesMs) return no(404, 'expired_url')
  if (url.uses >= 5) return no(404, 'used_url')
  url.uses += 1
  try {
    answerWith(args, url, context)
    return { status: 200, body: { ok: true }, args }
  } catch (error) {
    if (error instanceof Refusal) return no(400, error.message, error.extra)
    throw error
  }
}

/** What an app answers to a slash command, in the body or through the response URL. */
export function answerWith(
  args: Json,
  place: { readonly channel: string; readonly user: string; readonly message?: { readonly ts: string } },
  context: Pick<Context, 'store'>,
): void {
  const { store } = context
  const original = place.message && store.find(place.channel, place.message.ts)
  if (args.delete_original === true) {
    if (original) store.remove(original)
    return
  }
  const { warning: _, ...content } = checkedContent(args)
  if (args.replace_original === true && original) {
    const { blocks: _old, ...rest } = original
    store.replace(original, { ...rest, ...content })
    return
  }
  const threadTs = checkedThread(args.thread_ts, place.channel, store)
  store.post({
    ...content,
    channel: place.channel,
    user: botUserId,
    botId,
    ...(threadTs === undefined ? {} : { threadTs }),
    ...(args.response_type === 'in_channel' ? {} : { onlyFor: place.user }),
  })
}
