/** Where runs live in objects of their own: many of them on one agent's link. Frames pass as they are; only the numbers of streams change. */

import { type Bytes, decodeFrame, encodeFrame, jsonPayload, MAX_STREAMS, renumbered } from './frame.ts'
import type { Reset } from './session.ts'

/** One object's connection; to it this is its agent. */
export type Client = { send(message: Bytes): void; close(code: number, reason: string): void }

export type Switch = {
  /** A message of the agent. Returns what is wrong with it, and then the agent is not spoken to any more. */
  fromAgent(message: Uint8Array): string | undefined
  fromClient(client: Client, message: Uint8Array): void
  clientGone(client: Client): void
  agentGone(): void
  readonly clients: () => number
  /** The number of the stream that was opened last: the agent takes only higher ones. */
  readonly last: () => number
  add(client: Client): void
}

type Lane = { readonly client: Client; readonly number: number; agentEnded: boolean; clientEnded: boolean }

/** `last`: the number that was used last on this connection, where it was switched before. */
export function createSwitch(toAgent: (message: Bytes) => void, faultCode: number, last = 0): Switch {
  /** By the agent's number of a stream. */
  const lanes = new Map<number, Lane>()
  /** The agent's number by the client's. */
  const clients = new Map<Client, Map<number, number>>()

  const forget = (id: number, { client, number }: Lane): void => {
    lanes.delete(id)
    clients.get(client)?.delete(number)
  }
  const forgetIfEnded = (id: number, lane: Lane): void => {
    if (lane.agentEnded && lane.clientEnded) forget(id, lane)
  }
  const gone: Reset = { reason: 'reset', message: 'the run that asked for it has gone' }

  return {
    add: (client) => void clients.set(client, new Map()),
    clients: () => clients.size,
    last: () => last,
    fromAgent(message) {
      const frame = decodeFrame(message)
      if (!frame || frame.type === 'open') return 'what came is no frame of an agent'
      const lane = lanes.get(frame.id)
      if (!lane) return frame.id === 0 || frame.id > last ? 'a stream that was never opened' : undefined
      lane.client.send(renumbered(message, lane.number))
      if (frame.type === 'reset') forget(frame.id, lane)
      if (frame.type !== 'end') return undefined
      lane.agentEnded = true
      forgetIfEnded(frame.id, lane)
      return undefined
    },
    fromClient(client, message) {
      const own = clients.get(client)
      const frame = decodeFrame(message)
      if (!own || !frame) return client.close(faultCode, 'what came is no frame')
      if (frame.type === 'open') {
        if (lanes.size >= MAX_STREAMS) {
          const full: Reset = { reason: 'other', message: `${MAX_STREAMS} requests are going on at a time already` }
          return client.send(encodeFrame('reset', frame.id, jsonPayload(full)))
        }
        last += 1
        own.set(frame.id, last)
        lanes.set(last, { client, number: frame.id, agentEnded: false, clientEnded: false })
        return toAgent(renumbered(message, last))
      }
      const id = own.get(frame.id)
      const lane = id === undefined ? undefined : lanes.get(id)
      if (id === undefined || !lane) return undefined
      toAgent(renumbered(message, id))
      if (frame.type === 'reset') forget(id, lane)
      if (frame.type !== 'end') return undefined
      lane.clientEnded = true
      return forgetIfEnded(id, lane)
    },
    clientGone(client) {
      for (const id of clients.get(client)?.values() ?? []) {
        toAgent(encodeFrame('reset', id, jsonPayload(gone)))
        lanes.delete(id)
      }
      clients.delete(client)
    },
    agentGone() {
      lanes.clear()
      for (const client of clients.keys()) client.close(1001, 'the agent’s connection was lost')
      clients.clear()
    },
  }
}
