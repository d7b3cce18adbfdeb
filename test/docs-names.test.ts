/** Names that the documentation speaks of are there, and what there is to set is in the documentation. */

import { existsSync, globSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { agentSettings } from '../src/agent/settings.ts'
import { labels, schema, secretOf } from '../src/config.ts'
import { pages, piecesOf, read, root, spansOf } from './docs-pages.ts'

const known = (path: string) => globSync(path, { cwd: root, exclude: ['node_modules', 'dist', '**/.wrangler'] }).length > 0
const all = (folder: string) =>
  globSync(`${folder}/**/*.{ts,js}`, { cwd: root, exclude: ['**/node_modules', '**/.wrangler'] }).map((path) => ({
    path,
    text: read(path),
  }))
const sources = all('src')
const programs = [...sources, ...all('bin'), ...all('bench'), ...all('test')]

/** What stands between backquotes, and in blocks but programs. */
const codeOf = (page: string): string => {
  const { blocks, prose } = piecesOf(read(page))
  return [...blocks.filter(({ language }) => language !== 'ts'), ...spansOf(prose)].map(({ text }) => text).join('\n')
}
const namesIn = (text: string): ReadonlySet<string> => new Set(text.match(/[\w.-]*\w/g))

// ---- what is named is there --------------------------------------------------------------------

const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts)
/** Written by whoever reads, or by what they start. */
const theirs = ['drover.yaml', 'agent.yaml', 'latest.json', '*-ca.pem']
/** Of the shell, Node, Deno and other programs. */
const others = ['AWS_PROFILE', 'BASH_ENV', 'LD_PRELOAD', 'NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS', 'DENO_CERT']
const variable = /\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g

describe.each(pages)('%s', (page) => {
  const code = codeOf(page)
  const spans = spansOf(piecesOf(read(page)).prose).map(({ text }) => text)

  it('names no npm script that there is not', () => {
    const named = [...code.matchAll(/\bnpm (?:run (?:-s )?)?(start|test|[a-z]+:[a-z]+|(?<=run (?:-s )?)[a-z]+)/g)].map(
      ([, name = '']) => name,
    )
    expect(named.filter((name) => !scripts.includes(name))).toEqual([])
  })

  it('names no file that there is not', () => {
    const named = spans.filter((text) => /^(?:[\w.*-]+\/)*[\w.*-]+\.(?:ts|js|ya?ml|toml|md|json|sh)$/.test(text))
    const folders = spans.filter((text) => /^(?:src|test|docs|examples|bench)\/[\w/.-]*$/.test(text))
    const missing = [...named, ...folders].filter(
      (text) => !theirs.includes(text) && !existsSync(join(root, text)) && !known(`**/${text}`),
    )
    expect(missing).toEqual([])
  })

  it('names no environment variable that nobody reads', () => {
    const given = [...code.matchAll(/\benv: *([A-Z_]+)/g)].map(([, name]) => name)
    const isRead = (name: string) => programs.some(({ text }) => new RegExp(`\\b${name}\\b`).test(text))
    const named = [...new Set(code.match(variable))].map((name) => name.replace(/_\d$/, '').replace(/^CAP_/, ''))
    expect(named.filter((name) => !others.includes(name) && !given.includes(name) && !isRead(name))).toEqual([])
  })
})

it('no message and no comment of the sources sends anybody to a page or an example that is not there', () => {
  const named = sources.flatMap(({ path, text }) =>
    [...text.matchAll(/\b(?:docs|examples)\/[a-z][\w/-]*(?:\.(?:md|ya?ml))?/g)].map(([to]) => ({ path, to })),
  )
  expect(named.length).toBeGreaterThan(10)
  const isThere = (to: string) => known(to) || known(`${to}.md`) || known(`${to}-*.md`)
  expect(named.filter(({ to }) => !isThere(to))).toEqual([])
})

/** With a hole where a name or a number comes. */
const saidBySources = sources.map(({ text }) => text.replaceAll(/\$\{[^}]*\}/g, '…')).join('\n')
const isSaid = (quote: string) => quote.split('…').every((part) => saidBySources.includes(part.trim()))

it.each(pages.filter((page) => /^\| (?:it|drover) says \|/m.test(read(page))))('%s quotes drover as it speaks', (page) => {
  const [, table = ''] = /^\| (?:it|drover) says \|.*\n\|.*\n((?:\|.*\n)+)/m.exec(read(page)) ?? []
  const quotes = table
    .split('\n')
    .flatMap((row) => [...(row.split(' | ')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, quote = '']) => quote))
  expect(quotes.length).toBeGreaterThan(3)
  // The number of an answer, and the call that the gateway made.
  const holes = (quote: string) => quote.replace(/HTTP \d+/, 'HTTP …').replace(/^POST "[^"]*"/, '…')
  expect(quotes.filter((quote) => !isSaid(holes(quote)))).toEqual([])
})

it('every page can be reached from the README', () => {
  const reached = new Set(['README.md'])
  for (const page of reached)
    for (const [, to = ''] of read(page).matchAll(/\]\(([^)#\s]+\.md)[^)]*\)/g)) {
      const path = join(page, '..', to)
      if (known(path)) reached.add(path)
    }
  const isDecision = (page: string) => page.startsWith('docs/decisions/') && read('README.md').includes('](docs/decisions)')
  expect(pages.filter((page) => !reached.has(page) && !isDecision(page) && page !== 'CHANGELOG.md')).toEqual([])
})

// ---- what there is is named --------------------------------------------------------------------

type Shape = {
  readonly properties?: Readonly<Record<string, Shape>>
  readonly anyOf?: readonly Shape[]
  readonly oneOf?: readonly Shape[]
  readonly items?: Shape
  readonly additionalProperties?: Shape
  readonly const?: unknown
  readonly default?: unknown
}
type Key = { readonly path: string; readonly name: string; readonly kind?: string; readonly value?: unknown }

/** Every key that a file may have, with the kind of backend that it belongs to. */
function keysOf(shape: Shape, path = '', kind?: string): readonly Key[] {
  const own = (shape.properties?.kind?.const as string | undefined) ?? kind
  const named = Object.entries(shape.properties ?? {}).flatMap(([name, one]) => [
    { path: `${path}${name}`, name, ...(own === undefined ? {} : { kind: own }), value: one.default },
    ...keysOf(one, `${path}${name}.`, own),
  ])
  const inner = [...(shape.anyOf ?? []), ...(shape.oneOf ?? []), shape.items, shape.additionalProperties]
  return [...named, ...inner.flatMap((one) => (typeof one === 'object' ? keysOf(one, path, own) : []))]
}

const shapeOf = (of: z.ZodType) => z.toJSONSchema(of, { io: 'input', unrepresentable: 'any' }) as Shape
const keys = keysOf(shapeOf(schema({})))
const agentKeys = keysOf(shapeOf(agentSettings({ secret: secretOf({}, 6), labels })))

describe('every key', () => {
  it('of a backend is on the page of its kind', () => {
    const kinds = [...new Set(keys.flatMap(({ kind }) => kind ?? []))]
    expect(kinds).toHaveLength(6)
    const missing = kinds.flatMap((kind) => {
      const named = namesIn(codeOf(`docs/backends/${kind}.md`))
      return keys.filter((key) => key.kind === kind && !named.has(key.name)).map(({ path }) => `${kind}: ${path}`)
    })
    expect(missing).toEqual([])
  })

  it('of the rest of drover.yaml is on a page or in drover.example.yaml', () => {
    const rest = keys.filter(({ kind }) => kind === undefined)
    expect(rest.length).toBeGreaterThan(60)
    const places = [...pages.filter((page) => !page.startsWith('docs/backends/')).map(codeOf), read('drover.example.yaml')]
    const named = namesIn(places.join('\n'))
    expect(rest.filter(({ name }) => !named.has(name)).map(({ path }) => path)).toEqual([])
  })

  it('of an agent’s file is on its page', () => {
    const named = namesIn(codeOf('docs/agent.md'))
    const own = agentKeys.filter(({ kind }) => kind === undefined)
    expect(own.length).toBeGreaterThan(15)
    expect(own.filter(({ name }) => !named.has(name)).map(({ path }) => path)).toEqual([])
  })
})

it('every limit of a site has on the page on rules the default that it has', () => {
  const limits = keys.filter(({ path }) => path.startsWith('limits.'))
  expect(limits.length).toBeGreaterThan(6)
  const page = read('docs/policy.md')
  expect(
    limits.filter(({ name, value }) => !page.includes(`| \`${name}\` | \`${String(value)}\` |`)).map(({ name }) => name),
  ).toEqual([])
})

it('every environment variable that drover reads by itself is in the documentation or in the help', () => {
  const said = [...pages.map(read), read('src/arguments.ts')].join('\n')
  const rooms = sources.filter(({ path }) => !path.startsWith('src/playground'))
  const names = rooms.flatMap(({ text }) => [...text.matchAll(/\benv\.([A-Z][A-Z0-9_]+)/g)].map(([, name = '']) => name))
  expect(names.length).toBeGreaterThan(10)
  // Of a Worker's bindings, made by wrangler.toml.
  const bindings = ['RUNS', 'AGENTS']
  expect([...new Set(names)].filter((name) => !bindings.includes(name) && !said.includes(name))).toEqual([])
})
