/** Starts a real drover as a child process and waits until it listens. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Running, StartDrover } from './scenario.ts'

/** `command` gets the path of drover.yaml in DROVER_CONFIG. */
export function startProcess(command: readonly [string, ...string[]]): StartDrover {
  return async (config, env) => {
    const folder = mkdtempSync(join(tmpdir(), 'drover-e2e-'))
    const file = join(folder, 'drover.yaml')
    writeFileSync(file, `listen: { port: ${await freePort()} }\nledger: { path: ${join(folder, 'drover.db')} }\n${config}`)
    const begin = async (): Promise<Running> => {
      const child = spawn(command[0], command.slice(1), {
        env: { PATH: process.env.PATH, HOME: folder, ...env, DROVER_CONFIG: file },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      const url = await said(child, /"event":"listening","url":"([^"]+)"/, 'drover', 30_000)
      return {
        url,
        async killAndRestart() {
          await end(child, 'SIGKILL')
          return await begin()
        },
        async stop() {
          await end(child, 'SIGTERM')
          rmSync(folder, { recursive: true, force: true })
        },
      }
    }
    return await begin()
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Waits until `child` has written what is wanted, on whichever of its streams can be read, and gives its first group. */
export async function said(child: ChildProcess, wanted: RegExp, what: string, ms: number): Promise<string> {
  let log = ''
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} did not listen in ${ms / 1000} s:\n${log}`)), ms)
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`${what} ended with ${code}:\n${log}`))
    })
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (data: Buffer) => {
        log = (log + data.toString()).slice(-20_000)
        const found = wanted.exec(log)?.[1]
        if (!found) return
        clearTimeout(timer)
        resolve(found)
      })
    }
  })
}

export async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), 40_000)
  await ended
  clearTimeout(timer)
}
