/** The whole of drover in this process, as `drover exec` puts it together: policy, ledger on disk, fan-out, redaction, folded answer. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseConfig } from '../src/config.ts'
import { parseArguments } from '../src/core/command-line.ts'
import type { RunState } from '../src/core/model.ts'
import { runIdFor } from '../src/core/run-id.ts'
import { createTerminalReporter } from '../src/frontends/terminal/reporter.ts'
import { startLocal } from '../src/local.ts'

/** A run that was not delivered by then never will be. */
const runMs = 110_000

async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the run was not delivered within ${ms / 1000} s`)), ms)
  })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export type Whole = {
  /** From accepted to delivered, in ms. Throws unless every target ended with exit 0. */
  run(words: readonly string[]): Promise<{ readonly ms: number; readonly state: RunState }>
  close(): Promise<void>
}

/** `backend`: the address of a pretend Rancher, or an entry as in drover.yaml. */
export async function startWhole(
  backend: string | Readonly<Record<string, unknown>>,
  parallel: number,
  ledger?: ':memory:',
): Promise<Whole> {
  const folder = mkdtempSync(join(tmpdir(), 'drover-bench-'))
  const config = parseConfig(
    JSON.stringify({
      ledger: { path: ledger ?? join(folder, 'drover.db') },
      backends: {
        bench:
          typeof backend === 'string'
            ? { kind: 'rancher1', url: `${backend}/v2-beta`, accessKey: { env: 'KEY' }, secretKey: { env: 'KEY' } }
            : backend,
      },
      rules: [{ id: 'bench', effect: 'allow', who: { cli: true }, commands: ['...'] }],
      limits: { targets: 10_000, parallel, timeout: '5m' },
    }),
    'bench',
    { KEY: 'a-key-of-the-bench-0123456789' },
  )
  const waiting = new Map<string, (state: RunState) => void>()
  const reporter = createTerminalReporter({ out() {}, err() {}, live: true, json: false })
  const local = await startLocal(config, {
    log: (event) => {
      if (event.level === 'error') console.error(JSON.stringify(event))
    },
    terminal: {
      ...reporter,
      async deliver(state, output, posted) {
        await reporter.deliver(state, output, posted)
        waiting.get(state.request.id)?.(state)
      },
    },
  })
  return {
    async run(words) {
      const line = parseArguments([...words])
      if (line.verb !== 'exec') throw new Error('the bench runs commands')
      const delivery = `bench:${crypto.randomUUID()}`
      const id = await runIdFor(delivery)
      const delivered = new Promise<RunState>((resolve) => waiting.set(id, resolve))
      const begin = performance.now()
      await local.gateway.submit({
        id,
        actor: { kind: 'cli', user: 'bench' },
        trigger: { kind: 'cli', delivery },
        selector: line.selector,
        command: line.command,
        place: { kind: 'terminal' },
        receivedAt: Date.now(),
      })
      // As it was told: to read it again would be a cost of the bench.
      const state = await within(runMs, delivered).finally(() => waiting.delete(id))
      const ms = performance.now() - begin
      const wrong = state.executions.find(({ ending }) => ending?.status !== 'exited' || ending.code !== 0)
      if (state.outcome?.status !== 'done' || wrong)
        throw new Error(`the run went wrong: ${JSON.stringify(wrong ?? state.outcome)}`)
      return { ms, state }
    },
    async close() {
      await local.stop(5_000)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
