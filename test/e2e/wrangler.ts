/** Starts drover on workerd, through `wrangler dev`. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './process.ts'
import { type Running, type StartDrover, until } from './scenario.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

export const startWorker: StartDrover = async (config, env) => {
  const folder = mkdtempSync(join(tmpdir(), 'drover-worker-'))
  const vars = join(folder, 'vars')
  // In two variables, as a configuration over 5 KB has to be.
  const half = config.indexOf('\nrules:')
  const parts = { DROVER_CONFIG: config.slice(0, half), DROVER_CONFIG_2: config.slice(half + 1) }
  const text = Object.entries({ ...env, ...parts }).map(([key, value]) => `${key}=${JSON.stringify(value)}\n`)
  writeFileSync(vars, text.join(''))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const options = [
    '--config',
    root('wrangler.toml'),
    '--env-file',
    vars,
    '--ip',
    '127.0.0.1',
    '--port',
    String(port),
    '--persist-to',
    folder,
  ]

  const begin = async (): Promise<Running> => {
    // A process group of its own: workerd is a child of wrangler, and kill -9 has to reach both.
    const child: ChildProcess = spawn(
      process.execPath,
      [
        root('node_modules/wrangler/bin/wrangler.js'),
        'dev',
        ...options,
        '--inspector-port',
        '0',
        '--show-interactive-dev-session=false',
      ],
      {
        detached: true,
        env: { PATH: process.env.PATH, HOME: folder, CI: '1', WRANGLER_SEND_METRICS: 'false' },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let log = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (data: Buffer) => {
        log = (log + data.toString()).slice(-20_000)
      })
    }
    await until(async () => ((await fetch(`${url}/healthz`).catch(() => undefined))?.ok ? true : undefined), 60_000).catch(() => {
      throw new Error(`wrangler dev did not listen:\n${log}`)
    })
    const killGroup = async () => {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
      await ended
    }
    return {
      url,
      async killAndRestart() {
        await killGroup()
        return await begin()
      },
      async stop() {
        await killGroup()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  }
  return await begin()
}
