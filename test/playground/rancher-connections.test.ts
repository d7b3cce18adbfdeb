/** The websockets of the pretend Rancher: which tokens open one, and what ends it. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Generation, RancherPeer } from '../../src/playground/rancher/peer.ts'
import { asRecorded, call, execute, openRaw, runToEnd } from './rancher-client.ts'
import { block, eventually, generationOf, start } from './rancher-peer.ts'

/** Lines of recording 3: who was still there 2.5 s after the client had gone. */
function recordingD(generation: Generation) {
  const text = RECORDING_3.filter((line) => line.startsWith(generation === 'A' ? 'gen1' : 'gen2'))
  return text.map((line) => {
    const [, tty, how, command, left] = /tty? (true|false) (destroy|close-frame) (\[.*?\]) => .*2\.5s: (\[.*\])$/.exec(line) ?? []
    return { tty: tty === 'true', how, command: JSON.parse(command ?? '') as string[], left: left !== '[]' }
  })
}

const RECORDING_3 = readFileSync(new URL('./rancher-recordings/recording-3.txt', import.meta.url), 'utf8').split('\n')

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
