/** The way from a run's object to the object that holds an agent's connection: the same frames, on a websocket of its own while it is needed. */

import { type Transport, TransportError } from '../backends/transport.ts'
import { createSession, type Session } from './session.ts'
import { type AgentState, notConnected, throughAgent } from './through.ts'

export const STREAMS_PATH = '/streams'
/** Then the connection goes, so that nobody is kept awake. */
const IDLE_MS = 5_000

export type AgentStub = {
  fetch(request: string | Request, options?: { readonly headers?: Readonly<Record<string, string>> }): Promise<Response>
}
type WorkerSocket = WebSocket & { accept(): void }

export function throughObject(name: string, stub: () => AgentStub): Transport {
  let current: Promise<Session> | undefined

  async function open(): Promise<Session> {
    const response: Response & { readonly webSocket?: WorkerSocket | null } = await stub().fetch(`https://agent${STREAMS_PATH}`, {
      headers: { upgrade: 'websocket' },
    })
    const socket = response.webSocket
    if (response.status === 503) throw notConnected((await response.json()) as AgentState)
    if (!socket) throw new TransportError('other', `its object answered with HTTP ${response.status}`)
    const session = createSession({ send: (message) => socket.send(message), close: (code, why) => socket.close(code, why) })
    const idle = setInterval(() => {
      if (session.streams() > 0) return
      end('it was not needed any more')
      socket.close(1000)
    }, IDLE_MS)
    const end = (why: string) => {
      clearInterval(idle)
      session.end(why)
    }
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data !== 'string') session.receive(new Uint8Array(data))
    })
    socket.addEventListener('close', ({ reason }) => end(reason || 'its connection was lost'))
    socket.addEventListener('error', () => end('its connection was lost'))
    socket.accept()
    return session
  }

  async function connect(): Promise<Session> {
    const known = await current?.catch(() => undefined)
    if (known && !known.isOver()) return known
    const made = open()
    current = made
    return await made
  }
  return throughAgent(name, connect)
}
