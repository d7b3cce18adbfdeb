/** The Durable Object that holds one agent's connection; the objects of runs reach the agent through it. It sleeps while nothing runs. */

import { DurableObject } from 'cloudflare:workers'
import { type Bytes, MOST_TO_GATEWAY } from './agent/frame.ts'
import {
  CONNECT_PATH,
  HANDSHAKE_MS,
  hostOf,
  judgeHello,
  newChallenge,
  PING,
  PONG,
  type ProvedBy,
  REFUSED,
  REPLACED,
  readHello,
  SILENCE_MS,
  SILENT,
} from './agent/handshake.ts'
import { FAULT } from './agent/session.ts'
import { createSwitch } from './agent/switch.ts'
import type { AgentState } from './agent/through.ts'
import { STREAMS_PATH } from './agent/through-object.ts'
import { maskedLog } from './rooms.ts'
import { configOf, type Env, workerLog } from './run-object.ts'

/** Kept with the agent's socket while the object sleeps. */
type Kept =
  | { readonly is: 'asked'; readonly name: string; readonly host: string; readonly nonce: string; readonly at: number }
  | {
      readonly is: 'in'
      readonly name: string
      readonly since: number
      readonly says: string
      /** Absent on a connection of an older drover. */
      readonly by?: ProvedBy
      /** The number of its last stream. */
      readonly last?: number
    }
  | { readonly is: 'out' }
type AgentSocket = WebSocket & { accept(): void; serializeAttachment(value: Kept): void; deserializeAttachment(): Kept | null }
type Context = {
  acceptWebSocket(socket: WebSocket): void
  getWebSockets(): AgentSocket[]
  setWebSocketAutoResponse(pair: unknown): void
  getWebSocketAutoResponseTimestamp(socket: WebSocket): Date | null
  readonly storage: { get(key: string): Promise<unknown>; put(key: string, value: unknown): Promise<void> }
}
declare const WebSocketPair: new () => { readonly 0: AgentSocket; readonly 1: AgentSocket }
declare const WebSocketRequestResponsePair: new (request: string, response: string) => unknown

/** Sockets that have not said who they are. The oldest makes room, so that strangers who say nothing keep nobody out. */
const MOST_PENDING = 8
const LAST = 'last'

export class AgentObject extends DurableObject<Env> {
  readonly #context = this.ctx as unknown as Context
  readonly #switch = createSwitch((message) => this.#agent()?.socket.send(message), FAULT, this.#agent()?.kept.last)
  #heard = Date.now()
  #watch: ReturnType<typeof setInterval> | undefined

  constructor(...args: ConstructorParameters<typeof DurableObject<Env>>) {
    super(...args)
    // Answered without waking the object.
    this.#context.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PING, PONG))
  }

  async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url)
    if (url.pathname === CONNECT_PATH) return this.#challenge(url)
    if (url.pathname !== STREAMS_PATH) return Response.json(await this.#state())
    this.#dropIfSilent()
    if (!this.#agent()) return Response.json(await this.#state(), { status: 503 })
    return this.#carry()
  }

  #log(event: Readonly<Record<string, unknown>>): void {
    maskedLog(configOf(this.env), workerLog)(event)
  }

  #agent(): { readonly socket: AgentSocket; readonly kept: Kept & { is: 'in' } } | undefined {
    for (const socket of this.#context.getWebSockets()) {
      const kept = socket.deserializeAttachment()
      if (kept?.is === 'in' && socket.readyState === WebSocket.OPEN) return { socket, kept }
    }
    return undefined
  }

  async #state(): Promise<AgentState> {
    const agent = this.#agent()
    if (agent) {
      const { name, since, says, by } = agent.kept
      return { name, connected: true, since, says, ...(by === undefined ? {} : { by }) }
    }
    const last = (await this.#context.storage.get(LAST)) as Omit<AgentState, 'connected'> | undefined
    return { name: last?.name ?? 'of this name', ...last, connected: false }
  }

  // ---- the agent -------------------------------------------------------------------------------

  #challenge(url: URL): Response {
    const pending = this.#context.getWebSockets().flatMap((socket) => {
      const kept = socket.deserializeAttachment()
      return kept?.is === 'asked' ? [{ socket, at: kept.at }] : []
    })
    pending.sort((a, b) => a.at - b.at)
    for (const { socket } of pending.slice(0, Math.max(0, pending.length - MOST_PENDING + 1))) {
      socket.serializeAttachment({ is: 'out' })
      socket.close(REFUSED, 'too many are asking at a time')
    }
    const { 0: theirs, 1: ours } = new WebSocketPair()
    const challenge = newChallenge()
    this.#context.acceptWebSocket(ours)
    const name = url.searchParams.get('agent') ?? ''
    ours.serializeAttachment({ is: 'asked', name, host: url.host, nonce: challenge.nonce, at: Date.now() })
    ours.send(JSON.stringify(challenge))
    setTimeout(() => {
      if (ours.deserializeAttachment()?.is === 'asked') ours.close(REFUSED, 'it did not answer the challenge in time')
    }, HANDSHAKE_MS)
    return new Response(null, { status: 101, webSocket: theirs } as ResponseInit)
  }

  async webSocketMessage(socket: AgentSocket, message: string | ArrayBuffer): Promise<void> {
    const kept = socket.deserializeAttachment()
    if (kept?.is === 'asked') return await this.#judge(socket, kept, message)
    if (kept?.is !== 'in' || typeof message === 'string') return
    this.#heard = Date.now()
    const fault = message.byteLength > MOST_TO_GATEWAY ? 'a frame is too large' : this.#switch.fromAgent(new Uint8Array(message))
    if (fault === undefined) return
    await this.#lose(socket, kept, fault)
    socket.close(FAULT, fault)
  }

  async #judge(socket: AgentSocket, asked: Kept & { is: 'asked' }, message: string | ArrayBuffer): Promise<void> {
    const { name, nonce } = asked
    const entry = configOf(this.env).agents[name]
    const hello = typeof message === 'string' ? readHello(message) : undefined
    const refuse = (why: string, code = REFUSED) => {
      this.#log({ level: 'warn', event: 'agent-refused', agent: name, why })
      socket.serializeAttachment({ is: 'out' })
      socket.close(code, why.slice(0, 40))
    }
    if (!entry || !hello) return refuse('what it answered is no hello')
    const expected = { name, ...entry, host: hostOf(entry.host ?? asked.host), now: Date.now() }
    // One answer to one challenge.
    socket.serializeAttachment({ is: 'out' })
    const verdict = await judgeHello(hello, { type: 'challenge', versions: [], nonce }, expected)
    if (!verdict.ok) return refuse(verdict.why, verdict.code)
    const before = this.#agent()
    if (before) {
      before.socket.serializeAttachment({ is: 'out' })
      before.socket.close(REPLACED, 'another connection has taken its place')
      this.#switch.agentGone()
    }
    this.#heard = Date.now()
    const { says, by } = verdict
    socket.serializeAttachment({ is: 'in', name, since: Date.now(), says, by })
    socket.send(JSON.stringify({ type: 'welcome' }))
    this.#log({ level: 'info', event: 'agent-connected', agent: name, says, by, ...(before ? { replaced: true } : {}) })
  }

  async webSocketClose(socket: AgentSocket, code: number, reason: string): Promise<void> {
    const kept = socket.deserializeAttachment()
    if (kept?.is === 'in')
      await this.#lose(
        socket,
        kept,
        reason || (code === 1000 || code === 1001 ? 'it was stopped' : `its connection was lost (${code})`),
      )
  }

  async webSocketError(socket: AgentSocket): Promise<void> {
    await this.webSocketClose(socket, 1006, '')
  }

  async #lose(socket: AgentSocket, { name, says }: Kept & { is: 'in' }, why: string): Promise<void> {
    socket.serializeAttachment({ is: 'out' })
    this.#switch.agentGone()
    this.#log({ level: 'info', event: 'agent-disconnected', agent: name, why })
    await this.#context.storage.put(LAST, { name, says, since: Date.now(), why })
  }

  // ---- the objects of runs ---------------------------------------------------------------------

  /** Not the kind that lets the object sleep: while a run is connected, what is on its way must not be forgotten. */
  #carry(): Response {
    const { 0: theirs, 1: ours } = new WebSocketPair()
    ours.accept()
    ours.binaryType = 'arraybuffer'
    const client = {
      send: (message: Bytes) => ours.send(message),
      close: (code: number, why: string) => ours.close(code, why),
    }
    this.#switch.add(client)
    const gone = () => {
      this.#switch.clientGone(client)
      if (this.#switch.clients() > 0) return
      clearInterval(this.#watch)
      // Now it may sleep, and would begin to count anew.
      const agent = this.#agent()
      agent?.socket.serializeAttachment({ ...agent.kept, last: this.#switch.last() })
    }
    ours.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data !== 'string') this.#switch.fromClient(client, new Uint8Array(data))
    })
    ours.addEventListener('close', gone)
    ours.addEventListener('error', gone)
    clearInterval(this.#watch)
    this.#watch = setInterval(() => this.#dropIfSilent(), SILENCE_MS / 4)
    return new Response(null, { status: 101, webSocket: theirs } as ResponseInit)
  }

  /** A connection that was cut may look open for many minutes. */
  #dropIfSilent(): void {
    const agent = this.#agent()
    if (!agent) return
    const { socket, kept } = agent
    const ping = this.#context.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0
    if (Date.now() - Math.max(ping, kept.since, this.#heard) <= SILENCE_MS) return
    void this.#lose(socket, kept, 'nothing was heard from it')
    socket.close(SILENT, 'nothing was heard from it')
  }
}
