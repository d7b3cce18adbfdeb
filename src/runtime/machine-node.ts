/** The machine of Node and Deno: files, and programs without a shell (S08) and without drover's own environment (S46). */

import { spawn } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import process from 'node:process'
import { Duplex } from 'node:stream'
import type { Machine } from '../backends/machine.ts'
import { type Reach, TransportError } from '../backends/transport.ts'
import { DroverError } from '../core/errors.ts'

const MAX_FILE_BYTES = 4 * 1024 * 1024
const MAX_OUTPUT_BYTES = 1024 * 1024

export function nodeMachine(): Machine {
  return { env: process.env, home: homedir(), readText, run }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path)
    if (size > MAX_FILE_BYTES) throw config(`${path} is larger than 4 MiB.`, 'Name another file.')
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    if (error instanceof DroverError) throw error
    throw config(`${path} cannot be read (${code}).`, 'Check the rights of the file.', error)
  }
}

const run: Machine['run'] = ([program, ...args], { env, signal, stdin }) => {
  const { promise, resolve, reject } = Promise.withResolvers<{ code: number; stdout: string; stderr: string }>()
  const child = spawn(program, args, { env: { ...env }, stdio: 'pipe', shell: false, detached: false })
  const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  let bytes = 0
  const give = (error: DroverError) => {
    child.kill('SIGKILL')
    reject(error)
  }
  const abort = () => give(new DroverError({ code: 'timeout', message: `${program} did not end in time.` }))
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (data: Buffer) => {
      bytes += data.byteLength
      if (bytes > MAX_OUTPUT_BYTES) give(config(`${program} wrote more than 1 MiB.`, 'Look at what it prints.'))
      else parts[stream].push(data)
    })
  child.on('error', (error: NodeJS.ErrnoException) =>
    reject(config(`${program} cannot be started (${error.code}).`, 'Install it, or name it with its whole path.', error)),
  )
  child.on('close', (code) => {
    signal.removeEventListener('abort', abort)
    const text = (stream: 'stdout' | 'stderr') => Buffer.concat(parts[stream]).toString('utf8')
    resolve({ code: code ?? 128, stdout: text('stdout'), stderr: text('stderr') })
  })
  // A program that reads nothing closes its end; that is no failure of ours.
  child.stdin.on('error', () => {})
  child.stdin.end(stdin ?? '')
  return promise
}

const MAX_LAST_WORDS = 300

/** A program as a connection: its stdin and stdout are the two ways. Destroying it kills the program. */
export function pipe({ argv: [program, ...args], env }: NonNullable<Reach['program']>): Duplex {
  const child = spawn(program, args, { env: { ...env }, stdio: 'pipe', shell: false, detached: false })
  let said = ''
  let hasAnswered = false
  const connection = new Duplex({
    read: () => void child.stdout.resume(),
    write: (data: Buffer, _, done) => void child.stdin.write(data, () => done()),
    final: (done) => void child.stdin.end(() => done()),
    destroy(error, done) {
      child.kill('SIGKILL')
      done(error)
    },
  })
  child.stdout.on('data', (data: Buffer) => {
    hasAnswered = true
    if (!connection.push(data)) child.stdout.pause()
  })
  // A program that has not said a word may still say why, on stderr.
  child.stdout.on('end', () => void (hasAnswered && connection.push(null)))
  child.stderr.on('data', (data: Buffer) => {
    if (said.length < MAX_LAST_WORDS) said = (said + data.toString('utf8')).slice(0, MAX_LAST_WORDS)
  })
  // What is written to a program that has ended is lost; its end tells.
  child.stdin.on('error', () => {})
  child.on('error', (cause: NodeJS.ErrnoException) =>
    connection.destroy(new TransportError('other', `${program} cannot be started (${cause.code})`, { cause })),
  )
  child.on('close', (code) => {
    if (hasAnswered) return undefined
    const words = said.replaceAll(/[\x00-\x1f\x7f]+/g, ' ').trim()
    const how = code === null ? 'was killed' : `ended with code ${code}`
    return connection.destroy(new TransportError('other', `${program} ${how}${words ? `: ${words}` : ''}`))
  })
  return connection
}

function config(message: string, next: string, cause?: unknown): DroverError {
  return new DroverError({ code: 'config', message, next }, { cause })
}
