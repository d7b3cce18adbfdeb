/** A backend of the story behind an agent: a real `drover agent` process, which alone knows where Rancher is and has its key. */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeKeyPair } from '../../src/agent/keys.ts'
import { end, said } from './process.ts'
import type { Running, StartDrover } from './scenario.ts'

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const cli = root('src/cli.ts')
export const deno = [
  root('node_modules/.bin/deno'),
  ...['run', '--no-prompt', '--cached-only', '-A', '--config', root('deno.json')],
] as [string, ...string[]]
const backend = /^ {2}play: \{ kind: rancher1, url: (\S+)\/v2-beta, .*$/m

export type Agent = { readonly config: string; readonly publicKey: string; stop(): Promise<void> }

/** `engine`: as it stands in the agent's file. */
export async function startAgent(
  gateway: string,
  keys: Awaited<ReturnType<typeof makeKeyPair>>,
  engine: string,
  env: Readonly<Record<string, string>>,
  runtime: readonly [string, ...string[]] = [process.execPath],
  name = 'lab',
): Promise<ChildProcess & { readonly folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'drover-agent-'))
  writeFileSync(join(folder, 'agent.key'), keys.privatePem, { mode: 0o600 })
  writeFileSync(join(folder, 'agent.yaml'), `name: ${name}\ngateway: ${gateway}\nkey: agent.key\n${engine}\n`)
  const child = spawn(runtime[0], [...runtime.slice(1), cli, 'agent', '--config', join(folder, 'agent.yaml')], {
    env: { PATH: process.env.PATH, HOME: folder, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  await said(child, /( connected) /, 'the agent', 30_000)
  return Object.assign(child, { folder })
}

/** The same story, told through an agent. */
export function throughAgent(start: StartDrover): StartDrover {
  return async (config, env) => {
    const url = backend.exec(config)?.[1]
    if (!url) throw new Error('the story has another backend now')
    const keys = await makeKeyPair()
    const { CATTLE_ACCESS_KEY = '', CATTLE_SECRET_KEY = '', ...rest } = env
    const behind = `  play: { kind: rancher1, through: lab, project: 1a5 }\nagents: { lab: { key: '${keys.publicKey}' } }`
    const drover = await start(config.replace(backend, behind), rest)
    const engine = `engine: { kind: rancher1, url: ${url}, project: 1a5, accessKey: { env: KEY }, secretKey: { env: SECRET } }`
    const agent = await startAgent(drover.url, keys, engine, { KEY: CATTLE_ACCESS_KEY, SECRET: CATTLE_SECRET_KEY })
    const wrapped = (running: Running): Running => ({
      url: running.url,
      async killAndRestart() {
        const again = await running.killAndRestart()
        await said(agent, /( connected) /, 'the agent, again,', 30_000)
        return wrapped(again)
      },
      async stop() {
        await end(agent, 'SIGTERM')
        rmSync(agent.folder, { recursive: true, force: true })
        await running.stop()
      },
    })
    return wrapped(drover)
  }
}
