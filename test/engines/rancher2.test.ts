/** Rancher 2 before a real Kubernetes: the pretend Rancher passes on to the API server whose address `kubernetes.sh` prints. */

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rancher2 } from '../../src/backends/rancher2/backend.ts'
import type { Target } from '../../src/core/model.ts'
import { bearerOf, type Rancher2Peer, startRancher2Peer } from '../../src/playground/rancher2/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { backendContract, failureOf, runOn } from '../contract/backend.ts'
import { privateCa } from '../peers/private-ca.ts'

const env = (name: string): string => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: run this through test/engines/run.sh`)
  return value
}
const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
const namespace = () => env('KUBE_NAMESPACE')
const project = () => ({ id: 'c-real1:p-shop1', name: 'Shop', namespaces: [namespace()] })

type Options = Parameters<typeof startRancher2Peer>[0]

/** `exec-user` is whom the cluster's Role names; Rancher would speak for `u-…`. */
function startPeer(options: Partial<Options> = {}): Promise<Rancher2Peer> {
  return startRancher2Peer({
    upstream: { url: env('KUBE_URL'), token: env('KUBE_ADMIN_TOKEN'), ca: readFileSync(env('KUBE_CA'), 'utf8') },
    clusters: [{ id: 'c-real1', name: 'real', state: 'active' }],
    projects: [project()],
    users: {
      admin: { groups: ['system:masters'] },
      member: { user: 'exec-user', displayName: 'Eve Exec' },
      scoped: { user: 'exec-user', displayName: 'Eve Exec' },
    },
    ...options,
  })
}

function kubectl(...args: string[]): string {
  return execFileSync(env('KUBECTL'), ['-n', namespace(), ...args], { encoding: 'utf8', env: { ...process.env } })
}

function processesInside({ native }: Target, needle: string): string[] {
  const [, , pod = '', container = ''] = native.split('/')
  return kubectl('exec', pod, '-c', container, '--', 'ps', '-o', 'pid,stat,args')
    .split('\n')
    .filter((line) => line.includes(needle) && !/^\s*\d+\s+Z/.test(line))
}

for (const protocol of process.env.KUBE_V5_URL ? ['v4', 'v5'] : ['v4']) {
  backendContract(`Rancher 2 before a real API server that speaks ${protocol}`, async () => {
    // The door that speaks v5 judges by tokens alone.
    const upstream = { url: process.env.KUBE_V5_URL ?? '', token: env('KUBE_EXEC_TOKEN'), impersonate: false } as const
    const peer = await startPeer(protocol === 'v5' ? { upstream } : {})
    const token = bearerOf(peer.keys.member)
    const backend = rancher2({ name: 'rancher', url: peer.url, token }, { transport: nodeTransport })
    const [target] = await backend.list({ labels: [{ op: 'eq', key: 'app', value: 'web' }] }, AbortSignal.timeout(20_000))
    return {
      backend,
      target: target!,
      processesInside: async (one, needle) => processesInside(one, needle),
      openConnections: () => peer.seen.openSockets(),
      breakAfter: (bytes) => {
        peer.faults.breakAfterBytes = bytes === 0 ? undefined : bytes
      },
      tearDown: () => peer.close(),
    }
  })
}

describe('the rights of a Rancher user, on a real API server', () => {
  let peer: Rancher2Peer
  beforeAll(async () => {
    peer = await startPeer()
  })
  afterAll(() => peer.close())
  const soon = () => AbortSignal.timeout(30_000)
  const backendOf = (token: string, more: object = {}) =>
    rancher2({ name: 'rancher', url: peer.url, token, ...more }, { transport: nodeTransport })
  const web = { labels: [{ op: 'eq', key: 'app', value: 'web' }] as const }

  test('an administrator sees the whole cluster, a member the namespaces of the project, a cluster’s own key the same by id', async () => {
    const names = async (token: string, more?: object) =>
      (await backendOf(token, more).list(web, soon())).map(({ native }) => native).sort()
    const all = await names(bearerOf(peer.keys.admin))
    expect(all).toHaveLength(2)
    expect(all[0]).toMatch(/^c-real1\/drover\/web-[^/]+\/app$/)
    expect(await names(bearerOf(peer.keys.member))).toEqual(all)
    expect(await names(bearerOf(peer.keys.scoped), { cluster: 'c-real1', namespaces: [namespace()] })).toEqual(all)
  })

  test.each([
    ['no-rights-user', 'list'],
    ['get-only-user', 'exec or not, as the version has it'],
    ['create-only-user', 'exec'],
  ])('%s is refused by its own rights, with the name that Rancher knows it by (%s)', async (user) => {
    const key = peer.addKey({ user, displayName: `Display of ${user}`, projects: [project().id] })
    const backend = backendOf(bearerOf(key), { cluster: 'c-real1', namespaces: [namespace()] })
    const attempt = async () => {
      const [target] = await backend.list(web, soon())
      return await runOn(backend, target!, { argv: ['true'] })
    }
    // Before 1.35 `get` alone was enough for a websocket (S40).
    if (user === 'get-only-user') return expect((await attempt()).code).toBe(0)
    const error = await failureOf(attempt())
    expect([error.code, error.ran]).toEqual(['backend_forbidden', 'no'])
    expect(error.message).toContain(`${user} is Display of ${user}`)
    expect(error.next).toContain('Project Member')
  })
})

describe('drover with a private CA before Rancher', { timeout: 120_000 }, () => {
  let peer: Rancher2Peer
  let folder: string
  const RANCHER_TOKEN = () => bearerOf(peer.keys.member)

  beforeAll(async () => {
    peer = await startPeer({ tls: privateCa('Rancher CA') })
    folder = mkdtempSync(join(tmpdir(), 'drover-rancher2-'))
    writeFileSync(
      join(folder, 'drover.yaml'),
      `ledger: { path: ${folder}/drover.db }
backends:
  rancher: { kind: rancher2, url: '${peer.url}/dashboard/c/c-real1/explorer', ca: ./ca.pem, token: { env: RANCHER_TOKEN } }
rules: [{ id: me, effect: allow, who: { cli: true }, commands: ['...'], rights: [shell] }]
`,
    )
  })
  afterAll(async () => {
    await peer.close()
    rmSync(folder, { recursive: true })
  })

  async function drover(...args: string[]) {
    const environment = { PATH: process.env.PATH, HOME: folder, RANCHER_TOKEN: RANCHER_TOKEN() }
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    const said = { out: '', err: '' }
    child.stdout.on('data', (data: Buffer) => {
      said.out += data.toString()
    })
    child.stderr.on('data', (data: Buffer) => {
      said.err += data.toString()
    })
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    return { code, ...said }
  }

  test('trust, check, exec: both streams come back, and the exit code', async () => {
    expect((await drover('check')).out).toMatch(/drover trust/)
    expect((await drover('trust', peer.url, '--out', 'ca.pem')).code).toBe(0)
    const checked = await drover('check')
    expect(checked.out).toMatch(/Rancher answers .*v2\.15\.0/)
    expect(checked.out).toMatch(/c-real1 \(real\).*v1\./)
    expect(checked.out).not.toContain('FAIL')
    const { code, out, err } = await drover('exec', 'on=rancher', 'label=app=web', 'cmd=echo out; echo err >&2; exit 3')
    expect(out).toMatch(/2 of 2: web-\S+, web-\S+ · exit 3/)
    expect(out).toContain('\nout\n')
    expect(err).toContain('err\n')
    expect(code).toBe(3)
    expect(`${out}${err}${checked.out}`).not.toContain(peer.keys.member.secret)
  })

  test('[gone-is-gone] S42 past its deadline no sleep is left in the container', async () => {
    const { code, out } = await drover('exec', 'on=rancher', 'label=app=web', 'timeout=1s', 'cmd=sleep 6543')
    expect(out).toContain('timed out, proved gone')
    expect(code).toBe(124)
    const pods = kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].metadata.name}').split(' ')
    for (const pod of pods) expect(kubectl('exec', pod, '--', 'ps', '-o', 'args')).not.toContain('sleep 6543')
  })
})
