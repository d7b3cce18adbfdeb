/** Strangers at the door of a gateway, and agents and gateways that do not keep to the protocol: all on real sockets. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { stayConnected } from '../../src/agent/dial.ts'
import { creditPayload, encodeFrame, jsonPayload, WINDOW_BYTES } from '../../src/agent/frame.ts'
import { answerOf, type Challenge, readChallenge } from '../../src/agent/handshake.ts'
import { makeKeyPair, type PrivateKey, readPrivateKey } from '../../src/agent/keys.ts'
import { createServer as createAgentServer } from '../../src/agent/serve.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { type PlainEngine, startEngine } from './engine.ts'
import { type Event, type Link, startLink, until } from './link.ts'

async function linked(options: Parameters<typeof startLink>[0] = {}): Promise<Link & { readonly engine: PlainEngine }> {
  const engine = await startEngine()
  const link = await startLink({ beside: engine.beside, ...options })
  onTestFinished(async () => {
    await link.close()
    await engine.close()
  })
  return { ...link, engine }
}

/** A caller of its own making: what it is told, and how it was ended. */
async function caller(port: number, path = '/agents/connect?agent=lab', headers: Readonly<Record<string, string>> = {}) {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: { ...headers } })
  const messages: (string | Uint8Array)[] = []
  ws.on('message', (data: Buffer, isBinary) => messages.push(isBinary ? new Uint8Array(data) : data.toString()))
  ws.on('error', () => undefined)
  const ended = new Promise<{ code: number; reason: string }>((resolve) => {
    ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
  const answered = new Promise<number>((resolve) => {
    ws.on('unexpected-response', (_, response) => {
      resolve(response.statusCode ?? 0)
      ws.terminate()
    })
    ws.on('open', () => resolve(101))
  })
  const challenge = async (): Promise<Challenge> => {
    await until(() => messages.length > 0)
    const found = readChallenge(String(messages[0]))
    if (!found) throw new Error('no challenge')
    return found
  }
  return { ws, messages, ended, answered: await answered, challenge }
}

const stranger = async (): Promise<PrivateKey> => readPrivateKey((await makeKeyPair()).privatePem, 'a stranger')

describe('the handshake', { timeout: 60_000 }, () => {
  const enter = async (
    link: Link,
    key: PrivateKey,
    change: Partial<{ name: string; host: string; time: number; version: number; signature: string }> = {},
  ) => {
    const one = await caller(link.port)
    const host = `127.0.0.1:${link.port}`
    const { version, signature, ...signed } = change
    const hello = await answerOf(await one.challenge(), { name: 'lab', host, says: 'a caller', key, time: Date.now(), ...signed })
    one.ws.send(
      JSON.stringify({
        ...hello,
        ...(version === undefined ? {} : { version }),
        ...(signature === undefined ? {} : { signature }),
      }),
    )
    return one
  }

  it('[default-deny] who has another key is refused, and the agent that is there stays', async () => {
    const link = await linked()
    const one = await enter(link, await stranger())
    expect(await one.ended).toEqual({ code: 4003, reason: 'its key is not the one under agents.lab' })
    expect(one.messages).toHaveLength(1)
    expect(link.gatewayLog.at(-1)).toMatchObject({ event: 'agent-refused', agent: 'lab' })
    expect(link.hub.state('lab').connected).toBe(true)
  })

  it('a signature that was heard is good for nothing: neither again, nor for another gateway, name, time or version', async () => {
    const link = await linked()
    const key = link.key
    const first = await enter(link, key)
    await until(() => first.messages.length === 2)
    const heard = await answerOf(await first.challenge(), {
      name: 'lab',
      host: `127.0.0.1:${link.port}`,
      says: '',
      key,
      time: Date.now(),
    })
    const replayed = await caller(link.port)
    await replayed.challenge()
    replayed.ws.send(JSON.stringify(heard))
    expect(await replayed.ended).toEqual({ code: 4003, reason: 'its key is not the one under agents.lab' })

    const reasons: [Parameters<typeof enter>[2], number, RegExp][] = [
      [{ host: 'evil.example.com' }, 4003, /^it calls this gateway evil\.example\.com, which answers as 127/],
      [{ name: 'other' }, 4003, /another name/],
      [{ time: Date.now() - 6 * 60_000 }, 4003, /clock differs by 6 minutes/],
      [{ time: Date.now() + 6 * 60_000 }, 4003, /clock differs by 6 minutes/],
      [{ version: 2 }, 4006, /speaks version 1, the agent 2/],
      [{ signature: 'AAAA' }, 4003, /its key/],
    ]
    for (const [change, code, reason] of reasons) {
      const end = await (await enter(link, key, change)).ended
      expect([end.code, end.reason]).toEqual([code, expect.stringMatching(reason)])
    }
  })

  it('a field that was not signed as it stands is refused', async () => {
    const link = await linked()
    const one = await caller(link.port)
    const host = `127.0.0.1:${link.port}`
    const hello = await answerOf(await one.challenge(), { name: 'lab', host, says: '', key: link.key, time: Date.now() })
    one.ws.send(JSON.stringify({ ...hello, time: hello.time + 1 }))
    expect((await one.ended).code).toBe(4003)
  })

  it('[default-deny] other names, other paths and what is no hello are refused', async () => {
    const link = await linked()
    expect((await caller(link.port, '/agents/connect?agent=toString')).answered).toBe(403)
    expect((await caller(link.port, '/agents/connect')).answered).toBe(403)
    expect((await caller(link.port, '/elsewhere?agent=lab')).answered).toBe(404)
    for (const word of ['ping', '{}', 'x'.repeat(5000), JSON.stringify({ type: 'hello', version: 1, name: 'lab\nx' })]) {
      const one = await caller(link.port)
      await one.challenge()
      one.ws.send(word)
      expect(await one.ended).toEqual({ code: 4003, reason: 'what it answered is no hello' })
    }
    const frames = await caller(link.port)
    await frames.challenge()
    frames.ws.send(encodeFrame('head', 1, jsonPayload({ status: 200 })))
    expect((await frames.ended).code).toBe(4003)
    expect(link.hub.state('lab').connected).toBe(true)
  })

  it('[bounded] who says nothing is let go, and only few may wait', async () => {
    const link = await linked({ hub: { handshakeMs: 400 } })
    const waiting = await Promise.all(Array.from({ length: 9 }, () => caller(link.port)))
    const ends = await Promise.all(waiting.map(({ ended }) => ended))
    expect(ends.filter(({ reason }) => reason === 'too many are asking at a time')).toHaveLength(1)
    expect(ends.filter(({ reason }) => reason === 'it did not answer the challenge in time')).toHaveLength(8)
    expect(link.hub.state('lab').connected).toBe(true)
  })

  it('[bounded] strangers who say nothing keep the agent out no more than nobody would', async () => {
    const link = await linked()
    const silent = await Promise.all(Array.from({ length: 8 }, () => caller(link.port)))
    const agent = await enter(link, link.key)
    await until(() => agent.messages.length === 2)
    expect(link.hub.state('lab')).toMatchObject({ connected: true, says: 'a caller' })
    const gone = await Promise.race(silent.map(({ ended }) => ended))
    expect(gone).toEqual({ code: 4003, reason: 'too many are asking at a time' })
  })

  it('the newest connection of an agent takes the place of the one before, which ends and does not call again', async () => {
    const link = await linked()
    const other = await enter(link, link.key)
    await until(() => other.messages.length === 2)
    expect(await link.final).toMatch(/another agent has connected with this name and key/)
    expect(link.gatewayLog.filter(({ event }) => event === 'agent-connected').map(({ replaced }) => replaced)).toEqual([
      undefined,
      true,
    ])
    expect(link.hub.state('lab')).toMatchObject({ connected: true, says: 'a caller' })
  })

  it('a gateway behind a proxy that changes the host is told how the agent calls it', async () => {
    const engine = await startEngine()
    onTestFinished(() => engine.close())
    const link = await startLink({ beside: engine.beside, host: 'drover.example.com', waits: false })
    onTestFinished(() => link.close())
    await until(() => link.agentLog.some(({ why }) => /which answers as drover\.example\.com/.test(String(why))))
  })
})

describe('an agent that does not keep to the protocol', { timeout: 60_000 }, () => {
  /** Proves who it is, and then sends what it likes. */
  async function rogue(link: Link) {
    const one = await caller(link.port)
    const host = `127.0.0.1:${link.port}`
    one.ws.send(
      JSON.stringify(
        await answerOf(await one.challenge(), { name: 'lab', host, says: 'a rogue', key: link.key, time: Date.now() }),
      ),
    )
    await until(() => one.messages.length === 2)
    return one
  }
  const get = (link: Link) =>
    link.transport.http({ method: 'GET', url: 'https://x/y', signal: AbortSignal.timeout(20_000) }).then(
      () => 'answered',
      (error: Error) => error.message,
    )

  const head = () => encodeFrame('head', 1, jsonPayload({ status: 200 }))
  const wrong: Readonly<Record<string, readonly Uint8Array[]>> = {
    'what came is no frame': [new Uint8Array([9, 0, 0, 0, 0, 1])],
    'a stream was opened by the side that may open none': [encodeFrame('open', 2, jsonPayload({}))],
    'a stream that was never opened': [encodeFrame('data', 7, new Uint8Array(1))],
    'a stream was answered that was not asked, or twice': [head(), head()],
    'a stream ended before its answer': [encodeFrame('end', 1)],
    'data came before the answer': [encodeFrame('data', 1, new Uint8Array(1))],
    'more room was given on a stream than it has': [encodeFrame('credit', 1, creditPayload(2 ** 31))],
  }
  for (const [why, frames] of Object.entries(wrong)) {
    it(`is let go: ${why}`, async () => {
      const link = await linked()
      const one = await rogue(link)
      const asked = get(link)
      await until(() => one.messages.some((message) => typeof message !== 'string'))
      for (const frame of frames) one.ws.send(frame)
      expect(await one.ended).toEqual({ code: 4000, reason: why })
      expect(await asked).toBe(`the agent lab: ${why}`)
    })
  }

  it('is let go: what comes on a stream that it has ended, or that has no room', async () => {
    const end = encodeFrame('end', 1)
    const full = encodeFrame('data', 1, new Uint8Array(32 * 1024))
    for (const [frames, why] of [
      [[end, end], 'a stream was ended twice'],
      [[end, encodeFrame('data', 1, new Uint8Array(1))], 'data came after the end of a stream'],
      [Array.from({ length: 8 }, () => full), 'more came on a stream than there was room for'],
      // What has no bytes is not free.
      [Array.from({ length: 9000 }, () => encodeFrame('data', 1)), 'more came on a stream than there was room for'],
    ] as const) {
      const link = await linked()
      const one = await rogue(link)
      const asked = link.transport.upgrade!({
        method: 'POST',
        url: 'https://x/y',
        protocol: 'tcp',
        signal: AbortSignal.timeout(20_000),
      })
      await until(() => one.messages.some((message) => typeof message !== 'string'))
      one.ws.send(encodeFrame('head', 1, jsonPayload({ status: 101 })))
      await asked
      for (const frame of frames) one.ws.send(frame)
      expect(await one.ended).toEqual({ code: 4000, reason: why })
    }
  })

  it('[bounded] is let go: a message larger than any frame', async () => {
    const link = await linked()
    const one = await rogue(link)
    one.ws.send(new Uint8Array(100_000))
    expect((await one.ended).code).toBe(1009)
  })

  it('an answer that is none is an error, and the link goes on', async () => {
    const link = await linked()
    const one = await rogue(link)
    for (const [n, answer] of [{}, { status: 99 }, 'x', { status: 200, headers: [['a b', 'c']] }].entries()) {
      const asked = get(link)
      await until(() => one.messages.filter((message) => typeof message !== 'string' && message[0] === 0).length === n + 1)
      one.ws.send(encodeFrame('head', n + 1, jsonPayload(answer)))
      expect(await asked).toContain('its answer is not of this protocol')
    }
    expect(link.hub.state('lab').connected).toBe(true)
  })
})

describe('a gateway that does not keep to the protocol', { timeout: 60_000 }, () => {
  /** Says welcome to anybody, and then sends what it likes. */
  async function rogueGateway(engine: PlainEngine, pace: { readonly stallMs?: number } = {}) {
    const server = createServer()
    const sockets = new WebSocketServer({ server })
    const log: Event[] = []
    const messages: Uint8Array[] = []
    const ends: { code: number; reason: string }[] = []
    const came = new Promise<WebSocket>((resolve) => {
      sockets.on('connection', (ws) => {
        ws.send(JSON.stringify({ type: 'challenge', versions: [1], nonce: 'A'.repeat(43) }))
        ws.on('message', (data: Buffer, isBinary) => {
          if (isBinary) return void messages.push(new Uint8Array(data))
          if (!data.toString().includes('hello')) return
          ws.send(JSON.stringify({ type: 'welcome' }))
          resolve(ws)
        })
        ws.on('close', (code, reason) => ends.push({ code, reason: reason.toString() }))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const stop = new AbortController()
    const { port } = server.address() as AddressInfo
    const running = stayConnected(
      {
        gateway: new URL(`http://127.0.0.1:${port}`),
        name: 'lab',
        key: await stranger(),
        says: 'a test',
        transport: nodeTransport(),
        serve: createAgentServer({ ...engine.beside, log: (event) => log.push(event) }),
        log: (event) => log.push(event),
        pace: { firstWaitMs: 60_000, ...pace },
      },
      stop.signal,
    )
    const ws = await came
    onTestFinished(async () => {
      stop.abort()
      await running
      for (const client of sockets.clients) client.terminate()
      await new Promise((resolve) => server.close(resolve))
      await engine.close()
    })
    return { ws, messages, ends, log }
  }
  const open = (id: number, path: string) =>
    encodeFrame('open', id, jsonPayload({ kind: 'http', method: 'GET', path, headers: {} }))
  const ended = (id: number) => encodeFrame('end', id)

  const wrong: Readonly<Record<string, readonly Uint8Array[]>> = {
    'the number of a stream was used again': [open(1, '/never'), open(1, '/never')],
    'a stream that was never opened': [encodeFrame('data', 5, new Uint8Array(1))],
    'more came on a stream than there was room for': [
      encodeFrame(
        'open',
        1,
        jsonPayload({ kind: 'upgrade', method: 'POST', path: '/raw', headers: {}, protocol: 'tcp', body: '' }),
      ),
      ...Array.from({ length: 60 }, () => encodeFrame('data', 1, new Uint8Array(32 * 1024))),
    ],
    'what came is no frame': [encodeFrame('credit', 1, creditPayload(1)).subarray(0, 7)],
  }
  for (const [why, frames] of Object.entries(wrong)) {
    it(`is left: ${why}`, async () => {
      const engine = await startEngine()
      const gateway = await rogueGateway(engine)
      for (const frame of frames) gateway.ws.send(frame)
      await until(() => gateway.ends.length > 0)
      expect(gateway.ends[0]).toEqual({ code: 4000, reason: why })
      // Nothing of it is left at the engine.
      await until(() => engine.openConnections() === 0)
    })
  }

  it('what is asked in words that it does not know is answered in words', async () => {
    const gateway = await rogueGateway(await startEngine())
    gateway.ws.send(encodeFrame('open', 1, jsonPayload({ kind: 'tcp', host: '10.0.0.1', port: 22 })))
    await until(() => gateway.messages.length > 0)
    expect(new TextDecoder().decode(gateway.messages[0]?.subarray(6))).toContain('does not know what was asked')
  })

  it('[bounded] one that never gives room gets a window and no more, and then the stream is broken off', async () => {
    const engine = await startEngine()
    const gateway = await rogueGateway(engine, { stallMs: 500 })
    gateway.ws.send(open(1, '/endless'))
    gateway.ws.send(ended(1))
    await until(() => gateway.messages.some((message) => message[0] === 4))
    const data = gateway.messages.filter((message) => message[0] === 2)
    expect(data.reduce((sum, message) => sum + message.byteLength - 6, 0)).toBeLessThanOrEqual(WINDOW_BYTES)
    expect(new TextDecoder().decode(gateway.messages.at(-1)?.subarray(6))).toContain('nobody reads it any more')
    await until(() => engine.openConnections() === 0)
    expect(engine.written()).toBeLessThan(20 * 1024 * 1024)
  })
})
