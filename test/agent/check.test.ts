/** What `drover agent --check` finds beside a real socket, and how `drover check` tells of two keys. */

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { checkAgents } from '../../src/agent/check.ts'
import { makeKeyPair, readPrivateKey } from '../../src/agent/keys.ts'
import { agentSettings } from '../../src/agent/settings.ts'
import { runAgent } from '../../src/agent.ts'
import { labels, parseConfig, parseYaml, secretOf } from '../../src/config.ts'
import { serveNode } from '../../src/node.ts'
import { startKubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { startRancherPeer } from '../../src/playground/rancher/peer.ts'
import { until } from './link.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drover-agent-check-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

async function check(rest: string, env: Readonly<Record<string, string>> = {}): Promise<{ code: number; out: string }> {
  const { privatePem } = await makeKeyPair()
  writeFileSync(join(folder, 'agent.key'), privatePem, { mode: 0o600 })
  writeFileSync(join(folder, 'agent.yaml'), `name: lab\ngateway: https://drover.example.com\nkey: agent.key\n${rest}\n`)
  return await new Promise((resolve) => {
    const options = { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, NO_COLOR: '1', ...env }, timeout: 90_000 }
    execFile(process.execPath, [cli, 'agent', '--check'], options, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out: out + err }),
    )
  })
}

/** What a Docker Engine says to who only looks; one of the two has the label. */
async function lookedAtEngine(): Promise<{ readonly port: number; readonly asked: string[] }> {
  const asked: string[] = []
  const container = (id: string, name: string, own: object) => ({
    ...{ Id: id.repeat(64).slice(0, 64), Names: [`/${name}`], Image: 'busybox', State: 'running', Labels: own },
  })
  const answers: Readonly<Record<string, unknown>> = {
    _ping: 'OK',
    version: { Version: '29.1.0', ApiVersion: '1.52', MinAPIVersion: '1.40', Os: 'linux', Arch: 'amd64' },
    info: {
      ServerVersion: '29.1.0',
      OperatingSystem: 'Debian 13',
      OSType: 'linux',
      Name: 'host-1',
      SystemTime: new Date().toISOString(),
      Swarm: { LocalNodeState: 'inactive' },
    },
    'containers/json': [container('a', 'web', { exec: 'allowed' }), container('b', 'db', {})],
  }
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    const [path = ''] = (request.url ?? '').split('?')
    const inspected = /containers\/([ab])\1+\/json$/.exec(path)?.[1]
    const body =
      inspected === undefined
        ? answers[/(containers\/json|[^/]+)$/.exec(path)?.[1] ?? '']
        : {
            ...{
              Id: inspected.repeat(64),
              Name: inspected === 'a' ? '/web' : '/db',
              Image: 'sha256:0',
              State: { Running: true },
            },
            ...{ Config: { Image: 'busybox', Labels: inspected === 'a' ? { exec: 'allowed' } : {} } },
            ...{ HostConfig: { Privileged: false }, Mounts: [] },
          }
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json', 'api-version': '1.52' })
    response.end(JSON.stringify(body ?? { message: 'page not found' }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return { port: (server.address() as AddressInfo).port, asked }
}

describe('drover agent --check', { timeout: 120_000 }, () => {
  it('says which engine answers, and how many containers its list lets through', async () => {
    const { port, asked } = await lookedAtEngine()
    const engine = `engine: { kind: docker, host: 'tcp://127.0.0.1:${port}', plaintext: true }`
    const some = await check(`${engine}\nallow: { labels: exec=allowed }`)
    expect(some.out).toMatch(
      /^ok {3}agent\.yaml: in order; its public key is ed25519:\S+\n[\s\S]*^ok {3}the engine host-1 29\.1\.0/m,
    )
    expect(some.out).toContain('its list lets 1 container through')
    expect(some.code).toBe(0)
    const none = await check(`${engine}\nallow: { names: [nothing-*] }`)
    expect(none.out).toMatch(/warn its list lets no container through that runs now\n +Compare allow: in its file/)
    expect(none.code).toBe(0)
    expect(asked.filter((path) => /start|containers\/create|kill/.test(path))).toEqual([])
  })

  it('says in words what cannot be reached, by the address that stands in its file', async () => {
    const { code, out } = await check("engine: { kind: docker, host: 'unix:///nowhere/docker.sock' }\nallow: {}")
    expect(out).toMatch(/FAIL .*cannot be reached at unix:\/\/\/nowhere\/docker\.sock/)
    expect(out).not.toContain('lab.agent')
    expect(code).toBe(1)
  })

  it('asks a Rancher 1.x and a Kubernetes through its own list, and says whose key is refused', async () => {
    const rancher = await startRancherPeer()
    const cluster = await startKubernetesPeer()
    onTestFinished(async () => void (await Promise.all([rancher.close(), cluster.close()])))
    const { accessKey, secretKey } = rancher.environmentKey
    const engine = `engine: { kind: rancher1, url: '${rancher.url}', project: 1a5, accessKey: { env: A }, secretKey: { env: S } }`
    const good = await check(engine, { A: accessKey, S: secretKey })
    expect(good.out).toMatch(/its list lets \d+ containers through/)
    expect(good.code).toBe(0)
    const bad = await check(engine, { A: accessKey, S: 'not-the-secret-key' })
    expect([bad.code, bad.out]).toEqual([1, expect.stringMatching(/FAIL .*(accept|refuse)/)])
    const kube = await check(`engine: { kind: kubernetes, server: '${cluster.url}', token: { env: T }, namespaces: [default] }`, {
      T: cluster.token('admin'),
    })
    expect(kube.out).toMatch(/ok {3}Kubernetes answers: v1\.\d+/)
    expect(kube.out).toMatch(/its list lets (no|\d+) containers? through/)
    // Nobody: one Role mends both findings, and this server does not say whom it binds.
    const stranger = `engine: { kind: kubernetes, server: '${cluster.url}', token: { env: T }, namespaces: [shop] }`
    const { out } = await check(stranger, { T: cluster.token('exec-user') })
    expect(out.match(/kind: Role$/gm)).toHaveLength(1)
    expect(out).toMatch(/FAIL drover may not get pods.*\n +What mends it stands below\.\n/)
    expect(out).toContain('THE-USER-THAT-DROVER-COMES-AS stands for the user, which this server does not tell')
  })
})

describe('two keys of one agent', { timeout: 60_000 }, () => {
  it('both are good while one replaces the other, and check tells by which it is connected', async () => {
    const [old, next, stranger] = await Promise.all([makeKeyPair(), makeKeyPair(), makeKeyPair()])
    const yaml = `listen: { port: 0 }
ledger: { path: ':memory:' }
backends: { lab: { kind: docker, through: lab } }
agents: { lab: { key: '${old.publicKey}', nextKey: '${next.publicKey}' } }
`
    const config = parseConfig(yaml, 'drover.yaml', {})
    const served = await serveNode(config, () => {})
    onTestFinished(async () => void (await served.stop(0)))
    const told = async () => (await checkAgents(config, served.url)).filter(({ detail }) => detail?.startsWith('two keys'))
    const connected = async ({ privatePem }: typeof old) => {
      const text = `name: lab\ngateway: ${served.url}\nkey: none\nengine: { kind: docker, host: 'unix:///nowhere' }\nallow: {}`
      const settings = parseYaml(text, 'agent.yaml', agentSettings({ secret: secretOf({}, 6), labels }))
      const stop = new AbortController()
      const log: string[] = []
      const running = runAgent(
        { settings, key: await readPrivateKey(privatePem, 'the test') },
        { signal: stop.signal, log: (event) => log.push(JSON.stringify(event)), pace: { firstWaitMs: 20, mostWaitMs: 20 } },
      )
      await until(() => log.some((line) => /"(connected|disconnected)"/.test(line)))
      return {
        log: log.join(),
        stop: async () => {
          stop.abort()
          await running
        },
      }
    }
    expect(await told()).toEqual([
      {
        ok: 'warn',
        what: 'agent lab',
        detail: 'two keys are good for it, key: and nextKey:',
        next: expect.stringContaining('docs/agent.md'),
      },
    ])
    const before = await connected(old)
    expect(before.log).toContain('"connected"')
    expect(await told()).toMatchObject([
      { detail: expect.stringContaining('connected by key:'), next: expect.stringContaining('docs/agent.md') },
    ])
    await before.stop()
    const after = await connected(next)
    expect(after.log).toContain('"connected"')
    expect(await told()).toMatchObject([
      { detail: expect.stringContaining('connected by nextKey:'), next: expect.stringContaining('take nextKey: out') },
    ])
    await after.stop()
    const other = await connected(stranger)
    expect(other.log).toContain('its key is not the one under agents.lab')
    await other.stop()
  })

  it('[default-deny] without a next key nothing but the key is good, and how an agent stands is told to nobody without one', async () => {
    const { publicKey } = await makeKeyPair()
    const config = parseConfig(
      `listen: { port: 0 }\nledger: { path: ':memory:' }\nagents: { lab: { key: '${publicKey}' } }`,
      'drover.yaml',
      {},
    )
    const served = await serveNode(config, () => {})
    onTestFinished(async () => void (await served.stop(0)))
    const ask = async (headers: Readonly<Record<string, string>>) =>
      (await fetch(`${served.url}/agents/state?agent=lab`, { headers })).status
    expect(await ask({})).toBe(404)
    expect(await ask({ 'x-drover-agent-key': '' })).toBe(404)
    expect(await ask({ 'x-drover-agent-key': 'undefined' })).toBe(404)
    expect(await ask({ 'x-drover-agent-key': publicKey })).toBe(200)
  })
})
