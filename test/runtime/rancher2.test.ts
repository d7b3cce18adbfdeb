/** Rancher 2 from each runtime: over plain http on all three, with a pinned CA where the runtime can. */

import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { unstable_startWorker } from 'wrangler'
import type { Rancher2Options } from '../../src/backends/rancher2/backend.ts'
import { type KubernetesPeer, startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { bearerOf, type Rancher2Peer, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { processEngine } from '../peers/engine-process.ts'
import { privateCa } from '../peers/private-ca.ts'
import { story, type Told } from './rancher2-story.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
type Runtime = { tell(options: Rancher2Options): Promise<Told>; close(): Promise<unknown> }

const RUNTIMES: Readonly<Record<string, () => Promise<Runtime>>> = {
  Node: async () => ({
    tell: (options) => story(options, { transport: nodeTransport, machine: nodeMachine() }),
    close: async () => undefined,
  }),
  Deno: async () => ({
    async tell(options) {
      const rights = ['--allow-net=127.0.0.1', '--allow-read', '--allow-env', '--allow-sys']
      const args = ['run', '--quiet', '--no-lock', ...rights, here('rancher2-deno.ts'), JSON.stringify(options)]
      return JSON.parse((await promisify(execFile)(here('../../node_modules/.bin/deno'), args)).stdout) as Told
    },
    close: async () => undefined,
  }),
  workerd: async () => {
    // Else it asks Cloudflare where it is.
    process.env.CLOUDFLARE_CF_FETCH_ENABLED = 'false'
    const worker = await unstable_startWorker({
      config: here('rancher2-worker.toml'),
      dev: { server: { hostname: '127.0.0.1', port: 0 }, inspector: false, logLevel: 'none', watch: false },
    })
    await worker.ready
    const url = await worker.url
    return {
      tell: async (options) => (await (await fetch(url, { method: 'POST', body: JSON.stringify(options) })).json()) as Told,
      close: () => worker.dispose(),
    }
  },
}

describe.each(Object.keys(RUNTIMES))('Rancher 2 from %s', { timeout: 60_000 }, (name) => {
  const tls = privateCa('Rancher CA')
  let runtime: Runtime
  let cluster: KubernetesPeer
  let plain: Rancher2Peer
  let secure: Rancher2Peer

  beforeAll(async () => {
    cluster = await startKubernetesPeer({ engine: processEngine(), pods: [{ namespace: 'shop', name: 'web-1' }] })
    const options = { upstream: { url: cluster.url, token: cluster.token('admin') }, users: { member: { user: 'exec-user' } } }
    plain = await startRancher2Peer(options)
    secure = await startRancher2Peer({ ...options, tls })
    runtime = await RUNTIMES[name]!()
  }, 60_000)
  afterAll(async () => {
    await runtime.close()
    await plain.close()
    await secure.close()
    await cluster.close()
  })

  const ran = {
    native: 'c-abc12/shop/web-1/app',
    out: expect.stringMatching(/stdout: é in\n/),
    end: { type: 'exit', code: 3 },
    failed: [],
  }
  const at = ({ url, keys }: Rancher2Peer) => ({ name: 'rancher', url, token: bearerOf(keys.member) })

  it('lists, runs a command with stdin, tells both streams and the exit code, and sends no Origin', async () => {
    const told = await runtime.tell(at(plain))
    expect(told).toEqual(ran)
    expect(told.out).toContain('stderr: err\n')
    expect(plain.seen.requests.filter(({ headers }) => headers.origin !== undefined)).toEqual([])
    expect(plain.seen.requests.every(({ headers }) => headers['user-agent'] === 'drover')).toBe(true)
  })

  it('S31 refuses a private CA by default, and takes the pinned one where it can', async () => {
    expect((await runtime.tell(at(secure))).refused).toMatch(/backend_unavailable/)
    expect(secure.seen.requests).toEqual([])
    const caFingerprint = `SHA256:${new X509Certificate(tls.ca).fingerprint256}`
    const told = await runtime.tell({ ...at(secure), caFingerprint })
    if (name === 'workerd') expect(told.refused).toMatch(/config: .*Workers/)
    else expect(told).toEqual(ran)
  })
})
