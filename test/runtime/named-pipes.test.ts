/** Named pipes for an engine beside drover, on Node and on Deno. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { scenario } from './named-pipes-scenario.ts'

const expected = {
  mode: '700',
  text: 'hello you',
  handedOver: 0,
  echoed: 1_000_000,
  unread: 'AbortError',
  closed: 'ended',
  refused: 'config',
  aborted: 'timeout',
  left: 0,
}

it('S41 nothing that an engine writes is lost, however soon it ends, and nothing stays on disk', async () => {
  expect(await scenario()).toEqual(expected)
})

it('S41 the same on Deno', async () => {
  const deno = fileURLToPath(new URL('../../node_modules/.bin/deno', import.meta.url))
  const program = fileURLToPath(new URL('named-pipes-scenario.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(deno, ['run', '-A', program, '--print'], { timeout: 60_000 })
  expect(JSON.parse(stdout)).toEqual(expected)
}, 60_000)
