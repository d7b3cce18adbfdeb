/** The transport through an agent, over real sockets: what a backend asks here is asked there, and comes back whole or not at all. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Transport, TransportError, UpgradeRefused } from '../../src/backends/transport.ts'
import { BackendError } from '../../src/core/errors.ts'
import { type PlainEngine, startEngine } from './engine.ts'
import { type Link, startLink, until } from './link.ts'

const soon = (ms = 15_000) => AbortSignal.timeout(ms)
const at = (path: string) => `https://lab.agent${path}`
const get = (transport: Transport, path: string, signal = soon()) =>
  transport.http({ method: 'GET', url: at(path), signal, maxBytes: 256 * 1024 * 1024 })
const failureOf = async (work: Promise<unknown>): Promise<unknown> => {
  const failed: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (failed === undefined) throw new Error('it did not fail')
  return failed
}

describe('the transport through an agent', { timeout: 60_000 }, () => {
  let engine: PlainEngine
  let link: Link
  let transport: Transport
  beforeAll(async () => {
    engine = await startEngine()
    link = await startLink({ beside: engine.beside })
    transport = link.transport
  })
  afterAll(async () => {
    await link.close()
    await engine.close()
  })
  const idle = () => until(() => engine.openConnections() === 0)

  it('a request and its body arrive whole, and so does the answer', async () => {
    const body = 'ä'.repeat(700_000)
    const response = await transport.http({ method: 'POST', url: at('/echo?q=1'), body, signal: soon() })
    expect([response.status, response.headers.get('content-type'), response.body === body]).toEqual([200, 'text/plain', true])
  })

  it('any status is an answer, and an answer larger than allowed is none', async () => {
    expect((await get(transport, '/elsewhere')).body).toBe('nothing here')
    const error = await failureOf(transport.http({ method: 'GET', url: at('/bytes?n=5000'), signal: soon(), maxBytes: 4999 }))
    expect(error).toMatchObject({ name: 'TransportError', reason: 'too_large' })
    await idle()
  })

  it('S46 of what the gateway sends only what an engine needs reaches it: no credentials, no cookies, nothing that a proxy believes', async () => {
    const headers = {
      accept: 'application/json',
      authorization: 'Bearer x',
      cookie: 'a=b',
      'x-forwarded-for': '127.0.0.1',
      host: 'evil',
    }
    const { body } = await transport.http({ method: 'GET', url: at('/headers'), headers, signal: soon() })
    const told = JSON.parse(body) as Record<string, string>
    expect(told.accept).toBe('application/json')
    expect(Object.keys(told).filter((name) => /auth|cookie|forwarded/.test(name))).toEqual([])
    expect(told.host).not.toBe('evil')
  })

  it('[bounded] a request that is larger than an agent takes is refused, and the next one is not', async () => {
    const post = (bytes: number) => transport.http({ method: 'POST', url: at('/echo'), body: 'x'.repeat(bytes), signal: soon() })
    for (let n = 0; n < 3; n += 1) expect(await failureOf(post(9 * 1024 * 1024))).toMatchObject({ reason: 'too_large' })
    for (let n = 0; n < 9; n += 1) expect((await post(7 * 1024 * 1024)).body).toHaveLength(7 * 1024 * 1024)
  }, 60_000)

  it('raw bytes go both ways, and the end of one way is not the end of the other', async () => {
    const duplex = await transport.upgrade!({ method: 'POST', url: at('/raw'), protocol: 'tcp', signal: soon() })
    for (let n = 0; n < 30; n += 1) await duplex.write(new Uint8Array(100_000))
    duplex.end()
    let told = ''
    for await (const data of duplex.incoming) told += new TextDecoder().decode(data)
    expect(told).toBe('3000000 bytes')
    await idle()
  })

  it('an upgrade that is answered otherwise is refused with its status and words', async () => {
    for (const work of [
      transport.upgrade!({ method: 'POST', url: at('/refused'), protocol: 'tcp', signal: soon() }),
      transport.socket(`wss://lab.agent/refused`, { signal: soon() }),
    ]) {
      const error = await failureOf(work)
      expect(error).toBeInstanceOf(UpgradeRefused)
      expect(error).toMatchObject({ status: 409, body: 'not today' })
    }
  })

  it('messages of a websocket keep their kind, their bounds and their order, also where they are larger than a frame', async () => {
    const socket = await transport.socket('wss://lab.agent/ws', { protocols: ['v5.channel', 'v4.channel'], signal: soon() })
    expect(socket.protocol).toBe('v5.channel')
    const sent = ['', 'text', 'x'.repeat(500_000), new Uint8Array(0), new Uint8Array([0, 255]), new Uint8Array(300_000).fill(7)]
    for (const one of sent) socket.send(one)
    const came: (string | Uint8Array)[] = []
    for await (const { data } of socket.messages) {
      came.push(typeof data === 'string' ? data : new Uint8Array(data))
      if (came.length === sent.length) break
    }
    expect(came).toEqual(sent)
    socket.close()
    await idle()
  })

  it('[true-ending] how a websocket ended is told as it was: by its close frame, or cut', async () => {
    const asked = await transport.socket('wss://lab.agent/ws', { signal: soon() })
    asked.send('close, please')
    expect(await asked.ended).toEqual({ code: 4321, reason: 'as asked', clean: true })
    const cut = await transport.socket('wss://lab.agent/ws', { signal: soon() })
    cut.send('cut, please')
    expect(await cut.ended).toMatchObject({ code: 1006, clean: false })
    const own = await transport.socket('wss://lab.agent/ws', { signal: soon() })
    own.close(1000, 'enough')
    expect(await own.ended).toMatchObject({ code: 1000, clean: true })
  })

  it('[bounded] a reader that stops stops the engine, and nobody else', async () => {
    const before = engine.written()
    const leave = new AbortController()
    const { body } = await transport.stream({ method: 'GET', url: at('/endless'), signal: leave.signal })
    const reader = body[Symbol.asyncIterator]()
    await reader.next()
    let last = -1
    // Until nothing more is written: what is on its way fills the sockets and the window.
    await until(async () => {
      const now = engine.written()
      const isStill = now === last
      last = now
      await new Promise((resolve) => setTimeout(resolve, 200))
      return isStill
    })
    expect(engine.written() - before).toBeLessThan(20 * 1024 * 1024)
    expect((await get(transport, '/bytes?n=3000000')).body.length).toBe(3_000_000)
    leave.abort()
    await failureOf(reader.next().then(() => reader.next()))
    await idle()
  })

  it('S43 who leaves, and who gives up, leaves no connection open', async () => {
    const { body } = await transport.stream({ method: 'GET', url: at('/endless'), signal: soon() })
    for await (const data of body) if (data.byteLength > 0) break
    const late = await failureOf(get(transport, '/never', AbortSignal.timeout(100)))
    expect(late).toMatchObject({ name: 'TransportError', reason: 'aborted' })
    const leave = new AbortController()
    const socket = await transport.socket('wss://lab.agent/ws', { signal: leave.signal })
    leave.abort()
    expect((await socket.ended).clean).toBe(false)
    await idle()
  })

  it('[true-ending] a connection that the engine cuts is an error here', async () => {
    const { body } = await transport.stream({ method: 'GET', url: at('/cut'), signal: soon() })
    const error = await failureOf(
      (async () => {
        for await (const data of body) expect(data.byteLength).toBe(4)
      })(),
    )
    expect(error).toMatchObject({ name: 'TransportError', reason: 'reset' })
  })

  it('[bounded] 100 MB go through with little of it in memory, and 200 requests at a time do not disturb each other', async () => {
    const before = process.memoryUsage.rss()
    let most = before
    let bytes = 0
    const { body } = await transport.stream({ method: 'GET', url: at('/bytes?n=104857600'), signal: soon(60_000) })
    for await (const data of body) {
      bytes += data.byteLength
      most = Math.max(most, process.memoryUsage.rss())
    }
    expect(bytes).toBe(104_857_600)
    expect(most - before).toBeLessThan(80 * 1024 * 1024)
    const all = await Promise.all(Array.from({ length: 200 }, (_, n) => get(transport, `/bytes?n=${n * 1000}`, soon(60_000))))
    expect(all.map((one) => one.body.length)).toEqual(Array.from({ length: 200 }, (_, n) => n * 1000))
  }, 120_000)

  it('[bounded] more requests at a time than there may be are refused, and the others go on', async () => {
    const leave = new AbortController()
    const many = Array.from({ length: 512 }, () => get(transport, '/never', leave.signal).catch(() => undefined))
    await until(() => engine.openConnections() === 512)
    expect(await failureOf(get(transport, '/late'))).toMatchObject({ reason: 'other', message: expect.stringContaining('512') })
    leave.abort()
    await Promise.all(many)
    expect((await get(transport, '/late')).body).toBe('late')
  }, 60_000)
})

describe('a link that is lost', { timeout: 60_000 }, () => {
  it('[true-ending] ends all that is on it with an error, at once; the agent comes back, and the next request goes through', async () => {
    const engine = await startEngine()
    const link = await startLink({ beside: engine.beside })
    const { transport } = link
    const { body } = await transport.stream({ method: 'GET', url: at('/endless'), signal: soon(60_000) })
    const duplex = await transport.upgrade!({ method: 'POST', url: at('/raw'), protocol: 'tcp', signal: soon(60_000) })
    const socket = await transport.socket('wss://lab.agent/ws', { signal: soon(60_000) })
    const waiting = failureOf(get(transport, '/never', soon(60_000)))
    const reading = failureOf(
      (async () => {
        for await (const data of body) expect(data.byteLength).toBeGreaterThan(0)
      })(),
    )
    const listening = failureOf(
      (async () => {
        for await (const data of duplex.incoming) expect(data).toBeUndefined()
      })(),
    )
    await until(() => engine.openConnections() === 4)
    link.cut()
    for (const error of await Promise.all([waiting, reading, listening])) {
      expect(error).toBeInstanceOf(TransportError)
      expect(error).toMatchObject({ reason: 'reset' })
    }
    expect((await socket.ended).clean).toBe(false)
    // The agent has let go of the engine as well.
    await until(() => engine.openConnections() === 0)
    await until(() => link.agentLog.filter(({ event }) => event === 'connected').length === 2)
    await until(() => link.hub.state('lab').connected)
    expect((await get(transport, '/late')).body).toBe('late')
    await link.close()
    await engine.close()
  })

  it('without an agent the refusal says since when, and how to start one', async () => {
    const engine = await startEngine()
    const link = await startLink({ beside: engine.beside })
    await link.stopAgent()
    await until(() => !link.hub.state('lab').connected)
    const error = await failureOf(get(link.transport, '/late'))
    expect(error).toBeInstanceOf(BackendError)
    expect(error).toMatchObject({ code: 'backend_unavailable', ran: 'no' })
    expect((error as BackendError).message).toMatch(
      /^The agent lab is not connected since 2\d{3}-\d\d-\d\dT.*\(it was stopped\)\.$/,
    )
    expect((error as BackendError).next).toContain('drover agent --config')
    expect(link.gatewayLog.map(({ event }) => event)).toEqual(['agent-connected', 'agent-disconnected'])
    await link.close()
    await engine.close()
  })

  it('[bounded] a gateway that is there and says nothing is left, and called again', async () => {
    const engine = await startEngine()
    const link = await startLink({ beside: engine.beside, pace: { pingMs: 50, silenceMs: 300 } })
    // Everything to the agent is swallowed from here on: half open.
    for (const connection of link.connections()) connection.write = () => true
    await until(() => link.agentLog.some(({ why }) => why === 'nothing was heard from the gateway'))
    await until(() => link.agentLog.filter(({ event }) => event === 'connected').length === 2)
    await link.close()
    await engine.close()
  })

  it('[bounded] an agent that is there and says nothing is let go', async () => {
    const engine = await startEngine()
    const link = await startLink({ beside: engine.beside, hub: { silenceMs: 200 }, pace: { pingMs: 60_000 } })
    await until(() =>
      link.gatewayLog.some(({ event, why }) => event === 'agent-disconnected' && why === 'nothing was heard from it'),
    )
    await link.close()
    await engine.close()
  })
})
