/** The pretend Rancher over real containers does what was recorded of a real one. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dockerEngine } from '../../src/playground/rancher/engine-docker.ts'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { asRecorded, call, execute, openRaw, recording, runToEnd } from '../playground/rancher-client.ts'

const undecoded = (line: string): string => line.replace(/ decoded\(.*$/, '')

describe('the pretend Rancher over a real Docker Engine', () => {
  let peer: RancherPeer
  beforeAll(async () => {
    peer = await startRancherPeer({
      engine: await dockerEngine(),
      world: [{ name: 'shop-web-1', labels: { role: 'web' } }, { name: 'victim' }, { name: 'gone' }],
    })
  }, 60_000)
  afterAll(() => peer?.close(), 60_000)

  test.each(recording(1).map((one) => [one.title, one] as const))('%s', async (title, recorded) => {
    peer.generation = title.startsWith('gen1') ? 'A' : 'B'
    const [, tty, command] = /tty=(\w+) cmd=(.*)$/.exec(title) ?? []
    const socket = await runToEnd(peer, { command: JSON.parse(command ?? '[]'), tty: tty === 'true', attachStdin: true })
    if (recorded.output.includes('out\r\nerr')) expect(socket.output()).toEqual(recorded.output)
    else expect(asRecorded(socket).map(undecoded)).toEqual(recorded.lines.map(undecoded))
  })

  test.each(['gen1-host', 'gen2-host'])('%s E1: an interactive shell greets and answers as recorded', async (gen) => {
    peer.generation = gen === 'gen1-host' ? 'A' : 'B'
    const recorded = recording(4).find((one) => one.title.startsWith(`${gen} E1`))!
    const socket = await openRaw(await execute(peer, { command: ['sh'], attachStdin: true, tty: true }))
    await socket.until(() => socket.output().includes('# \x1b[6n'))
    socket.type('echo in-$((1+1)); exit\n')
    await socket.ended
    expect(socket.output().toString()).toBe(recorded.output.toString())
  })

  test('B sends 1 MiB whole, and the label that was asked for is on the real container', async () => {
    peer.generation = 'B'
    const socket = await runToEnd(peer, { command: ['sh', '-c', "head -c 1048576 /dev/zero | tr '\\0' x"] })
    const output = socket.output()
    let payload = 0
    for (let at = 0; at < output.length; at += 8 + output.readUInt32BE(at + 4)) payload += output.readUInt32BE(at + 4)
    expect(payload).toBe(1048576)
    expect((await call(peer, '/v2-beta/containers')).body.data[0].labels).toEqual({ role: 'web' })
  })

  test('H2, H5: killing or removing the container ends what runs in it with close 1000', async () => {
    for (const [name, end] of [
      ['victim', 'stop'],
      ['gone', 'remove'],
    ] as const) {
      const socket = await openRaw(await execute(peer, { command: ['sh', '-c', 'echo start; sleep 60'], tty: true }, name))
      await socket.until(() => socket.messages().length === 1)
      peer.containers[end](name)
      expect(await socket.ended).toBe('tcp-fin')
      expect(asRecorded(socket).at(-1)).toBe('close fin=1 len=2 code=1000 reason="" hex=03e8')
    }
  })

  test('a client that goes away does not end what it started', async () => {
    const socket = await openRaw(await execute(peer, { command: ['sleep', '77'], tty: true }))
    await socket.roundTrip()
    const listed = async () => (await runToEnd(peer, { command: ['ps'], tty: true })).output().toString()
    while (!(await listed()).includes('sleep 77'));
    socket.destroy()
    expect(await listed()).toContain('sleep 77')
  })
})
