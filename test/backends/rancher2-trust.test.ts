/** How far drover trusts a Rancher 2 server, and what drover check says of it. */

import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Rancher2Options } from '../../src/backends/rancher2/backend.ts'
import { wayTo } from '../../src/backends/rancher2/reach.ts'
import type { Reach } from '../../src/backends/transport.ts'
import type { PeerKey } from '../../src/playground/rancher2/peer.ts'
import { nodeMachine } from '../../src/runtime/machine-node.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, runOn } from '../contract/backend.ts'
import { privateCa } from '../peers/private-ca.ts'
import { backendOf, natives, open, soon, type World, world } from './rancher2-world.ts'

describe('whom drover trusts', () => {
  const one = privateCa('Rancher CA one')
  const two = privateCa('Rancher CA two')
  const fingerprint = (pem: string) => `SHA256:${new X509Certificate(pem).fingerprint256}`
  const cluster = { cluster: 'c-edge1' }

  test('S31 a private CA is refused by default, with what to do', async () => {
    const w = await world({ tls: one })
    const error = await failureOf(backendOf(w, undefined, cluster).list({}, soon()))
    expect([error.code, error.next]).toEqual(['backend_unavailable', expect.stringContaining(`drover trust ${w.rancher.url}`)])
    expect(error.message).toMatch(/certificate is not trusted.*UNABLE_TO_VERIFY/)
    const v3 = await failureOf(backendOf(w).list({}, soon()))
    expect(v3.next).toContain('drover trust')
    expect(w.rancher.seen.requests).toEqual([])
  })

  test('S31 a file of the CA lets it in; a file that is not there, or is none, is said', async () => {
    const w = await world({ tls: one })
    const folder = mkdtempSync(join(tmpdir(), 'drover-ca-'))
    open.push(async () => rmSync(folder, { recursive: true }))
    const ca = join(folder, 'ca.pem')
    const backend = backendOf(w, undefined, { ca })
    const missing = await failureOf(backend.list({}, soon()))
    expect([missing.code, missing.next]).toEqual(['config', expect.stringContaining(`drover trust ${w.rancher.url} --out ${ca}`)])
    writeFileSync(ca, 'not a certificate')
    expect((await failureOf(backend.list({}, soon()))).message).toMatch(/holds no certificate/)
    writeFileSync(ca, one.ca)
    const [target] = await backend.list({ name: 'stray-1' }, soon())
    expect((await runOn(backend, target!, { argv: ['true'] })).code).toBe(0)
  })

  test('S31 a CA that is named is the only one: the system’s are not trusted beside it', async () => {
    const w = await world({ tls: one })
    const folder = mkdtempSync(join(tmpdir(), 'drover-ca-'))
    open.push(async () => rmSync(folder, { recursive: true }))
    const ca = join(folder, 'ca.pem')
    writeFileSync(ca, one.ca)
    const asked: Reach[] = []
    const transport = (reach: Reach) => {
      asked.push(reach)
      return nodeTransport(reach)
    }
    const way = wayTo(w.rancher.url, { ca }, { transport, machine: nodeMachine() })
    await way.http({ method: 'GET', url: `${w.rancher.url}/v3/settings/cacerts`, signal: soon() })
    expect(asked).toEqual([{ ca: one.ca, caOnly: true }])
  })

  test('S31 a pinned fingerprint lets in that CA and no other, and the key is not sent to find out', async () => {
    const w = await world({ tls: one })
    const backend = backendOf(w, undefined, { caFingerprint: fingerprint(one.ca), ...cluster })
    expect(await natives(backend.list({}, soon()))).toEqual(['c-edge1/shop/web-1/app'])
    expect(w.rancher.seen.requests[0]).toMatchObject({ path: '/v3/settings/cacerts' })
    expect(w.rancher.seen.requests[0]?.headers.authorization).toBeUndefined()

    const other = backendOf(w, undefined, { caFingerprint: fingerprint(two.ca), ...cluster })
    const before = w.rancher.seen.requests.length
    const error = await failureOf(other.list({}, soon()))
    expect([error.code, error.ran]).toEqual(['config', 'no'])
    expect(error.message).toContain(fingerprint(one.ca))
    expect(error.message).toContain(fingerprint(two.ca))
    expect(error.next).toMatch(/was replaced.*drover trust/)
    expect(w.rancher.seen.requests.slice(before).map(({ headers }) => headers.authorization)).toEqual([undefined])
  })

  test('S31 a CA that changes later is refused with both fingerprints', async () => {
    const w = await world({ tls: one })
    const backend = backendOf(w, undefined, { caFingerprint: fingerprint(one.ca), ...cluster })
    const [target] = await backend.list({}, soon())
    w.rancher.changeCertificate(two)
    const first = await failureOf(runOn(backend, target!, { argv: ['true'] }))
    expect(first.code).toBe('backend_unavailable')
    const error = await failureOf(backend.list({}, soon()))
    expect(error.message).toContain(fingerprint(one.ca))
    expect(error.message).toContain(fingerprint(two.ca))
    expect(w.edge.seen.execs).toEqual([])
  })

  test('S31 one who only repeats the pinned CA is not let in', async () => {
    const w = await world({ tls: { ...two, ca: one.ca } })
    const backend = backendOf(w, undefined, { caFingerprint: fingerprint(one.ca), ...cluster })
    expect((await failureOf(backend.list({}, soon()))).code).toBe('backend_unavailable')
    expect(w.rancher.seen.requests.map(({ path }) => path)).toEqual(['/v3/settings/cacerts'])
  })

  test('S31 no verification only where it is written, and check warns of it', async () => {
    const w = await world({ tls: one })
    const backend = backendOf(w, undefined, { insecureSkipVerify: true, ...cluster })
    expect(await natives(backend.list({}, soon()))).toHaveLength(1)
    const line = (await backend.check(soon())).find(({ what }) => what.includes('insecureSkipVerify'))
    expect([line?.ok, line?.next]).toEqual(['warn', expect.stringContaining('drover trust')])
  })
})

describe('check', () => {
  const days = (count: number) => new Date(Date.now() + count * 86_400_000 + 60_000).toISOString()
  const checked = async (w: World, key?: PeerKey, options?: Partial<Rancher2Options>) =>
    (await backendOf(w, key, options).check(soon())).map(({ ok, what, detail = '', next = '' }) => ({ ok, what, detail, next }))

  test('tells the version, the key’s days, each cluster’s state and scope, and that nothing is encrypted', async () => {
    const w = await world()
    const lines = await checked(w)
    expect(lines[0]).toMatchObject({ ok: true, detail: 'version v2.15.0' })
    const asked = w.rancher.seen.requests.find(({ path }) => path === '/rancherversion')
    expect(asked?.headers.authorization).toBeUndefined()
    expect(lines[1]).toMatchObject({ ok: 'warn', what: expect.stringContaining('not encrypted') })
    expect(lines.find(({ what }) => what.startsWith('the key token-'))).toMatchObject({
      ok: true,
      detail: expect.stringMatching(/89 days|90 days/),
    })
    expect(lines.find(({ what }) => what.startsWith('cluster c-old01 (old)'))).toMatchObject({
      ok: 'warn',
      what: expect.stringContaining('agent is not connected'),
    })
    expect(lines.find(({ what }) => what === 'c-shop1 (shop): all namespaces are in scope')).toBeTruthy()
    expect(lines.find(({ what }) => what.startsWith('c-edge1 (edge):'))).toBeTruthy()
    expect(lines.filter(({ ok }) => ok === false)).toEqual([])
  })

  test.each([
    [13, 'warn', /expires on .* in 13 days/],
    [0, 'warn', /, in less than a day$/],
    [1, 'warn', /in 1 day$/],
    [15, true, /is accepted/],
  ])('a key with %i days is %s', async (left, ok, words) => {
    const w = await world()
    const key = w.rancher.addKey({ user: 'admin', expiresAt: days(left) })
    const line = (await checked(w, key)).find(({ what }) => what.includes(key.name))
    expect(line?.ok).toBe(ok)
    expect(line?.what).toMatch(words)
    expect(ok === 'warn' ? line?.next : 'Make a new').toMatch(/Make a new/)
  })

  test('a key that never expires, and one that expired, are told apart', async () => {
    const w = await world()
    const forever = w.rancher.addKey({ user: 'admin', expiresAt: '' })
    expect((await checked(w, forever)).find(({ what }) => what.includes(forever.name))?.detail).toBe('it never expires')
    const lines = await checked(w, w.rancher.addKey({ user: 'admin', expiresAt: days(-3) }))
    expect(lines.at(-1)).toMatchObject({ ok: false, next: expect.stringMatching(/Make a new|make a new/) })
  })

  test('a cluster’s own key, whose days cannot be read, is accepted and said to be so', async () => {
    const w = await world()
    const lines = await checked(w, w.rancher.keys.scoped, { cluster: 'c-shop1' })
    expect(lines.find(({ what }) => what.startsWith('the key'))?.detail).toMatch(/limited to its cluster/)
    expect(lines.find(({ what }) => what.includes('2 namespaces are in scope'))?.detail).toBe('shop, tools')
    const without = await checked(w, w.rancher.keys.scoped)
    expect(without.at(-1)).toMatchObject({ ok: false, next: expect.stringMatching(/set `cluster`/) })
  })

  test('[bounded] of many namespaces and clusters it looks into some, and says so', async () => {
    const w = await world()
    const namespaces = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7']
    const lines = await checked(w, undefined, { cluster: 'c-shop1', namespaces })
    expect(lines.find(({ what }) => what.includes('7 namespaces are in scope'))?.detail).toMatch(/n5 and 2 more; .* first 5$/)
    expect(lines.filter(({ what }) => /run commands in namespace n\d/.test(what))).toHaveLength(5)
    for (let n = 1; n <= 9; n += 1) w.rancher.clusters.push({ id: `c-more${n}`, name: `more${n}`, state: 'active' })
    const all = await checked(w)
    expect(all.at(-1)).toMatchObject({ ok: 'warn', what: 'only the first 10 of 11 clusters were looked at' })
  })

  test('an agent that is not connected, a private CA and an old Rancher are told in their own words', async () => {
    const w = await world({ release: 'v2.6.14' })
    w.rancher.faults.agentDown.add('c-edge1')
    const lines = await checked(w)
    expect(lines[0]?.detail).toBe('version v2.6.14')
    expect(lines.find(({ ok }) => ok === false)).toMatchObject({ what: expect.stringMatching(/^c-edge1 \(edge\): .*agent/) })
    const secure = await world({ tls: privateCa('CA') })
    expect(await checked(secure)).toEqual([expect.objectContaining({ ok: false, next: expect.stringContaining('drover trust') })])
  })
})
