/** Rancher 1.x as drover meets it: lists, commands, kills and refusals. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { type Rancher1Options, rancher1 } from '../../src/backends/rancher1/backend.ts'
import { socketUrl } from '../../src/backends/rancher1/exec-connect.ts'
import { type RancherPeer, type RancherPeerOptions, startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { failureOf, runOn } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'

const open: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

async function peerWith(options: RancherPeerOptions = {}): Promise<RancherPeer> {
  const peer = await startRancherPeer(options)
  open.push(() => peer.close())
  return peer
}

function backendOf(peer: RancherPeer, options: Partial<Rancher1Options> = {}, key = peer.environmentKey) {
  return rancher1({ name: 'prod', url: peer.url, ...key, ...options }, nodeTransport())
}

const soon = () => AbortSignal.timeout(20_000)
const names = async (work: Promise<readonly { name: string }[]>) => (await work).map((one) => one.name).sort()

describe('list', () => {
  test('makes facets of stack, service, host, image and container, and marks what is the platform’s or privileged', async () => {
    const peer = await peerWith()
    const all = await backendOf(peer).list({}, soon())
    expect(all.find((one) => one.name === 'shop-web-3')).toMatchObject({
      kind: 'rancher1',
      backend: 'prod',
      labels: { role: 'web' },
      facets: { stack: 'shop', service: 'web', host: 'host-2', image: 'shop/web:7', container: 'shop-web-3' },
    })
    expect(all.find((one) => one.name === 'shop-api-1-metrics')?.facets.service).toBe('api/metrics')
    expect(all.find((one) => one.name === 'shop-db-1')?.privileged).toBe(true)
    expect(all.find((one) => one.name === 'shop-web-1')?.privileged).toBeUndefined()
  })

  test('reads every page and gives nothing twice', async () => {
    const peer = await peerWith()
    await peer.addContainers(Array.from({ length: 2100 }, (_, i) => ({ name: `many-${i}` })))
    const many = await backendOf(peer).list({ name: 'many-*' }, soon())
    expect([many.length, new Set(many.map((one) => one.id)).size]).toEqual([2100, 2100])
    expect(peer.seen.requests.filter(({ path }) => path.includes('marker=')).length).toBe(2)
  })

  test('asks for less by name, and a wildcard of SQL in a name finds no less', async () => {
    const peer = await peerWith({ world: [{ name: 'a_b-1' }, { name: 'axb-1' }, { name: 'other' }] })
    const backend = backendOf(peer)
    expect(await names(backend.list({ name: 'other' }, soon()))).toEqual(['other'])
    expect(await names(backend.list({ name: 'a_b-*' }, soon()))).toContain('a_b-1')
    expect(await names(backend.list({ name: '*-1' }, soon()))).toEqual(['a_b-1', 'axb-1', 'other'])
  })

  test('gives only what runs, also when the server ignores the filter', async () => {
    const peer = await peerWith({ world: [{ name: 'up' }, { name: 'down', state: 'stopped' }] })
    const whole = { type: 'collection', data: [raw('1i1', 'running'), raw('1i2', 'stopped')], pagination: { next: null } }
    peer.faults.http.push({ match: '/containers', status: 200, body: whole })
    expect(await names(backendOf(peer).list({}, soon()))).toEqual(['1i1'])
  })

  test.each([
    ['another server', 'http://elsewhere.example/v2-beta/containers?marker=m1', /another server/],
    ['itself', undefined, /leads back/],
  ])('a next page at %s is an error, and the key goes nowhere else', async (_, next, words) => {
    const peer = await peerWith()
    const link = next ?? `${peer.url}/v2-beta/containers?state=running&limit=1000`
    peer.faults.http.push({
      match: '/containers',
      status: 200,
      body: { type: 'collection', data: [], pagination: { next: link } },
    })
    const error = await failureOf(backendOf(peer).list({}, soon()))
    expect([error.code, error.ran]).toEqual(['backend_protocol', 'no'])
    expect(error.message).toMatch(words)
  })

  test('a list that breaks off is an error, never a shorter list', async () => {
    const peer = await peerWith()
    await peer.addContainers(Array.from({ length: 1200 }, (_, i) => ({ name: `many-${i}` })))
    peer.faults.http.push({ match: 'marker=', status: 503 })
    expect((await failureOf(backendOf(peer).list({}, soon()))).code).toBe('backend_unavailable')
    peer.faults.http.push({
      match: '/containers',
      status: 200,
      body: { type: 'collection', data: [], pagination: { next: null, partial: true } },
    })
    expect((await failureOf(backendOf(peer).list({}, soon()))).code).toBe('backend_protocol')
  })

  test.each(['', '/', '/v1', '/v2-beta', '/v2-beta/', '/v2-beta/projects/1a5', '/v1/projects/1a5'])(
    'takes the address with %j at its end',
    async (end) => {
      const peer = await peerWith()
      expect(await names(backendOf(peer, { url: `${peer.url}${end}` }).list({ name: 'shop-web-1' }, soon()))).toEqual([
        'shop-web-1',
      ])
    },
  )

  test('an account key without an environment is told which there are; with one it works', async () => {
    const peer = await peerWith()
    const error = await failureOf(backendOf(peer, {}, peer.accountKey).list({}, soon()))
    expect(error.code).toBe('config')
    expect(error.message).toContain('1a5')
    expect(error.message).toContain('1a7')
    const backend = backendOf(peer, { project: '1a5' }, peer.accountKey)
    const [target] = await backend.list({ name: 'shop-web-1' }, soon())
    expect(target?.name).toBe('shop-web-1')
    expect((await failureOf(backendOf(peer, { project: '1a99' }, peer.accountKey).list({}, soon()))).code).toBe(
      'backend_forbidden',
    )
  })

  test('an environment with nothing running is an empty list, not an error', async () => {
    const peer = await peerWith({ world: [] })
    expect(await backendOf(peer).list({}, soon())).toEqual([])
  })
})

describe('refusals', () => {
  const target = async (peer: RancherPeer, name = 'shop-web-1') => (await backendOf(peer).list({ name }, soon()))[0]!

  test('[no-secret-shown] a wrong key is told as such, and is in no error', async () => {
    const peer = await peerWith()
    const error = await failureOf(backendOf(peer, {}, { accessKey: 'WRONG', secretKey: 'very-secret-key' }).list({}, soon()))
    expect(error.code).toBe('backend_unauthorized')
    expect(everything(error)).not.toContain('very-secret-key')
  })

  test('a read-only key, a restricted key in a privileged container, a stopped and a removed container are told apart', async () => {
    const peer = await peerWith()
    const web = await target(peer)
    const db = await target(peer, 'shop-db-1')
    const exec = (key: typeof peer.environmentKey, one: typeof web) =>
      failureOf(runOn(backendOf(peer, { project: peer.projectId }, key), one, { argv: ['true'] }))
    expect(await exec(peer.readonlyKey, web)).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
    expect(await exec(peer.restrictedKey, db)).toMatchObject({ code: 'backend_forbidden', ran: 'no' })
    peer.containers.stop('shop-web-1')
    expect(await exec(peer.environmentKey, web)).toMatchObject({ code: 'not_running', ran: 'no' })
    expect(await exec(peer.environmentKey, { ...web, native: '1i99999' })).toMatchObject({ code: 'backend_not_found', ran: 'no' })
    expect(peer.seen.starts).toEqual([])
  })

  test('a redirect, a page of HTML and a busy server are told apart, and the key is not sent on', async () => {
    const peer = await peerWith()
    const get = async (fault: RancherPeer['faults']['http'][number]) => {
      peer.faults.http.push(fault)
      return failureOf(backendOf(peer).list({}, soon()))
    }
    const redirect = await get({ status: 302, headers: { location: 'https://rancher.example.com/v2-beta?token=s3cret' } })
    expect(redirect.message).toContain('https://rancher.example.com')
    expect(redirect.message).not.toContain('s3cret')
    expect((await get({ match: '/containers', status: 200, body: '<html>' })).code).toBe('backend_protocol')
    expect((await get({ match: '/containers', status: 429 })).code).toBe('backend_unavailable')
  })

  test('[no-secret-shown] a refused upgrade names both causes of a 401, shows no token, and is not tried again', async () => {
    const peer = await peerWith()
    const web = await target(peer)
    peer.faults.refuseUpgrade = { status: 401, body: 'Failed authentication\n' }
    const error = await failureOf(runOn(backendOf(peer), web, { argv: ['true'] }))
    expect(error).toMatchObject({ code: 'backend_unavailable', ran: 'no' })
    expect(error.message).toMatch(/host is not connected.*clocks/)
    expect(everything(error)).not.toMatch(/eyJ|token=/)
    expect(peer.seen.refusedUpgrades).toBe(1)
  })

  test('a server whose websocket proxy is off is told as such', async () => {
    const peer = await peerWith()
    const web = await target(peer)
    peer.faults.proxyDisabled = true
    expect((await failureOf(runOn(backendOf(peer), web, { argv: ['true'] }))).message).toContain('websocket proxy off')
  })
})

describe('exec', () => {
  const withProcesses = async (options: RancherPeerOptions = {}) => {
    const engine = processEngine()
    return peerWith({ engine, world: [{ name: 'web' }, { name: 'bare', shell: false }], ...options })
  }
  const only = async (peer: RancherPeer, name = 'web') => (await backendOf(peer).list({ name }, soon()))[0]!

  test('[exact-argv] sends all three booleans and the argv as the last arguments, once', async () => {
    const peer = await withProcesses()
    const ran = await runOn(backendOf(peer), await only(peer), { argv: ['printf', '%s', '$(id)'] })
    expect(`${ran.out}`).toBe('$(id)')
    expect(peer.seen.starts).toHaveLength(1)
    expect(peer.seen.starts[0]?.argv.slice(-4)).toEqual(['--', 'printf', '%s', '$(id)'])
    expect(JSON.stringify(peer.seen.executes[0])).toMatch(/"attachStdin":true.*"attachStdout":true.*"tty":false|tty/)
  })

  test.each(['A', 'B'] as const)('frames split at every byte are still frames (generation %s)', async (generation) => {
    const peer = await withProcesses({ generation })
    peer.faults.readBytes = 3
    const ran = await runOn(backendOf(peer), await only(peer), { argv: ['/bin/sh', '-c', 'echo out; echo err >&2; exit 3'] })
    expect([`${ran.out}`, `${ran.err}`, ran.code]).toEqual(['out\n', 'err\n', 3])
  })

  test('[true-ending] generation A’s lost last chunk costs nothing', async () => {
    const peer = await withProcesses({ generation: 'A' })
    peer.faults.loseLastChunk = true
    for (let i = 0; i < 5; i += 1) {
      const ran = await runOn(backendOf(peer), await only(peer), { argv: ['/bin/sh', '-c', 'yes | head -c 100000; exit 4'] })
      expect([ran.out.length, ran.code]).toEqual([100_000, 4])
    }
  })

  test('[true-ending] S41 close 1000 with no output is not a success and names the causes', async () => {
    const peer = await withProcesses()
    const web = await only(peer)
    peer.faults.closeWithoutOutput = true
    const error = await failureOf(runOn(backendOf(peer), web, { argv: ['true'] }))
    expect(error).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
    expect(error.message).toMatch(/stopped, be paused or be replaced/)
  })

  test('[true-ending] S41 a TCP connection that drops is not a success', async () => {
    const peer = await withProcesses()
    const web = await only(peer)
    peer.faults.dropTcpAfterBytes = 500
    const error = await failureOf(runOn(backendOf(peer), web, { argv: ['/bin/sh', '-c', 'yes | head -c 9000'] }))
    expect(error).toMatchObject({ code: 'stream_broken', ran: 'maybe' })
  })

  test('[bounded] a host that delivers nothing is given up by the start deadline', async () => {
    const peer = await withProcesses()
    const web = await only(peer)
    peer.faults.stallHost = '1h1'
    const error = await failureOf(runOn(backendOf(peer, { startTimeoutMs: 300 }), web, { argv: ['true'] }))
    expect(error).toMatchObject({ code: 'timeout', ran: 'maybe' })
    peer.faults.stallHost = undefined
  })

  test('a background child that holds stderr does not hold the exit', async () => {
    const peer = await withProcesses({ generation: 'B0' })
    const ran = await runOn(backendOf(peer), await only(peer), { argv: ['/bin/sh', '-c', 'sleep 20 & echo out; exit 6'] })
    expect([`${ran.out}`, ran.code]).toEqual(['out\n', 6])
  })

  test('keeps an idle connection alive with pings', async () => {
    const peer = await withProcesses()
    await runOn(backendOf(peer, { pingIntervalMs: 20 }), await only(peer), { argv: ['sleep', '0.3'] })
    expect(peer.seen.pings).toBeGreaterThan(2)
  })

  test.each(['A', 'B0', 'B'] as const)(
    'without a shell the missing program is told, after the wrapper never began (generation %s)',
    async (generation) => {
      const peer = await withProcesses({ generation })
      const error = await failureOf(runOn(backendOf(peer), await only(peer, 'bare'), { argv: ['/no/such/program'] }))
      expect(error).toMatchObject({ code: 'command_not_found', ran: 'no' })
      expect(peer.seen.starts.map(({ argv }) => argv[0])).toEqual(['/bin/sh', '/no/such/program'])
    },
  )

  test('environment and directory need a shell, and nothing runs without', async () => {
    const peer = await withProcesses()
    const error = await failureOf(runOn(backendOf(peer), await only(peer, 'bare'), { argv: ['true'], dir: '/tmp' }))
    expect(error).toMatchObject({ code: 'unsupported', ran: 'no' })
  })

  test('[gone-is-gone] a kill without a shell proves nothing, and one in a stopped container everything', async () => {
    const peer = await withProcesses()
    const backend = backendOf(peer)
    const bare = await only(peer, 'bare')
    const web = await only(peer)
    const handle = { target: web.id, exec: 'f'.repeat(32), pid: 77 }
    expect(await backend.kill(bare, handle, soon())).toEqual({ result: 'left', pid: 77 })
    peer.containers.stop('web')
    expect(await backend.kill(web, handle, soon())).toEqual({ result: 'gone' })
  })
})

test('an executable that runs without a shell shows its output and an unknown exit', async () => {
  const real = processEngine()
  // An image with one program and no /bin/sh.
  const engine = {
    ...real,
    exec: (...[container, spec]: Parameters<typeof real.exec>) =>
      real.exec({ ...container, shell: spec.argv[0] !== '/bin/sh' }, spec),
  }
  for (const generation of ['A', 'B'] as const) {
    const peer = await startRancherPeer({ generation, engine: { ...engine, close: async () => {} }, world: [{ name: 'one' }] })
    const backend = backendOf(peer)
    const [target] = await backend.list({}, soon())
    const ran = await runOn(backend, target!, { argv: ['printf', 'hello\\n'] })
    expect([`${ran.out}`, ran.code, ran.unknown]).toEqual(['hello\n', undefined, true])
    expect(ran.events.at(-1)).toMatchObject({ error: { code: 'exit_code_unknown' } })
    await peer.close()
  }
  await real.close()
})

describe('the websocket’s address', () => {
  test('is the one given, save that a token never goes out in clear for an https server', () => {
    const secure = new URL('https://rancher.example.com:8443')
    expect(socketUrl(secure, 'ws://rancher.internal:8080/v1/exec/').href).toBe('wss://rancher.example.com:8443/v1/exec/')
    expect(socketUrl(secure, 'wss://ws.example.com/v1/exec/').href).toBe('wss://ws.example.com/v1/exec/')
    expect(socketUrl(new URL('http://r:8080'), 'ws://r:8080/v1/exec/').href).toBe('ws://r:8080/v1/exec/')
  })

  test.each(['http://r/v1/exec/', 'ws://r/v1/dockersocket/', 'nonsense'])('%s is refused', (given) => {
    expect(() => socketUrl(new URL('http://r'), given)).toThrow(/not one for commands/)
  })
})

describe('check', () => {
  const linesOf = async (peer: RancherPeer, options: Partial<Rancher1Options> = {}, key = peer.environmentKey) =>
    (await backendOf(peer, options, key).check(soon())).map((line) => `${line.ok} ${line.what} ${line.detail ?? ''}`).join('\n')

  test('tells version, clock, encryption, key and how many containers can run commands', async () => {
    const text = await linesOf(await peerWith())
    expect(text).toMatch(/true Rancher answers at http.*version/)
    expect(text).toMatch(/clocks agree/)
    expect(text).toMatch(/warn the connection is not encrypted/)
    expect(text).toMatch(/commands can be run in \d+ of \d+ running containers/)
  })

  test('tells what each key may not do', async () => {
    const peer = await peerWith()
    const project = { project: peer.projectId }
    expect(await linesOf(peer, project, peer.readonlyKey)).toMatch(
      /false commands can be run in 0 of \d+ running containers.*read-only/,
    )
    expect(await linesOf(peer, project, peer.restrictedKey)).toMatch(/warn .*restricted/)
    expect(await linesOf(peer, {}, peer.accountKey)).toMatch(/false an account key, and no environment is named/)
    expect(await linesOf(peer, {}, { accessKey: 'x', secretKey: 'y' })).toMatch(/false Rancher does not accept the API key/)
  })

  test('S31 a server that is not there, and one that is something else, are told apart', async () => {
    const server = createServer((_, response) => response.writeHead(404).end('no')).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const check = async () =>
      (await rancher1({ name: 'p', url, accessKey: 'a', secretKey: 'b' }, nodeTransport()).check(soon()))
        .map((l) => l.what)
        .join()
    expect(await check()).toMatch(/no Rancher 1.x API at this address/)
    await new Promise((resolve) => server.close(resolve))
    expect(await check()).toMatch(/cannot be reached.*connection refused/)
  })
})

function raw(id: string, state: string) {
  return { id, state, name: id, labels: {}, actions: {} }
}

/** An error as a careless log would print it. */
function everything(error: unknown): string {
  return error instanceof Error ? `${error.stack} ${JSON.stringify(error)} ${everything(error.cause)}` : String(error)
}
