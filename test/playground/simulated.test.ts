/** The simulated containers: programs, files, processes, and the wrapper as a real shell runs it. */

import { afterEach, describe, expect, test } from 'vitest'
import { type FrameEvent, frameParser } from '../../src/backends/rancher1/frames.ts'
import { wrapped } from '../../src/backends/rancher1/wrapper.ts'
import { killCommand } from '../../src/backends/wire/kill.ts'
import type { Command } from '../../src/core/model.ts'
import type { PeerEngine } from '../../src/playground/rancher/engine.ts'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { processEngine } from '../peers/engine-process.ts'
import { execute, openRaw, type RawSocket, runToEnd } from './rancher-client.ts'

const open: RancherPeer[] = []
afterEach(async () => {
  for (const peer of open.splice(0)) await peer.close()
})

async function start(engine?: PeerEngine): Promise<RancherPeer> {
  const peer = await startRancherPeer({ generation: 'A', ...(engine ? { engine } : {}) })
  open.push(peer)
  return peer
}

const text = async (peer: RancherPeer, container: string, ...command: string[]): Promise<string> =>
  (await runToEnd(peer, { command }, container)).output().toString()
const shell = (peer: RancherPeer, line: string, container = 'shop-web-1'): Promise<string> =>
  text(peer, container, 'sh', '-c', line)

describe('programs of a simulated container', () => {
  test.each([
    ['uptime', /^ \d\d:\d\d:\d\d up \d+ days, +\d+:\d\d, {2}0 users, {2}load average: \d+\.\d\d, \d+\.\d\d, \d+\.\d\d\n$/],
    ['hostname', /^[0-9a-f]{12}\n$/],
    ['id', /^uid=0\(root\)/],
    ['uname -a', /^Linux [0-9a-f]{12} /],
    ['nproc', /^[248]\n$/],
    ['df -h', /^Filesystem.*\noverlay .*% +\/\n$/],
    ['free -m', /^ +total.*\nMem: .*\nSwap:.*\n$/],
    ['top -bn1', /^Mem: .*\n {2}PID .*nginx: master/s],
    ['nginx -v 2>&1', /^nginx version: /],
    ['ps', /^ {2}PID USER .*\n +1 root .*nginx: master process.*\n.* ps\n$/s],
    ['ps aux', /^USER .*nginx: worker process/s],
    ['yes | head -2', /^y\ny\n$/],
    ['cat "/srv/my dir/notes.txt"', /space/],
    ['echo "$1 $2" ', /^ \n$/],
  ])('%s', async (line, expected) => {
    expect(await shell(await start(), line)).toMatch(expected)
  })

  test('an argv reaches the program as it is, without a shell between', async () => {
    const peer = await start()
    expect(await text(peer, 'shop-web-1', 'echo', '$(id)', "it's; `ls`", '  two  ')).toBe("$(id) it's; `ls`   two  \n")
    expect(await text(peer, 'shop-web-1', 'sh', '-c', 'echo "$0|$1|$#"', 'zero', 'a b', 'c')).toBe('zero|a b|2\n')
  })

  test('a program that is not there and an image without a shell say so in the engine’s words', async () => {
    const peer = await start()
    expect(await text(peer, 'shop-web-1', 'nosuchcmd')).toContain(
      'exec: "nosuchcmd": executable file not found in $PATH: unknown\r\n',
    )
    expect(await text(peer, 'shop-web-1', 'cd', '/')).toContain('exec: "cd": executable file not found')
    expect(await text(peer, 'shop-auth-1', '/bin/sh', '-c', 'id')).toContain(
      'exec: "/bin/sh": stat /bin/sh: no such file or directory',
    )
    expect(await text(peer, 'shop-auth-1', 'uptime')).toContain('executable file not found')
    expect(await text(peer, 'shop-auth-1', '/app', '--version')).toBe('app 4.2.0\n')
    expect(await shell(peer, 'nosuchcmd 2>&1')).toMatch(/^sh: .*nosuchcmd: (command )?not found\n$/)
  })

  test('what is of the host is the same in every container of it, what is of the container is not', async () => {
    const peer = await start()
    const rest = async (name: string): Promise<string> => (await text(peer, name, 'uptime')).replace(/^.*? up/, '')
    expect(await rest('shop-web-1')).toBe(await rest('shop-web-2'))
    expect(await rest('shop-web-1')).not.toBe(await rest('shop-web-3'))
    expect(await text(peer, 'shop-web-1', 'hostname')).not.toBe(await text(peer, 'shop-web-2', 'hostname'))
    expect(await text(peer, 'shop-web-2', 'cat', '/srv/app/config.yml')).not.toBe(
      await text(peer, 'shop-web-3', 'cat', '/srv/app/config.yml'),
    )
  })

  test('files stay from one command to the next, and in their own container', async () => {
    const peer = await start()
    await shell(peer, 'echo kept > /tmp/note')
    expect(await shell(peer, 'cat /tmp/note')).toBe('kept\n')
    expect(await shell(peer, 'cat /tmp/note 2>/dev/null || echo none', 'shop-web-2')).toBe('none\n')
  })

  test('text leaves as UTF-8', async () => {
    const socket = await runToEnd(await start(), { command: ['echo', 'é…😀'] })
    expect(socket.output()).toEqual(Buffer.from('é…😀\n'))
  })

  test('stdin reaches a program that reads it, and a terminal echoes', async () => {
    const peer = await start()
    const socket = await openRaw(await execute(peer, { command: ['wc', '-c'], attachStdin: true, tty: true }))
    socket.type('hello\n\x04')
    await socket.ended
    expect(socket.output().toString()).toMatch(/^hello\r\n\s*6\r\n$/)
  })

  test('an interactive shell greets as the recorded one, and answers', async () => {
    const peer = await start()
    const socket = await openRaw(await execute(peer, { command: ['sh'], attachStdin: true, tty: true }))
    await socket.until(() => socket.output().includes('/ # \x1b[6n'))
    expect(socket.output().toString()).toMatch(/^\r\n\r\nBusyBox v1\.35\.0/)
    socket.type('echo in-$((1+1)); exit\n')
    await socket.ended
    expect(socket.output().toString().endsWith('echo in-$((1+1)); exit\r\nin-2\r\n')).toBe(true)
  })
})

describe('processes of a simulated container', () => {
  const ps = (peer: RancherPeer): Promise<string> => text(peer, 'shop-web-1', 'ps')
  const pidOf = (table: string, name: RegExp): number =>
    Number(
      table
        .split('\n')
        .find((line) => name.test(line))
        ?.trim()
        .split(' ')[0],
    )
  const untilListed = async (peer: RancherPeer, name: RegExp): Promise<number> => {
    for (let tries = 0; tries < 200; tries++) {
      const pid = pidOf(await ps(peer), name)
      if (!Number.isNaN(pid)) return pid
    }
    throw new Error(`never listed: ${name}`)
  }

  test('a sleep lasts, is listed, and ends by kill', async () => {
    const peer = await start()
    const socket = await openRaw(await execute(peer, { command: ['sleep', '600'] }))
    const pid = await untilListed(peer, /sleep 600/)
    expect(await shell(peer, `kill ${pid} && echo sent`)).toBe('sent\n')
    await socket.ended
    expect(await ps(peer)).not.toContain('sleep 600')
    expect(await shell(peer, `kill ${pid} 2>&1 || echo refused`)).toMatch(/No such process\nrefused\n$/)
  })

  test('a signal to a child lets the shell go on; a signal to the group ends both; an ignored one neither', async () => {
    const peer = await start()
    const one = await openRaw(await execute(peer, { command: ['sh', '-c', 'sleep 601; echo code $?'] }))
    await shell(peer, `kill -9 ${await untilListed(peer, /\d sleep 601/)}`)
    await one.ended
    expect(one.output().toString()).toBe('code 137\n')
    const two = await openRaw(await execute(peer, { command: ['sh', '-c', "trap '' TERM; sleep 602; echo no"] }))
    await untilListed(peer, /\d sleep 602/)
    const leader = pidOf(await ps(peer), /sh -c trap/)
    await shell(peer, `kill -TERM -${leader}`)
    expect(await ps(peer)).toContain('sleep 602')
    await shell(peer, `kill -s KILL -- -${leader}`)
    await two.ended
    expect(two.output().toString()).toBe('')
  })

  test('a client that goes away does not end them; the end of their container does', async () => {
    const peer = await start()
    const socket = await openRaw(await execute(peer, { command: ['sleep', '603'] }))
    await untilListed(peer, /sleep 603/)
    socket.destroy()
    const other = await openRaw(await execute(peer, { command: ['sh', '-c', 'sleep 604; echo no'] }))
    await untilListed(peer, /\d sleep 604/)
    expect(await ps(peer)).toContain('sleep 603')
    peer.containers.stop('shop-web-1')
    await other.ended
    expect(other.output().toString()).toBe('')
    peer.containers.start('shop-web-1')
    expect(await ps(peer)).not.toMatch(/sleep 60[34]/)
  })

  test('yes writes until it is told to stop', async () => {
    const peer = await start()
    const socket = await openRaw(await execute(peer, { command: ['yes'] }))
    await socket.until(() => socket.messages().length > 100)
    await shell(peer, `kill ${await untilListed(peer, /\d yes/)}`)
    await socket.ended
    expect(socket.output().subarray(0, 4).toString()).toBe('y\ny\n')
  })
})

const nonce = '0123456789abcdef'
let count = 0
type Ran = { pid: number; stdout: string; stderr: string; code: number | undefined; events: readonly FrameEvent[] }

async function begin(peer: RancherPeer, command: Command, exec = `exec${String(count++).padStart(12, '0')}`) {
  const socket = await openRaw(
    await execute(peer, { command: wrapped(command, exec), attachStdin: true, tty: command.tty === true }),
  )
  socket.type(`${nonce}\n`)
  return { socket, exec }
}
function read(socket: RawSocket): Ran {
  const parser = frameParser(nonce)
  const events = [...parser.write(socket.output()), ...parser.end()]
  const of = (type: string) => Buffer.concat(events.flatMap((e) => (e.type === type && 'data' in e ? [e.data] : []))).toString()
  const began = events.find((e) => e.type === 'began')
  const exited = events.find((e) => e.type === 'exited')
  return {
    pid: began?.type === 'began' ? began.pid : Number.NaN,
    stdout: of('stdout'),
    stderr: of('stderr'),
    code: exited?.type === 'exited' ? exited.code : undefined,
    events,
  }
}
async function run(peer: RancherPeer, command: Command): Promise<Ran> {
  const { socket } = await begin(peer, command)
  await socket.ended
  return read(socket)
}

// The same claims for the emulation and for a real shell: where they differ, the emulation is wrong.
describe.each([
  ['a simulated shell', undefined],
  ['a real shell', processEngine],
] as const)('drover’s own wrapper in %s', (_name, engine) => {
  const begun = (): Promise<RancherPeer> => start(engine?.())
  test('nothing runs before the nonce came', async () => {
    const peer = await begun()
    const socket = await openRaw(await execute(peer, { command: wrapped({ argv: ['touch', 'ran'] }, 'e0'), attachStdin: true }))
    await socket.roundTrip()
    expect(socket.output().length).toBe(0)
    expect(await shell(peer, 'ls ran 2>/dev/null || echo none')).toBe('none\n')
    socket.type(`${nonce}\n`)
    await socket.ended
    expect(await shell(peer, 'ls ran')).toBe('ran\n')
  })

  test('nothing runs for a client that leaves without a nonce', async () => {
    const peer = await begun()
    const socket = await openRaw(await execute(peer, { command: wrapped({ argv: ['touch', 'ran'] }, 'e1'), attachStdin: true }))
    socket.type('half a li')
    await socket.roundTrip()
    peer.generation = 'B'
    socket.destroy()
    await run(peer, { argv: ['true'] })
    expect((await text(peer, 'shop-web-1', 'ls')).includes('ran')).toBe(false)
  })

  test('it tells pid, stdout, stderr and exit code', async () => {
    const ran = await run(await begun(), { argv: ['sh', '-c', 'echo out; echo err >&2; printf tail >&2; exit 3'] })
    expect([ran.stdout, ran.stderr, ran.code]).toEqual(['out\n', 'err\ntail', 3])
    expect(ran.pid).toBeGreaterThan(1)
    expect(ran.events.map((e) => e.type)[0]).toBe('began')
    expect(ran.events.at(-1)).toEqual({ type: 'stderr-ended' })
  })

  test('a long line of stderr comes in pieces of 900 bytes', async () => {
    const ran = await run(await begun(), { argv: ['sh', '-c', 'printf "%02000d\\n" 7 >&2'] })
    expect(ran.stderr).toBe(`${'7'.padStart(2000, '0')}\n`)
    expect(ran.events.flatMap((e) => (e.type === 'stderr' ? [Math.ceil(e.data.length / 901)] : []))).toEqual([1, 1, 1])
  })

  test('environment and directory count, a directory that is not there is told, a program that is not there is 127', async () => {
    const peer = await begun()
    const ran = await run(peer, { argv: ['sh', '-c', 'echo "$A $PWD"'], env: { A: 'x=y z' }, dir: '/usr' })
    expect(ran.stdout).toBe('x=y z /usr\n')
    expect((await run(peer, { argv: ['pwd'], dir: '/nowhere' })).events.map((e) => e.type)).toEqual(['began', 'no-directory'])
    const missing = await run(peer, { argv: ['nosuchcmd'] })
    expect([missing.code, missing.stderr]).toEqual([127, expect.stringMatching(/^drover: .*exec: .*nosuchcmd: not found\n$/)])
  })

  test('with a terminal both streams are one', async () => {
    const ran = await run(await begun(), { argv: ['sh', '-c', 'echo out; echo err >&2; exit 4'], tty: true })
    expect([ran.stdout, ran.stderr, ran.code]).toEqual(['out\r\nerr\r\n', '', 4])
  })

  test('the kill script ends what an execution started, and only that', async () => {
    const peer = await begun()
    const bystander = await openRaw(await execute(peer, { command: ['sleep', '605'] }))
    const { socket, exec } = await begin(peer, { argv: ['sh', '-c', 'sleep 606; echo no'] })
    await socket.until(() => read(socket).pid > 0)
    const killed = await run(peer, killCommand(exec, read(socket).pid))
    expect(killed.stdout).toBe('gone\n')
    await socket.ended
    const table = await text(peer, 'shop-web-1', 'ps', 'aux')
    expect(table).toContain('sleep 605')
    expect(table).not.toContain('sleep 606')
    bystander.destroy()
  })

  test('the kill script takes SIGKILL for what ignores SIGTERM', async () => {
    const peer = await begun()
    const { socket, exec } = await begin(peer, { argv: ['sh', '-c', "trap '' TERM; sleep 607; echo no"] })
    for (let table = ''; !/\d sleep 607/.test(table); )
      table = await text(peer, 'shop-web-1', 'sh', '-c', 'ps aux | sed "s/.* sleep 607/1 sleep 607/"')
    const killed = await run(peer, killCommand(exec, read(socket).pid))
    expect(killed.stdout).toBe('gone\n')
    await socket.ended
    expect(read(socket).stdout).toBe('')
  })
})

describe('a stuck process', () => {
  test('what not even SIGKILL ends is named', async () => {
    const peer = await start()
    const { socket, exec } = await begin(peer, { argv: ['stuck'] })
    await socket.until(() => read(socket).stdout.includes('waiting for a disk'))
    const killed = await run(peer, killCommand(exec, read(socket).pid))
    expect(killed.stdout).toMatch(/^left( \d+)+\n$/)
    const named = killed.stdout.trim().split(' ').slice(1)
    expect(await text(peer, 'shop-web-1', 'ps')).toMatch(new RegExp(`^ *${named.at(-1)} .* stuck$`, 'm'))
  })
})
