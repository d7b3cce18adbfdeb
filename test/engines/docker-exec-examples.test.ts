/** Every example of docs/exec.md, typechecked and run by the package as `npm pack` would send it out, on a real engine. */

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { docker, image } from './docker-world.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const start = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'drover-exec-'))
const installed = join(folder, 'node_modules', 'drover')
const page = readFileSync(join(root, 'docs', 'exec.md'), 'utf8')
const examples = [...page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(({ 1: text = '', index }) => ({
  line: page.slice(0, index).split('\n').length + 1,
  text,
}))
const names = ['docker', 'exec', 'ExitError', 'StartError', 'StoppedError', 'UnknownError']
/** What the page says of its blocks: the imports that they need are before them. */
const whole = (text: string) =>
  text.includes("from 'drover/exec'")
    ? text
    : `import { ${names.filter((name) => new RegExp(`\\b${name}\\b`).test(text)).join(', ')} } from 'drover/exec'\n${text}`

beforeAll(async () => {
  const { stdout } = await start('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: root })
  mkdirSync(installed, { recursive: true })
  await start('tar', ['-xzf', join(folder, stdout.trim().split('\n').at(-1) ?? ''), '--strip-components=1', '-C', installed])
  for (const name of readdirSync(join(root, 'node_modules')))
    if (name !== 'drover') symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  for (const { line, text } of examples) writeFileSync(join(folder, `line-${line}.ts`), whole(text))
  const options = { strict: true, noEmit: true, module: 'nodenext', target: 'es2024', lib: ['ES2024', 'ESNext.Disposable'] }
  const compilerOptions = { ...options, types: ['node'], erasableSyntaxOnly: true }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
  docker('tag', image, 'busybox:1.36')
  docker('run', '-d', '--name', 'web-1', image, 'sleep', '100000')
}, 180_000)

afterAll(() => {
  docker('rm', '-f', 'web-1')
  docker('rmi', 'busybox:1.36')
  rmSync(folder, { recursive: true })
})

describe('docs/exec.md', { timeout: 120_000 }, () => {
  test('every example has the types that the package declares', async () => {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const { stdout } = await start(process.execPath, [tsc, '-p', folder]).catch((error: { stdout: string }) => error)
    expect(stdout).toBe('')
  })

  test.each(examples)('the example in line $line does what it says', async ({ line, text }) => {
    const env = { PATH: process.env.PATH, HOME: folder, DOCKER_HOST: process.env.DOCKER_HOST }
    const { stdout, stderr } = await start(process.execPath, [join(folder, `line-${line}.ts`)], {
      cwd: folder,
      env,
      timeout: 60_000,
    })
    const promised = [...text.matchAll(/\/\/ prints (.*)$/gm)].map(([, said = '']) => said)
    expect(promised.length).toBeGreaterThan(0)
    const lines = (said: string) => said.split('\n').filter((one) => one !== '')
    expect([...lines(stdout), ...lines(stderr)]).toEqual(promised.flatMap((said) => said.split(', ')))
  })

  test('no example leaves a container behind', () => {
    expect(docker('ps', '-aq', '--filter', 'label=drover.helper')).toBe('')
  })
})
