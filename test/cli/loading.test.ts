/** What the command line loads before it has to: nothing of Slack's, of the ledger's or of the configuration's libraries. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

/** Prints each package that is loaded, before the program begins. */
const watch = `import { registerHooks } from 'node:module'
registerHooks({ load: (url, context, next) => {
  const name = /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url)?.[1]
  if (name !== undefined) console.error('loaded ' + name)
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
