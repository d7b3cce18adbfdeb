/** The agent's end of the connection: it calls the gateway, proves who it is, serves what comes, and calls again when it is cut. */

import type { Socket, Transport } from '../backends/transport.ts'
import { TransportError, UpgradeRefused } from '../backends/transport.ts'
import { pause } from '../core/pause.ts'
import { VERSION } from './frame.ts'
import {
  answerOf,
  CONNECT_PATH,
  HANDSHAKE_MS,
  hostOf,
  isWelcome,
  OTHER_VERSION,
  PING,
  PING_MS,
  REFUSED,
  REPLACED,
  readChallenge,
  SILENCE_MS,
  SILENT,
} from './handshake.ts'
import type { PrivateKey } from './keys.ts'
import { createSession, type Stream } from './session.ts'

export type Dialing = {
  readonly gateway: URL
  readonly name: string
  readonly key: PrivateKey
  /** Of itself, for the gateway's log. */
  readonly says: string
  /** The way to the gateway. */
  readonly transport: Transport
  readonly serve: (stream: Stream, request: unknown) => void
  readonly log: (event: Readonly<Record<string, unknown>>) => void
  readonly pace?: Partial<Pace>
}

export type Pace = {
  readonly pingMs: number
  readonly silenceMs: number
  /** Between two calls: at first, and at most. */
  readonly firstWaitMs: number
  readonly mostWaitMs: number
  /** How long the engine's output waits for a gateway that takes none. */
  readonly stallMs: number
}

const USUAL: Pace = { pingMs: PING_MS, silenceMs: SILENCE_MS, firstWaitMs: 1_000, mostWaitMs: 60_000, stallMs: 10 * 60_000 }
/** Connected for so long, the next loss is a new one. */
const SETTLED_MS = 10_000
/** Waiting to be read; frames are taken as they come, so this is never much. */
const MOST_WAITING_BYTES = 8 * 1024 * 1024

/** How a connection ended. `final`: calling again would do harm. */
type End = { readonly why: string; readonly lastedMs: number; readonly next?: string; readonly final?: true }

/** Resolves when `signal` aborts, or with words when it has to be ended. */
export async function stayConnected(dialing: Dialing, signal: AbortSignal): Promise<string | undefined> {
  const pace = { ...USUAL, ...dialing.pace }
  for (let failures = 0; !signal.aborted; ) {
    const { why, lastedMs, next, final } = await connectOnce(dialing, pace, signal)
    if (signal.aborted) return undefined
    if (final) return why
    failures = lastedMs > SETTLED_MS ? 1 : failures + 1
    const most = Math.min(pace.firstWaitMs * 2 ** (failures - 1), pace.mostWaitMs)
    // Half of it by chance, so that many agents do not call at the same moment.
    const waitMs = Math.round(most / 2 + (Math.random() * most) / 2)
    dialing.log({ level: 'warn', event: 'disconnected', why, ...(next ? { next } : {}), againInMs: waitMs })
    await pause(waitMs, signal)
  }
  return undefined
}

async function connectOnce(dialing: Dialing, pace: Pace, signal: AbortSignal): Promise<End> {
  const url = new URL(CONNECT_PATH, dialing.gateway)
  url.protocol = dialing.gateway.protocol === 'https:' ? 'wss:' : 'ws:'
  url.searchParams.set('agent', dialing.name)
  const calling = new AbortController()
  let socket: Socket | undefined
  // Politely where there is a connection, so that the gateway knows that nothing was lost.
  const stop = () => (socket ? socket.close(1000, 'it was stopped') : calling.abort())
  signal.addEventListener('abort', stop, { once: true })
  try {
    socket = await dialing.transport.socket(url.href, { signal: calling.signal, maxBufferedBytes: MOST_WAITING_BYTES })
    if (signal.aborted) stop()
    return await serveOn(socket, dialing, pace)
  } catch (error) {
    return { lastedMs: 0, ...refusedBy(error, dialing) }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

async function serveOn(socket: Socket, dialing: Dialing, pace: Pace): Promise<End> {
  const session = createSession(
    {
      send: (message) => socket.send(message),
      close: (code, why) => socket.close(code, why),
      ...(socket.drained ? { drained: () => socket.drained?.() ?? Promise.resolve() } : {}),
    },
    { accept: dialing.serve, stallMs: pace.stallMs },
  )
  let heard = Date.now()
  let since = 0
  let fault: string | undefined
  const late = setTimeout(() => {
    fault ??= 'the gateway did not finish the handshake in time'
    socket.close(SILENT, 'no handshake')
  }, HANDSHAKE_MS)
  const pulse = setInterval(() => {
    if (Date.now() - heard <= pace.silenceMs) return socket.send(PING)
    fault ??= 'nothing was heard from the gateway'
    return socket.close(SILENT, 'nothing was heard from it')
  }, pace.pingMs)
  try {
    let answered = false
    for await (const message of socket.messages) {
      heard = Date.now()
      if (since > 0) {
        if (message.type === 'binary') session.receive(message.data)
        continue
      }
      const text = message.type === 'text' ? message.data : ''
      const challenge = answered ? undefined : readChallenge(text)
      if (challenge) {
        if (!challenge.versions.includes(VERSION)) {
          fault = `the gateway speaks version ${challenge.versions.join(', ')} of the protocol, this agent ${VERSION}`
          socket.close(OTHER_VERSION, 'another version')
          break
        }
        answered = true
        const who = {
          name: dialing.name,
          host: hostOf(dialing.gateway.host),
          says: dialing.says,
          key: dialing.key,
          time: Date.now(),
        }
        socket.send(JSON.stringify(await answerOf(challenge, who)))
      } else if (answered && isWelcome(text)) {
        since = Date.now()
        clearTimeout(late)
        dialing.log({ level: 'info', event: 'connected', gateway: dialing.gateway.origin, as: dialing.name })
      } else if (text !== '') {
        fault = 'what answers there is no gateway of drover'
        socket.close(1002)
        break
      }
    }
  } finally {
    clearTimeout(late)
    clearInterval(pulse)
    session.end('the gateway is gone')
    socket.close()
  }
  const { code, reason } = await socket.ended
  const lastedMs = since === 0 ? 0 : Date.now() - since
  if (fault !== undefined) return { why: fault, lastedMs }
  if (code === REPLACED)
    return {
      why: 'another agent has connected with this name and key, and took its place; each needs its own',
      lastedMs,
      final: true,
    }
  if (code === REFUSED || code === OTHER_VERSION)
    return {
      why: `the gateway refused it: ${reason}`,
      lastedMs,
      next: 'Compare agents: in its drover.yaml with this agent’s name and public key.',
    }
  return { why: reason || `the connection was lost (${code})`, lastedMs }
}

function refusedBy(error: unknown, { name, gateway }: Dialing): { readonly why: string; readonly next?: string } {
  if (error instanceof UpgradeRefused) {
    const next = `Is ${gateway.origin} drover itself, with agents: ${name} in its drover.yaml?`
    return { why: `the gateway answered with HTTP ${error.status}`, next }
  }
  if (error instanceof TransportError) return { why: error.message }
  return { why: error instanceof Error ? error.message : String(error) }
}
