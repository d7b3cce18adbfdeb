/** What goes to Cloudflare: nothing of Node's, and small. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

type Metafile = {
  readonly inputs: Readonly<Record<string, { readonly imports: readonly { readonly path: string }[] }>>
  readonly outputs: Readonly<Record<string, { readonly inputs: Readonly<Record<string, { readonly bytesInOutput: number }>> }>>
}

const root = fileURLToPath(new URL('../..', import.meta.url))

const workerdHas = ['node:crypto', 'node:zlib']

describe("the Worker's bundle", () => {
  let folder: string
  let meta: Metafile

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'drover-bundle-'))
    const wrangler = join(root, 'node_modules/wrangler/bin/wrangler.js')
    execFileSync(
      process.execPath,
      [wrangler, 'deploy', '--dry-run', '--outdir', folder, '--metafile', join(folder, 'meta.json')],
      {
        cwd: root,
        stdio: 'pipe',
        env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
      },
    )
    meta = JSON.parse(readFileSync(join(folder, 'meta.json'), 'utf8'))
  }, 60_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('holds neither ws, undici, express nor gRPC', () => {
    const packages = Object.keys(meta.inputs).flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [])
    expect(packages).toContain('hono')
    for (const name of [
      'ws',
      'undici',
      'express',
      '@slack/socket-mode',
      'just-bash',
      '@hono/node-server',
      '@grpc/grpc-js',
      '@grpc/proto-loader',
      'protobufjs',
    ])
      expect(packages).not.toContain(name)
  })

  it('holds of Bolt what an App needs, and of Kysely what compiles queries', () => {
    const rest =
      /bolt\/dist\/(index|Assistant|receivers\/(Express|AwsLambda))|kysely\/dist\/(kysely|schema\/|dialect\/sqlite\/sqlite-introspector)/
    const paths = Object.entries(meta.outputs).flatMap(([, { inputs }]) =>
      Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
    )
    expect(paths.filter((path) => /bolt\/dist\/App\.js$|sqlite-query-compiler\.js$/.test(path))).toHaveLength(2)
    expect(paths.filter((path) => rest.test(path))).toEqual([])
  })

  it("drover's own code in it imports nothing of Node but digests and zipping, which workerd has built in", () => {
    const own = Object.entries(meta.inputs).filter(([path]) => path.startsWith('src/'))
    expect(own.length).toBeGreaterThan(30)
    const reached = own.flatMap(([path, { imports }]) =>
      imports
        .filter((one) => one.path.startsWith('node:') && !workerdHas.includes(one.path))
        .map((one) => `${path} → ${one.path}`),
    )
    expect(reached).toEqual([])
    expect(own.map(([path]) => path).filter((path) => /playground|local\.ts|node\.ts|cli\.ts|db-sqlite/.test(path))).toEqual([])
  })

  it('is at most 250 KiB when compressed', () => {
    expect(gzipSync(readFileSync(join(folder, 'worker.js'))).byteLength).toBeLessThan(250 * 1024)
  })
})
