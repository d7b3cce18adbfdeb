/** The transport of each runtime, over real sockets: requests, streams, websockets and raw connections. */

import { spawn } from 'node:child_process'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket as NetSocket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { unstable_startWorker } from 'wrangler'
import { type WebSocket, WebSocketServer } from 'ws'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { type Answer, probe, type Step } from './probe.ts'

type Runtime = { ask(step: Step): Promise<Answer>; close(): Promise<unknown> }

const RUNTIMES: Readonly<Record<string, () => Promise<Runtime>>> = {
  Node: async () => {
    const transport = nodeTransport()
    return { ask: (step) => probe(transport, step), close: async () => undefined }
  },
  Deno: async () => {
    const child = spawn(
      fileURLToPath(new URL('../../node_modules/.bin/deno', import.meta.url)),
      [
        'run',
        '--quiet',
        '--no-lock',
        '--allow-net=127.0.0.1,no-such-host.invalid',
        '--allow-read',
        '--allow-env',
        '--allow-sys',
        fileURLToPath(new URL('probe-deno.ts', import.meta.url)),
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    return {
      async ask(step) {
        child.stdin.write(`${JSON.stringify(step)}\n`)
        return JSON.parse((await lines.next()).value as string) as Answer
      },
      close: () =>
        new Promise((resolve) => {
          child.once('exit', resolve)
          child.stdin.end()
        }),
    }
  },
  workerd: async () => {
    // Else it asks Cloudflare where it is.
    process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'
    const worker = await unstable_startWorker({
      config: fileURLToPath(new URL('probe-worker.toml', import.meta.url)),
      dev: { server: { hostname: '127.0.0.1', port: 0 }, inspector: false, logLevel: 'none', watch: false },
    })
    await worker.ready
    const url = await worker.url
    return {
      ask: async (step) => (await (await fetch(url, { method: 'POST', body: JSON.stringify(step) })).json()) as Answer,
      close: () => worker.dispose(),
    }
  },
}

describe.each(Object.keys(RUNTIMES))('the transport on %s', { timeout: 20_000 }, (name) => {
  let runtime: Runtime
  let peer: Awaited<ReturnType<typeof startPeer>>
  beforeAll(async () => {
    peer = await startPeer()
    runtime = await RUNTIMES[name]!()
  }, 60_000)
  afterAll(async () => {
    await runtime.close()
    await peer.close()
  }, 20_000)
  const http = (path: string, more: Partial<Step & { do: 'http' }> = {}) =>
    runtime.ask({ do: 'http', url: `${peer.http}${path}`, ...more })
  const ws = (path: string, more: Partial<Step & { do: 'socket' }> = {}) =>
    runtime.ask({ do: 'socket', url: `${peer.ws}${path}`, ...more })

  test('sends method, headers and body, and reads the answer', async () => {
    const { status, body, headers } = await http('/echo', { method: 'POST', body: '{"é":1}', headers: { 'x-a': 'b' } })
    expect(status).toBe(201)
    expect(headers).toMatchObject({ 'x-seen': 'POST b' })
    expect(body).toBe('{"é":1}')
  })

  test('any status is an answer, and a redirect is not followed', async () => {
    expect((await http('/status/503')).status).toBe(503)
    const answer = await http('/redirect')
    expect(answer.status).toBe(302)
    expect(answer.headers).toMatchObject({ location: '/status/200' })
    expect(peer.seen.filter((path) => path === '/status/200')).toEqual([])
  })

  test('[bounded] a body larger than the cap is refused', async () => {
    expect(await http('/big', { maxBytes: 1000 })).toMatchObject({ error: 'TransportError', reason: 'too_large' })
    expect((await http('/big', { maxBytes: 200_000 })).body).toHaveLength(100_000)
  })

  test('[bounded] a server that never answers, or stops in the middle, is given up', async () => {
    expect(await http('/silent', { timeoutMs: 200 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
    expect(await http('/half', { timeoutMs: 300 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
    expect(await ws('/silent', { timeoutMs: 200 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
  })

  // What workerd keeps is its own affair.
  if (name !== 'workerd') {
    test('only what may be asked twice goes over a kept connection', async () => {
      const who = async (isRepeatable: boolean) => (await http('/who', { isRepeatable })).body
      expect(new Set([await who(true), await who(true), await who(true)]).size).toBe(1)
      expect(new Set([await who(false), await who(false), await who(true)]).size).toBe(3)
    })

    test('[once] a kept connection that was dropped fails no request that may be asked twice, and no other is asked twice', async () => {
      const asked = async (isRepeatable: boolean) => {
        const before = peer.seen.filter((path) => path === '/once').length
        expect((await http('/once', { isRepeatable })).body).toBe('first here')
        return peer.seen.filter((path) => path === '/once').length - before
      }
      // The connection of the test before is kept still, and new to this path; the far side drops it at the second.
      const counts = [await asked(true), await asked(true), await asked(true)]
      expect([counts[0], counts[1], Math.max(...counts)]).toEqual([1, 2, 2])
      expect([await asked(false), await asked(false)]).toEqual([1, 1])
    })
  }

  test('a cut connection is an error, not a short body', async () => {
    expect(await http('/cut')).toMatchObject({ error: 'TransportError' })
  })

  test('[no-secret-shown] no error holds the query of its address', async () => {
    const closed = peer.closedPort
    const answers = [
      await runtime.ask({ do: 'http', url: `http://127.0.0.1:${closed}/x?token=s3cret` }),
      await runtime.ask({ do: 'socket', url: `ws://127.0.0.1:${closed}/x?token=s3cret` }),
      await ws('/refuse?token=s3cret'),
      await runtime.ask({ do: 'socket', url: 'http://127.0.0.1/?token=s3cret' }),
      await runtime.ask({ do: 'http', url: 'nonsense?token=s3cret' }),
      await http('/cut?token=s3cret'),
    ]
    for (const answer of answers) {
      expect(answer.error).toMatch(/TransportError|UpgradeRefused/)
      expect(JSON.stringify(answer)).not.toContain('s3cret')
    }
    // workerd tells no more than that the connection failed.
    if (name !== 'workerd') expect(answers.slice(0, 2).map((a) => a.reason)).toEqual(['refused', 'refused'])
  })

  test('a refused upgrade tells status and the begin of the body', async () => {
    const answer = await ws('/refuse')
    expect([answer.error, answer.status]).toEqual(['UpgradeRefused', 401])
    expect(answer.body).toMatch(/^Failed authentication\n/)
    expect((answer.body as string).length).toBeLessThanOrEqual(4096)
  })

  test('a redirect instead of an upgrade is a refusal', async () => {
    expect(await ws('/redirect')).toMatchObject({ error: 'UpgradeRefused', status: 302 })
  })

  test('sends headers and subprotocols, offers no compression, and tells the subprotocol chosen', async () => {
    const answer = await ws('/hello', { headers: { authorization: 'Basic eDp5' }, protocols: ['v5', 'v4'] })
    expect(answer.protocol).toBe('v5')
    const { authorization, extensions, protocols } = JSON.parse((answer.messages as string[])[0]!.slice(5)) as Record<
      string,
      unknown
    >
    expect([authorization, extensions ?? '', protocols]).toEqual(['Basic eDp5', '', expect.stringMatching(/^v5, ?v4$/)])
  })

  test('text and binary stay what they are, in order, and the close arrives with code and reason', async () => {
    const answer = await ws('/echo', { send: ['é', 'bye'], sendBytes: [0, 255, 10] })
    expect(answer.messages).toEqual(['text é', 'text bye', 'binary 0 255 10'])
    expect(answer.ended).toEqual({ code: 4001, reason: 'done', clean: true })
  })

  test('a first message in the packet of the upgrade’s answer is not lost', async () => {
    for (let i = 0; i < 20; i += 1) expect((await ws('/hello')).messages).toHaveLength(1)
  })

  test('S41 a connection that drops without a close frame ends with 1006', async () => {
    expect(await ws('/drop')).toMatchObject({ messages: ['text one'], ended: { code: 1006, clean: false } })
  })

  test('our own close ends it, also when the far side does not answer', async () => {
    expect(await ws('/chatty', { closeAfter: 1 })).toMatchObject({ ended: { code: 1000 } })
    expect(await ws('/deaf', { closeAfter: 1 })).toMatchObject({ ended: { code: 1006, clean: false } })
  })

  test('an abort ends it at once, and what came before is delivered', async () => {
    const answer = await ws('/chatty', { abortAfter: 2 })
    expect(answer).toMatchObject({ ended: { code: 1006, reason: 'aborted', clean: false } })
  })

  test('[bounded] a reader that falls behind by more than the cap loses the connection with 1009', async () => {
    const answer = await ws('/flood', { maxBufferedBytes: 50_000, readAfterMs: 500 })
    expect(answer.ended).toMatchObject({ code: 1009, clean: false })
    expect(answer.bytes).toBeLessThanOrEqual(50_000)
  })

  const stream = (path: string, more: Partial<Step & { do: 'stream' }> = {}) =>
    runtime.ask({ do: 'stream', url: `${peer.http}${path}`, ...more })
  const upgrade = (path: string, more: Partial<Step & { do: 'upgrade' }> = {}) =>
    runtime.ask({ do: 'upgrade', url: `${peer.http}${path}`, ...more })

  test('a body is read as it comes, while the far side is still writing it', async () => {
    const answer = await stream('/drip', { meanwhile: `${peer.http}/drip-on` })
    expect(answer).toMatchObject({ status: 200, headers: { 'x-kind': 'drip' }, text: 'first and last' })
  })

  test('[bounded] a body that is not read slows the far side down, and arrives whole when it is', async () => {
    const answer = await stream('/pour', { first: `${peer.http}/poured`, timeoutMs: 15_000 })
    expect(Number(answer.before)).toBeLessThan(POUR_BYTES / 2)
    expect(answer.bytes).toBe(POUR_BYTES)
  })

  test('S41 a body that is cut or given up is an error after what came of it', async () => {
    expect(await stream('/cut')).toMatchObject({ status: 200, text: 'half', error: 'TransportError' })
    expect(await stream('/half', { timeoutMs: 500 })).toMatchObject({ text: 'half', error: 'TransportError', reason: 'aborted' })
    expect(await stream('/pour', { abortAfter: 100_000 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
    expect(await stream('/silent', { timeoutMs: 300 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
  })

  test('a stream’s refusal is an answer with its status and body', async () => {
    expect(await stream('/status/404')).toMatchObject({ status: 404, text: '{}' })
  })

  test('a body that is left ends its connection', async () => {
    expect(await stream('/pour', { leaveAfter: 1000 })).toMatchObject({ status: 200 })
    await expect.poll(() => peer.openSockets().filter((path) => path === '/pour'), { timeout: 10_000 }).toEqual([])
  })

  test('an upgraded connection is bytes both ways, and what comes after our own end is read', async () => {
    const answer = await upgrade('/raw', { write: ['one ', 'two'] })
    if (name === 'workerd') expect(answer).toEqual({ absent: true })
    else expect(answer).toEqual({ text: 'hello POST tcp {"a":1}, got one two' })
  })

  test('S43 an upgraded connection that is left or given up is closed; a refused one tells status and body', async () => {
    if (name === 'workerd') return
    expect(await upgrade('/raw', { leaveAfter: 1 })).toMatchObject({ text: expect.stringMatching(/^hello/) })
    expect(await upgrade('/raw-silent', { abortAfter: 1 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
    expect(await upgrade('/raw-cut')).toMatchObject({ text: 'hello', error: 'TransportError' })
    expect(await upgrade('/refuse')).toMatchObject({ error: 'UpgradeRefused', status: 401 })
    expect(await upgrade('/status/404')).toMatchObject({ error: 'UpgradeRefused', status: 404, body: '{}' })
    expect(await upgrade('/silent', { timeoutMs: 300 })).toMatchObject({ error: 'TransportError', reason: 'aborted' })
  })

  test('S43 after all that no connection is open', async () => {
    await expect.poll(() => peer.openSockets(), { timeout: 10_000 }).toEqual([])
  })
})

test('[bounded] on Node and Deno a sender faster than its reader is slowed down, and nothing of what it sends is lost', async () => {
  const peer = await startPeer()
  const answer = await probe(nodeTransport(), { do: 'socket', url: `${peer.ws}/torrent`, readAfterMs: 2_000, timeoutMs: 15_000 })
  expect(answer).toMatchObject({ bytes: 40_000_000, ended: { code: 1000, clean: true } })
  await peer.close()
})

test('on Node and Deno a half-open connection is noticed by its unanswered ping', async () => {
  const peer = await startPeer()
  const answer = await probe(nodeTransport(), { do: 'socket', url: `${peer.ws}/deaf`, pings: 2 })
  expect(answer.ended).toEqual({ code: 1006, reason: 'the far side no longer answers', clean: false })
  await peer.close()
})

const POUR_BYTES = 64 * 1024 * 1024

async function startPeer() {
  const seen: string[] = []
  const wss = new WebSocketServer({ noServer: true, handleProtocols: (protocols) => [...protocols][0] ?? false })
  const raw = new Map<NetSocket, string>()
  const onceHere = new WeakSet<NetSocket>()
  const server = createServer(answer)
  server.on('connection', (socket) => {
    raw.set(socket, 'no request')
    socket
      .on('close', () => raw.delete(socket))
      .on('error', () => undefined)
      .on('end', () => ['upgrade /raw', 'upgrade /raw-cut'].includes(raw.get(socket) ?? '') || socket.end())
  })
  let poured = 0
  let dripOn = (): void => {}
  server.on('upgrade', (request, socket: NetSocket, head) => {
    const path = request.url!.split('?')[0]!
    raw.set(socket, `upgrade ${path}`)
    if (path === '/silent') return
    if (path.startsWith('/raw')) return speakRaw(path, request, socket, head)
    if (path.startsWith('/status/'))
      return socket.end(`HTTP/1.1 ${path.slice(8)} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`)
    if (path === '/redirect')
      return socket.end('HTTP/1.1 302 Found\r\nLocation: /hello\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    if (path === '/refuse') {
      const body = `Failed authentication\n${'x'.repeat(9000)}`
      return socket.end(
        `HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      )
    }
    // One packet for the answer to the upgrade and the first message.
    socket.cork()
    wss.handleUpgrade(request, socket, head, (ws) => speak(ws, path, request, socket))
    socket.uncork()
  })

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url!.split('?')[0]!
    raw.set(request.socket, path)
    seen.push(path)
    if (path === '/echo') {
      response.writeHead(201, { 'x-seen': `${request.method} ${request.headers['x-a']}` })
      request.pipe(response)
    } else if (path === '/redirect') response.writeHead(302, { location: '/status/200' }).end()
    else if (path === '/who') response.end(String(request.socket.remotePort))
    else if (path === '/once') {
      if (onceHere.has(request.socket)) request.socket.destroy()
      else response.end('first here')
      onceHere.add(request.socket)
    } else if (path === '/big') response.end('x'.repeat(100_000))
    else if (path === '/half') response.writeHead(200).write('half')
    else if (path === '/cut') {
      response.writeHead(200, { 'content-length': 1000 }).write('half')
      setTimeout(() => response.destroy(), 50)
    } else if (path === '/drip') {
      response.writeHead(200, { 'x-kind': 'drip' }).write('first')
      dripOn = () => response.end(' and last')
    } else if (path === '/drip-on') {
      dripOn()
      response.end()
    } else if (path === '/pour') {
      poured = 0
      response.writeHead(200, { connection: 'close' })
      pour(response)
    } else if (path === '/poured') {
      let before = -1
      const timer = setInterval(() => {
        if (poured === before) {
          clearInterval(timer)
          response.end(String(poured))
        }
        before = poured
      }, 300)
    } else if (path.startsWith('/status/')) response.writeHead(Number(path.slice(8))).end('{}')
  }

  function pour(response: ServerResponse): void {
    const piece = Buffer.alloc(65_536, 'x')
    while (poured < POUR_BYTES) {
      poured += piece.byteLength
      if (!response.write(piece)) return void response.once('drain', () => pour(response))
    }
    response.end()
  }

  function speakRaw(path: string, request: IncomingMessage, socket: NetSocket, head: Buffer): void {
    const answer = 'HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n'
    // The body of an upgrade request comes after its headers as everything else does.
    const length = Number(request.headers['content-length'])
    let got = head
    const isWhole = () => got.byteLength >= length
    let isGreeted = false
    const greet = () => {
      if (!isWhole() || isGreeted) return
      isGreeted = true
      const body = got.subarray(0, length)
      socket.write(`${answer}hello${path === '/raw' ? ` ${request.method} ${request.headers.upgrade} ${body}` : ''}`)
      if (path === '/raw-cut') setTimeout(() => socket.resetAndDestroy(), 50)
    }
    socket.on('data', (data: Buffer) => {
      got = Buffer.concat([got, data])
      greet()
    })
    if (path === '/raw') socket.on('end', () => socket.end(`, got ${got.subarray(length)}`))
    greet()
  }

  function speak(ws: WebSocket, path: string, request: IncomingMessage, socket: NetSocket): void {
    ws.on('error', () => undefined)
    const { authorization, 'sec-websocket-extensions': extensions, 'sec-websocket-protocol': protocols } = request.headers
    if (path === '/hello') {
      ws.send(JSON.stringify({ authorization, extensions, protocols }))
      ws.close(1000)
    }
    if (path === '/echo')
      ws.on('message', (data, isBinary) => {
        ws.send(data, { binary: isBinary })
        if (isBinary) ws.close(4001, 'done')
      })
    if (path === '/drop') {
      ws.send('one')
      setTimeout(() => socket.destroy(), 50)
    }
    if (path === '/chatty') {
      const timer = setInterval(() => ws.send('more'), 5)
      ws.on('close', () => clearInterval(timer))
    }
    if (path === '/deaf') {
      ws.send('one')
      socket.pause()
    }
    if (path === '/torrent') {
      for (let i = 0; i < 400; i += 1) ws.send('x'.repeat(100_000))
      ws.close(1000)
    }
    if (path === '/flood') for (let i = 0; i < 100; i += 1) ws.send('x'.repeat(10_000))
  }

  const listen = (one: ReturnType<typeof createServer>) =>
    new Promise<number>((resolve) => one.listen(0, '127.0.0.1', () => resolve((one.address() as AddressInfo).port)))
  const port = await listen(server)
  const unused = createServer()
  const closedPort = await listen(unused)
  await new Promise((resolve) => unused.close(resolve))
  return {
    http: `http://127.0.0.1:${port}`,
    ws: `ws://127.0.0.1:${port}`,
    closedPort,
    seen,
    openSockets: () => {
      // A paused socket does not notice its end.
      for (const socket of raw.keys()) socket.resume()
      return [...raw.values()]
    },
    close: () =>
      new Promise<void>((resolve) => {
        for (const socket of raw.keys()) socket.destroy()
        wss.close()
        server.close(() => resolve())
      }),
  }
}
