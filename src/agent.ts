/** The door of the agent: `drover agent` beside an engine, which calls the gateway and needs no way in. */

import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { type Pace, stayConnected } from './agent/dial.ts'
import { engineOf } from './agent/engine.ts'
import { fingerprintOf, makeKeyPair, type PrivateKey, readPrivateKey } from './agent/keys.ts'
import { createServer } from './agent/serve.ts'
import { type AgentSettings, agentSettings } from './agent/settings.ts'
import { unreadable } from './config/unreadable.ts'
import { type Environment, labels, parseYaml, secretOf } from './config.ts'
import { DroverError } from './core/errors.ts'
import { readCgroups } from './runtime/host-processes.ts'
import { nodeMachine } from './runtime/machine-node.ts'
import { makePipes } from './runtime/named-pipes.ts'
import { nodeTransport } from './runtime/transport-node.ts'

export type AgentLog = (event: Readonly<Record<string, unknown>>) => void

/** Few words for whoever looks at the terminal or the journal: the time, what happened, the rest as JSON. */
const lines: AgentLog = ({ level = 'info', event, ...rest }) =>
  console.error(
    `${new Date().toISOString()} ${level} ${String(event)}${Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : ''}`,
  )

export type AgentConfig = { readonly settings: AgentSettings; readonly key: PrivateKey; readonly ca?: string }

export async function readAgentConfig(path: string, env: Environment): Promise<AgentConfig> {
  const text = readText(path, 'Name the agent’s file with --config; docs/agent.md has a whole one.')
  const settings = parseYaml(text, path, agentSettings({ secret: secretOf(env, 6), labels }))
  const beside = (file: string) => resolve(dirname(path), file)
  const keyFile = beside(settings.key)
  const key = await readPrivateKey(readText(keyFile, `Make it with: drover agent keygen --out ${settings.key}`), keyFile)
  refuseOpenKey(keyFile)
  return {
    settings,
    key,
    ...(settings.ca === undefined ? {} : { ca: readText(beside(settings.ca), 'Name the PEM file under ca:.') }),
  }
}

const outside = () => ({ transport: nodeTransport, machine: nodeMachine(), makePipes, readCgroups })

/** Resolves when `signal` aborts; throws DroverError when it has to be ended. */
export async function runAgent(
  { settings, key, ca }: AgentConfig,
  options: { readonly signal: AbortSignal; readonly log?: AgentLog; readonly pace?: Partial<Pace> },
): Promise<void> {
  const log = options.log ?? lines
  const { address, ...beside } = engineOf(settings, outside())
  const { name, proxy } = settings
  log({ event: 'agent', name, engine: `${settings.engine.kind} ${address}`, key: await fingerprintOf(key.publicKey) })
  const final = await stayConnected(
    {
      gateway: new URL(settings.gateway),
      name,
      key,
      says: `drover ${versionOf()}, ${settings.engine.kind}`,
      transport: nodeTransport({ ...(ca === undefined ? {} : { ca }), ...(proxy === undefined ? {} : { proxy }) }),
      serve: createServer({ ...beside, log }),
      log,
      ...(options.pace ? { pace: options.pace } : {}),
    },
    options.signal,
  )
  if (final !== undefined)
    throw new DroverError({
      code: 'config',
      message: `The agent ${name} ends: ${final}.`,
      next: 'Stop one of the two; a second agent needs a name and a key of its own.',
    })
}

/** The private half goes to a file that is its owner's alone, the public half to the terminal. */
export async function keygen(out: string): Promise<string> {
  const { privatePem, publicKey } = await makeKeyPair()
  try {
    writeFileSync(out, privatePem, { mode: 0o600, flag: 'wx' })
  } catch (cause) {
    throw new DroverError(
      {
        code: 'config',
        message: `${out} cannot be written, or is there already.`,
        next: 'Name another file with --out; an old key is never written over.',
      },
      { cause },
    )
  }
  return `${out} holds the agent’s key: it stays on this machine. For the gateway’s drover.yaml:\n\nagents:\n  NAME: { key: '${publicKey}' }\n`
}

const help = `drover agent: connects the engine beside it to a gateway that cannot reach it; docs/agent.md

  drover agent [--config agent.yaml]        runs until SIGTERM
  drover agent keygen [--out agent.key]     makes the agent's key, and prints what drover.yaml has to say
  drover agent --check [--config FILE]      reads the file, asks its engine what it is and what the list lets through, and ends
`

export async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = readArgs(args)
  if (values.help) return console.log(help)
  if (positionals[0] === 'keygen') return console.log(await keygen(values.out ?? 'agent.key'))
  const config = await readAgentConfig(values.config ?? 'agent.yaml', process.env)
  if (values.check) return await check(config, values.config ?? 'agent.yaml')
  const stop = new AbortController()
  process.once('SIGTERM', () => stop.abort())
  process.once('SIGINT', () => stop.abort())
  return await runAgent(config, { signal: stop.signal })
}

/** Loaded by who asks for it: an agent that runs needs none of the gateway's rooms. */
async function check(config: AgentConfig, file: string): Promise<void> {
  const { checkBeside, printChecks } = await import('./check.ts')
  const found = await checkBeside(config, outside())
  printChecks([{ ok: true, what: file, detail: `in order; its public key is ${config.key.publicKey}` }, ...found])
  if (found.some(({ ok }) => ok === false)) process.exitCode = 1
}

function readArgs(args: readonly string[]) {
  const options = {
    config: { type: 'string' },
    out: { type: 'string' },
    check: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const
  try {
    const read = parseArgs({ args: [...args], options, allowPositionals: true })
    if (read.positionals.length === 0 || (read.positionals.length === 1 && read.positionals[0] === 'keygen')) return read
  } catch {
    // Told below.
  }
  throw new DroverError({
    code: 'usage',
    message: `drover agent does not know ${args.join(' ')}.`,
    next: 'See drover agent --help.',
  })
}

function readText(path: string, next: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new DroverError({ code: 'config', message: unreadable(path, cause), next }, { cause })
  }
}

function refuseOpenKey(path: string): void {
  if (process.platform === 'win32' || (statSync(path).mode & 0o077) === 0) return
  throw new DroverError({ code: 'config', message: `Others than its owner may read ${path}.`, next: `chmod 600 ${path}` })
}

function exitWith(error: unknown): never {
  console.error(error instanceof DroverError ? `${error.message}\n${error.next ?? ''}` : error)
  process.exit(1)
}

function versionOf(): string {
  const manifest: { version: string } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return manifest.version
}

if (import.meta.main) main(process.argv.slice(2)).catch(exitWith)
