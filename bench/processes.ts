/** Child processes of a measurement: servers that say where they listen, and subjects that say what they measured. */

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { end, freePort, said } from '../test/e2e/process.ts'
import { deno, root, wrangler } from './places.ts'

export type Server = { readonly url: string; readonly pid: number; stop(): Promise<void> }

const startMs = 60_000
/** Process ids; below zero a whole group. A bench that goes wrong leaves none behind. */
const started = new Set<number>()
process.once('exit', () => {
  for (const pid of started) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended already.
    }
  }
})
/** For one measurement in a process of its own. */
const measureMs = 120_000

/** Waits for a line that holds `"url":"http…"` on either stream. */
export async function startServer(
  command: readonly [string, ...string[]],
  env: Readonly<Record<string, string>>,
): Promise<Server> {
  const child = spawn(command[0], command.slice(1), {
    env: { PATH: process.env.PATH, HOME: tmpdir(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (child.pid !== undefined) started.add(child.pid)
  child.once('exit', () => started.delete(child.pid ?? 0))
  const url = await said(child, /"url":"(http[^"]+)"/, command.join(' '), startMs)
  // What a bench that goes wrong leaves behind must not keep the whole from ending; its end takes them along.
  child.unref()
  for (const stream of [child.stdout, child.stderr]) if ('unref' in stream && typeof stream.unref === 'function') stream.unref()
  return { url, pid: child.pid ?? 0, stop: () => end(child, 'SIGKILL') }
}

export const onNode = (file: string, ...args: string[]): readonly [string, ...string[]] => [process.execPath, file, ...args]
export const onDeno = (file: string, ...args: string[]): readonly [string, ...string[]] => [
  deno,
  'run',
  '--no-prompt',
  '--cached-only',
  '-A',
  '--config',
  root('deno.json'),
  file,
  ...args,
]

/** `wrangler dev` with a configuration file of its own; `vars` become bindings. */
export async function startWorker(config: string, vars: Readonly<Record<string, string>>): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'drover-bench-worker-'))
  const file = join(folder, 'vars')
  // Single quotes, so that what is inside is taken as it is.
  writeFileSync(
    file,
    Object.entries(vars)
      .map(([key, value]) => `${key}='${value}'\n`)
      .join(''),
  )
  const port = await freePort()
  const options = ['--config', config, '--env-file', file, '--ip', '127.0.0.1', '--port', String(port), '--persist-to', folder]
  const quiet = ['--inspector-port', '0', '--show-interactive-dev-session=false', '--log-level', 'error']
  // A process group of its own: workerd is a child of wrangler, and the end has to reach both.
  const child = spawn(process.execPath, [wrangler, 'dev', ...options, ...quiet], {
    detached: true,
    env: { PATH: process.env.PATH, HOME: folder, CI: '1', WRANGLER_SEND_METRICS: 'false' },
    stdio: ['ignore', 'ignore', 'ignore'],
  })
  if (child.pid !== undefined) started.add(-child.pid)
  child.once('exit', () => started.delete(-(child.pid ?? 0)))
  const url = `http://127.0.0.1:${port}`
  const until = Date.now() + startMs
  while (!(await fetch(`${url}/healthz`).catch(() => undefined))?.ok) {
    if (Date.now() > until || child.exitCode !== null) throw new Error(`wrangler dev did not listen (${config})`)
    await pause(100)
  }
  return {
    url,
    pid: child.pid ?? 0,
    async stop() {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Runs a subject in a process of its own, so that its CPU time and peak memory are its own; the last line it prints is its result. */
export async function measured<T>(file: string, options: object, nodeOptions: readonly string[] = []): Promise<T> {
  const child = spawn(process.execPath, [...nodeOptions, file, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: measureMs,
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => {
    out = (out + data.toString()).slice(-100_000)
  })
  child.stderr.on('data', (data: Buffer) => {
    err = (err + data.toString()).slice(-4_000)
  })
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`${file} ended with ${code}: ${err}`)
  return JSON.parse(out.trim().split('\n').at(-1) ?? '') as T
}

/** Of the calling process, for a subject to report: milliseconds of CPU, and the most memory it ever held. */
export function usage(): { readonly cpuMs: number; readonly peakBytes: number } {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
  return { cpuMs: (userCPUTime + systemCPUTime) / 1000, peakBytes: maxRSS * 1024 }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
