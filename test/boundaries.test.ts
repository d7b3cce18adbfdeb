/** Who may import whom, and what no source may do, read from the sources themselves. */

import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const list = (folder: string): string[] =>
  // Wrangler's own folders come and go while the tests run.
  globSync('**/*.ts', { cwd: join(root, folder), exclude: ['**/node_modules', '**/.wrangler', '**/*.d.ts'] })
    .map((path) => join(folder, path))
    .sort()
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** What a room may import: `src/…` prefixes and packages. `*`: anything. */
type Room = { readonly files: RegExp; readonly may: readonly string[]; readonly types?: readonly string[] }

/** What a backend is told by the rooms around it. */
const ports = ['src/backends/transport.ts', 'src/backends/machine.ts', 'src/backends/settings.ts']
const settingsOf = ['rancher1', 'rancher2', 'kubernetes', 'docker', 'swarm', 'containerd'].map(
  (kind) => `src/backends/${kind}/settings.ts`,
)

/** First match wins. The room of a file is always open to itself, except where `files` names one backend or frontend of several. */
const rooms: readonly Room[] = [
  {
    files:
      /^src\/(node|deno|worker|run-object|cli|check|local|serving|kinds|worker-kinds|slack-side|playground|gateway|rooms|app|trust|agent|agent-object)\.ts$/,
    may: ['*'],
  },
  { files: /^src\/arguments\.ts$/, may: ['src/core/'] },
  {
    files: /^src\/config(\.ts$|\/)/,
    may: [
      ...['src/core/', 'src/config/', 'src/backends/settings.ts', ...settingsOf, 'src/agent/through-settings.ts'],
      ...['zod', 'yaml', 'leven'],
    ],
  },
  { files: /^src\/core\//, may: ['src/core/'] },
  { files: /^src\/backends\/(transport|machine)\.ts$/, may: [] },
  { files: /^src\/backends\/settings\.ts$/, may: ['src/core/', 'zod'] },
  { files: /^src\/backends\/wire\//, may: ['src/core/', 'src/backends/wire/', ...ports, 'zod'] },
  {
    files: /^src\/backends\/rancher2\//,
    may: ['src/core/', 'src/backends/rancher2/', 'src/backends/kubernetes/', 'src/backends/wire/', ...ports, 'zod'],
  },
  {
    files: /^src\/backends\/swarm\//,
    may: ['src/core/', 'src/backends/swarm/', 'src/backends/docker/', 'src/backends/wire/', ...ports, 'zod'],
  },
  // A kubeconfig is YAML: one file of this kind reads it, and Workers has no files.
  { files: /^src\/backends\/kubernetes\/kubeconfig\.ts$/, may: ['src/core/', 'own', ...ports, 'zod', 'yaml'] },
  {
    files: /^src\/backends\/(rancher1|kubernetes|docker)\//,
    may: ['src/core/', 'own', 'src/backends/wire/', ...ports, 'zod'],
  },
  // containerd speaks gRPC, and a node's runtime service hands commands on by Kubernetes' exec protocol.
  {
    files: /^src\/backends\/containerd\//,
    may: [
      'src/core/',
      'own',
      'src/backends/kubernetes/',
      'src/backends/wire/',
      ...ports,
      'zod',
      '@grpc/grpc-js',
      '@grpc/proto-loader',
    ],
  },
  { files: /^src\/frontends\/body\.ts$/, may: [] },
  {
    files: /^src\/frontends\/slack\//,
    may: ['src/core/', 'src/frontends/body.ts', 'own', 'hono', 'zod', '@slack/bolt', '@slack/types', 'node:crypto'],
  },
  { files: /^src\/frontends\/[a-z]+\//, may: ['src/core/', 'src/frontends/body.ts', 'own', 'hono', 'zod'] },
  {
    files: /^src\/ledger\/db-(sqlite|object|postgres)\.ts$/,
    may: [
      ...['src/core/', 'src/ledger/', 'kysely', 'node:fs', 'node:os', 'node:path', 'node:sqlite', 'node:timers', 'pg'],
      'cloudflare:workers',
    ],
  },
  { files: /^src\/ledger\//, may: ['src/core/', 'src/ledger/', 'kysely', 'node:crypto', 'node:zlib'] },
  // Bolt's index has more in it than the Worker's bundle has room for.
  { files: /^src\/runtime\/slim-bolt\.ts$/, may: ['node_modules/@slack/bolt/dist/App.js'] },
  {
    files: /^src\/runtime\//,
    may: ['src/core/', 'src/runtime/', ...ports, 'ws', 'https-proxy-agent', 'pg-boss', 'node:', 'undici', 'cloudflare:workers'],
  },
  // The library for programs: a Docker Engine by Node's own sockets, and no policy, ledger or frontend.
  {
    files: /^src\/exec(\.ts$|\/)/,
    may: [
      ...['src/core/', 'src/exec/', 'src/backends/docker/', 'src/backends/kubernetes/', 'src/backends/containerd/'],
      ...['src/backends/wire/', 'zod', 'src/runtime/machine-node.ts', 'src/runtime/transport-node.ts'],
      ...['src/runtime/named-pipes.ts', 'src/runtime/host-processes.ts'],
    ],
  },
  // The agent stands beside one engine and speaks to it as the backends do; of a runtime it takes what sockets share.
  { files: /^src\/agent\//, may: ['src/core/', 'src/agent/', 'src/backends/', 'src/runtime/socket.ts', 'zod'] },
  {
    files: /^src\/playground\//,
    may: ['src/core/', 'src/playground/', 'hono', '@hono/node-server', 'zod', 'ws', 'just-bash', 'node:'],
  },
]

/** Only these start processes: an engine of real processes for the pretend workplace, and never through a shell. */
const mayStartProcesses = [
  /^src\/playground\//,
  /^src\/playground\.ts$/,
  /^src\/cli\.ts$/,
  /^src\/runtime\/(machine-node|named-pipes)\.ts$/,
]
/** Only where a runtime demands one. */
const mayExportDefault = [/^src\/(worker|deno|run-object)\.ts$/]

/** Comments and strings that hold no import are left in: an import is looked for as a statement. */
function importsOf(path: string): string[] {
  const source = read(path)
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/^\s*\/\/.*$/gm, '')
  const statement = /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm
  const bare = /^\s*import\s*['"]([^'"]+)['"]/gm
  const dynamic = /\b(?:import|require)\(\s*['"`]([^'"`]+)['"`]/g
  return [statement, bare, dynamic].flatMap((pattern) => [...source.matchAll(pattern)].map((match) => match[1]!))
}

/** `src/…` for a relative import, else the package or built-in module. */
function resolved(path: string, specifier: string): string {
  return specifier.startsWith('.') ? relative(root, join(root, dirname(path), specifier)) : specifier
}

function allowed(path: string, room: Room, target: string): boolean {
  const own = `${path.split('/').slice(0, 3).join('/')}/`
  return room.may.some((entry) => {
    if (entry === '*') return true
    const may = entry === 'own' ? own : entry
    return may.endsWith('/') || may.endsWith(':')
      ? target.startsWith(may)
      : target === may || (!may.startsWith('src/') && target.startsWith(`${may}/`))
  })
}

const sources = list('src')

describe('rooms', () => {
  it('every source is in a known room', () => {
    expect(sources.filter((path) => !rooms.some((room) => room.files.test(path)))).toEqual([])
    expect(sources.length).toBeGreaterThan(20)
  })

  it('nobody imports what their room may not', () => {
    const strays = sources.flatMap((path) => {
      const room = rooms.find(({ files }) => files.test(path))
      return importsOf(path)
        .map((specifier) => resolved(path, specifier))
        .filter((target) => room && !allowed(path, room, target))
        .map((target) => `${path} → ${target}`)
    })
    expect(strays).toEqual([])
  })

  it('the composition and the pretend workplace are imported by doors only', () => {
    const strays = sources.flatMap((path) =>
      importsOf(path)
        .map((specifier) => resolved(path, specifier))
        .filter(
          (target) =>
            /^src\/(gateway|rooms|app)\.ts$/.test(target) ||
            (target.startsWith('src/playground/') && !path.startsWith('src/playground/')),
        )
        .filter(
          (target) =>
            !/^src\/(node|deno|worker|run-object|agent-object|cli|check|local|serving|kinds|worker-kinds|slack-side|playground|gateway|rooms|app)\.ts$/.test(
              path,
            ) ||
            (target.startsWith('src/playground/') && path !== 'src/cli.ts' && path !== 'src/playground.ts'),
        )
        .map((target) => `${path} → ${target}`),
    )
    expect(strays).toEqual([])
  })

  it('relative imports name a file with its ending, and that file exists', () => {
    const strays = [...sources, ...list('test')].flatMap((path) =>
      importsOf(path)
        .filter(
          (specifier) =>
            specifier.startsWith('.') &&
            ((!/\.(ts|json)$/.test(specifier) && !specifier.includes('/node_modules/')) ||
              !existsSync(join(root, dirname(path), specifier))),
        )
        .map((specifier) => `${path} → ${specifier}`),
    )
    expect(strays).toEqual([])
  })

  it('zod is imported whole by name, so that bundles keep what they use', () => {
    expect(
      [...sources, ...list('test')].filter(
        (path) => /import\s*\{[^}]*\}\s*from\s*['"]zod['"]/.test(read(path)) && path !== 'test/boundaries.test.ts',
      ),
    ).toEqual([])
  })
})

describe('S08 no local shell', () => {
  it('only the pretend workplace and the command line start processes, and never by a line of text', () => {
    const starting = sources.filter((path) => importsOf(path).some((specifier) => /^(node:)?child_process$/.test(specifier)))
    expect(starting.filter((path) => !mayStartProcesses.some((files) => files.test(path)))).toEqual([])
    const byText = sources.filter((path) => {
      const source = read(path)
      return (
        /\bshell:\s*(true\b|['"`]\/)/.test(source) ||
        /import\s*\{[^}]*\b(exec|execSync|fork)\b[^}]*\}\s*from\s*['"](node:)?child_process['"]/.test(source) ||
        /import\s+(\*\s+as\s+)?\w+\s+from\s*['"](node:)?child_process['"]/.test(source) ||
        /\bnew Deno\.Command\(/.test(source)
      )
    })
    expect(byText).toEqual([])
  })

  it('no source evaluates text as code', () => {
    expect(sources.filter((path) => /(?<![.\w])eval\(|new Function\(|\bfrom ['"]node:vm['"]/.test(read(path)))).toEqual([])
  })
})

describe('house rules', () => {
  it('no test mocks a module, skips itself, or runs alone', () => {
    const banned = new RegExp(
      ['vi\\.(do)?[mM]ock\\(', '\\b(it|test|describe)\\.(skip|only|todo|fails)\\b', '\\bxit\\('].join('|'),
    )
    expect(list('test').filter((path) => banned.test(read(path)))).toEqual([])
  })

  it('nothing is exported by default but where a runtime demands it', () => {
    expect(
      sources.filter((path) => /^export default\b/m.test(read(path)) && !mayExportDefault.some((files) => files.test(path))),
    ).toEqual([])
  })

  it('every source begins with a sentence on what it is', () => {
    // A program that is started by its own name has its `#!` line first.
    expect(sources.filter((path) => !/^(#![^\n]*\n)?\/\*\*\s+(\*\s+)?[A-Za-z`/][\s\S]*?[.:!]\s*\*\//.test(read(path)))).toEqual(
      [],
    )
  })

  it('no source takes `any`, an enum, a namespace or a parameter property', () => {
    const strays = sources.filter((path) => {
      const source = read(path)
        .replaceAll(/\/\*[\s\S]*?\*\//g, '')
        .replaceAll(/\/\/.*$/gm, '')
        .replaceAll(/(['"`])(?:\\.|(?!\1)[^\n])*\1/g, "''")
      return /[:<|&]\s*any\b(?!\s*[=(:,?])|\bas any\b|^\s*(export\s+)?(const\s+)?enum\s+\w|^\s*(export\s+)?namespace\s+\w|constructor\([^)]*\b(private|public|protected|readonly)\s/m.test(
        source,
      )
    })
    expect(strays).toEqual([])
  })
})
