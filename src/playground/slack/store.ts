/** What the workplace holds: messages, files, views, short-lived ids; and who is told when it changes. */

import { randomBytes } from 'node:crypto'
import type { Json } from './block-rules.ts'
import type { Workplace } from './workplace.ts'

export type PeerMessage = {
  readonly ts: string
  readonly channel: string
  readonly user: string
  readonly text: string
  readonly blocks?: readonly Json[]
  readonly threadTs?: string
  readonly botId?: string
  /** A reply that is shown in the channel too. */
  readonly broadcast?: boolean
  readonly files?: readonly PeerFile[]
  readonly edited?: boolean
  readonly metadata?: Json
  /** Only this person sees it. */
  readonly onlyFor?: string
}

export type PeerFile = {
  readonly id: string
  readonly name: string
  readonly title: string
  readonly size: number
  readonly content: Uint8Array
  /** Where it was shared; absent while the upload is not completed. */
  readonly shared?: { readonly channel: string; readonly ts: string; readonly threadTs?: string }
}

export type PeerView = {
  readonly id: string
  readonly rootId: string
  readonly previousId?: string
  readonly user: string
  readonly hash: string
  readonly view: Json
  /** What the app refused at the last submit, by block id. */
  readonly errors?: Readonly<Record<string, string>>
}

export type Change =
  | { readonly type: 'message' | 'message_changed' | 'message_deleted'; readonly message: PeerMessage }
  | { readonly type: 'views'; readonly user: string; readonly views: readonly PeerView[] }

export type Trigger = { readonly user: string; readonly issuedAt: number; used: boolean; readonly viewId?: string }
export type ResponseUrl = {
  readonly channel: string
  readonly user: string
  readonly issuedAt: number
  /** The message whose button was clicked. */
  readonly message?: PeerMessage
  uses: number
}

export type PendingUpload = {
  readonly id: string
  readonly name: string
  readonly length: number
  readonly user: string
  content?: Uint8Array
}

export type Store = ReturnType<typeof createStore>

export function createStore(workplace: Workplace) {
  let lastMicros = 0
  let messages: readonly PeerMessage[] = []
  const listeners = new Set<(change: Change) => void>()
  const views = new Map<string, readonly PeerView[]>()
  const files: PeerFile[] = []
  const ims = new Map<string, string>()

  const tell = (change: Change): void => {
    for (const listener of listeners) listener(change)
  }
  /** Unique and rising, as Slack's are: seconds with six decimals. */
  const nextTs = (): string => {
    lastMicros = Math.max(lastMicros + 1, Date.now() * 1000)
    return `${Math.floor(lastMicros / 1e6)}.${String(lastMicros % 1e6).padStart(6, '0')}`
  }

  return {
    workplace,
    uploads: new Map<string, PendingUpload>(),
    triggers: new Map<string, Trigger>(),
    responseUrls: new Map<string, ResponseUrl>(),
    files,
    nextTs,
    newId: (prefix: string): string => prefix + randomBytes(6).toString('hex').toUpperCase(),
    secret: (): string => randomBytes(18).toString('base64url'),
    messages: (): readonly PeerMessage[] => messages,
    find: (channel: string, ts: string): PeerMessage | undefined =>
      messages.find((one) => one.channel === channel && one.ts === ts),
    post(message: Omit<PeerMessage, 'ts'> & { readonly ts?: string }): PeerMessage {
      const posted: PeerMessage = { ...message, ts: message.ts ?? nextTs() }
      messages = [...messages, posted]
      tell({ type: 'message', message: posted })
      return posted
    },
    replace(old: PeerMessage, message: PeerMessage): PeerMessage {
      messages = messages.map((one) => (one === old ? message : one))
      tell({ type: 'message_changed', message })
      return message
    },
    remove(message: PeerMessage): void {
      messages = messages.filter((one) => one !== message)
      tell({ type: 'message_deleted', message })
    },
    views: (user: string): readonly PeerView[] => views.get(user) ?? [],
    findView: (id: string): PeerView | undefined => [...views.values()].flat().find((one) => one.id === id),
    setViews(user: string, stack: readonly PeerView[]): void {
      views.set(user, stack)
      tell({ type: 'views', user, views: stack })
    },
    imOf(user: string): string {
      const id = ims.get(user) ?? `D0${user.slice(2)}`
      ims.set(user, id)
      return id
    },
    imUser: (channel: string): string | undefined => [...ims].find(([, id]) => id === channel)?.[0],
    listen(listener: (change: Change) => void): () => void {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
