/** Slack's rate limits as token buckets, and the faults a test can order: 429s, errors, lost connections. */

/** Requests a minute, by method, for one app in one workspace; from Slack's published tiers. */
const perMinute: Readonly<Record<string, number>> = {
  'chat.update': 50,
  'chat.delete': 50,
  'chat.postEphemeral': 100,
  'files.getUploadURLExternal': 100,
  'files.completeUploadExternal': 100,
  'views.open': 100,
  'views.update': 100,
  'views.push': 100,
  'usergroups.list': 20,
  'usergroups.users.list': 20,
  'users.info': 100,
  'conversations.info': 50,
  'conversations.list': 20,
  'conversations.members': 100,
  'conversations.open': 50,
}

type Bucket = { level: number; at: number }

/** Seconds to wait, or undefined when the call may pass. */
export function createLimiter(): (method: string, channel: string | undefined) => number | undefined {
  const buckets = new Map<string, Bucket>()
  const take = (key: string, size: number, refillPerSecond: number): number | undefined => {
    const now = performance.now()
    const bucket = buckets.get(key) ?? { level: size, at: now }
    bucket.level = Math.min(size, bucket.level + ((now - bucket.at) / 1000) * refillPerSecond)
    bucket.at = now
    buckets.set(key, bucket)
    if (bucket.level < 1) return Math.ceil((1 - bucket.level) / refillPerSecond)
    bucket.level -= 1
    return undefined
  }
  return (method, channel) => {
    // About one a second in a channel, short bursts pass, and a workspace-wide cap of a few hundred a minute.
    if (method === 'chat.postMessage') return take(`post ${channel}`, 5, 1) ?? take('post', 300, 5)
    const limit = perMinute[method]
    return limit === undefined ? undefined : take(method, limit, limit / 60)
  }
}

export type Fault =
  | { readonly kind: 'rate-limit'; readonly retryAfterS: number }
  | { readonly kind: 'fail'; readonly status: number; readonly error: string }
  | { readonly kind: 'drop'; readonly afterAccept: boolean }

export type Faults = {
  /** The next `times` calls of the method get 429. */
  rateLimit(method: string, options: { readonly retryAfterS: number; readonly times: number }): void
  /** … get `{ ok: false, error }`, with HTTP `status` (200 unless given). */
  fail(method: string, options: { readonly status?: number; readonly error?: string; readonly times: number }): void
  /** … lose their connection without an answer; with `afterAccept` Slack has done the work by then. */
  drop(method: string, options: { readonly times: number; readonly afterAccept: boolean }): void
  /** How many calls of the method will still go wrong. */
  left(method: string): number
  /** Without a method: nothing goes wrong any more. */
  clear(method?: string): void
}

export function createFaults(): { readonly faults: Faults; next(method: string): Fault | undefined } {
  const queues = new Map<string, Fault[]>()
  const add = (method: string, fault: Fault, times: number): void => {
    queues.set(method, [...(queues.get(method) ?? []), ...Array.from({ length: times }, () => fault)])
  }
  return {
    faults: {
      rateLimit: (method, { retryAfterS, times }) => add(method, { kind: 'rate-limit', retryAfterS }, times),
      fail: (method, { status, error, times }) =>
        add(method, { kind: 'fail', status: status ?? 200, error: error ?? 'internal_error' }, times),
      drop: (method, { times, afterAccept }) => add(method, { kind: 'drop', afterAccept }, times),
      left: (method) => queues.get(method)?.length ?? 0,
      clear: (method) => void (method === undefined ? queues.clear() : queues.delete(method)),
    },
    next: (method) => queues.get(method)?.shift(),
  }
}
