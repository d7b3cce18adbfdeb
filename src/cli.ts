#!/usr/bin/env node
/** The `drover` command: the same words as in chat, for terminals and scripts. */

import { existsSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { type CommandLine, type Flags, help, type LookLine, readArguments, usage } from './arguments.ts'
import type { Config } from './config.ts'
import { maskState } from './core/answer.ts'
import { wantedOf } from './core/command-line.ts'
import { DroverError } from './core/errors.ts'
import { describeRun } from './core/fold.ts'
import type { Actor, Argv, Command, Place, RunRequest, TargetId } from './core/model.ts'
import type { Gateway, Judgement, RunSummary } from './core/ports.ts'
import { createRedactor, maskArgv, type Redactor } from './core/redact.ts'
import { sayRollout } from './core/rollout-words.ts'
import { isRunId, runIdFor } from './core/run-id.ts'
import { reduce, worstExitCode } from './core/run-state.ts'
import { names } from './core/selector.ts'
import { formatArgv } from './core/words.ts'
import { withoutItself } from './frontends/terminal/check-lines.ts'
import { asJson, cardOf, createTerminalReporter, type Terminal } from './frontends/terminal/reporter.ts'
import { describeTargets } from './frontends/terminal/targets.ts'
import type { createLedger } from './ledger/ledger.ts'

// What takes long to load is loaded by the command that needs it: `drover --help` answers at once.
const loadLocal = () => import('./local.ts')
const loadConfiguration = () => import('./config.ts')

function configFile(flags: Flags): string | undefined {
  const named = flags.config ?? process.env.DROVER_CONFIG
  if (named !== undefined) return named
  return flags.url === undefined && existsSync('drover.yaml') ? 'drover.yaml' : undefined
}

/** From a file, or from flags and CATTLE_*: then the keys are the caller's own, and so are the rights. */
async function loadConfig(flags: Flags): Promise<Config> {
  const file = configFile(flags)
  if (file !== undefined) {
    if (flags.config === undefined && process.env.DROVER_CONFIG === undefined && process.env.CATTLE_URL)
      console.error(`${file} says where to run; CATTLE_URL does not count.`)
    return (await loadLocal()).readConfig(file, process.env)
  }
  const env: Record<string, string | undefined> = {
    CATTLE_ACCESS_KEY: flags['access-key'] ?? process.env.CATTLE_ACCESS_KEY,
    CATTLE_SECRET_KEY: flags['secret-key'] ?? process.env.CATTLE_SECRET_KEY,
  }
  const url = flags.url ?? process.env.CATTLE_URL
  if (!url || !env.CATTLE_ACCESS_KEY || !env.CATTLE_SECRET_KEY) {
    throw new DroverError({
      code: 'config',
      message: 'Nothing says where to run: there is no drover.yaml here, and no Rancher server is named.',
      next: 'Write a drover.yaml (drover --help ends with one, four lines long). For Rancher 1.x alone, set CATTLE_URL, CATTLE_ACCESS_KEY and CATTLE_SECRET_KEY, or give --url, --access-key and --secret-key.',
    })
  }
  const project = flags.project === undefined ? {} : { project: flags.project }
  const text = JSON.stringify({
    ledger: { path: ':memory:' },
    backends: {
      rancher: {
        kind: 'rancher1',
        url,
        accessKey: { env: 'CATTLE_ACCESS_KEY' },
        secretKey: { env: 'CATTLE_SECRET_KEY' },
        ...project,
      },
    },
    rules: [
      {
        id: 'own-keys',
        effect: 'allow',
        who: { cli: true },
        commands: ['...'],
        rollouts: ['...'],
        rights: ['shell', 'env', 'all', 'system', 'privileged', 'user'],
      },
    ],
    limits: { targets: 10_000, maxTimeout: '24h' },
  })
  try {
    return (await loadConfiguration()).parseConfig(text, 'The command line', env, { isMade: true })
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    const message = error.message.replaceAll(/backends\.rancher\.(\w+)/g, (all, key: string) => typedAs[key] ?? all)
    throw new DroverError({ ...error.toFailure(), message })
  }
}

/** What the parts of that configuration are called where they come from. */
const typedAs: Readonly<Record<string, string>> = {
  url: '--url or CATTLE_URL',
  accessKey: '--access-key or CATTLE_ACCESS_KEY',
  secretKey: '--secret-key or CATTLE_SECRET_KEY',
  project: '--project',
}

/** The terminal's runs have a ledger of their own: the server holds the other one. */
function withOwnLedger(config: Config): Config {
  if (config.ledger.path === ':memory:') return config
  return { ...config, ledger: { path: join(dirname(config.ledger.path), `cli-${userInfo().username}.db`) } }
}

const terminal = (json: boolean): Terminal => ({
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  live: process.stderr.isTTY === true,
  json,
})

const here: Place = { kind: 'terminal' }
const me = (): Actor => ({ kind: 'cli', user: userInfo().username })
const quiet = () => {}
const debugLog = (event: object) => console.error(JSON.stringify(event))

async function exec(flags: Flags, line: CommandLine): Promise<number> {
  // Before anything is opened that would have to be closed.
  const command = withFile(line.command)
  const delivery = `cli:${crypto.randomUUID()}`
  const id = await runIdFor(delivery)
  const ended = Promise.withResolvers<void>()
  const reporter = createTerminalReporter(terminal(flags.json !== undefined))
  // What an earlier command left is told to the person, and never where scripts read.
  const earlier = createTerminalReporter({ ...terminal(false), out: terminal(false).err, live: false })
  const { startLocal } = await loadLocal()
  const local = await startLocal(withOwnLedger(await loadConfig(flags)), {
    log: flags.debug || flags.v ? debugLog : quiet,
    terminal: {
      ...reporter,
      async deliver(state, output, posted) {
        if (state.request.id !== id) return await earlier.deliver(state, output, posted)
        await reporter.deliver(state, output, posted)
        ended.resolve()
      },
    },
  })
  const request: RunRequest = {
    id,
    actor: me(),
    trigger: { kind: 'cli', delivery },
    ...wantedOf({ ...line, command }),
    place: here,
    receivedAt: Date.now(),
  }
  const cancel = () => void local.gateway.cancel(id, me(), here)
  process.once('SIGINT', cancel)
  process.once('SIGTERM', cancel)
  try {
    await local.gateway.submit(request)
    await ended.promise
    const state = await local.gateway.read(id)
    return state ? worstExitCode(state) : 125
  } finally {
    await local.stop(5_000)
  }
}

const mostStdin = 1024 * 1024

/** `stdin=@file` is the file's text, and `stdin=@-` what this program reads: here alone, for in chat it would be the gateway's file. */
function withFile(command: Command): Command {
  if (!command.stdin?.startsWith('@')) return command
  const path = command.stdin.slice(1)
  try {
    const bytes = readFileSync(path === '-' ? 0 : path)
    if (bytes.byteLength > mostStdin) throw usage(`${path} is larger than 1 MiB, the most that stdin= takes.`)
    return { ...command, stdin: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) }
  } catch (error) {
    if (error instanceof DroverError) throw error
    const why = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
    throw usage(
      error instanceof TypeError ? `${path} is not UTF-8 text, and stdin= takes text.` : `${path} cannot be read${why}.`,
    )
  }
}

/** For questions that run nothing: a gateway that keeps nothing. */
async function ask(flags: Flags, question: (gateway: Pick<Gateway, 'targets' | 'why'>) => Promise<number>): Promise<number> {
  const { startLooking } = await loadLocal()
  return question(await startLooking(await loadConfig(flags), flags.debug ? debugLog : quiet))
}

async function targets(flags: Flags, line: LookLine): Promise<number> {
  return ask(flags, async (gateway) => {
    const answer = await gateway.targets(line.selector, me(), here)
    if (flags.json) console.log(JSON.stringify(answer))
    else {
      const { out, err } = describeTargets(answer, process.stdout.isTTY ? { columns: process.stdout.columns } : undefined)
      for (const line of out) console.log(line)
      for (const line of err) console.error(line)
    }
    return answer.ok ? 0 : 1
  })
}

async function why(flags: Flags, line: CommandLine): Promise<number> {
  return ask(flags, async (gateway) => {
    const delivery = `cli:${crypto.randomUUID()}`
    const { rollout } = line
    const request = {
      id: await runIdFor(delivery),
      actor: me(),
      trigger: { kind: 'cli' as const, delivery },
      ...wantedOf(line),
      place: here,
      receivedAt: Date.now(),
    }
    const judgement = await gateway.why(request)
    if (flags.json) console.log(JSON.stringify(judgement))
    else if (judgement.ok) {
      const rule = judgement.decision.effect === 'allow' ? judgement.decision.rule : '-'
      const planned = judgement.targets.map((target) => ({ target, ...planOf(judgement, target.id) }))
      if (rollout) process.stdout.write(cardOf(planned, sayRollout(rollout)))
      console.log(
        `It would ${rollout ? 'be rolled out' : 'run'} on ${judgement.targets.length}: ${names(judgement.targets)}\nRule: ${rule} · at most ${judgement.timeoutMs / 1000} s\nNothing was ${rollout ? 'changed' : 'run'}.`,
      )
    } else console.log(`It would not run: ${judgement.failure.message}\n${judgement.failure.next ?? ''}`)
    return judgement.ok ? 0 : 1
  })
}

function planOf({ plans }: Extract<Judgement, { ok: true }>, target: TargetId) {
  const plan = plans?.[target]
  return plan ? { plan } : {}
}

async function check(flags: Flags): Promise<number> {
  const config = await loadConfig(flags)
  const { checkAll, printChecks } = await import('./check.ts')
  const lines = await checkAll(config, configFile(flags), flags.gateway)
  if (flags.json) console.log(JSON.stringify(lines))
  else printChecks(lines)
  return lines.some((line) => line.ok === false) ? 1 : 0
}

type Kept = { readonly path: string; readonly ledger: Awaited<ReturnType<typeof createLedger>>; readonly redactor: Redactor }

/** A ledger can be read where the secrets of the server are not at hand. */
async function configOfLedgers(flags: Flags): Promise<Config> {
  const { readConfig } = await loadLocal()
  try {
    return readConfig(configFile(flags) ?? 'drover.yaml', process.env)
  } catch (error) {
    if (!(error instanceof DroverError)) throw error
    const next = `${error.next ?? ''} Or name the ledger alone, without a configuration: --ledger drover.db.`.trim()
    throw new DroverError({ ...error.toFailure(), next }, { cause: error })
  }
}

/** What `runs` and `verify` read: the server's ledger and this person's own, or the file that is named; copied while in use. */
async function withLedgers<T>(flags: Flags, read: (all: readonly Kept[]) => Promise<T>): Promise<T> {
  const [{ openSnapshot }, { createLedger }] = await Promise.all([import('./ledger/db-sqlite.ts'), import('./ledger/ledger.ts')])
  const config = flags.ledger === undefined ? await configOfLedgers(flags) : undefined
  const redactor = createRedactor(config ? (await loadConfiguration()).secretsOf(config) : [])
  const paths = config ? [...new Set([config.ledger.path, withOwnLedger(config).ledger.path])] : [flags.ledger ?? '']
  const found = paths.filter((path) => existsSync(path))
  if (found.length === 0) {
    const next = 'It is made when drover first runs something.'
    throw new DroverError({ code: 'not_found', message: `There is no ledger at ${paths.join(' or ')}.`, next })
  }
  const snapshots = found.map((path) => ({ path, db: openSnapshot(path) }))
  try {
    return await read(
      await Promise.all(snapshots.map(async ({ path, db }) => ({ path, ledger: await createLedger(db), redactor }))),
    )
  } finally {
    await Promise.all(snapshots.map(({ db }) => db.close()))
  }
}

async function runs(flags: Flags, [id]: readonly string[]): Promise<number> {
  return withLedgers(flags, async (all) => {
    if (id === undefined) {
      const lists = await Promise.all(all.map(async ({ ledger, redactor }) => masked(await ledger.list({ limit: 50 }), redactor)))
      const latest = lists.flat().sort((one, other) => other.at - one.at)
      if (flags.json) console.log(JSON.stringify(latest))
      else if (latest.length === 0) console.error('Nothing has run yet.')
      else for (const run of latest) console.log(lineOf(run))
      return 0
    }
    for (const { ledger, redactor } of all) {
      const state = isRunId(id) ? reduce(await ledger.read(id)) : undefined
      if (!state) continue
      const shown = maskState(state, redactor)
      const output = (target: TargetId) => ledger.output(state.request.id, target)
      if (flags.json) console.log(JSON.stringify(await asJson(shown, output)))
      else await createTerminalReporter(terminal(false)).deliver(shown, output, async () => {})
      return 0
    }
    throw new DroverError({ code: 'not_found', message: `There is no run ${id}.`, next: 'drover runs lists the last ones.' })
  })
}

function masked(list: readonly RunSummary[], redactor: Redactor): readonly RunSummary[] {
  return list.map((run) => ({ ...run, argv: maskArgv(run.argv as Argv, redactor) }))
}

function lineOf(run: RunSummary): string {
  const { at, id, actor, argv } = run
  const who =
    actor.kind === 'slack-user'
      ? `${actor.team}/${actor.user}`
      : actor.kind === 'cli'
        ? actor.user
        : `${actor.kind} ${actor.name}`
  return `${new Date(at).toISOString()}  ${id}  ${describeRun(run)}  ${who}  ${formatArgv(argv)}`
}

async function verify(flags: Flags): Promise<number> {
  const reports = await withLedgers(flags, (all) =>
    Promise.all(all.map(async ({ path, ledger }) => ({ path, ...(await ledger.verify()) }))),
  )
  if (flags.json) console.log(JSON.stringify(reports))
  else {
    for (const report of reports) {
      if (report.ok)
        console.log(`ok: ${report.path}: ${report.events} events of ${report.runs} runs; the chain ends in ${report.head}`)
      else {
        const where = [report.run && `run ${report.run}`, report.seq !== undefined && `event ${report.seq}`]
          .filter(Boolean)
          .join(', ')
        console.log(`BROKEN: ${report.path}: ${report.problem}${where ? ` (${where})` : ''}`)
      }
    }
  }
  return reports.every((report) => report.ok) ? 0 : 1
}

async function main(args: readonly string[]): Promise<number | undefined> {
  const asked = readArguments(args)
  switch (asked.command) {
    case 'help':
      console.log(help)
      return 0
    case 'version': {
      const manifest: { version: string } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
      console.log(manifest.version)
      return 0
    }
    case 'playground':
    case 'peers': {
      const { playground, peers } = await import('./playground.ts')
      await (asked.command === 'peers' ? peers(asked.args) : playground(asked.args))
      return undefined
    }
    case 'agent': {
      const { main: agent } = await import('./agent.ts')
      await agent(asked.args)
      return undefined
    }
    case 'exec':
      return exec(asked.flags, asked.line)
    case 'targets':
      return targets(asked.flags, asked.line)
    case 'why':
      return why(asked.flags, asked.line)
    case 'check':
      return check(asked.flags)
    case 'runs':
      return runs(asked.flags, asked.words)
    case 'verify':
      return verify(asked.flags)
    case 'trust': {
      const [{ main: trust }, { nodeTransport }] = await Promise.all([
        import('./trust.ts'),
        import('./runtime/transport-node.ts'),
      ])
      return trust(asked.words, asked.flags.out, nodeTransport)
    }
    case 'serve': {
      const { main: serve } = await import('./node.ts')
      await serve(configFile(asked.flags))
      return undefined
    }
    default:
      return asked satisfies never
  }
}

// Whoever reads no more has read enough: the run goes on to its end and its record, and exits with its own code.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })

main(process.argv.slice(2)).then(
  (code) => {
    if (code !== undefined) process.exitCode = code
  },
  (error: unknown) => {
    if (!(error instanceof DroverError)) throw error
    const asksItself = process.argv.slice(2).some((word) => word === 'check' || word === 'trust')
    const next = asksItself ? withoutItself(error.next ?? '') : error.next
    console.error(`${error.message}${next ? `\n${next}` : ''}`)
    process.exitCode = error.code === 'usage' || error.code === 'empty_selector' || error.code === 'config' ? 2 : 1
  },
)
