/** What the command line loads: what its command and its configuration need, and what was compiled before not anew. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, globSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

/** Prints each package and each kind of backend that is loaded, before the program begins. Both have settings, which are read in any case. */
const watch = `import { registerHooks } from 'node:module'
registerHooks({ load: (url, context, next) => {
  const name = /node_modules\\/((?:@[^/]+\\/)?[^/]+)|src\\/(backends\\/[a-z0-9]+)\\/(?:backend|connect)\\.ts/.exec(url)
  if (name !== null) console.error('loaded ' + (name[1] ?? name[2]))
  return next(url, context)
} })`

function run(...args: readonly string[]) {
  const options = ['--import', `data:text/javascript,${encodeURIComponent(watch)}`, cli, ...args]
  const { status, stderr } = spawnSync(process.execPath, options, {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env.PATH },
  })
  return { status, loaded: [...new Set([...stderr.matchAll(/^loaded (.+)$/gm)].map(([, name]) => name))] }
}

test('the version and the help need no package at all', { timeout: 60_000 }, () => {
  for (const word of ['--version', '-v', '--help', 'help']) expect(run(word)).toEqual({ status: 0, loaded: [] })
})

test('the ledger is read without Slack’s library', { timeout: 60_000 }, () => {
  const { status, loaded } = run('verify', '--ledger', '/nowhere/drover.db')
  expect(status).toBe(1)
  expect(loaded).toContain('kysely')
  expect(loaded).not.toContain('@slack/bolt')
})

const folders: string[] = []
const folder = () => {
  const made = mkdtempSync(join(tmpdir(), 'drover-loading-'))
  folders.push(made)
  return made
}
afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true, force: true })
})

/** Nobody listens there: what is needed to ask is loaded by then. */
function configured(...lines: readonly string[]): string {
  const file = join(folder(), 'drover.yaml')
  const rules = '  - { id: me, effect: allow, who: { cli: true }, commands: ["..."] }'
  writeFileSync(file, ['ledger: { path: ":memory:" }', 'backends:', ...lines, 'rules:', rules].join('\n'))
  return file
}

test('a command in a terminal loads the kinds of its configuration, and nothing that listens', { timeout: 60_000 }, () => {
  const { loaded } = run(
    'exec',
    '--config',
    configured('  a: { kind: docker, host: "unix:///nowhere/docker.sock" }'),
    'name=web',
    'cmd=uptime',
  )
  expect(loaded).toEqual(expect.arrayContaining(['zod', 'kysely', 'backends/docker']))
  for (const one of ['@slack/bolt', 'hono', '@hono/node-server', '@grpc/grpc-js', 'backends/rancher1', 'backends/kubernetes'])
    expect(loaded).not.toContain(one)
})

test('a question loads no ledger, and every kind that it may be about', { timeout: 60_000 }, () => {
  const config = configured(
    '  a: { kind: docker, host: "unix:///nowhere/docker.sock" }',
    '  b: { kind: swarm, host: "unix:///nowhere/docker.sock" }',
    '  c: { kind: kubernetes, kubeconfig: /nowhere/config }',
    '  d: { kind: containerd, address: /nowhere/containerd.sock, namespace: x }',
  )
  for (const words of [
    ['targets', 'name=web'],
    ['why', 'name=web', 'cmd=uptime'],
  ]) {
    const { loaded } = run(words[0] ?? '', '--config', config, ...words.slice(1))
    expect(loaded).toEqual(
      expect.arrayContaining(['backends/docker', 'backends/swarm', 'backends/kubernetes', 'backends/containerd']),
    )
    expect(loaded).not.toContain('kysely')
  }
})

const command = fileURLToPath(new URL('../../bin/drover.js', import.meta.url))
const start = (env: Readonly<Record<string, string>>) =>
  spawnSync(process.execPath, [command, '--version'], {
    encoding: 'utf8',
    timeout: 60_000,
    env: { PATH: process.env.PATH, ...env },
  })

test('what was compiled is kept in a folder of the caller’s alone', { timeout: 60_000 }, () => {
  const home = folder()
  expect(start({ HOME: home })).toMatchObject({ status: 0, stderr: '' })
  expect(statSync(join(home, '.cache/drover')).mode & 0o777).toBe(0o700)
  expect(readdirSync(join(home, '.cache/drover'))).toHaveLength(1)
  const caches = folder()
  expect(start({ HOME: home, XDG_CACHE_HOME: caches })).toMatchObject({ status: 0, stderr: '' })
  expect(readdirSync(join(caches, 'drover'))).toHaveLength(1)
})

test('a folder that others may write to holds nothing that is run', { timeout: 60_000 }, () => {
  const home = folder()
  mkdirSync(join(home, '.cache/drover'), { recursive: true })
  chmodSync(join(home, '.cache/drover'), 0o777)
  expect(start({ HOME: home })).toMatchObject({ status: 0, stderr: '' })
  expect(readdirSync(join(home, '.cache/drover'))).toEqual([])
})

test('without a home, or with one that cannot be written to, it starts all the same', { timeout: 60_000 }, () => {
  expect(start({})).toMatchObject({ status: 0, stderr: '' })
  expect(start({ HOME: '/dev/null' })).toMatchObject({ status: 0, stderr: '' })
})

test('a server that is killed has kept what it compiled', { timeout: 60_000 }, async () => {
  const home = folder()
  const config = join(home, 'drover.yaml')
  writeFileSync(config, 'listen: { port: 0 }\nledger: { path: ":memory:" }')
  const env = { PATH: process.env.PATH, HOME: home }
  const server = spawn(process.execPath, [command, 'serve', '--config', config], { env, stdio: 'ignore' })
  const gone = once(server, 'exit')
  const kept = () => globSync('.cache/drover/*/*', { cwd: home }).length
  const end = Date.now() + 45_000
  while (kept() < 100 && server.exitCode === null && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50))
  server.kill('SIGKILL')
  await gone
  expect(kept()).toBeGreaterThanOrEqual(100)
})
