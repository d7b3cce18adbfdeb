/** Commands through the pretend Rancher: what its host side sends is what was recorded, in any size, and its faults. */

import { describe, expect, test } from 'vitest'
import type { RancherPeer } from '../../src/playground/rancher/peer.ts'
import { asRecorded, execute, openRaw, type RawSocket, recording, runToEnd } from './rancher-client.ts'
import { block, eventually, generationOf, start } from './rancher-peer.ts'

/** A frame's bytes without how the recording shows them. */
const undecoded = (line: string): string => line.replace(/ decoded\(.*$/, '')

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
