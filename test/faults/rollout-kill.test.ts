/** `kill -9` on drover while it rolls out. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { reduce } from '../../src/core/run-state.ts'
import { openSqlite } from '../../src/ledger/db-sqlite.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { until } from '../e2e/scenario.ts'

const life = fileURLToPath(new URL('rollout-life.ts', import.meta.url))
/** Each on a service of its own, so that what was sent can be told apart. */
const rollouts = ['web', 'api', 'auth', 'db'].map((service) => `scale stack=shop service=${service} replicas=3`)

test('[once] [nothing-lost] after kill -9 at any moment of a rollout nothing is sent twice, and what nobody saw end is told as unknown', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drover-rollout-kill-'))
  try {
    // As soon as it was accepted, after the first was sent, and after all of them.
    for (const killAfter of [0, 1, 4]) {
      const rancher = await startRancherPeer({})
      const sent = () => rancher.seen.requests.filter(({ method, path }) => method === 'PUT' && path.includes('/services/'))
      const backend = {
        kind: 'rancher1',
        url: `${rancher.url}/v2-beta`,
        accessKey: { env: 'CATTLE_ACCESS_KEY' },
        secretKey: { env: 'CATTLE_SECRET_KEY' },
      }
      const path = join(folder, `${killAfter}.db`)
      const rule = { id: 'any', effect: 'allow', who: { cli: true }, rollouts: ['...'], rights: ['privileged'] }
      const file = join(folder, `${killAfter}.yaml`)
      writeFileSync(file, JSON.stringify({ ledger: { path }, backends: { prod: backend }, rules: [rule] }))
      const { accessKey, secretKey } = rancher.environmentKey
      const env = { PATH: process.env.PATH, CATTLE_ACCESS_KEY: accessKey, CATTLE_SECRET_KEY: secretKey }
      const born = (...lines: readonly string[]) =>
        spawn(process.execPath, [life, file, ...lines], { env, stdio: ['ignore', 'pipe', 'inherit'] })

      const first = born(...rollouts)
      let out = ''
      first.stdout.on('data', (piece: Buffer) => {
        out += piece.toString()
      })
      await until(() => (out.split('\n').length > rollouts.length && sent().length >= killAfter) || undefined)
      const killed = once(first, 'close')
      first.kill('SIGKILL')
      await killed
      const second = born()
      expect(await once(second, 'close')).toEqual([0, null])

      const paths = sent().map((one) => one.path)
      expect(paths.length).toBeGreaterThanOrEqual(killAfter)
      expect(new Set(paths).size).toBe(paths.length)
      const ledger = await createLedger(openSqlite(path))
      expect(await ledger.verify()).toMatchObject({ ok: true })
      const runs = await ledger.list({ limit: 100 })
      expect(runs).toHaveLength(rollouts.length)
      for (const { id } of runs) {
        const state = reduce(await ledger.read(id))!
        expect(state.delivered).toBe(true)
        const [execution] = state.executions
        const said = execution?.ending?.status
        if (state.outcome?.status === 'interrupted' && execution?.status !== undefined)
          expect(['unknown', 'failed']).toContain(said)
        else expect(said).toBe('exited')
      }
      await ledger.close()
      await rancher.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 180_000)
