/** `drover agent` and `drover check` as programs, and the mistakes that their files may hold. */

import { execFile, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { agentSettings } from '../../src/agent/settings.ts'
import { labels, parseConfig, parseYaml, secretOf } from '../../src/config.ts'
import { DroverError } from '../../src/core/errors.ts'
import { serveNode } from '../../src/node.ts'
import { end, said } from '../e2e/process.ts'
import { startEngine } from './engine.ts'
import { until } from './link.ts'

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
const KEY = `ed25519:${'A'.repeat(43)}`
const OTHER_KEY = `ed25519:${'B'.repeat(43)}`

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drover-agent-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

type Ended = { readonly code: number; readonly out: string; readonly err: string }
const drover = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = { PATH: process.env.PATH, HOME: folder, NO_COLOR: '1' }
    execFile(process.execPath, [cli, ...args], { cwd: folder, env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })

const wrong = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    if (error instanceof DroverError) return error.message
    throw error
  }
  return 'it is in order'
}

describe('drover agent', { timeout: 120_000 }, () => {
  it('makes a key that its owner alone may read, never over another, and shows the public half only', async () => {
    const { code, out } = await drover('agent', 'keygen', '--out', 'a.key')
    expect(code).toBe(0)
    const key = /'(ed25519:[A-Za-z0-9_-]{43})'/.exec(out)?.[1]
    expect(wrong(() => parseConfig(`agents: { lab: { key: '${key}' } }`, 'drover.yaml', {}))).toBe('it is in order')
    const kept = readFileSync(join(folder, 'a.key'), 'utf8')
    expect(statSync(join(folder, 'a.key')).mode & 0o777).toBe(0o600)
    expect(out).not.toContain(kept.split('\n')[1])
    expect(await drover('agent', 'keygen', '--out', 'a.key')).toMatchObject({
      code: 2,
      err: expect.stringContaining('is there already'),
    })
    expect(readFileSync(join(folder, 'a.key'), 'utf8')).toBe(kept)
  })

  it('says what is wrong with its file, its key and its words', async () => {
    const file = (text: string) => writeFileSync(join(folder, 'agent.yaml'), text)
    expect(await drover('agent')).toMatchObject({ code: 2, err: expect.stringContaining('agent.yaml cannot be read') })
    expect(await drover('agent', 'start')).toMatchObject({ code: 2, err: expect.stringContaining('does not know start') })
    expect((await drover('agent', '--help')).out).toContain('drover agent keygen')
    file(`name: lab\ngateway: https://gateway.example.com\nkey: a.key\nengine: { kind: docker, host: unix:///x }\nallow: {}\n`)
    expect(await drover('agent')).toMatchObject({ code: 2, err: expect.stringContaining('drover agent keygen') })
    writeFileSync(join(folder, 'a.key'), 'not a key', { mode: 0o600 })
    expect(await drover('agent')).toMatchObject({ code: 2, err: expect.stringContaining('holds no Ed25519 key') })
    rmSync(join(folder, 'a.key'))
    const { out } = await drover('agent', 'keygen', '--out', 'a.key')
    const checked = await drover('agent', '--check')
    expect([checked.code, checked.out]).toEqual([1, expect.stringContaining(/ed25519:[\w-]+/.exec(out)?.[0] ?? 'none')])
    expect(checked.out).toMatch(/FAIL .*cannot be reached at unix:\/\/\/x/)
    chmodSync(join(folder, 'a.key'), 0o644)
    expect(await drover('agent')).toMatchObject({ code: 2, err: expect.stringContaining('chmod 600') })
  })

  it('connects to the gateway that serves, is told by check, and ends cleanly on SIGTERM', async () => {
    const { out } = await drover('agent', 'keygen', '--out', 'agent.key')
    const key = /ed25519:[\w-]+/.exec(out)?.[0] ?? ''
    const engine = await startEngine()
    onTestFinished(() => engine.close())
    const yaml = (port: number) =>
      `listen: { port: ${port} }\nledger: { path: ${join(folder, 'd.db')} }\nbackends: { lab: { kind: docker, through: lab } }\nagents: { lab: { key: '${key}' }, idle: { key: '${OTHER_KEY}' } }\nrules: [{ id: me, effect: allow, who: { cli: true }, commands: ['...'] }]\n`
    const log: object[] = []
    const served = await serveNode(parseConfig(yaml(0), 'drover.yaml', {}), (event) => log.push(event))
    onTestFinished(async () => void (await served.stop(0)))
    writeFileSync(join(folder, 'drover.yaml'), yaml(Number(new URL(served.url).port)))
    expect((await drover('check')).out).toMatch(/FAIL agent lab: not connected\n +Start it beside its engine/)

    const { port } = engine.server.address() as { port: number }
    writeFileSync(
      join(folder, 'agent.yaml'),
      `name: lab\ngateway: ${served.url}\nkey: agent.key\nengine: { kind: docker, host: "tcp://127.0.0.1:${port}", plaintext: true }\nallow: {}\n`,
    )
    const agent = spawn(process.execPath, [cli, 'agent'], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder },
      stdio: 'pipe',
    })
    await said(agent, /( connected) /, 'the agent', 20_000)
    const { code, out: told } = await drover('check')
    expect(told).toMatch(/ok {3}agent lab: connected since 2.*, drover \d+\.\d+\.\d+, docker\n/)
    // What stands there is no Docker Engine, and the check of its backend says so, through the agent.
    expect(told).toMatch(/FAIL agent lab: .*its version/)
    expect(told).toMatch(/FAIL agent idle: not connected[\s\S]*warn agent idle: no backend is reached through it/)
    expect(code).toBe(1)
    expect(await drover('exec', 'on=lab', 'name=x', 'cmd=true')).toMatchObject({
      err: expect.stringContaining('The agent lab is connected to the gateway that serves, and this command is another program.'),
    })
    await end(agent, 'SIGTERM')
    expect(agent.exitCode).toBe(0)
    await until(() => JSON.stringify(log).includes('agent-disconnected'))
    expect(JSON.stringify(log)).toContain('it was stopped')
    await served.stop(0)
    expect((await drover('check')).out).toMatch(/warn agent lab: the gateway that it connects to does not answer/)
    expect(existsSync(join(folder, 'agent.yaml'))).toBe(true)
  }, 120_000)
})

describe('agents in drover.yaml', () => {
  const parse = (text: string) => wrong(() => parseConfig(text, 'drover.yaml', {}))
  const agents = `agents: { lab: { key: '${KEY}' } }\n`

  it('a backend says through whom it is reached, and nothing of its address and its keys', () => {
    const all = parseConfig(
      `${agents}backends:
  d: { kind: docker, through: lab, newContainers: {} }
  k: { kind: kubernetes, through: lab, namespaces: [shop] }
  r1: { kind: rancher1, through: lab, project: 1a5 }
  r2: { kind: rancher2, through: lab, cluster: c-abc, namespaces: [shop] }
`,
      'drover.yaml',
      {},
    )
    expect(Object.values(all.backends).map(({ kind, through }) => [kind, through])).toEqual(
      ['docker', 'kubernetes', 'rancher1', 'rancher2'].map((kind) => [kind, 'lab']),
    )
    for (const [entry, key] of [
      ['kind: docker, host: unix:///x', 'host'],
      ['kind: docker, plaintext: true', 'plaintext'],
      ['kind: kubernetes, inCluster: true', 'inCluster'],
      ['kind: kubernetes, impersonate: actor', 'impersonate'],
      ['kind: rancher1, url: https://x.example.com', 'url'],
      ['kind: rancher2, token: { env: T }', 'token'],
      ['kind: containerd, namespace: k8s.io', 'namespace'],
      ['kind: swarm, nodes: {}', 'nodes'],
    ])
      expect(parse(`${agents}backends: { x: { ${entry}, through: lab } }`)).toContain(
        `backends.x.${key}: this stands in the agent’s own file`,
      )
  })

  it('mistakes are named: an agent that is not there, a kind that none reaches, a key twice, a key that is none', () => {
    expect(parse(`backends: { x: { kind: docker, through: lab } }`)).toContain('there is no agent called lab')
    expect(parse(`${agents}backends: { x: { kind: docker, through: constructor } }`)).toContain('no agent called constructor')
    expect(parse(`${agents}backends: { x: { kind: docker, through: 7 } }`)).toContain('the name of an agent')
    expect(parse(`${agents}backends: { x: { kind: podman, through: lab } }`)).toContain('backends.x.kind: there is no podman')
    expect(parse(`agents: { a: { key: '${KEY}' }, b: { key: '${KEY}' } }`)).toContain(
      'agents.b.key: the agent a has the same key',
    )
    expect(parse(`agents: { a: { key: secret } }`)).toContain('agents.a.key')
    expect(parse(`agents: { A: { key: '${KEY}' } }`)).toContain('agents')
  })
})

describe('agent.yaml', () => {
  const parse = (text: string) =>
    wrong(() => parseYaml(text, 'agent.yaml', agentSettings({ secret: secretOf({ T: 'token-abc:0123456789' }, 6), labels })))
  const head = 'name: lab\nkey: a.key\n'
  const docker = 'engine: { kind: docker, host: unix:///x }\nallow: {}\n'
  const gateway = 'gateway: https://gateway.example.com\n'

  it('S31 a gateway is called with TLS, unless it is on this machine or the file says otherwise', () => {
    expect(parse(`${head}${docker}gateway: http://gateway.example.com`)).toContain('not encrypted')
    expect(parse(`${head}${docker}gateway: http://127.0.0.1.example.com`)).toContain('not encrypted')
    for (const url of ['https://gateway.example.com', 'http://127.0.0.1:3000', 'http://localhost:3000', 'http://[::1]:3000'])
      expect(parse(`${head}${docker}gateway: '${url}'`)).toBe('it is in order')
    expect(parse(`${head}${docker}gateway: http://gateway.example.com\nplaintext: true`)).toBe('it is in order')
    expect(parse(`${head}${docker}gateway: https://gateway.example.com/x`)).toContain('without a path')
    expect(parse(`${head}${docker}gateway: nonsense`)).toContain('the address of the gateway')
  })

  it('[default-deny] says what may pass: nothing is taken to be meant', () => {
    const kube = 'engine: { kind: kubernetes, inCluster: true, namespaces: [shop] }\n'
    const cases = [
      ['engine: { kind: docker, host: unix:///x }', 'say which containers'],
      ['engine: { kind: docker, host: unix:///x, helperImage: busybox }\nallow: {}', 'here allow: says helperImage:'],
      ['engine: { kind: docker, host: unix:///x }\nallow: { priviledged: true }', 'unknown key priviledged'],
      ['engine: { kind: docker, host: unix:///x }\nallow: { privileged: false }', 'allow.privileged'],
      ['engine: { kind: docker, host: unix:///x }\nallow: { images: [] }', 'allow.images'],
      ['engine: { kind: kubernetes, inCluster: true }', 'which namespaces'],
      ['engine: { kind: kubernetes, inCluster: true, namespaces: [shop], impersonate: actor }', 'not through an agent'],
      ['engine: { kind: kubernetes, inCluster: true, namespaces: [shop] }\nallow: {}', 'of kubernetes this says rollout:'],
      ['engine: { kind: kubernetes, inCluster: true, namespaces: [shop] }\nallow: { names: [web] }', 'of kubernetes this says'],
      ['engine: { kind: docker, host: unix:///x }\nallow: { rollout: { verbs: [restart] } }', 'allow.rollout: not for docker'],
      [`${kube}allow: { rollout: { verbs: [] } }`, 'allow.rollout.verbs'],
      [`${kube}allow: { rollout: { verbs: [image] } }`, 'say which images rollout image may set'],
      [`${kube}allow: { rollout: { verbs: [scale], images: [web] } }`, 'say which images rollout image may set'],
      [`${kube}allow: { rollout: { verbs: [status], names: [deployment/web] } }`, 'it is in order'],
      ['engine: { kind: containerd, namespace: default }', 'say which containers'],
      ['engine: { kind: containerd, namespace: moby }\nallow: {}', 'the containers in moby are Docker’s own'],
      ['engine: { kind: containerd, namespace: default }\nallow: { images: [busybox] }', 'engine.newContainers'],
      ['engine: { kind: containerd, namespace: default }\nallow: { networks: [host] }', 'allow.networks: not for containerd'],
      ['engine: { kind: swarm, host: unix:///x }', 'say which containers'],
      ['engine: { kind: swarm, host: unix:///x }\nallow: { images: [busybox] }', 'allow.images: not for swarm'],
      [
        'engine: { kind: rancher1, url: https://r.example.com, accessKey: { env: T }, secretKey: { env: T } }',
        'which environment',
      ],
      ['engine: { kind: rancher2, url: https://r.example.com, token: { env: T } }', 'say cluster:'],
      ['engine: { kind: podman }', 'engine'],
    ]
    for (const [text, words] of cases)
      expect([text, parse(`${head}${gateway}${text}`)]).toEqual([text, expect.stringContaining(words ?? '')])
  })
})
