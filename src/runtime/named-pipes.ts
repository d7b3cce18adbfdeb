/** Named pipes for Node and Deno: made by the `mkfifo` program, and read without holding a thread of the pool. */

import { spawn } from 'node:child_process'
import { closeSync, constants, open as openFile, rmSync, writeSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { MakePipes } from '../backends/machine.ts'
import { DroverError } from '../core/errors.ts'
import { nodeMachine } from './machine-node.ts'

const machine = nodeMachine()
const env = { PATH: process.env.PATH ?? '/usr/bin:/bin' }
const open = promisify(openFile)
/** Deno cannot make a socket of a descriptor: there a `cat` holds the end that is read. */
const isDeno = 'deno' in process.versions
/** So many bytes go in whole or not at all, pipe(7): Deno goes on after a part by itself, and then does not tell how far it came. */
const PIPE_BUF = 4096
/** Between looks at what gives no sign by itself. */
const lookMs = { first: 2, most: 50 }

export const makePipes: MakePipes = async (names, folder, signal) => {
  const place = folder ?? tmpdir()
  const own = await mkdtemp(join(place, 'drover-')).catch((cause: NodeJS.ErrnoException) => {
    throw problem(`No folder for named pipes can be made in ${place} (${cause.code}).`, cause)
  })
  const path = (name: string) => join(own, name)
  /** What keeps a pipe alive until the engine has it open; and what ends all that is open. */
  const keepers: (() => void)[] = []
  const ends: (() => void)[] = []
  const handedOver = () => {
    for (const letGo of keepers.splice(0)) letGo()
    rmSync(own, { recursive: true, force: true })
  }
  const close = () => {
    for (const end of ends.splice(0)) end()
    handedOver()
  }
  try {
    const made = await machine.run(['mkfifo', '-m', '600', ...names.map(path)], { env, signal })
    if (made.code !== 0) throw problem(`Named pipes cannot be made in ${place}: ${made.stderr.trim().slice(0, 200)}`)
  } catch (error) {
    close()
    throw error
  }

  async function bySocket(name: string): Promise<AsyncIterable<Uint8Array>> {
    // Does not wait for a writer; and until one has come and gone, the kernel tells of no end.
    const fd = await open(path(name), constants.O_RDONLY | constants.O_NONBLOCK)
    const socket = new Socket({ fd, readable: true, writable: false })
    socket.on('error', () => {})
    ends.push(() => socket.destroy())
    return socket
  }

  async function byProgram(name: string, until: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const child = spawn('cat', [path(name)], { env, stdio: ['ignore', 'pipe', 'ignore'] })
    child.on('error', () => {})
    ends.push(() => child.kill('SIGKILL'))
    // That it can be written to shows that `cat` has it open.
    const fd = await openForWriting(path(name), until)
    keepers.push(() => closeSync(fd))
    // A child's own stream is thrown away at its exit when nobody reads it yet.
    return child.stdout.pipe(new PassThrough())
  }

  return {
    path,
    read: isDeno ? byProgram : bySocket,
    async write(name, until) {
      const fd = await openForWriting(path(name), until)
      let isOpen = true
      const end = () => {
        if (isOpen) closeSync(fd)
        isOpen = false
      }
      ends.push(end)
      const send = async (data: Uint8Array) => {
        let wait = lookMs.first
        for (let at = 0; isOpen && at < data.byteLength; ) {
          const taken = writeSome(fd, data.subarray(at, at + PIPE_BUF))
          if (taken === 'nobody reads') return
          at += taken
          wait = taken > 0 ? lookMs.first : Math.min(wait * 2, lookMs.most)
          // Full: nothing tells when it is not.
          if (taken === 0) await sleep(wait)
        }
      }
      return { send, end }
    },
    handedOver,
    close,
  }
}

/** The kernel refuses a writer (ENXIO) as long as there is no reader. */
async function openForWriting(path: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    try {
      return await open(path, constants.O_WRONLY | constants.O_NONBLOCK)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error
      await sleep(lookMs.first, undefined, { signal })
    }
  }
}

function writeSome(fd: number, data: Uint8Array): number | 'nobody reads' {
  try {
    return writeSync(fd, data)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? 0 : 'nobody reads'
  }
}

function problem(message: string, cause?: unknown): DroverError {
  const next = 'Set `fifoDirectory` of this backend to a folder that drover may write to, on the machine of the engine.'
  return new DroverError({ code: 'config', message, next }, { cause })
}
