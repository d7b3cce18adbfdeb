/** Kubernetes as it stands in drover.yaml: an address and a token, proxies, in whose name, and what drover check says of it. */

import { readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { kubernetes } from '../../src/backends/kubernetes/connect.ts'
import { filesOf } from '../../src/backends/kubernetes/files.ts'
import { execRights, roleYaml, rolloutRights, subjectOf } from '../../src/backends/kubernetes/rights.ts'
import type { KubernetesSettings } from '../../src/backends/kubernetes/settings.ts'
import type { Machine } from '../../src/backends/machine.ts'
import type { Reach } from '../../src/backends/transport.ts'
import { parseConfig } from '../../src/config.ts'
import { DroverError } from '../../src/core/errors.ts'
import { Secret } from '../../src/core/secret.ts'
import type { KubernetesPeer } from '../../src/playground/kubernetes/peer.ts'
import { nodeTransport } from '../../src/runtime/transport-node.ts'
import { workerTransport } from '../../src/runtime/transport-worker.ts'
import { failureOf, newExec } from '../contract/backend.ts'
import { processEngine } from '../peers/engine-process.ts'
import { privateCa } from '../peers/private-ca.ts'
import { peerWith, soon } from './kubernetes-cluster.ts'
import { backendWith, eventsOf, folder, kubeconfig, listening, machine, POD, tokenOf } from './kubernetes-files.ts'

describe('an address and a token', () => {
  test('[no-secret-shown] a refused token is not in the words', async () => {
    const peer = await peerWith({ pods: POD })
    const backend = backendWith({ server: peer.url, token: new Secret('a-token-that-is-wrong') })
    const error = await failureOf(backend.list({}, soon()))
    expect(error.code).toBe('backend_unauthorized')
    expect(JSON.stringify(error.toFailure()) + String(error.stack)).not.toContain('a-token-that-is-wrong')
  })

  test('S31 a CA that is named is the only one, wherever it is named: the system’s are not trusted beside it', async () => {
    const peer = await peerWith({ pods: POD })
    const { ca } = privateCa('Cluster CA')
    const dir = folder()
    writeFileSync(join(dir, 'ca.crt'), ca)
    writeFileSync(join(dir, 'token'), 'x')
    const data = btoa(ca)
    const inPod: Machine = {
      ...machine,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' },
      readText: (path) => machine.readText(path.replace('/var/run/secrets/kubernetes.io/serviceaccount', dir)),
    }
    const config = { 'idp-certificate-authority-data': data, 'id-token': 'x' }
    const user = { 'auth-provider': { name: 'oidc', config } }
    const server = { server: peer.url, token: new Secret('0123456789') }
    for (const settings of [
      { ...server, ca: new Secret(ca) },
      { ...server, ca: join(dir, 'ca.crt') },
      { inCluster: true as const },
      { kubeconfig: kubeconfig(peer, { cluster: { 'certificate-authority-data': data } }) },
      { kubeconfig: kubeconfig(peer, { cluster: { 'certificate-authority': join(dir, 'ca.crt') }, user }) },
    ]) {
      const asked: Reach[] = []
      const transport = (reach: Reach) => {
        asked.push(reach)
        return nodeTransport(reach)
      }
      const backend = kubernetes('kube', { impersonate: 'none', ...settings }, { transport, files: filesOf(inPod) })
      await backend.list({}, soon()).catch(() => undefined)
      expect(asked).not.toEqual([])
      for (const reach of asked) expect(reach).toEqual({ ca, caOnly: true })
    }
  })

  test('Workers has no files and no CA of its own: both are refused at start-up', () => {
    const on = (settings: Partial<KubernetesSettings>) => () =>
      kubernetes('kube', { impersonate: 'none', ...settings }, { transport: workerTransport })
    const server = { server: 'https://kube.example.com', token: new Secret('0123456789') }
    expect(on({ kubeconfig: '/a' })).toThrow(DroverError)
    expect(on({ inCluster: true })).toThrow(/no files|none on Workers/)
    expect(on({ ...server, ca: '/ca.pem' })).toThrow(DroverError)
    expect(on({ ...server, ca: new Secret('-----BEGIN CERTIFICATE-----') })).toThrow(/private CA/)
    expect(on({ ...server, insecureSkipVerify: true })).toThrow(/unverified/)
    expect(on({ ...server, impersonate: 'actor', impersonateGroup: ['a', 'b'] })).toThrow(/A header that comes more than once/)
    expect(on({ ...server, impersonate: 'actor', impersonateGroup: 'a' })).not.toThrow()
    expect(on(server)).not.toThrow()
  })
})

describe('a proxy', () => {
  test('gets CONNECT for requests and websockets, and sees no token', async () => {
    const peer = await peerWith({ pods: POD })
    const heard: string[] = []
    const proxy = createServer((client) => {
      client.on('error', () => {})
      client.once('data', (data: Buffer) => {
        heard.push(data.toString('latin1'))
        const [, port] = /^CONNECT 127\.0\.0\.1:(\d+) /.exec(data.toString('latin1')) ?? []
        const upstream = connect(Number(port), '127.0.0.1', () => {
          client.write('HTTP/1.1 200 Connection established\r\n\r\n')
          client.pipe(upstream).pipe(client)
        })
        upstream.on('error', () => client.destroy())
      })
    })
    const { port } = await listening(proxy)
    const cluster = { 'proxy-url': `http://127.0.0.1:${port}` }
    const backend = backendWith({ kubeconfig: kubeconfig(peer, { user: { token: tokenOf('exec-user') }, cluster }) })
    const [web] = await backend.list({}, soon())
    const events = await eventsOf(backend.exec(web!, { argv: ['hostname'] }, newExec(), soon()))
    expect(events.at(-1)).toEqual({ type: 'exit', code: 0 })
    expect(heard.length).toBeGreaterThanOrEqual(2)
    expect(heard.filter((one) => !one.startsWith('CONNECT '))).toEqual([])
    expect(heard.join('')).not.toContain(tokenOf('exec-user'))
  })

  test('of another kind is refused with words', async () => {
    const file = kubeconfig({ url: 'http://127.0.0.1:1' }, { cluster: { 'proxy-url': 'socks5://127.0.0.1:1080' } })
    expect((await failureOf(backendWith({ kubeconfig: file }).list({}, soon()))).next).toContain('socks')
  })
})

describe('in the name of who asked', () => {
  const people = [
    {
      name: 'drover',
      token: tokenOf('drover'),
      rules: [{ verbs: ['impersonate', 'list', 'get', 'create'], resources: ['users', 'groups', 'pods', 'pods/exec'] }],
    },
    { name: 'slack:T1/U1', token: 'x', rules: [{ verbs: ['get', 'create'], resources: ['pods/exec'] }] },
    { name: 'group:oncall', token: 'y', rules: [{ verbs: ['get', 'create'], resources: ['pods/exec'] }] },
  ]
  const alice = { kind: 'slack-user', team: 'T1', user: 'U1' } as const
  const mallory = { kind: 'slack-user', team: 'T1', user: 'U2' } as const

  test('the cluster sees the person, and the person’s own rights decide', async () => {
    const peer = await peerWith({ pods: POD, people })
    const file = kubeconfig(peer, { user: { token: tokenOf('drover') } })
    const backend = backendWith({ kubeconfig: file, impersonate: 'actor' })
    const [web] = await backend.list({}, soon())
    const run = (by?: Parameters<typeof backend.exec>[4]) =>
      eventsOf(backend.exec(web!, { argv: ['hostname'] }, newExec(), soon(), by))
    expect((await run(alice)).at(-1)).toEqual({ type: 'exit', code: 0 })
    expect(peer.seen.execs.map(({ user }) => user)).toEqual(['slack:T1/U1'])
    const refused = await failureOf(run(mallory))
    expect(refused.message).toContain('User "slack:T1/U2" cannot')
    // Never in drover's own name.
    expect(await failureOf(run())).toMatchObject({ code: 'identity', ran: 'no' })
    const group = backendWith({ kubeconfig: file, impersonate: 'actor', impersonateGroup: 'oncall' })
    await eventsOf(group.exec(web!, { argv: ['hostname'] }, newExec(), soon(), mallory))
    expect(peer.seen.execs.at(-1)).toMatchObject({ user: 'slack:T1/U2', groups: ['oncall'] })
    const groups = backendWith({ kubeconfig: file, impersonate: 'actor', impersonateGroup: ['oncall', 'a, b'] })
    await eventsOf(groups.exec(web!, { argv: ['hostname'] }, newExec(), soon(), mallory))
    expect(peer.seen.execs.at(-1)).toMatchObject({ user: 'slack:T1/U2', groups: ['oncall', 'a, b'] })
  })

  test('[gone-is-gone] S42 what a person started is ended in drover’s own name, whose rights need not be theirs', async () => {
    const engine = processEngine()
    const peer = await peerWith({ pods: POD, people, engine })
    const backend = backendWith({
      kubeconfig: kubeconfig(peer, { user: { token: tokenOf('drover') } }),
      impersonate: 'actor',
    })
    const [web] = await backend.list({}, soon())
    const connection = new AbortController()
    const exec = newExec()
    const argv = ['/bin/sh', '-c', 'echo go; sleep 600; true'] as const
    const events = backend.exec(web!, { argv }, exec, connection.signal, alice)[Symbol.asyncIterator]()
    while ((await events.next()).value?.type !== 'output');
    connection.abort()
    await events.next().catch(() => undefined)
    expect(await backend.kill(web!, { target: web!.id, exec }, soon())).toEqual({ result: 'gone' })
    await expect.poll(() => engine.pids()).toEqual([])
    expect(peer.seen.execs.map(({ user }) => user)).toEqual(['slack:T1/U1', 'drover'])
  })
})

describe('drover.yaml', () => {
  const mistakes = (entry: object) => {
    try {
      parseConfig(JSON.stringify({ backends: { kube: { kind: 'kubernetes', ...entry } } }), 'drover.yaml', {
        TOKEN: '0123456789',
      })
      return 'none'
    } catch (error) {
      return error instanceof DroverError ? error.message : String(error)
    }
  }
  const server = { server: 'https://kube.example.com:6443', token: { env: 'TOKEN' } }

  test.each<[object, string]>([
    [{ kubeconfig: '~/.kube/config' }, 'none'],
    [{ kubeconfig: '/a', context: 'prod', namespaces: ['shop', 'blog'] }, 'none'],
    [{ inCluster: true, allNamespaces: true }, 'none'],
    [{ ...server, ca: '/ca.pem', impersonate: 'actor', impersonateGroup: 'oncall' }, 'none'],
    [{ ...server, impersonate: 'actor', impersonateGroup: ['oncall', 'a, b'] }, 'none'],
    [{ ...server, impersonate: 'actor', impersonateGroup: [] }, 'impersonateGroup'],
    [{ ...server, impersonate: 'actor', impersonateGroup: ['a\r\nb'] }, 'the name of a group'],
    [{ ...server, ca: { env: 'TOKEN' } }, 'none'],
    [{}, 'exactly one of kubeconfig:, inCluster: true, or server:'],
    [{ kubeconfig: '/a', inCluster: true }, 'exactly one of'],
    [{ server: 'https://kube.example.com' }, 'token'],
    [{ server: 'https://user:pw@kube.example.com', token: { env: 'TOKEN' } }, 'no user'],
    [{ server: 'kube.example.com', token: { env: 'TOKEN' } }, 'an http(s) URL'],
    [{ ...server, token: 'in-the-file' }, 'secrets never stand in the file'],
    [{ kubeconfig: '/a', insecureSkipVerify: true }, 'a kubeconfig says it itself'],
    [{ ...server, insecureSkipVerify: false }, 'insecureSkipVerify'],
    [{ inCluster: true, context: 'x' }, 'only with kubeconfig'],
    [{ ...server, namespaces: ['a'], allNamespaces: true }, 'not both'],
    [{ ...server, namespaces: ['Shop!'] }, 'the name of a namespace'],
    [{ ...server, impersonateGroup: 'x' }, 'only with impersonate: actor'],
    [{ ...server, verify: false }, 'unknown key verify'],
  ])('%j: %s', (entry, words) => {
    expect(mistakes(entry)).toContain(words)
  })
})

describe('check', () => {
  const linesOf = async (peer: KubernetesPeer, who: string, settings: Partial<KubernetesSettings> = {}) =>
    backendWith({ server: peer.url, token: new Secret(tokenOf(who)), namespaces: ['shop'], ...settings }).check(soon())

  test('S40 a missing create on pods/exec fails where it is asked for, and warns before; the Role to apply is printed', async () => {
    for (const [minor, ok] of [
      [20, 'warn'],
      [35, false],
    ] as const) {
      const peer = await peerWith({ pods: POD, minor })
      const line = (await linesOf(peer, 'get-only-user')).find(({ what }) => what.includes('create pods/exec'))
      expect(line?.ok).toBe(ok)
      expect(line?.next).toContain(roleYaml(execRights, ['shop'], subjectOf(undefined)))
    }
  })

  test('the Roles of examples/kubernetes are the ones that check prints', () => {
    const file = (name: string) => readFileSync(join(import.meta.dirname, '../../examples/kubernetes', name), 'utf8')
    const example = (name: string) => file(name).replace(/^(#.*\n)+/, '')
    const account = subjectOf('system:serviceaccount:drover:drover')
    expect(example('role.yaml')).toBe(roleYaml(execRights, ['shop'], account))
    expect(example('cluster-role.yaml')).toBe(roleYaml(execRights, 'all', account))
    expect(example('role-rollouts.yaml')).toBe(roleYaml([...execRights, ...rolloutRights], ['shop'], account))
  })

  test('S40 a missing get on pods/exec fails on every version', async () => {
    const peer = await peerWith({ pods: POD, minor: 20 })
    const [bad] = (await linesOf(peer, 'create-only-user')).filter(({ ok }) => ok === false)
    expect(bad?.what).toContain('may not get pods/exec in namespace shop')
  })

  test('S31 plain http and a certificate that is not verified are warned about', async () => {
    const peer = await peerWith({ pods: POD })
    const warnings = (await linesOf(peer, 'exec-user', { insecureSkipVerify: true }))
      .filter(({ ok }) => ok === 'warn')
      .map(({ what }) => what)
    expect(warnings).toEqual(['the connection is not encrypted', 'the server’s certificate is not verified'])
  })

  test('a token that is refused, one that has expired and a server that is not there are told', async () => {
    const peer = await peerWith({ pods: POD })
    expect((await linesOf(peer, 'nobody')).find(({ ok }) => ok === false)?.what).toContain('does not accept the credentials')
    const over = `${btoa('{}')}.${btoa(JSON.stringify({ exp: 1 }))}.x`
    const lines = await backendWith({ server: peer.url, token: new Secret(over) }).check(soon())
    expect(lines.find(({ what }) => what.includes('has expired'))).toMatchObject({
      ok: false,
      detail: '1970-01-01T00:00:01.000Z',
    })
    const gone = await backendWith({ server: 'http://127.0.0.1:1', token: new Secret('0123456789') }).check(soon())
    expect(gone.find(({ ok }) => ok === false)?.what).toContain('connection refused')
  })
})
