/** The published package: what `npm pack` would send out, unpacked below node_modules, where Node strips no types. */

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type RancherPeer, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { processEngine } from '../peers/engine-process.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const start = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'drover-package-'))
const installed = join(folder, 'node_modules', 'drover')
let rancher: RancherPeer

beforeAll(async () => {
  rancher = await startRancherPeer({ engine: processEngine() })
  const { stdout } = await start('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: root })
  mkdirSync(installed, { recursive: true })
  await start('tar', ['-xzf', join(folder, stdout.trim().split('\n').at(-1) ?? ''), '--strip-components=1', '-C', installed])
  // Its dependencies are the ones that are here; nothing is fetched.
  for (const name of readdirSync(join(root, 'node_modules')))
    if (name !== 'drover') symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
}, 120_000)

afterAll(async () => {
  await rancher.close()
  rmSync(folder, { recursive: true, force: true })
})

const drover = (args: readonly string[]) => {
  const { accessKey, secretKey } = rancher.environmentKey
  const env = { CATTLE_URL: `${rancher.url}/v1`, CATTLE_ACCESS_KEY: accessKey, CATTLE_SECRET_KEY: secretKey }
  return start(process.execPath, [join(installed, 'bin', 'drover.js'), ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder, ...env },
  })
}

it('runs a command as it does in a clone', async () => {
  expect((await drover(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  expect((await drover(['exec', 'label=web', 'cmd=echo hello'])).stdout).toContain('hello')
})

it('gives programs exec(), and nothing else of its inside', async () => {
  const text = `import('drover/exec').then((all) => console.log(Object.keys(all).sort().join(' ')))`
  const { stdout } = await start(process.execPath, ['-e', text], { cwd: folder })
  expect(stdout).toBe('ExitError StartError StoppedError UnknownError UsageError containerd docker exec kubernetes over\n')
  const inside = start(process.execPath, ['-e', `import('drover/dist/gateway.js')`], { cwd: folder })
  await expect(inside).rejects.toThrow(/ERR_PACKAGE_PATH_NOT_EXPORTED/)
  expect(readdirSync(join(installed, 'dist'))).toContain('exec.d.ts')
})

it('holds what was built and no source, no test and no ledger', () => {
  const all = readdirSync(installed, { recursive: true, encoding: 'utf8' })
  expect(all.filter((path) => /(^src|^test|^bench|\.db$|[^d]\.ts$)/.test(path))).toEqual([])
  expect(all).toContain('dist/playground/page/look.css')
})
