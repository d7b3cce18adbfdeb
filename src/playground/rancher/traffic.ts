/** What went over the wire of a pretend Rancher, for whoever watches: HTTP exchanges and the messages of its websockets. */

export type Traffic =
  | {
      readonly type: 'http'
      readonly at: number
      readonly method: string
      /** With its query. */
      readonly path: string
      readonly request: string
      readonly status: number
      readonly response: string
    }
  /** A websocket that was let in; `argv` is what its token says. */
  | {
      readonly type: 'open'
      readonly at: number
      readonly socket: number
      readonly path: string
      readonly argv?: readonly string[]
    }
  | { readonly type: 'refused'; readonly at: number; readonly path: string; readonly status: number; readonly response: string }
  /** One message as it was meant: base64 taken away. */
  | {
      readonly type: 'message'
      readonly at: number
      readonly socket: number
      readonly from: 'client' | 'host'
      readonly base64: boolean
      readonly data: Uint8Array
    }
  /** 1006: there was no close frame. */
  | {
      readonly type: 'closed'
      readonly at: number
      readonly socket: number
      readonly by: 'client' | 'host'
      readonly code: number
    }

/** Without the time, which is when it is told. */
export type Told = Traffic extends infer One ? (One extends Traffic ? Omit<One, 'at'> & { readonly at?: number } : never) : never
export type TrafficListener = (traffic: Traffic) => void

export function createTraffic() {
  const listeners = new Set<TrafficListener>()
  let sockets = 0
  return {
    tell(told: Told): void {
      if (listeners.size === 0) return
      const traffic = { ...told, at: told.at ?? Date.now() } as Traffic
      for (const listener of listeners) listener(traffic)
    },
    nextSocket: () => ++sockets,
    listen(listener: TrafficListener): () => void {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}
export type TrafficLog = ReturnType<typeof createTraffic>
