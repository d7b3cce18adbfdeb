/** What the pages tell people to write and to type, put before the real loader and the real parsers: nothing that does not work. */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { split } from 'shlex'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { agentSettings } from '../src/agent/settings.ts'
import { help, readArguments } from '../src/arguments.ts'
import { labels, parseConfig, parseYaml, secretOf } from '../src/config.ts'
import { parseCommandLine } from '../src/core/command-line.ts'
import { DroverError } from '../src/core/errors.ts'
import { rights } from '../src/core/rule.ts'
import { facetNames } from '../src/core/selector.ts'
import { helpMessage } from '../src/frontends/slack/answers.ts'
import { anchorsOf, linksOf, type Piece, pages, piecesOf, read, root, spansOf, under } from './docs-pages.ts'

/** What goes wrong, as `page:line: why`. */
function problems(page: string, pieces: readonly Piece[], check: (piece: Piece) => void): readonly string[] {
  return pieces.flatMap((piece) => {
    try {
      check(piece)
      return []
    } catch (error) {
      if (!(error instanceof DroverError) && !(error instanceof Refused)) throw error
      return [`${page}:${piece.line}: ${piece.text.trim().slice(0, 120)} → ${error.message}`]
    }
  })
}
class Refused extends Error {}

/** The keys that a refusal of an unknown one lists. */
function keysOf(ask: () => unknown): readonly string[] {
  try {
    ask()
  } catch (error) {
    if (error instanceof DroverError) return error.next?.match(/^Keys: (.*)\.$/)?.[1]?.split(', ') ?? []
  }
  return []
}

// ---- drover.yaml -------------------------------------------------------------------------------

/** Each variable that the text names, with a value of the right shape. */
function environmentFor(text: string): Record<string, string> {
  const names = [...text.matchAll(/\benv: *([A-Za-z_][A-Za-z0-9_]*)/g)].map(([, name = '']) => name)
  const shapes: readonly (readonly [RegExp, string])[] = [
    [/APP_TOKEN/, 'xapp-1-A0123456789'],
    [/RANCHER/, 'token-abcde:0123456789abcdef'],
    [/./, '0123456789abcdef'],
  ]
  return Object.fromEntries(names.map((name) => [name, `${shapes.find(([pattern]) => pattern.test(name))?.[1]}${name}`]))
}

const load = (text: string, file: string) => parseConfig(text, file, environmentFor(text))

/** Something else than drover's: a manifest of Kubernetes, a compose file. */
const isForeign = (text: string) => /^(apiVersion|services|version):/m.test(text)

type Role = { readonly apiGroups: readonly string[]; readonly resources: readonly string[]; readonly verbs: readonly string[] }

/** A right as `verb resource`; those of the documentation are the ones of the file to apply. */
const rightsIn = (roles: readonly Role[]) =>
  roles.flatMap(({ apiGroups, resources, verbs }) =>
    resources.flatMap((resource) => verbs.map((verb) => `${verb} ${apiGroups.join()}/${resource}`)),
  )
const granted = under('examples/kubernetes', '.yaml').flatMap((path) =>
  parseAllDocuments(read(path)).flatMap((document) => rightsIn((document.toJS() as { rules?: readonly Role[] }).rules ?? [])),
)

/** Indented, it is more of the page's first backend; else it is a drover.yaml, or a part that stands by itself. */
function checkYaml({ text }: Piece, first: Piece | undefined, page: string): void {
  if (isForeign(text)) return
  // The file of an agent is another one.
  if (/^gateway:/m.test(text))
    return void parseYaml(text, page, agentSettings({ secret: secretOf(environmentFor(text), 6), labels }))
  const isRole = (value: unknown): value is { rules: readonly Role[] } =>
    JSON.stringify((value as { rules?: unknown })?.rules ?? '').includes('"apiGroups"')
  if (!/^ {4}/.test(text)) {
    const value: unknown = parse(text)
    if (!isRole(value)) return void load(text, page)
    const unknown = rightsIn(value.rules).filter((right) => !granted.includes(right))
    if (unknown.length > 0) throw new Refused(`no file of examples/kubernetes grants ${unknown.join(', ')}`)
    return
  }
  const whole = parse(first?.text ?? '') as { backends: Record<string, object> }
  const [name = ''] = Object.keys(whole.backends)
  load(stringify({ backends: { [name]: { ...whole.backends[name], ...(parse(text) as object) } } }), page)
}

// ---- command lines -----------------------------------------------------------------------------

/** `drover` and what follows, up to what the shell takes for itself. */
const droverLine = /(?:^|[|;&(]\s*)(?:npx )?drover(?: (.*))?$/
const slashLine = /^(\/exec|\/rollout|@drover)(?: (.*))?$/

/** Placeholders are words; what may be left out is left out. */
const filledIn = (text: string) => text.replaceAll(/ \[[^\]]*\]/g, '').replaceAll(/<[^<>]+>/g, 'x')

/** A name of a command is not a line to type, and what has a hole in it cannot be one. */
function checkLine({ text }: Piece): void {
  if (/…|\.\.\. /.test(text)) return
  const slash = slashLine.exec(text.trim())
  if (slash?.[2] !== undefined) {
    if (/^(rollout|why|targets|runs|help)$/.test(slash[2])) return
    parseCommandLine(slash[2], slash[1] === '/rollout' ? 'rollout' : 'exec')
    return
  }
  const typed = droverLine.exec(text.trim())?.[1]
  if (typed === undefined) return
  const words = split(filledIn(typed))
  const end = words.findIndex((word) => /^(\||\|\||&&|;|&|>|<|#.*)$/.test(word))
  const args = end < 0 ? words : words.slice(0, end)
  try {
    readArguments(args)
  } catch (error) {
    const isName = args.length === 1 && error instanceof DroverError && !error.message.includes('no command')
    if (!isName) throw error
  }
}

const linesOf = ({ text, line, language }: Piece): Piece[] =>
  ['', 'sh', 'text', 'bash'].includes(language)
    ? text
        .replaceAll(/\\\n/g, ' ')
        .split('\n')
        .map((one, i) => ({ line: line + i, language, text: one }))
    : []

describe.each(pages)('%s', (page) => {
  const { blocks, prose } = piecesOf(read(page))

  it('has no drover.yaml that drover refuses', () => {
    const all = blocks.filter(({ language }) => language === 'yaml' || language === 'yml')
    const first = all.find(({ text }) => text.startsWith('backends:'))
    expect(problems(page, all, (piece) => checkYaml(piece, first, page))).toEqual([])
  })

  it('has no command line that drover does not understand', () => {
    expect(problems(page, [...blocks.flatMap(linesOf), ...spansOf(prose)], checkLine)).toEqual([])
  })

  it('leads nowhere that is not there', () => {
    const leadsNowhere = (link: string) => {
      const [path = '', heading] = link.split('#')
      const to = path === '' ? page : join(dirname(page), path)
      return !existsSync(join(root, to)) || (heading !== undefined && !anchorsOf(piecesOf(read(to)).prose).includes(heading))
    }
    expect(linksOf(prose).filter((link) => !/^[a-z]+:/.test(link) && leadsNowhere(link))).toEqual([])
  })
})

describe('what is given to copy', () => {
  it('drover.example.yaml is a configuration', () => {
    expect(load(read('drover.example.yaml'), 'drover.example.yaml').rules.length).toBeGreaterThan(3)
  })

  it('and stays one with any of its backends that are commented out', () => {
    const text = read('drover.example.yaml')
    const commented = text.match(/^ {2}# \w[\w-]*:.*\n(?: {2}# {3}.*\n)+/gm) ?? []
    expect(commented.length).toBeGreaterThan(2)
    for (const one of commented) {
      const whole = text.replace(one, one.replaceAll(/^ {2}# /gm, '  '))
      expect(Object.keys(load(whole, 'drover.example.yaml').backends)).toHaveLength(2)
    }
  })

  it('the page on rules names every part of a rule, every field of a target and every right', () => {
    const page = read('docs/policy.md')
    const parts = ['who', 'channels', 'triggers', 'targets', 'commands', 'rollouts', 'images', 'mounts', 'rights', 'limits']
    expect([...parts, ...facetNames, ...rights].filter((word) => !page.includes(`\`${word}\``))).toEqual([])
  })

  it('every page of a backend has a drover.yaml with a rule, so that one page is enough for a first command', () => {
    const without = under('docs/backends', '.md').filter(
      (page) => !piecesOf(read(page)).blocks.some(({ text }) => /^backends:/m.test(text) && /^rules:/m.test(text)),
    )
    expect(without).toEqual([])
  })

  it('the command is drover everywhere but in the README, which is read in a clone and says so', () => {
    const others = [...pages.filter((page) => page !== 'README.md'), 'drover.example.yaml']
    expect(others.filter((page) => read(page).includes('npx drover'))).toEqual([])
    const [before = '', ...after] = read('README.md').split('in a clone of this repository type `npx drover`')
    expect(after).toHaveLength(1)
    expect(before).not.toMatch(/npx drover/)
  })

  it('the help of the command line holds lines that parse, and a drover.yaml that loads', () => {
    const lines = help.split('\n').map((text, i): Piece => ({ line: i + 1, language: '', text }))
    expect(lines.filter(({ text }) => droverLine.test(text.trim())).length).toBeGreaterThan(2)
    expect(problems('help', lines, checkLine)).toEqual([])
    expect(load(help.slice(help.indexOf('  backends:')).replaceAll(/^ {2}/gm, ''), 'help').rules).toHaveLength(1)
  })

  it('each word that the help of the command line shows is taken as it stands there', () => {
    const [, words = ''] = help.split('\nWords\n')
    const [which = '', made = '', run = ''] = words.split('\nRollouts\n')[0]?.split(/^ {2}(?:or a new one|what to run) /m) ?? []
    const pairs = (text: string) => [...text.matchAll(/(?<=^| )[a-z]+=("[^"]*"|\S+)/gm)].map(([pair]) => pair)
    const other = (key: string) => !['any', 'all', 'system', 'on'].some((one) => key.startsWith(`${one}=`))
    expect([pairs(which).length > 15, pairs(made).length > 4, pairs(run).length > 6]).toEqual([true, true, true])
    const lines = [
      ...pairs(which).map((pair) => `${other(pair) ? '' : 'name=web '}${pair} cmd=uptime`),
      `${pairs(made).join(' ')} cmd=uptime`,
      ...pairs(run).map((pair) => `name=web ${pair} ${pair.startsWith('cmd=') ? '' : 'cmd=uptime'}`),
    ].map((text, line): Piece => ({ line, language: '', text: `/exec ${text}` }))
    expect(problems('help', lines, checkLine)).toEqual([])
  })

  it('every word of the grammar is in both helps', () => {
    const keys = keysOf(() => parseCommandLine('qqqq=1'))
    expect(keys.length).toBeGreaterThan(20)
    const chat = JSON.stringify(helpMessage({}, 60_000).blocks)
    const missing = (said: string) => keys.filter((key) => !new RegExp(`\\b${key}=`).test(said))
    expect([missing(help), missing(chat)]).toEqual([[], []])
  })

  it('the help in chat holds lines that parse', () => {
    const texts: string[] = []
    JSON.stringify(helpMessage({}, 60_000).blocks, (key, value: unknown) => {
      if (key === 'text' && typeof value === 'string') texts.push(value)
      return value
    })
    const lines = texts.flatMap((text) => text.split('\n')).filter((line) => slashLine.test(line))
    expect(lines.length).toBeGreaterThan(10)
    expect(
      problems(
        'help',
        lines.map((text, line) => ({ line, language: '', text })),
        checkLine,
      ),
    ).toEqual([])
  })
})
