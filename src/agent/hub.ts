/** The agents that are connected to this gateway: who is let in, what their links carry, and how each of them stands. */

import type { Socket, Transport } from '../backends/transport.ts'
import { MOST_TO_GATEWAY } from './frame.ts'
import {
  CONNECT_PATH,
  HANDSHAKE_MS,
  hostOf,
  judgeHello,
  newChallenge,
  PING,
  PONG,
  REFUSED,
  REPLACED,
  readHello,
  SILENCE_MS,
  SILENT,
  type Verdict,
} from './handshake.ts'
import { createSession, type Session } from './session.ts'
import { type AgentState, notConnected, throughAgent } from './through.ts'
import type { AgentKeys } from './through-settings.ts'

/** As it stands under `agents:` in drover.yaml. */
export type AgentEntry = AgentKeys & { readonly host?: string | undefined }
export type AgentEntries = Readonly<Record<string, AgentEntry>>

export type HubOptions = {
  readonly log: (event: Readonly<Record<string, unknown>>) => void
  readonly now?: () => number
  readonly handshakeMs?: number
  readonly silenceMs?: number
}

export type Hub = {
  readonly names: readonly string[]
  /** Takes a websocket that came to `CONNECT_PATH`, and settles when it has ended. `host` is what the request was sent to. */
  accept(name: string, socket: Socket, host: string): Promise<void>
  transport(name: string): Transport
  state(name: string): AgentState
  close(): void
}

/** Sockets that have not said who they are, for each agent. The oldest makes room, so that strangers who say nothing keep nobody out. */
const MOST_PENDING = 8

export function createHub(entries: AgentEntries, options: HubOptions): Hub {
  const now = options.now ?? Date.now
  const links = new Map<string, { readonly session: Session; readonly socket: Socket }>()
  const states = new Map<string, AgentState>()
  const pending = new Map<string, Set<Socket>>()

  const refuse = (name: string, socket: Socket, why: string, code = REFUSED): void => {
    options.log({ level: 'warn', event: 'agent-refused', agent: name, why })
    if (!links.has(name)) states.set(name, { ...stateOf(name), why: `one was refused: ${why}` })
    socket.close(code, why.slice(0, 100))
  }
  const stateOf = (name: string): AgentState => states.get(name) ?? { name, connected: false }

  /** Undefined: it was refused, or went. */
  async function shakeHands(
    name: string,
    entry: AgentEntry,
    host: string,
    socket: Socket,
    messages: Messages,
  ): Promise<Proved | undefined> {
    const challenge = newChallenge()
    const timer = setTimeout(
      () => refuse(name, socket, 'it did not answer the challenge in time'),
      options.handshakeMs ?? HANDSHAKE_MS,
    )
    try {
      socket.send(JSON.stringify(challenge))
      const { value, done } = await messages.next()
      if (done) return undefined
      const hello = value.type === 'text' ? readHello(value.data) : undefined
      if (!hello) {
        refuse(name, socket, 'what it answered is no hello')
        return undefined
      }
      const expected = { name, ...entry, host: hostOf(entry.host ?? host), now: now() }
      const verdict = await judgeHello(hello, challenge, expected)
      if (verdict.ok) return verdict
      refuse(name, socket, verdict.why, verdict.code)
      return undefined
    } finally {
      clearTimeout(timer)
    }
  }

  async function carry(name: string, { says, by }: Proved, socket: Socket, messages: Messages): Promise<void> {
    const session = createSession({
      send: (message) => socket.send(message),
      close: (code, why) => socket.close(code, why),
      ...(socket.drained ? { drained: () => socket.drained?.() ?? Promise.resolve() } : {}),
    })
    const before = links.get(name)
    links.set(name, { session, socket })
    states.set(name, { name, connected: true, since: now(), says, by })
    options.log({ level: 'info', event: 'agent-connected', agent: name, says, by, ...(before ? { replaced: true } : {}) })
    // The newest wins: an agent whose connection was cut comes back before anybody notices that the old one is dead.
    before?.session.end('another connection of the same agent has taken its place')
    before?.socket.close(REPLACED, 'another connection of the same agent has taken its place')
    socket.send(JSON.stringify({ type: 'welcome' }))

    let heard = now()
    const silenceMs = options.silenceMs ?? SILENCE_MS
    const watch = setInterval(() => {
      if (now() - heard > silenceMs) socket.close(SILENT, 'nothing was heard from it')
    }, silenceMs / 4)
    try {
      for await (const message of { [Symbol.asyncIterator]: () => messages }) {
        heard = now()
        if (message.type === 'binary') session.receive(message.data)
        else if (message.data === PING) socket.send(PONG)
      }
    } finally {
      clearInterval(watch)
      session.end('its connection was lost')
      const { code, reason } = await socket.ended
      const why = reason || (code === 1000 || code === 1001 ? 'it was stopped' : `its connection was lost (${code})`)
      options.log({ level: 'info', event: 'agent-disconnected', agent: name, why })
      if (links.get(name)?.session === session) {
        links.delete(name)
        states.set(name, { name, connected: false, since: now(), says, why })
      }
    }
  }

  return {
    names: Object.keys(entries),
    async accept(name, socket, host) {
      const entry = Object.hasOwn(entries, name) ? entries[name] : undefined
      if (!entry) return socket.close(REFUSED, 'there is no such agent here')
      const waiting = pending.get(name) ?? new Set<Socket>()
      const [oldest] = waiting
      if (oldest && waiting.size >= MOST_PENDING) {
        waiting.delete(oldest)
        oldest.close(REFUSED, 'too many are asking at a time')
      }
      pending.set(name, waiting.add(socket))
      const messages = socket.messages[Symbol.asyncIterator]()
      let proved: Proved | undefined
      try {
        proved = await shakeHands(name, entry, host, socket, messages)
      } finally {
        waiting.delete(socket)
      }
      if (proved) await carry(name, proved, socket, messages)
    },
    transport: (name) =>
      throughAgent(name, async () => {
        const link = links.get(name)
        if (link) return link.session
        throw notConnected(stateOf(name))
      }),
    state: stateOf,
    close() {
      for (const { socket, session } of links.values()) {
        session.end('the gateway is stopping')
        socket.close(1001, 'the gateway is stopping')
      }
    },
  }
}

/** What an agent said of itself, and by which key it proved who it is. */
type Proved = Extract<Verdict, { ok: true }>

type Messages = AsyncIterator<Awaited<ReturnType<ReturnType<Socket['messages'][typeof Symbol.asyncIterator]>['next']>>['value']>

/** What a door has to know to let agents in. */
export const entranceOf = (hub: Hub) => ({
  path: CONNECT_PATH,
  maxMessageBytes: MOST_TO_GATEWAY,
  isKnown: (agent: string) => hub.names.includes(agent),
  accept: hub.accept,
})
