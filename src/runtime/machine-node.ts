/** The machine of Node and Deno: files, and programs without a shell (S08) and without drover's own environment (S46). */

import { spawn } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import process from 'node:process'
import type { Machine } from '../backends/machine.ts'
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

function config(message: string, next: string, cause?: unknown): DroverError {
  return new DroverError({ code: 'config', message, next }, { cause })
}
