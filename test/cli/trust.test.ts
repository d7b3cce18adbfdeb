/** `drover trust`: what is kept was shown, proved, and is never replaced in silence. */

import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Rancher2Peer, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { trust } from '../../src/trust.ts'
import { privateCa, type ServerCertificate } from '../peers/private-ca.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
const fingerprintOf = (pem: string) => `SHA256:${new X509Certificate(pem).fingerprint256}`

let one: ServerCertificate
let other: ServerCertificate
beforeAll(() => {
  one = privateCa('Rancher CA one')
  other = privateCa('Rancher CA two')
})

const open: (() => Promise<unknown>)[] = []
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drover-trust-'))
})
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
  rmSync(folder, { recursive: true })
})

async function peerWith(tls: ServerCertificate | Omit<ServerCertificate, 'ca'>): Promise<Rancher2Peer> {
  const peer = await startRancher2Peer({ upstream: { url: 'http://127.0.0.1:9' }, tls })
  open.push(() => peer.close())
  return peer
}

/** In this process; what it throws is what the command line prints. */
async function trusting(url: string, transports = nodeTransport) {
  const lines: string[] = []
  const out = join(folder, 'ca.pem')
  const said = await trust({ url, out, transports, say: (line) => lines.push(line) }).then(
    (code) => ({ code, error: undefined }),
    (error: { code: string; message: string; next?: string }) => ({ code: 1, error }),
  )
  return { ...said, text: lines.join('\n'), out }
}

describe('drover trust', () => {
  it('shows the CA, proves it, writes it readable for all, and prints what to paste', async () => {
    const peer = await peerWith(one)
    const { code, text, out } = await trusting(`${peer.url}/dashboard/c/c-abc12/explorer`)
    expect(code).toBe(0)
    expect(text).toContain('CN=Rancher CA one')
    expect(text).toMatch(/valid +\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d/)
    expect(text).toContain(fingerprintOf(one.ca))
    expect(text).toContain(`url: ${peer.url}\n`)
    expect(text).toContain(`ca: ${out}`)
    expect(text).toContain(`caFingerprint: ${fingerprintOf(one.ca)}`)
    expect(fingerprintOf(readFileSync(out, 'utf8'))).toBe(fingerprintOf(one.ca))
    expect(statSync(out).mode & 0o777).toBe(0o644)
  })

  it('asks once more when the same CA is kept already, and changes nothing', async () => {
    const peer = await peerWith(one)
    const { out } = await trusting(peer.url)
    const before = statSync(out).mtimeMs
    const again = await trusting(peer.url)
    expect([again.code, again.text]).toEqual([0, expect.stringContaining('already holds it')])
    expect(statSync(out).mtimeMs).toBe(before)
  })

  it('S31 refuses another CA than the pinned one, with both fingerprints and what to do', async () => {
    const peer = await peerWith(one)
    const { out } = await trusting(peer.url)
    peer.changeCertificate(other)
    const { code, error } = await trusting(peer.url)
    expect(code).toBe(1)
    expect(error?.message).toContain(fingerprintOf(one.ca))
    expect(error?.message).toContain(fingerprintOf(other.ca))
    expect(error?.next).toMatch(/move .* away/)
    expect(fingerprintOf(readFileSync(out, 'utf8'))).toBe(fingerprintOf(one.ca))
  })

  it('S31 a file that is something else is never written over', async () => {
    const peer = await peerWith(one)
    writeFileSync(join(folder, 'ca.pem'), 'my notes\n')
    const { code, error, out } = await trusting(peer.url)
    expect([code, error?.message]).toEqual([1, expect.stringContaining('no certificate at all')])
    expect(readFileSync(out, 'utf8')).toBe('my notes\n')
  })

  it.each([
    ['signed by another CA', () => ({ ...one, ca: other.ca })],
    ['for another host', () => privateCa('Rancher CA', { host: 'DNS:elsewhere.test' })],
  ])('S31 keeps nothing when the server’s certificate is %s', async (_, tls) => {
    const { code, error, out } = await trusting((await peerWith(tls())).url)
    expect([code, error?.message]).toEqual([1, expect.stringContaining('does not verify')])
    expect(existsSync(out)).toBe(false)
  })

  it('S31 keeps no CA that has expired, and asks for a look at the clock', async () => {
    const { code, error, text, out } = await trusting((await peerWith(privateCa('Old CA', { expired: true }))).url)
    expect(text).toContain('2020-01-01 to 2020-02-01')
    expect([code, error?.message, error?.next]).toEqual([
      1,
      expect.stringContaining('is expired'),
      expect.stringContaining('clock'),
    ])
    expect(existsSync(out)).toBe(false)
  })

  it('what is no certificate is not kept', async () => {
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    const { error, out } = await trusting((await peerWith({ ...one, ca: broken })).url)
    expect(error?.message).toMatch(/is not a certificate/)
    expect(existsSync(out)).toBe(false)
  })

  it('a public certificate needs no pin, and an empty setting alone is not believed', async () => {
    const peer = await peerWith({ key: one.key, cert: one.cert })
    // As a machine that knows this CA sees it.
    const knowing: typeof nodeTransport = (reach = {}) => nodeTransport(reach.insecure ? reach : { ...reach, ca: one.ca })
    const trusted = await trusting(peer.url, knowing)
    expect([trusted.code, trusted.text]).toEqual([0, expect.stringContaining('nothing needs to be pinned')])
    const untrusted = await trusting(peer.url)
    expect([untrusted.code, untrusted.error?.message]).toEqual([1, expect.stringContaining('does not trust its certificate')])
    expect(existsSync(trusted.out)).toBe(false)
  })

  it('[no-secret-shown] S31 only one request is not verified, and none carries a key', async () => {
    const peer = await peerWith(one)
    const reaches: object[] = []
    const noting: typeof nodeTransport = (reach = {}) => {
      reaches.push(reach)
      return nodeTransport(reach)
    }
    await trusting(peer.url, noting)
    expect(reaches.map((reach) => 'insecure' in reach)).toEqual([true, false])
    expect(peer.seen.requests.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      ['/v3/settings/cacerts', undefined],
      ['/v3/settings/cacerts', undefined],
    ])
  })

  it('what is not Rancher, or not https, is said', async () => {
    const server = createServer({ key: one.key, cert: one.cert }, (_, response) => response.writeHead(404).end('no'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    open.push(() => new Promise((resolve) => server.close(resolve)))
    const { error } = await trusting(`https://127.0.0.1:${(server.address() as AddressInfo).port}`)
    expect(error).toMatchObject({ code: 'backend_protocol', message: expect.stringContaining('HTTP 404') })
    expect((await trusting('http://rancher.test')).error?.message).toMatch(/https/)
    expect((await trusting('rancher.test')).error?.code).toBe('usage')
  })

  it('by the command line the file is named after the host, and a refusal exits 1', { timeout: 60_000 }, async () => {
    const peer = await peerWith(one)
    const drover = async (...args: string[]) => {
      const child = spawn(process.execPath, [cli, 'trust', ...args], {
        cwd: folder,
        env: { PATH: process.env.PATH, HOME: folder },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const said = { out: '', err: '' }
      child.stdout.on('data', (data: Buffer) => {
        said.out += data.toString()
      })
      child.stderr.on('data', (data: Buffer) => {
        said.err += data.toString()
      })
      return { code: await new Promise<number | null>((resolve) => child.once('close', resolve)), ...said }
    }
    const first = await drover(peer.url)
    expect([first.code, first.err]).toEqual([0, ''])
    expect(first.out).toContain('Written to ./127.0.0.1-ca.pem')
    expect(existsSync(join(folder, '127.0.0.1-ca.pem'))).toBe(true)
    peer.changeCertificate(other)
    const second = await drover(peer.url)
    expect(second.code).toBe(1)
    expect(second.err).toContain('pins another CA')
    expect((await drover()).code).toBe(2)
  })
})
