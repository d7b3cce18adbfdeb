#!/usr/bin/env node
/** The `drover` command: the same words as in chat, for terminals and scripts. */

import { existsSync, readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { styleText } from 'node:util'
import type { Config } from './config.ts'
import { maskState } from './core/answer.ts'
import { parseArguments, rightForm, wantedOf } from './core/command-line.ts'
import { DroverError } from './core/errors.ts'
import type { Actor, Argv, Command, Place, RunRequest, TargetId } from './core/model.ts'
import type { CheckLine, Gateway, Judgement, RunSummary } from './core/ports.ts'
import { createRedactor, maskArgv, type Redactor } from './core/redact.ts'
import { rolloutForm } from './core/rollout-line.ts'
import { sayRollout } from './core/rollout-words.ts'
import { isRunId, runIdFor } from './core/run-id.ts'
import { reduce, worstExitCode } from './core/run-state.ts'
import { names } from './core/selector.ts'
import { formatArgv } from './core/words.ts'
import { asJson, cardOf, createTerminalReporter, type Terminal } from './frontends/terminal/reporter.ts'
import type { createLedger } from './ledger/ledger.ts'

// What takes long to load is loaded by the command that needs it: `drover --help` answers at once.
const loadLocal = () => import('./local.ts')
const loadConfiguration = () => import('./config.ts')

const help = `drover: run a command in every matching container, and say truthfully how it went

  drover exec ${rightForm.split('   ')[0]}
  drover exec name='shop-web-*' timeout=20s -- ls -la "/srv/my dir"

Commands
  exec <words>      run a command; exits with the worst exit code (124 timed out, 125 did not run or unknown, 130 cancelled)
  rollout <words>   change a workload and watch until it is there; exits with 0, or 1 when it is stuck (124, 125, 130 as above)
  targets <words>   show what a selector means; runs nothing
  why <words>       what would happen, and by which rule; runs nothing (also: why rollout ...)
  check             configuration, reachability and rights of each backend, clocks, Slack scopes
  runs [run]        the last runs of the ledger, or one of them whole
  verify            recompute every hash of the ledger
  trust <url>       keep the private CA of a Rancher 2 server in a file, after its certificate was proved by it
  serve             the gateway: Slack, webhooks, health, from drover.yaml
  playground        a pretend workplace in the browser, with a Slack and a Rancher of its own

Words   label=web  label=app=web,tier!=canary  name=shop-web-*  id=1i160  stack=shop  service=web  on=prod  any=1  all=12
        deployment=api  (also for exec: its containers)
        cmd="uptime"  or  -- uptime      timeout=20s  env=NAME=value  dir=/srv  tty=1

Rollouts  ${rolloutForm()}
          rollout scale deployment=api replicas=3 · undo [to=3] · restart · pause · resume · finish · status

Options
  --config FILE                     drover.yaml; default $DROVER_CONFIG, then ./drover.yaml
  --url URL --access-key KEY --secret-key KEY --project 1a5
                                    a Rancher 1.x server instead of a file; default $CATTLE_URL, $CATTLE_ACCESS_KEY, $CATTLE_SECRET_KEY
  --ledger FILE                     for runs and verify: this file, and no configuration
  --out FILE                        for trust: where the CA goes; default ./<host>-ca.pem
  --json                            one JSON value on stdout
  -name -id -label -cmd             as in RGoN-Exec; several of them narrow, they do not add up
  -debug -v --help --version
`

type Options = { readonly flags: Readonly<Record<string, string>>; readonly words: readonly string[] }

/** Flags that take a value, in the long form and as Go's flag package takes them (`-name=x`, `-name x`). */
const valued = ['config', 'ledger', 'out', 'url', 'access-key', 'secret-key', 'project', 'name', 'id', 'label', 'cmd']
/** Only before the first word: `cmd=df -h` is a forgotten quote, not a question. */
const asks = ['help', 'h', 'version', 'v']
const plain = ['json', 'help', 'version', 'debug', 'v', 'h']

function parseOptions(args: readonly string[]): Options {
  const flags: Record<string, string> = {}
  const words: string[] = []
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!
    if (arg === '--') {
      words.push(...args.slice(i))
      break
    }
    const match = /^--?([a-z][a-z-]*)(?:=([\s\S]*))?$/.exec(arg)
    if (!match) {
      words.push(arg)
    } else if (plain.includes(match[1]!) && match[2] === undefined && (words.length === 0 || !asks.includes(match[1]!))) {
      flags[match[1]!] = 'yes'
    } else if (valued.includes(match[1]!)) {
      const value = match[2] ?? args[++i]
      if (value === undefined) throw usage(`--${match[1]} needs a value.`)
      // RGoN-Exec's flags are words of the grammar.
      if (['name', 'id', 'label', 'cmd'].includes(match[1]!)) words.push(`${match[1]}=${value}`)
      else flags[match[1]!] = value
    } else throw usage(`There is no option ${arg}. If it belongs to the command, put the command in quotes or behind --.`)
  }
  return { flags, words }
}

function usage(message: string): DroverError {
  return new DroverError({ code: 'usage', message, next: 'See drover --help.' })
}

function configFile(flags: Options['flags']): string | undefined {
  const named = flags.config ?? process.env.DROVER_CONFIG
  if (named !== undefined) return named
  return flags.url === undefined && existsSync('drover.yaml') ? 'drover.yaml' : undefined
}

/** From a file, or from flags and CATTLE_*: then the keys are the caller's own, and so are the rights. */
async function loadConfig(flags: Options['flags']): Promise<Config> {
  const file = configFile(flags)
  if (file !== undefined) return (await loadLocal()).readConfig(file, process.env)
  const env: Record<string, string | undefined> = {
    CATTLE_ACCESS_KEY: flags['access-key'] ?? process.env.CATTLE_ACCESS_KEY,
    CATTLE_SECRET_KEY: flags['secret-key'] ?? process.env.CATTLE_SECRET_KEY,
  }
  const url = flags.url ?? process.env.CATTLE_URL
  if (!url || !env.CATTLE_ACCESS_KEY || !env.CATTLE_SECRET_KEY) {
    throw new DroverError({
      code: 'config',
      message: 'Nothing says where to run: no drover.yaml, and no Rancher server.',
      next: 'Give --url, --access-key and --secret-key, or set CATTLE_URL, CATTLE_ACCESS_KEY and CATTLE_SECRET_KEY, or write a drover.yaml.',
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
  return (await loadConfiguration()).parseConfig(text, 'the command line', env)
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

async function exec({ flags, words }: Options): Promise<number> {
  const line = parseArguments(words)
  if (line.verb === 'why') return why({ flags, words })
  if (line.verb !== 'exec' && line.verb !== 'rollout') throw usage('exec takes a selector and a command.')
  const delivery = `cli:${crypto.randomUUID()}`
  const id = await runIdFor(delivery)
  const ended = Promise.withResolvers<void>()
  const reporter = createTerminalReporter(terminal(flags.json !== undefined))
  const { startLocal } = await loadLocal()
  const local = await startLocal(withOwnLedger(await loadConfig(flags)), {
    log: flags.debug || flags.v ? debugLog : quiet,
    terminal: {
      ...reporter,
      async deliver(state, output, posted) {
        await reporter.deliver(state, output, posted)
        if (state.request.id === id) ended.resolve()
      },
    },
  })
  const request: RunRequest = {
    id,
    actor: me(),
    trigger: { kind: 'cli', delivery },
    ...wantedOf({ ...line, command: withFile(line.command) }),
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
    throw usage(error instanceof TypeError ? `${path} is not UTF-8 text, and stdin= takes text.` : `${path} cannot be read.`)
  }
}

/** For questions that run nothing: a gateway that keeps nothing. */
async function ask(flags: Options['flags'], question: (gateway: Gateway) => Promise<number>): Promise<number> {
  const log = flags.debug ? debugLog : quiet
  const { startLocal } = await loadLocal()
  const local = await startLocal({ ...(await loadConfig(flags)), ledger: { path: ':memory:' } }, { log })
  try {
    return await question(local.gateway)
  } finally {
    await local.stop(0)
  }
}

async function targets({ flags, words }: Options): Promise<number> {
  const line = parseArguments(['targets', ...words])
  if (line.verb !== 'targets') throw usage('targets takes a selector.')
  return ask(flags, async (gateway) => {
    const answer = await gateway.targets(line.selector, me(), here)
    if (flags.json) console.log(JSON.stringify(answer))
    else if (answer.ok) {
      for (const { name, id, facets } of answer.targets)
        console.log([name, id, facets.stack, facets.service, facets.image, facets.host].map((part) => part ?? '-').join('\t'))
      for (const note of answer.notes) console.error(`note: ${note}`)
    } else console.error(`${answer.failure.message}\n${answer.failure.next ?? ''}`)
    return answer.ok ? 0 : 1
  })
}

async function why({ flags, words }: Options): Promise<number> {
  const line = parseArguments(words)
  if (line.verb !== 'why') throw usage('why takes a selector and a command.')
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

async function check({ flags }: Options): Promise<number> {
  const config = await loadConfig(flags)
  const [{ createBackends }, { outside }] = await Promise.all([import('./gateway.ts'), loadLocal()])
  const lines: CheckLine[] = [
    { ok: true, what: 'configuration', detail: configFile(flags) ?? 'from the command line and environment' },
  ]
  if (config.rules.length === 0)
    lines.push({
      ok: 'warn',
      what: 'rules',
      detail: 'none: nobody may run anything',
      next: 'Write a rule; see drover.example.yaml.',
    })
  for (const backend of createBackends(config, outside)) {
    const found = await backend.check(AbortSignal.timeout(30_000))
    lines.push(...found.map((line) => ({ ...line, what: `${backend.name}: ${line.what}` })))
  }
  if (config.slack) {
    const { checkSlack, checkSlackWay } = await import('./frontends/slack/check.ts')
    const { EVENT_SCOPES, SLACK_METHODS } = await import('./frontends/slack/methods.ts')
    const needed = [...new Set([...EVENT_SCOPES, ...Object.values(SLACK_METHODS).flatMap(({ scopes }) => [...scopes])])]
    lines.push(
      ...(await checkSlack({
        apiUrl: config.slack.apiUrl,
        token: config.slack.botToken.reveal(),
        team: config.slack.team,
        needed,
      })),
      ...(await checkSlackWay({
        apiUrl: config.slack.apiUrl,
        signingSecret: config.slack.signingSecret !== undefined,
        appToken: config.slack.appToken?.reveal(),
        commands: [config.slack.command, config.slack.rolloutCommand],
      })),
    )
  }
  if (flags.json) console.log(JSON.stringify(lines))
  else for (const line of lines) printCheck(line)
  return lines.some((line) => line.ok === false) ? 1 : 0
}

function printCheck({ ok, what, detail, next }: CheckLine): void {
  const mark = ok === true ? styleText('green', 'ok  ') : ok === 'warn' ? styleText('yellow', 'warn') : styleText('red', 'FAIL')
  console.log(`${mark} ${what}${detail ? `: ${detail}` : ''}`)
  if (next && ok !== true) console.log(`     ${next}`)
}

type Kept = { readonly path: string; readonly ledger: Awaited<ReturnType<typeof createLedger>>; readonly redactor: Redactor }

/** What `runs` and `verify` read: the server's ledger and this person's own, or the file that is named; copied while in use. */
async function withLedgers<T>(flags: Options['flags'], read: (all: readonly Kept[]) => Promise<T>): Promise<T> {
  const [{ openSnapshot }, { createLedger }] = await Promise.all([import('./ledger/db-sqlite.ts'), import('./ledger/ledger.ts')])
  const config =
    flags.ledger === undefined ? (await loadLocal()).readConfig(configFile(flags) ?? 'drover.yaml', process.env) : undefined
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

async function runs({ flags, words }: Options): Promise<number> {
  const [id] = words
  return withLedgers(flags, async (all) => {
    if (id === undefined) {
      const lists = await Promise.all(all.map(async ({ ledger, redactor }) => masked(await ledger.list({ limit: 50 }), redactor)))
      const latest = lists.flat().sort((one, other) => other.at - one.at)
      if (flags.json) console.log(JSON.stringify(latest))
      else if (latest.length === 0) console.error('Nothing has run yet.')
      else for (const run of latest) console.log(describeRun(run))
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

function describeRun({ at, id, actor, argv, outcome, status, succeeded, targets }: RunSummary): string {
  const who =
    actor.kind === 'slack-user'
      ? `${actor.team}/${actor.user}`
      : actor.kind === 'cli'
        ? actor.user
        : `${actor.kind} ${actor.name}`
  const how = outcome === 'done' ? `${succeeded} of ${targets} ok` : (outcome ?? status)
  return `${new Date(at).toISOString()}  ${id}  ${how}  ${who}  ${formatArgv(argv)}`
}

async function verify({ flags }: Options): Promise<number> {
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
  const [command = 'help', ...rest] = args
  if (command === '--version' || command === '-v') {
    const manifest: { version: string } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    console.log(manifest.version)
    return 0
  }
  if ((command === 'peers' || command === 'playground') && !rest.includes('--help') && !rest.includes('-h')) {
    const { playground, peers } = await import('./playground.ts')
    await (command === 'peers' ? peers(rest) : playground(rest))
    return undefined
  }
  const options = parseOptions(rest)
  if (command === 'help' || command === '--help' || command === '-h' || options.flags.help || options.flags.h) {
    console.log(help)
    return 0
  }
  switch (command) {
    case 'exec':
      return exec(options)
    case 'targets':
      return targets(options)
    case 'rollout':
      return exec({ ...options, words: ['rollout', ...options.words] })
    case 'why':
      return why({ ...options, words: ['why', ...options.words] })
    case 'check':
      return check(options)
    case 'runs':
      return runs(options)
    case 'verify':
      return verify(options)
    case 'trust': {
      const { main: trust } = await import('./trust.ts')
      return trust(options.words, options.flags.out, (await loadLocal()).outside.transport)
    }
    case 'serve': {
      const { main: serve } = await import('./node.ts')
      await serve(configFile(options.flags))
      return undefined
    }
    default:
      throw usage(`There is no command ${command}.`)
  }
}

main(process.argv.slice(2)).then(
  (code) => {
    if (code !== undefined) process.exitCode = code
  },
  (error: unknown) => {
    if (!(error instanceof DroverError)) throw error
    console.error(`${error.message}${error.next ? `\n${error.next}` : ''}`)
    process.exitCode = error.code === 'usage' || error.code === 'empty_selector' || error.code === 'config' ? 2 : 1
  },
)
