/** What people type, as a request: `label=web cmd="uptime"`. Errors point at the character and show the right form. */

import type { Argv, Command, NewContainer, Rollout, RunRequest, Selector } from './model.ts'
import { newContainerKeys, newContainerOf } from './new-container.ts'
import { filled, type Pair, parseDuration, parsePair, refuseTwice, selectorOf, usage, workloadKinds } from './pairs.ts'
import { parseRollout } from './rollout-line.ts'
import { facetNames } from './selector.ts'
import { givenWord, needsShell, splitWords, type Word } from './words.ts'

export type ParsedLine =
  | {
      readonly verb: 'exec' | 'why'
      readonly selector: Selector
      readonly command: Command
      readonly timeoutMs?: number
      /** `why rollout …` */
      readonly rollout?: Rollout
      readonly newContainer?: NewContainer
    }
  | {
      readonly verb: 'rollout'
      readonly selector: Selector
      readonly command: Command
      readonly timeoutMs?: number
      readonly rollout: Rollout
    }
  | { readonly verb: 'targets'; readonly selector: Selector }
  | { readonly verb: 'runs' | 'help' }

/** What a line, or an earlier request, asks for: all of it, so that no part is lost on the way to a new request. */
export function wantedOf({ selector, command, rollout, newContainer, timeoutMs }: Wanted): Wanted {
  return {
    selector,
    command,
    ...(rollout ? { rollout } : {}),
    ...(newContainer ? { newContainer } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  }
}

type Wanted = Pick<RunRequest, 'selector' | 'command' | 'rollout' | 'newContainer' | 'timeoutMs'>

export const rightForm = 'label=web cmd="uptime"   or   name=shop-web-* -- ls -la "/srv/my dir"'

const verbs = ['exec', 'rollout', 'targets', 'why', 'runs', 'help'] as const
const keys = [
  'label',
  'name',
  'id',
  'on',
  ...facetNames,
  'any',
  'all',
  'system',
  'cmd',
  'timeout',
  'env',
  'dir',
  'user',
  'stdin',
  'tty',
  ...workloadKinds,
  ...newContainerKeys,
]
/** Longest text taken, in UTF-16 units: Slack itself cuts near 40,000; nothing a person types is near this. */
const maxText = 16_384

/** What a line is that begins with none of the verbs: `/exec` and `/rollout` are typed without theirs. */
type Unsaid = 'exec' | 'rollout'

/** Parses one typed line. Throws DroverError `usage` or `empty_selector`. */
export function parseCommandLine(text: string, unsaid: Unsaid = 'exec'): ParsedLine {
  if (text.length > maxText) {
    throw usage(
      `The text is ${text.length} characters long; at most ${maxText} are taken.`,
      maxText,
      'Put long scripts into the image and call them.',
    )
  }
  return parseWords(splitWords(text), { unsaid })
}

/** Parses words that a terminal's shell has split already. What follows `--` is the argv, untouched. */
export function parseArguments(args: readonly string[]): ParsedLine {
  return parseWords(args.map(givenWord), { split: true })
}

type Manner = { readonly unsaid?: Unsaid; readonly split?: boolean }

function parseWords(all: readonly Word[], { unsaid = 'exec', split = false }: Manner): ParsedLine {
  const dashes = all.findIndex((word) => word.text === '--' && (split || !word.quoted.includes(true)))
  const after = dashes < 0 ? [] : all.slice(dashes + 1)
  const before = dashes < 0 ? [...all] : all.slice(0, dashes)
  const first = before[0]?.text
  const verb =
    unsaid === 'rollout' && first !== 'help' && first !== 'why' ? 'rollout' : (verbs.find((v) => v === first) ?? 'exec')
  if (verb === first) before.shift()
  if (verb === 'help' || (all.length === 0 && !split)) return { verb: 'help' }
  const isRollout = verb === 'rollout' || (verb === 'why' && (unsaid === 'rollout' || before[0]?.text === 'rollout'))
  if (isRollout) return parseRollout(before, { why: verb === 'why', after: all[dashes], endAt: endOf(all) })
  const hint = (word: string) =>
    verbs.some((v) => v === word)
      ? `The word ${word} comes first.`
      : word === 'in'
        ? 'Put quotes around it: label="role in (web,api)".'
        : verb === 'exec'
          ? `Write it as key=value, for example: ${rightForm}`
          : `Write it as key=value, for example: ${verb} label=web`
  const pairs = before.map((word) => parsePair(word, { keys, hint }))
  if (verb === 'runs' || verb === 'targets') {
    const extra =
      before.length > 0 && verb === 'runs'
        ? before[0]
        : (pairs.find(({ key }) => ['cmd', 'timeout', 'env', 'dir', 'user', 'stdin', 'tty'].includes(key))?.word ?? all[dashes])
    if (extra)
      throw usage(
        `${verb} runs nothing, so it takes no ${extra.text.replace(/=.*/s, '=')}`,
        extra.start,
        `Leave it out, or leave out the word ${verb}.`,
      )
  }
  if (verb === 'runs') return { verb }
  refuseTwice(pairs)
  if (verb === 'targets') return { verb, selector: selectorOf(pairs, 'look') }
  const newContainer = newContainerOf(pairs)
  // Of a container that is not there yet nothing but its engine can be said: whoever drops `newContainer` is left with no selector.
  const selector = newContainer ? engineOf(pairs) : selectorOf(pairs, 'run')
  const timeout = pairs.find((pair) => pair.key === 'timeout')
  const command = commandOf(pairs, after, dashes >= 0, all)
  return {
    verb,
    selector,
    command,
    ...(newContainer ? { newContainer } : {}),
    ...(timeout ? { timeoutMs: parseDuration(timeout) } : {}),
  }
}

function engineOf(pairs: readonly Pair[]): Selector {
  const on = pairs.find(({ key }) => key === 'on')
  return on ? { on: filled(on) } : {}
}

/** Where the next word would be missed. */
function endOf(all: readonly Word[]): number {
  const end = all.at(-1)
  return end ? (end.at.at(-1) ?? end.start) + 1 : 0
}

function commandOf(pairs: readonly Pair[], after: readonly Word[], dashed: boolean, all: readonly Word[]): Command {
  const one = (key: string) => pairs.find((pair) => pair.key === key)
  const cmd = one('cmd')
  const endAt = endOf(all)
  if (cmd && dashed) throw usage('Give either cmd= or words after --, not both.', cmd.word.start, `For example: ${rightForm}`)
  if (!cmd && after.length === 0) throw usage('There is no command.', endAt, `For example: ${rightForm}`)
  const argv = cmd ? argvOf(cmd) : after.map((word) => word.text)
  if (argv[0] === undefined || argv[0] === '')
    throw usage('The command is empty.', cmd?.valueAt ?? endAt, `For example: ${rightForm}`)
  const nul = argv.findIndex((arg) => arg.includes('\0'))
  if (nul >= 0) throw usage('A command cannot hold a NUL character.', cmd?.valueAt ?? after[nul]?.start ?? 0, 'Take it out.')
  const env = pairs
    .filter((pair) => pair.key === 'env')
    .map((pair) => {
      const match = /^([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)$/.exec(pair.value)
      if (!match) throw usage('env= takes NAME=value.', pair.valueAt, 'For example env=LANG=C. Repeat env= for more.')
      return [match[1]!, match[2]!] as const
    })
  const tty = one('tty')
  if (tty && tty.value !== '1') throw usage('tty= is either left out or 1.', tty.valueAt, 'Write tty=1.')
  for (const pair of [one('dir'), one('user')]) {
    if (pair && (pair.value.trim() === '' || pair.value.includes('\0')))
      throw usage(`${pair.key}= is empty.`, pair.valueAt, `Give ${pair.key}= a value, or leave it out.`)
  }
  const texts = Object.fromEntries(['dir', 'user', 'stdin'].flatMap((key) => (one(key) ? [[key, one(key)!.value]] : [])))
  return {
    argv: argv as unknown as Argv,
    // Not by assignment: env=__proto__=x is a name like any other.
    ...(env.length > 0 ? { env: Object.fromEntries(env) } : {}),
    ...texts,
    ...(tty ? { tty: true } : {}),
  }
}

/** Text that needs no shell becomes its words; any other text is handed to a shell whole, and says so. */
function argvOf(cmd: Pair): readonly string[] {
  if (needsShell(cmd.value)) return ['/bin/sh', '-c', cmd.value]
  return splitWords(cmd.value, cmd.word.at.slice(cmd.key.length + 1)).map((word) => word.text)
}

/** The typed line with a caret under the character that an error points at, both in one window of at most 80 characters. */
export function pointAt(text: string, position: number): string {
  const from = Math.max(0, position - 50)
  const window = text.slice(from, from + 80).replaceAll(/[\n\t]/g, ' ')
  return `${window}\n${' '.repeat(Math.max(0, position - from))}^`
}
