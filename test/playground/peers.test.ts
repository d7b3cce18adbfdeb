/** `drover peers`, as a shell takes it: what it prints is enough for a first command on each of its backends. */

import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'

const cli = join(import.meta.dirname, '../../src/cli.ts')
const folder = mkdtempSync(join(tmpdir(), 'drover-test-'))
const env: Record<string, string> = { PATH: process.env.PATH ?? '' }

async function drover(...args: readonly string[]): Promise<{ readonly out: string; readonly err: string }> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [cli, ...args], { cwd: folder, env, timeout: 60_000 })
  return { out: stdout, err: stderr }
}

beforeAll(async () => {
  const { out } = await drover('peers', '--detach')
  for (const [, name = '', value = ''] of out.matchAll(/^export (\w+)='([^']*)'$/gm)) env[name] = value
}, 60_000)
afterAll(() => {
  if (env.DROVER_PEERS_PID) process.kill(Number(env.DROVER_PEERS_PID))
  rmSync(folder, { recursive: true })
})

it('a command reaches its Rancher, one its Kubernetes, and a rollout its deployment, without a file of one’s own', async () => {
  expect((await drover('exec', 'name=shop-web-1', 'cmd=echo here')).out).toContain('1 of 1: shop-web-1 · exit 0\nhere\n')
  const pods = await drover('exec', 'on=kube', 'deployment=api', '--', 'echo', 'there')
  expect(pods.out).toMatch(/3 of 3: api-\S+, api-\S+, api-\S+ · exit 0\nthere\n/)
  expect(pods.err).toBe('')
  expect((await drover('rollout', 'status', 'deployment=api')).out).toContain('deployment/api · as it stands now')
}, 60_000)

it('for a Rancher alone, a deployment is said to be nowhere there, instead of a spelling to check', async () => {
  const config = env.DROVER_CONFIG ?? ''
  delete env.DROVER_CONFIG
  const failed = await drover('rollout', 'status', 'deployment=api').catch((error: { stderr?: string }) => error)
  expect('stderr' in failed ? failed.stderr : failed).toContain('Nothing has a deployment on rancher (rancher1).')
  env.DROVER_CONFIG = config
}, 60_000)

it('what it wrote goes with it, and nothing is left in the folder that one is in', async () => {
  const config = env.DROVER_CONFIG ?? ''
  expect(existsSync(config)).toBe(true)
  process.kill(Number(env.DROVER_PEERS_PID))
  delete env.DROVER_PEERS_PID
  await expect.poll(() => existsSync(join(config, '..')), { timeout: 10_000 }).toBe(false)
  expect(existsSync(join(folder, 'drover.db'))).toBe(false)
})
