import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import {
  type Generation,
  type RancherPeer,
  type RancherPeerOptions,
  startRancherPeer,
} from '../../src/playground/rancher/peer.ts'
import { processEngine } from '../peers/engine-process.ts'
import { asRecorded, call, execute, openRaw, type RawSocket, recording, runToEnd } from './rancher-client.ts'

const open: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of open.splice(0)) await close()
})

type ProcessPeer = RancherPeer & { readonly engine: ReturnType<typeof processEngine> }

async function start(generation: Generation, options: RancherPeerOptions = {}): Promise<ProcessPeer> {
  const engine = processEngine()
  const peer = await startRancherPeer({ generation, engine, ...options })
  open.push(() => peer.close())
  // Not a spread: the settable properties must stay settable.
  return Object.assign(peer, { engine })
}

const generationOf = (title: string): Generation => (title.startsWith('gen1') ? 'A' : 'B')

/** A frame's bytes without how the recording shows them. */
const undecoded = (line: string): string => line.replace(/ decoded\(.*$/, '')

async function eventually(test: () => boolean): Promise<void> {
  const deadline = Date.now() + 15_000
  while (!test()) {
    if (Date.now() > deadline) throw new Error(`did not happen within 15 s: ${test}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const block = (number: number, title: string) => {
  const found = recording(number).find((one) => one.title === title)
  if (!found) throw new Error(`no block ${title}`)
  return found
}

describe('what the host side sends is what was recorded', () => {
  test.each(recording(1).map((one) => [one.title, one] as const))('%s', async (title, recorded) => {
    const [, tty, command] = /tty=(\w+) cmd=(.*)$/.exec(title) ?? []
    const peer = await start(generationOf(title))
    const socket = await runToEnd(peer, { command: JSON.parse(command ?? '[]'), tty: tty === 'true', attachStdin: true })
    expect(socket.handshake.map((line) => line.replace(/Accept: .*/, ''))).toEqual(
      recorded.handshake.map((line) => line.replace(/Accept: .*/, '')),
    )
    // Both streams on one terminal may be read in one piece or in two.
    if (recorded.output.includes('out\r\nerr')) expect(socket.output()).toEqual(recorded.output)
    else expect(asRecorded(socket).map(undecoded)).toEqual(recorded.lines.map(undecoded))
    expect(asRecorded(socket).at(-1)).toBe('close fin=1 len=2 code=1000 reason="" hex=03e8')
    expect(await socket.ended).toBe(recorded.end)
  })

  test.each(['gen1-host', 'gen2-host'])(
    '%s E2: stdin without a terminal reaches the program, 0x04 is only a byte, nothing ends',
    async (gen) => {
      const peer = await start(generationOf(gen))
      const socket = await openRaw(await execute(peer, { command: ['cat'], attachStdin: true }))
      const recorded = block(4, `${gen} E2 stdin cat tty=false two lines then wait`)
      socket.type('line1\n')
      await socket.until(() => socket.messages().length === 1)
      socket.type('\x04')
      await socket.until(() => socket.messages().length === 2)
      await socket.roundTrip()
      expect(asRecorded(socket).filter((line) => !line.startsWith('pong'))).toEqual(recorded.lines)
      expect(socket.isOpen()).toBe(true)
    },
  )

  test.each(['gen1-host', 'gen2-host'])('%s E8, E11: no stdin ends cat at once; an empty command is closed', async (gen) => {
    const peer = await start(generationOf(gen))
    expect(asRecorded(await runToEnd(peer, { command: ['cat'] }))).toEqual(
      block(4, `${gen} E8 stdin false, tty false: cat`).lines,
    )
    const { engineId } = peer.containers.get('shop-web-1')
    const hostUuid = peer.hosts.all()[0]!.uuid
    const token = peer.sign({
      hostUuid,
      exec: { AttachStdin: true, AttachStdout: true, Tty: true, Cmd: [], Container: engineId },
    })
    const socket = await openRaw({ url: `${peer.url}/v1/exec/`, token })
    await socket.ended
    expect(asRecorded(socket)).toEqual(block(4, `${gen} E11 empty command`).lines)
    expect(peer.seen.starts.map((one) => one.argv)).toEqual([['cat']])
  })

  test.each(['gen1-host', 'gen2-host'])('%s E9: without stdout the socket stays open and silent after the end', async (gen) => {
    const peer = await start(generationOf(gen))
    const socket = await openRaw(await execute(peer, { command: ['echo', 'hi'], attachStdout: false, tty: true }))
    await eventually(() => peer.seen.starts.length === 1 && peer.engine.pids().length === 0)
    await socket.roundTrip()
    expect(socket.frames.map((one) => one.opcode)).toEqual([10])
    expect(socket.isOpen()).toBe(true)
  })

  test.each(['gen1-host', 'gen2-host'])('%s E10: a token that asks for stderr gets it in B only', async (gen) => {
    const peer = await start(generationOf(gen))
    const { engineId } = peer.containers.get('shop-web-1')
    const token = peer.sign({
      hostUuid: peer.hosts.all()[0]!.uuid,
      exec: {
        AttachStdin: false,
        AttachStdout: true,
        AttachStderr: true,
        Tty: false,
        Cmd: ['sh', '-c', 'echo err >&2; sleep 0.3; echo out'],
        Container: engineId,
      },
    })
    const socket = await openRaw({ url: `${peer.url}/v1/exec/`, token })
    await socket.ended
    expect(socket.output()).toEqual(block(4, `${gen} E10 attachStderr in token (not reachable through cattle) tty false`).output)
  })

  test('E3, E6: text that is not base64 is ignored; a binary frame with base64 works', async () => {
    const peer = await start('B')
    const socket = await openRaw(await execute(peer, { command: ['cat'], attachStdin: true, tty: true }))
    socket.send(1, '!!! not base64 !!!')
    socket.send(2, Buffer.from('hi\n').toString('base64'))
    await socket.until(() => socket.output().toString() === 'hi\r\nhi\r\n')
    socket.type('\x04')
    expect(await socket.ended).toBe('tcp-fin')
  })

  test.each(['gen1-host', 'gen2-host'] as const)('%s E4: a resize counts in B and is ignored in A', async (gen) => {
    const peer = await start(generationOf(gen))
    const socket = await openRaw(
      await execute(peer, { command: ['sh', '-c', 'echo ready; read -r _; stty size'], attachStdin: true, tty: true }),
    )
    await socket.until(() => socket.output().includes('ready'))
    socket.send(1, ':resizeTTY:100,40')
    socket.type('\n')
    await socket.ended
    expect(socket.output().toString().endsWith('\r\n40 100\r\n')).toBe(gen === 'gen2-host')
  })

  test.each(['gen1-host', 'gen2-host'])('%s G: the subprotocol binary makes both directions raw', async (gen) => {
    const peer = await start(generationOf(gen))
    const recorded = block(4, `${gen} G binary subprotocol`)
    const socket = await openRaw(await execute(peer, { command: ['sh', '-c', 'echo hi; cat'], attachStdin: true, tty: true }), {
      headers: { 'Sec-WebSocket-Protocol': 'binary' },
    })
    expect(socket.handshake).toContain('Sec-Websocket-Protocol: binary')
    await socket.until(() => socket.output().includes('hi\r\n'))
    socket.send(2, 'raw in\n')
    await socket.until(() => socket.output().length === recorded.output.length)
    socket.send(2, Uint8Array.of(4))
    await socket.ended
    expect(socket.output()).toEqual(recorded.output)
    expect(new Set(socket.frames.map((one) => one.opcode))).toEqual(new Set([2, 8]))
  })

  test('H1, H3, H4: a container that is gone, stopped or paused is close 1000 with no output', async () => {
    const peer = await start('B')
    const lines = block(4, 'gen2-host H1 nonexistent container').lines
    for (const end of ['remove', 'stop', 'pause'] as const) {
      const name = { remove: 'shop-web-1', stop: 'shop-web-2', pause: 'shop-web-3' }[end]
      const access = await execute(peer, { command: ['echo', 'hi'], tty: true }, name)
      peer.containers[end](name)
      const socket = await openRaw(access)
      await socket.ended
      expect(asRecorded(socket)).toEqual(lines)
    }
    expect(peer.seen.starts).toEqual([])
  })

  test.each(['stop', 'remove'] as const)('H2, H5: %s of a container ends what runs in it with close 1000', async (end) => {
    const peer = await start('B')
    const socket = await openRaw(await execute(peer, { command: ['sh', '-c', 'echo start; sleep 60'], tty: true }))
    await socket.until(() => socket.messages().length === 1)
    peer.containers[end]('shop-web-1')
    expect(await socket.ended).toBe('tcp-fin')
    expect(asRecorded(socket)).toEqual(block(4, 'gen2-host H2 container killed during exec').lines)
    await eventually(() => peer.engine.pids().length === 0)
  })

  test('B0 never closes when the command ends', async () => {
    const peer = await start('B0')
    const socket = await openRaw(await execute(peer, { command: ['echo', 'hi'] }))
    await socket.until(() => socket.messages().length === 1)
    await eventually(() => peer.engine.pids().length === 0)
    await socket.roundTrip()
    expect(socket.output()).toEqual(block(1, 'gen2-host tty=false cmd=["echo","hi"]').output)
    expect(socket.isOpen()).toBe(true)
    socket.destroy()
  })
})

describe('large output', () => {
  const command = ['sh', '-c', "head -c 1048576 /dev/zero | tr '\\0' x"]

  test.each(['A', 'B'] as const)(
    '%s sends 1 MiB in reads of 4096 bytes, base64 each, fragmented over 4096 characters',
    async (generation) => {
      const peer = await start(generation)
      const socket = await runToEnd(peer, { command })
      const messages = socket.messages()
      for (const { fragments, payload } of messages) {
        expect(Buffer.from(payload.toString(), 'base64').length).toBeLessThanOrEqual(4096)
        expect(payload.length).toBeLessThanOrEqual(5464)
        if (payload.length > 4096) expect(fragments).toEqual([4096, payload.length - 4096])
        else expect(fragments).toEqual([payload.length])
      }
      expect(messages.some((one) => one.payload.length === 5464)).toBe(true)
      expect(socket.frames.filter((one) => !one.fin).every((one) => one.payload.length === 4096)).toBe(true)
      const output = socket.output()
      if (generation === 'A') expect(output.equals(Buffer.alloc(1048576, 'x'))).toBe(true)
      else {
        let payload = 0
        for (let at = 0; at < output.length; ) {
          expect([...output.subarray(at, at + 4)]).toEqual([1, 0, 0, 0])
          const length = output.readUInt32BE(at + 4)
          payload += length
          at += 8 + length
        }
        expect(payload).toBe(1048576)
        expect(messages.some((one) => one.payload.length === 12)).toBe(true)
      }
    },
  )

  test('A can lose its last chunk when told to, never a single short message', async () => {
    const peer = await start('A')
    peer.faults.loseLastChunk = true
    expect((await runToEnd(peer, { command: ['echo', 'hi'] })).output().toString()).toBe('hi\n')
    const lost = (await runToEnd(peer, { command })).output()
    expect(lost.length).toBeLessThan(1048576)
    expect(lost.length).toBeGreaterThan(1048576 - 4097)
  })

  test('readBytes breaks the same bytes in more places', async () => {
    const peer = await start('B')
    peer.faults.readBytes = 1
    const socket = await runToEnd(peer, { command: ['echo', 'hi'] })
    expect(socket.messages().length).toBe(11)
    expect(socket.output()).toEqual(block(1, 'gen2-host tty=false cmd=["echo","hi"]').output)
  })

  test('a client that does not read stalls the other streams of its host, until it is dropped', async () => {
    const peer = await start('B')
    const lazy = await openRaw(await execute(peer, { command: ['sh', '-c', 'yes'] }))
    lazy.pause()
    peer.faults.patienceMs = 1500
    await eventually(() => peer.seen.starts.length === 1)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const other = await runToEnd(peer, { command: ['echo', 'hi'] })
    expect(other.output().includes('hi')).toBe(true)
    lazy.destroy()
  })
})

describe('tokens', () => {
  const body = 'Failed authentication\n'
  const access = (peer: RancherPeer) => execute(peer, { command: ['echo', 'hi'], tty: true })

  test('F1-F5, J2: expired, absent, forged, unknown host, garbage and a host without its agent are one and the same 401', async () => {
    const peer = await start('B')
    const good = await access(peer)
    const exec = {
      AttachStdin: false,
      AttachStdout: true,
      Tty: true,
      Cmd: ['echo'],
      Container: peer.containers.get('shop-web-1').engineId,
    }
    const hostUuid = peer.hosts.all()[0]!.uuid
    const [head, claims, signature] = good.token.split('.')
    const other = Buffer.from(claims ?? '', 'base64url')
      .toString()
      .replace('"echo"', '"evil"')
    const tokens = [
      peer.sign({ hostUuid, exec }, Date.now() - 301_000),
      undefined,
      `${head}.${Buffer.from(other).toString('base64url')}.${signature}`,
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${claims}.`,
      peer.sign({ hostUuid: 'nobody', exec }),
      'garbage',
    ]
    for (const token of tokens) {
      const socket = await openRaw({ url: good.url, ...(token === undefined ? {} : { token }) })
      await socket.ended
      expect(socket.status).toBe(401)
      const recorded = block(5, 'F1 expired token')
      expect(socket.handshake.filter((line) => !/^(Date|Connection)/.test(line))).toEqual(
        recorded.handshake.filter((line) => !/^Date/.test(line)),
      )
      expect(socket.body()).toBe(body)
    }
    peer.hosts.disconnect('1h1')
    expect((await openRaw(good)).status).toBe(401)
    peer.hosts.connect('1h1')
    expect((await openRaw(good)).status).toBe(101)
    expect(peer.seen.starts.map((one) => one.argv)).toEqual([['echo', 'hi']])
  })

  test('F6: a token is good for any number of connections, and each runs the command again', async () => {
    const peer = await start('B')
    const token = await execute(peer, { command: ['sh', '-c', 'echo $$'], tty: true })
    const outputs = []
    for (const _ of [1, 2]) {
      const socket = await openRaw(token)
      await socket.ended
      outputs.push(socket.output().toString())
    }
    expect(outputs[0]).not.toBe(outputs[1])
    expect(peer.seen.starts.length).toBe(2)
  })

  test('F7: expiry is looked at when connecting only', async () => {
    const peer = await start('B')
    const exec = {
      AttachStdin: false,
      AttachStdout: true,
      Tty: true,
      Cmd: ['sh', '-c', 'sleep 2.5; echo survived'],
      Container: peer.containers.get('shop-web-1').engineId,
    }
    const token = peer.sign({ hostUuid: peer.hosts.all()[0]!.uuid, exec }, Date.now() - 298_500)
    const socket = await openRaw({ url: `${peer.url}/v1/exec/`, token })
    await socket.ended
    expect(asRecorded(socket)).toEqual(block(5, 'F7 token expires during exec (ttl 2s, command 4s)').lines)
    expect((await openRaw({ url: `${peer.url}/v1/exec/`, token })).status).toBe(401)
  })

  test('clocks more than 300 s apart refuse every token', async () => {
    const peer = await start('B')
    peer.faults.clockSkewSeconds = 301
    expect((await openRaw(await access(peer))).status).toBe(401)
    peer.faults.clockSkewSeconds = -3600
    expect((await openRaw(await access(peer))).status).toBe(101)
  })

  test('a token holds the claims of a real one, in their order', async () => {
    const peer = await start('B')
    const { token } = await execute(peer, { command: ['sh', '-c', 'x'], tty: true, attachStdin: true })
    const [head, claims] = token.split('.').map((part) => Buffer.from(part, 'base64url').toString())
    expect(head).toBe('{"alg":"RS256"}')
    const parsed = JSON.parse(claims ?? '')
    expect(Object.keys(parsed)).toEqual(['exp', 'sub', 'iss', 'hostUuid', 'exec', 'iat', 'kid'])
    expect(parsed.exp - parsed.iat).toBe(300)
    expect(JSON.stringify(parsed.exec)).toBe(
      `{"AttachStdin":true,"AttachStdout":true,"Tty":true,"Cmd":["sh","-c","x"],"Container":"${peer.containers.get('shop-web-1').engineId}"}`,
    )
  })

  test('O, O2: other paths of the proxy work; O3: a project-scoped one does not', async () => {
    const peer = await start('B')
    const { token } = await access(peer)
    for (const path of ['/v1/exec', '/v2-beta/exec/', '/v2-beta/exec', '/v2/exec/']) {
      const socket = await openRaw({ url: `${peer.url}${path}`, token })
      await socket.ended
      expect(asRecorded(socket)).toEqual(block(5, 'O v2-beta path').lines)
    }
    const scoped = { url: `${peer.url}/v2-beta/projects/1a5/exec/`, token }
    expect((await openRaw(scoped)).status).toBe(401)
    peer.faults.cattleDown = true
    const down = await openRaw(scoped)
    expect(down.handshake[0]).toBe(block(5, 'O3 project-scoped path').handshake[0])
    await down.ended
    expect(down.body()).toBe('')
  })

  test('P: a bearer header alone is let in and closed at once; P2, P3, Q: other headers change nothing', async () => {
    const peer = await start('B')
    const { url, token } = await access(peer)
    const bearer = await openRaw({ url }, { headers: { Authorization: `Bearer ${token}` } })
    await bearer.ended
    expect(asRecorded(bearer)).toEqual(block(5, 'P bearer header only').lines)
    for (const headers of [
      { Authorization: 'Basic eDp5' },
      { Authorization: `Bearer ${token}` },
      {
        Origin: 'http://elsewhere.example.com',
        'Sec-WebSocket-Extensions': 'permessage-deflate',
        'Sec-WebSocket-Protocol': 'foo',
      },
    ]) {
      const socket = await openRaw({ url, token }, { headers: headers as Record<string, string> })
      await socket.ended
      expect(asRecorded(socket)).toEqual(block(5, 'P2 basic header + query token').lines)
      expect(socket.handshake.filter((line) => /Extensions|Protocol:/i.test(line))).toEqual([])
    }
  })

  test('R, R2: without an upgrade a good token gets 400, no token 401', async () => {
    const peer = await start('B')
    const { token } = await access(peer)
    const good = await call(peer, `/v1/exec/?token=${token}`, { key: null })
    expect([good.status, good.text]).toEqual([400, 'Bad Request\nFailed to upgrade connection.\n'])
    const none = await call(peer, '/v1/exec/', { key: null })
    expect([none.status, none.text, none.headers.get('content-type')]).toEqual([401, body, 'text/plain; charset=utf-8'])
  })

  test('S: a token of another kind takes the whole agent down, which comes back by itself', async () => {
    const peer = await start('B')
    const innocent = await openRaw(await execute(peer, { command: ['sh', '-c', 'echo a; sleep 60'], tty: true }))
    await innocent.until(() => innocent.messages().length === 1)
    const token = peer.sign({ hostUuid: peer.hosts.all()[0]!.uuid })
    const socket = await openRaw({ url: `${peer.url}/v1/exec/`, token })
    await socket.ended
    expect(asRecorded(socket)).toEqual(block(5, 'S no exec claim').lines)
    await innocent.ended
    expect(asRecorded(innocent)).toEqual(block(6, 'J host agent killed mid-exec').lines)
    expect((await openRaw(await access(peer))).status).toBe(401)
    await eventually(() => peer.hosts.all()[0]!.connected)
    expect((await openRaw(await access(peer))).status).toBe(101)
  })
})

describe('the life of a connection', () => {
  test.each(['A', 'B'] as const)(
    'D: in %s a client that goes away kills nothing but what reads its end of file',
    async (generation) => {
      const recorded = recordingD(generation)
      const peer = await start(generation)
      for (const { tty, how, command, left } of recorded) {
        const access = await execute(peer, { command, tty, attachStdin: true })
        const before = new Set(peer.engine.pids())
        const socket = await openRaw(access)
        await eventually(() => peer.engine.pids().some((pid) => !before.has(pid)))
        const pid = peer.engine.pids().find((one) => !before.has(one))!
        // So that a shell is past its start and reads.
        if (command[0] === 'cat' || command.length === 1) {
          socket.type('echo go\n')
          await socket.until(() => socket.output().includes('go'))
        }
        if (how === 'destroy') socket.destroy()
        else {
          socket.send(8, Uint8Array.of(3, 232))
          await socket.ended
        }
        if (left) {
          await eventually(() => peer.seen.openSockets() === 0)
          await new Promise((resolve) => setTimeout(resolve, 300))
          expect([JSON.stringify(command), tty, peer.engine.pids().includes(pid)]).toEqual([JSON.stringify(command), tty, true])
        } else await eventually(() => !peer.engine.pids().includes(pid))
      }
    },
  )

  test('I, I2: the server sends no pings and answers those of the client', async () => {
    const peer = await start('B')
    const socket = await openRaw(await execute(peer, { command: ['sleep', '1'], tty: true }))
    socket.send(9, 'abc')
    await socket.ended
    expect(asRecorded(socket)).toEqual(block(6, 'I2 client ping').lines)
    expect(peer.seen.pings).toBe(1)
  })

  test.each(['gen1-host', 'gen2-host'])('L: %s takes 3 MiB of stdin in one message', async (gen) => {
    const peer = await start(generationOf(gen))
    const socket = await openRaw(await execute(peer, { command: ['sh', '-c', 'head -c 3145728 | wc -c'], attachStdin: true }))
    socket.send(1, Buffer.alloc(3145728, 'x').toString('base64'))
    await socket.ended
    expect(socket.output()).toEqual(block(6, `L ${gen} 3MiB stdin in one message, tty=false`).output)
  })

  test('a flood of stdin that nobody reads takes the tunnel of a B host down, and leaves A unharmed', async () => {
    for (const generation of ['B', 'A'] as const) {
      const peer = await start(generation)
      peer.faults.patienceMs = 300
      const flooder = await openRaw(await execute(peer, { command: ['sleep', '60'], attachStdin: true }))
      for (let n = 0; n < 30; n++) flooder.send(1, Buffer.alloc(100_000, 'x').toString('base64'))
      await flooder.roundTrip()
      const other = await openRaw(await execute(peer, { command: ['echo', 'other'], tty: true }))
      if (generation === 'A') {
        await other.ended
        expect(other.output().toString()).toBe('other\r\n')
        expect(flooder.isOpen()).toBe(true)
        flooder.destroy()
      } else {
        await flooder.ended
        expect(asRecorded(flooder).at(-1)).toBe('close fin=1 len=2 code=1000 reason="" hex=03e8')
        expect(peer.seen.starts.map((one) => one.argv[0])).toContain('sleep')
      }
    }
  })

  test('one argument over 128 KiB fails in the container, as output', async () => {
    const peer = await start('B')
    const good = await runToEnd(peer, { command: ['sh', '-c', 'echo ${#1}', 'x', 'y'.repeat(100_000)], tty: true })
    expect(good.output().toString()).toBe('100000\r\n')
    const long = await runToEnd(peer, { command: ['sh', '-c', 'echo ${#1}', 'x', 'y'.repeat(200_000)], tty: true })
    expect(long.output().toString()).toBe('exec /bin/sh: argument list too long\r\n')
  })

  test('60 commands at once on one host all work', async () => {
    const peer = await start('B')
    const sockets = await Promise.all(Array.from({ length: 60 }, (_, n) => runToEnd(peer, { command: ['echo', `hi${n}`] })))
    expect(sockets.map((one) => one.output().subarray(8).toString())).toEqual(Array.from({ length: 60 }, (_, n) => `hi${n}\n`))
    await eventually(() => peer.seen.openSockets() === 0)
  })
})

describe('faults', () => {
  const run = (peer: RancherPeer): Promise<RawSocket> => runToEnd(peer, { command: ['sh', '-c', 'echo 0123456789'] })

  test('dropTcpAfterBytes ends the connection without a close frame', async () => {
    const peer = await start('A')
    peer.faults.dropTcpAfterBytes = 4
    const socket = await run(peer)
    expect(socket.output().toString()).toBe('0123')
    expect(socket.frames.map((one) => one.opcode)).toEqual([1])
  })

  test('closeAfterBytes is an early close 1000; closeWithoutOutput runs nothing', async () => {
    const peer = await start('A')
    peer.faults.closeAfterBytes = 4
    const early = await run(peer)
    expect(early.output().toString()).toBe('0123')
    expect(early.frames.map((one) => one.opcode)).toEqual([1, 8])
    peer.faults.closeAfterBytes = undefined
    peer.faults.closeWithoutOutput = true
    const empty = await run(peer)
    expect(empty.frames.map((one) => one.opcode)).toEqual([8])
    expect(peer.seen.starts.length).toBe(1)
  })

  test('neverClose keeps a B host open; stallHost keeps everything of one host back', async () => {
    const peer = await start('B')
    peer.faults.neverClose = true
    const socket = await openRaw(await execute(peer, { command: ['echo', 'hi'] }))
    await socket.until(() => socket.messages().length === 1)
    await eventually(() => peer.engine.pids().length === 0)
    await socket.roundTrip()
    expect(socket.isOpen()).toBe(true)
    peer.faults.neverClose = false
    peer.faults.stallHost = '1h1'
    const stalled = await openRaw(await execute(peer, { command: ['echo', 'hi'] }))
    const elsewhere = await runToEnd(peer, { command: ['echo', 'hi'] }, 'shop-web-3')
    expect(elsewhere.messages().length).toBe(1)
    await stalled.roundTrip()
    expect(stalled.messages()).toEqual([])
    peer.faults.stallHost = undefined
    await stalled.ended
    expect(stalled.messages().length).toBe(1)
  })

  test('refuseUpgrade answers with the status and body that are asked for', async () => {
    const peer = await start('B')
    peer.faults.refuseUpgrade = { status: 503, body: 'no backend' }
    const socket = await openRaw(await execute(peer, { command: ['echo'] }))
    await socket.ended
    expect([socket.status, socket.body()]).toEqual([503, 'no backend'])
  })
})

/** Lines of recording 3: who was still there 2.5 s after the client had gone. */
function recordingD(generation: Generation) {
  const text = RECORDING_3.filter((line) => line.startsWith(generation === 'A' ? 'gen1' : 'gen2'))
  return text.map((line) => {
    const [, tty, how, command, left] = /tty? (true|false) (destroy|close-frame) (\[.*?\]) => .*2\.5s: (\[.*\])$/.exec(line) ?? []
    return { tty: tty === 'true', how, command: JSON.parse(command ?? '') as string[], left: left !== '[]' }
  })
}

const RECORDING_3 = readFileSync(new URL('./rancher-recordings/recording-3.txt', import.meta.url), 'utf8').split('\n')
