/** What the command line takes: its help, and what was typed as a command with its options. Loads nothing but the grammar. */

import { type ParsedLine, parseArguments, rightForm } from './core/command-line.ts'
import { DroverError } from './core/errors.ts'
import { rolloutForm } from './core/rollout-line.ts'

export const help = `drover: run a command in every matching container, and say truthfully how it went

  drover exec ${rightForm.split('   ')[0]}
  drover exec name='shop-web-*' timeout=20s -- ls -la "/srv/my dir"
  drover ${rolloutForm()}

In a clone of the repository it is called npx drover.

Commands
  exec <words>      run a command; exits with the worst exit code (124 timed out, 125 did not run or unknown, 130 cancelled)
  rollout <words>   change a workload and watch until it is there; exits with 0, or 1 when it is stuck (124, 125, 130 as above)
  targets <words>   show what a selector means; runs nothing
  why <words>       what would happen, and by which rule; runs nothing (also: why rollout ...)
  check             configuration, reachability and rights of each backend, clocks, Slack's scopes and channels
  runs [run]        the last runs of the ledger, or one of them whole
  verify            recompute every hash of the ledger
  trust <url>       keep the private CA of a Rancher 2 server in a file, after its certificate was proved by it
  serve             the gateway: Slack, webhooks, health, from drover.yaml
  agent             beside an engine that the gateway cannot reach: connects the two (drover agent --help)
  playground        a pretend workplace in the browser, with a Slack, a Rancher and a Kubernetes of its own

Words
  which containers  label=web  label=app=web,tier!=canary  name=shop-web-*  id=1i160  on=prod (a backend)
                    stack=shop  service=web  namespace=shop  pod=web-*  container=main  image=nginx:*  host=node-1
                    deployment=api  statefulset=db  daemonset=log  workload=deployment/api  (their containers)  task=x7k2 (Swarm)
                    any=1 (one of those that match)  all=12 (all there are, and they are 12)  system=1 (also the platform's own)
  or a new one      image=alpine:3 with no other selector: made for the command and removed after it, where drover.yaml
                    allows it; network=none  memory=256m  cpus=0.5  mounts=data (by the names of drover.yaml)
  what to run       cmd="uptime"  or  -- uptime      stdin="some text"  stdin=@file  stdin=@- (what is piped in)
                    timeout=20s  env=NAME=value  dir=/srv  user=postgres  tty=1

Rollouts
  ${rolloutForm()}
  rollout scale deployment=api replicas=3 · undo [to=3] · restart · pause · resume · finish · status
  also statefulset=  daemonset=  workload=  label=  namespace=, and stack= service= (Rancher 1.x); timeout= is how long it is watched

Options
  --config FILE                     drover.yaml; default $DROVER_CONFIG, then ./drover.yaml
  --url URL --access-key KEY --secret-key KEY --project 1a5
                                    a Rancher 1.x server instead of a file; default $CATTLE_URL, $CATTLE_ACCESS_KEY, $CATTLE_SECRET_KEY
  --ledger FILE                     for runs and verify: this file, and no configuration
  --out FILE                        for trust: where the CA goes; default ./<host>-ca.pem
  --gateway URL                     for check: the gateway that agents connect to; default as listen: says
  --json                            one JSON value on stdout
  -name -id -label -cmd             as in RGoN-Exec; several of them narrow, they do not add up
  -debug -v --help --version

A first drover.yaml, for a terminal alone (here a cluster that kubectl reaches; other kinds: docs/backends):

  backends:
    kube: { kind: kubernetes, kubeconfig: ~/.kube/config }
  rules:
    - { id: me, effect: allow, who: { cli: true }, commands: ['...'], rollouts: ['...'], rights: [shell] }
`

export type Flags = Readonly<Record<string, string>>

/** What was asked for. `line` is what its words mean, where they are words of the grammar. */
export type Asked =
  | { readonly command: 'help' | 'version' }
  | { readonly command: 'playground' | 'peers' | 'agent'; readonly args: readonly string[] }
  | { readonly command: 'exec' | 'why'; readonly flags: Flags; readonly line: CommandLine }
  | { readonly command: 'targets'; readonly flags: Flags; readonly line: LookLine }
  | { readonly command: 'check' | 'verify' | 'serve'; readonly flags: Flags }
  | { readonly command: 'runs' | 'trust'; readonly flags: Flags; readonly words: readonly string[] }

export type CommandLine = Extract<ParsedLine, { verb: 'exec' | 'why' | 'rollout' }>
export type LookLine = Extract<ParsedLine, { verb: 'targets' }>

/** Flags that take a value, in the long form and as Go's flag package takes them (`-name=x`, `-name x`). */
const valued = ['config', 'ledger', 'out', 'gateway', 'url', 'access-key', 'secret-key', 'project', 'name', 'id', 'label', 'cmd']
/** Only before the first word: `cmd=df -h` is a forgotten quote, not a question. */
const asks = ['help', 'h', 'version', 'v']
const plain = ['json', 'help', 'version', 'debug', 'v', 'h']

/** What follows the word `drover`. Throws DroverError `usage` or `empty_selector`. */
export function readArguments(args: readonly string[]): Asked {
  const [command = 'help', ...rest] = inOrder(args)
  if (command === '--version' || command === '-v') return { command: 'version' }
  // It has options and a help of its own.
  if (command === 'agent') return { command, args: rest }
  if ((command === 'peers' || command === 'playground') && !rest.includes('--help') && !rest.includes('-h'))
    return { command, args: rest }
  const { flags, words } = parseOptions(rest)
  if (command === 'help' || command === '--help' || command === '-h' || flags.help || flags.h) return { command: 'help' }
  switch (command) {
    case 'exec':
      return execOf(flags, words)
    case 'rollout':
      return execOf(flags, ['rollout', ...words])
    case 'why': {
      const line = parseArguments(['why', ...words])
      if (line.verb !== 'why') throw usage('why takes a selector and a command.')
      return { command, flags, line }
    }
    case 'targets': {
      const line = parseArguments(['targets', ...words])
      if (line.verb !== 'targets') throw usage('targets takes a selector.')
      return { command, flags, line }
    }
    case 'check':
    case 'verify':
    case 'serve': {
      const [word] = words
      if (word === undefined) return { command, flags }
      throw usage(`${command} takes no words. Name the file with --${command === 'verify' ? 'ledger' : 'config'} ${word}`)
    }
    case 'runs':
    case 'trust':
      if (words.length <= 1) return { command, flags, words }
      throw usage(`${command} takes one ${command === 'runs' ? 'run' : 'address'} at a time.`)
    default:
      throw noCommand(command.startsWith('-') ? `There is no option ${command}.` : `There is no command ${command}.`)
  }
}

const commands = ['exec', 'rollout', 'targets', 'why', 'check', 'runs', 'verify', 'trust', 'serve', 'agent', 'playground']

function noCommand(message: string): DroverError {
  return new DroverError({ code: 'usage', message, next: `Commands: ${commands.join(', ')}. See drover --help.` })
}

/** `drover --config x check` is `drover check --config x`. */
function inOrder(args: readonly string[]): readonly string[] {
  let at = 0
  for (; at < args.length; at++) {
    const match = option.exec(args[at]!)
    const isPlain = plain.includes(match?.[1] ?? '') && !asks.includes(match?.[1] ?? '')
    if (!match || !(isPlain || valued.includes(match[1]!))) break
    if (!isPlain && match[2] === undefined) at++
  }
  if (at === 0) return args
  const [command, ...rest] = args.slice(at)
  if (command === undefined) throw noCommand('What to do is not said.')
  return command.startsWith('-') && !asks.includes(command.replace(/^--?/, ''))
    ? [command]
    : [command, ...args.slice(0, at), ...rest]
}

/** In the long form and as Go's flag package takes them. */
const option = /^--?([a-z][a-z-]*)(?:=([\s\S]*))?$/

function execOf(flags: Flags, words: readonly string[]): Asked {
  const line = parseArguments(words)
  if (line.verb === 'why') return { command: 'why', flags, line }
  if (line.verb !== 'exec' && line.verb !== 'rollout') throw usage('exec takes a selector and a command.')
  return { command: 'exec', flags, line }
}

function parseOptions(args: readonly string[]): { readonly flags: Flags; readonly words: readonly string[] } {
  const flags: Record<string, string> = {}
  const words: string[] = []
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!
    if (arg === '--') {
      words.push(...args.slice(i))
      break
    }
    const match = option.exec(arg)
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

export function usage(message: string): DroverError {
  return new DroverError({ code: 'usage', message, next: 'See drover --help.' })
}
