/** A pretend Slack in Socket Mode, the Slack frontend connected to it, and a gateway in memory that runs nothing by itself. */

import { expect } from 'vitest'
import { type SlackOptions, slackSocket } from '../../../src/frontends/slack/app.ts'
import { createSlackClient } from '../../../src/frontends/slack/client.ts'
import { createSlackReporter } from '../../../src/frontends/slack/reporter.ts'
import type { SlackSocket, SocketTimings } from '../../../src/frontends/slack/socket.ts'
import { type SlackPeer, type SlackPeerOptions, startSlackPeer } from '../../../src/playground/slack/peer.ts'
import { nodeTransport } from '../../../src/runtime/transport-node.ts'
import { type MemoryGateway, memoryGateway } from './bench.ts'

/** Replaces without a pause, and backs off in milliseconds. */
const quick: Partial<SocketTimings> = { firstPauseMs: 10, longestPauseMs: 40, steadyMs: 0, retireMs: 2000 }

export type SocketBench = {
  readonly peer: SlackPeer
  readonly memory: MemoryGateway
  readonly logs: object[]
  readonly socket: SlackSocket
  readonly reporter: ReturnType<typeof createSlackReporter>
  /** Connects another drover to the same Slack and the same records. */
  connect(): SlackSocket
  settled(): Promise<void>
  close(): Promise<void>
}

/** Resolves once both connections deliver; `together: false` does not wait. */
export async function startSocketBench(
  options: {
    readonly peer?: SlackPeerOptions
    readonly slack?: Partial<SlackOptions & { readonly appToken: string }>
    readonly timings?: Partial<SocketTimings>
    readonly before?: (peer: SlackPeer) => void
    readonly together?: boolean
  } = {},
): Promise<SocketBench> {
  const peer = await startSlackPeer({ rateLimits: false, ...options.peer })
  peer.connectSocket()
  options.before?.(peer)
  const memory = memoryGateway()
  const logs: object[] = []
  const pending = new Set<Promise<unknown>>()
  const sockets: SlackSocket[] = []
  const transport = nodeTransport()
  const connect = () => {
    const socket = slackSocket(
      {
        botToken: peer.botToken,
        appToken: peer.appToken,
        botUserId: peer.botUserId,
        botId: peer.botId,
        teamId: peer.teamId,
        apiUrl: peer.apiUrl,
        shareTo: ['C0RANDOM'],
        connect: (url, signal) => transport.socket(url, { signal }),
        socket: { ...quick, ...options.timings },
        ...options.slack,
      },
      memory.gateway,
      {
        now: Date.now,
        log: (event) => logs.push(event),
        keepAlive(promise) {
          pending.add(promise)
          promise.finally(() => pending.delete(promise)).catch(() => {})
        },
        siteTimeoutMs: 60_000,
      },
    )
    sockets.push(socket)
    return socket
  }
  const settled = async () => {
    while (pending.size > 0) await Promise.allSettled([...pending])
  }
  const socket = connect()
  if (options.together !== false) await expect.poll(() => socket.open(), { timeout: 10_000 }).toBe(2)
  const client = createSlackClient({ token: peer.botToken, apiUrl: peer.apiUrl, requestTimeoutMs: 2000 })
  return {
    peer,
    memory,
    logs,
    socket,
    connect,
    settled,
    reporter: createSlackReporter(client, { shareTo: ['C0RANDOM'], log: (event) => logs.push(event) }),
    async close() {
      await Promise.all(sockets.map((one) => one.stop()))
      await settled()
      await peer.close()
    },
  }
}
