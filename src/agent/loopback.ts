/** The agent as its gateway meets it, without a network between: what passes here passes there, and nothing else. */

import type { Transport } from '../backends/transport.ts'
import type { Bytes } from './frame.ts'
import { createServer, type Serving } from './serve.ts'
import { createSession, type Session } from './session.ts'
import { throughAgent } from './through.ts'

export function loopback(name: string, serving: Omit<Serving, 'log'>): Transport {
  // A message is taken in a turn of its own, as from a socket.
  const to = (other: () => Session) => ({
    send: (message: Bytes) => queueMicrotask(() => other().receive(message)),
    close: (_: number, why: string) => other().end(why),
  })
  const gateway: Session = createSession(to(() => agent))
  const agent: Session = createSession(
    to(() => gateway),
    { accept: createServer({ ...serving, log: () => {} }) },
  )
  return throughAgent(name, async () => gateway)
}
