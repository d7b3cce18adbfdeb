/** What drover.yaml may say of a Rancher 2 server, and what a pasted address means. */

import { describe, expect, it } from 'vitest'
import { readAddress } from '../../src/backends/rancher2/address.ts'
import { certificatesIn, fingerprintOf, parseFingerprint } from '../../src/backends/rancher2/fingerprint.ts'
import { parseConfig, secretsOf } from '../../src/config.ts'
import { DroverError } from '../../src/core/errors.ts'
import { createRedactor } from '../../src/core/redact.ts'
import { outsideOf } from '../../src/local.ts'
import { createBackends } from '../../src/rooms.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { workerKinds } from '../../src/worker-kinds.ts'
import { privateCa } from '../peers/private-ca.ts'

const token = 'token-x7k2p:0123456789abcdef0123456789abcdef0123456789abcdef'

function configOf(entry: Record<string, unknown>, value = token) {
  const settings = { kind: 'rancher2', url: 'https://rancher.test', token: { env: 'RANCHER_TOKEN' }, ...entry }
  return parseConfig(JSON.stringify({ backends: { r: settings } }), 'drover.yaml', { RANCHER_TOKEN: value })
}

function mistake(entry: Record<string, unknown>, value?: string): string {
  try {
    configOf(entry, value)
  } catch (error) {
    if (error instanceof DroverError) return error.message
    throw error
  }
  throw new Error('it was accepted')
}

describe('the address', () => {
  it.each([
    ['https://r.test', {}],
    ['https://r.test/', {}],
    ['https://r.test:8443/dashboard/home', {}],
    ['https://r.test/dashboard/auth/login', {}],
    ['https://r.test/v3', {}],
    ['https://r.test/dashboard/c/_/manager/provisioning.cattle.io.cluster', {}],
    ['https://r.test/dashboard/c/c-m-4x8f2k9p/explorer/apps.deployment#pods', { cluster: 'c-m-4x8f2k9p' }],
    ['https://r.test/dashboard/c/local/explorer?q=1', { cluster: 'local' }],
    ['https://r.test/c/c-abc12/monitoring', { cluster: 'c-abc12' }],
    ['https://r.test/v3/clusters/c-abc12', { cluster: 'c-abc12' }],
    ['https://r.test/v3/cluster/c-abc12/namespaces', { cluster: 'c-abc12' }],
    ['https://r.test/k8s/clusters/c-abc12', { cluster: 'c-abc12' }],
    ['https://r.test/k8s/clusters/c-abc12/api/v1/pods', { cluster: 'c-abc12' }],
    ['https://r.test/p/c-abc12:p-def34/workloads', { cluster: 'c-abc12', project: 'p-def34' }],
    ['https://r.test/p/c-abc12%3Ap-def34/workloads', { cluster: 'c-abc12', project: 'p-def34' }],
    ['https://r.test/v3/project/c-abc12:p-def34/workloads/deployment:shop:web', { cluster: 'c-abc12', project: 'p-def34' }],
    ['https://r.test/v3/projects/c-abc12:p-def34', { cluster: 'c-abc12', project: 'p-def34' }],
  ])('%s is understood as scope', (url, scope) => {
    expect(readAddress({ url })).toEqual({ base: new URL(url).origin, ...scope })
  })

  it('may have a path of its own before Rancher’s', () => {
    expect(readAddress({ url: 'https://r.test/rancher/dashboard/c/c-abc12/explorer' })).toEqual({
      base: 'https://r.test/rancher',
      cluster: 'c-abc12',
    })
  })

  it.each([
    ['two clusters', { url: 'https://r.test/dashboard/c/c-one/explorer', cluster: 'c-two' }, /c-one.*c-two/],
    ['two projects', { url: 'https://r.test/p/c-one:p-a/workloads', project: 'p-b' }, /p-a.*p-b/],
    ['a project of another cluster', { url: 'https://r.test', cluster: 'c-one', project: 'c-two:p-a' }, /c-one.*c-two/],
    ['a project without its cluster', { url: 'https://r.test', project: 'p-a' }, /c-abc12:p-a/],
    ['a Rancher 1.x server', { url: 'https://r.test/v2-beta' }, /kind: rancher1/],
    ['credentials', { url: 'https://user:pw@r.test' }, /credentials/],
  ])('%s is refused, and said', (_, entry, words) => {
    expect(mistake(entry)).toMatch(words)
  })
})

describe('the entry in drover.yaml', () => {
  it('is accepted in its shortest form, and keeps its key to itself', () => {
    const config = configOf({})
    expect(config.backends.r?.kind).toBe('rancher2')
    expect(JSON.stringify(config)).not.toContain(token)
  })

  it('[no-secret-shown] S33 the key is masked whole, in base64, and by its secret half alone', () => {
    const redactor = createRedactor(secretsOf(configOf({})))
    const said = redactor.text(`${token} ${btoa(token)} ${token.split(':')[1]}`).text
    for (const part of [token, btoa(token), token.split(':')[1]!]) expect(said).not.toContain(part)
  })

  it.each([
    ['token-x7k2p', /half of an API key.*token-xxxxx:secret/],
    ['eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.sig', /half of an API key/],
    ['token-x7k2p:abc:def', /one colon/],
    ['Bearer token-x7k2p:abcdef', /not an API key/],
  ])('a token like %s is refused with the right form, and is not shown', (value, words) => {
    const said = mistake({}, value)
    expect(said).toMatch(words)
    expect(said).toMatch(/backends\.r\.token/)
    expect(said).not.toContain(value)
  })

  it.each(['ext/token-x7k2p:abcdefgh', 'kubeconfig-u-abc12.c-xyz99:abcdefgh'])('a token like %s is accepted', (value) => {
    expect(configOf({}, value).backends.r).toBeTruthy()
  })

  it('S31 trust is one thing: a file, a fingerprint, or, written out, none', () => {
    expect(mistake({ ca: './ca.pem', insecureSkipVerify: true })).toMatch(/exclude each other/)
    expect(mistake({ caFingerprint: 'AB:CD' })).toMatch(/drover trust/)
    expect(mistake({ insecureSkipVerify: 'yes' })).toMatch(/insecureSkipVerify/)
    expect(mistake({ token: { env: 'NOT_SET' } })).toMatch(/NOT_SET is not set/)
  })

  it.each([{ ca: './ca.pem' }, { caFingerprint: `SHA256:${'AB:'.repeat(31)}AB` }, { insecureSkipVerify: true }])(
    'S31 Workers refuses %o at start-up',
    async (entry) => {
      expect(() => createBackends(configOf(entry), { transport: workerTransport, kinds: workerKinds })).toThrow(/Workers/)
      expect(createBackends(configOf(entry), await outsideOf(configOf(entry)))).toHaveLength(1)
    },
  )

  it('Workers takes a public certificate', () => {
    expect(createBackends(configOf({}), { transport: workerTransport, kinds: workerKinds })).toHaveLength(1)
  })
})

describe('a fingerprint', () => {
  const colons = Array.from({ length: 32 }, (_, i) => (i + 160).toString(16)).join(':')
  it.each([`SHA256:${colons}`, colons.toUpperCase(), `sha256 Fingerprint=${colons.toUpperCase()}`, colons.replaceAll(':', '')])(
    '%s is read in every way that it is written',
    (text) => {
      expect(parseFingerprint(text)).toBe(`SHA256:${colons.toUpperCase()}`)
    },
  )
  it.each(['', 'SHA256:', colons.slice(3), `${colons}:00`, `SHA1:${colons}`])('%j is none', (text) => {
    expect(parseFingerprint(text)).toBeUndefined()
  })

  it('is openssl’s', async () => {
    const { X509Certificate } = await import('node:crypto')
    const { ca } = privateCa('ca')
    expect(certificatesIn(`words\n${ca}words\n${ca}`)).toHaveLength(2)
    expect(await fingerprintOf(certificatesIn(ca)[0]!)).toBe(`SHA256:${new X509Certificate(ca).fingerprint256}`)
  })
})
