/** The ledger on node:sqlite as Deno has it: the contract in a real Deno process. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll } from 'vitest'
import { ledgerContract } from '../contract/ledger.ts'
import { remoteBench } from './fixture-rpc.ts'

let child: ChildProcess
let folder: string
let url: string
let files = 0

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drover-deno-'))
  const root = fileURLToPath(new URL('../../', import.meta.url))
  child = spawn(join(root, 'node_modules/.bin/deno'), ['run', '-A', 'test/ledger/fixture-deno/serve.ts', folder], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: child.stdout! })) {
    const port = /^port (\d+)$/.exec(line)?.[1]
    if (port === undefined) continue
    url = `http://127.0.0.1:${port}`
    return
  }
  throw new Error('Deno ended before it listened')
}, 60_000)

afterAll(async () => {
  const exit = once(child, 'exit')
  child.kill()
  await exit
  rmSync(folder, { recursive: true, force: true })
})

ledgerContract('the ledger on a SQLite file in Deno', async () => remoteBench(`${url}/ledger/file-${files++}`))
